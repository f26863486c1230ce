//! Both formats, there and back; merging; what is refused.

use super::*;

/// A dense tensor that saw two rows, and a stack of two experts of which one saw a row.
fn sample() -> ImportanceMatrix {
    let mut dense = Entry::new(1, 3);
    dense.see(0, &[1.0, -2.0, 0.5, 3.0, 0.0, 0.5], 3);
    let mut experts = Entry::new(2, 2);
    experts.see(1, &[2.0, 4.0], 2);
    let entries = [("blk.0.attn_q.weight", dense), ("blk.0.ffn_up_exps.weight", experts)];
    ImportanceMatrix {
        entries: entries.map(|(name, entry)| (name.to_owned(), entry)).into(),
        datasets: vec!["a.txt".into()],
        chunk_len: 1,
    }
}

#[test]
fn weights_are_means_of_squares_and_ones_where_nothing_was_seen() {
    let matrix = sample();
    let weights = |name: &str| matrix.entries[name].weights();
    assert_eq!(weights("blk.0.attn_q.weight"), [5.0, 2.0, 0.25]);
    assert_eq!(weights("blk.0.ffn_up_exps.weight"), [1.0, 1.0, 4.0, 16.0]);
    assert_eq!(matrix.entries["blk.0.ffn_up_exps.weight"].n_unseen(), (1, 2));
    assert_eq!(matrix.n_chunks(), 2);
}

#[test]
fn zeros_tell_nothing() {
    let mut matrix = sample();
    let experts = matrix.entries.get_mut("blk.0.ffn_up_exps.weight").expect("there");
    experts.counts[0] = 5;
    assert_eq!(experts.weights(), [1.0, 1.0, 4.0, 16.0], "the first expert saw nothing but zeros");
    assert!(!experts.is_empty());
    experts.squares.fill(0.0);
    assert!(experts.is_empty());
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("m");
    matrix.write(&path, Format::Gguf, false).expect("written");
    assert_eq!(ImportanceMatrix::open(&path).expect("one tensor tells something").entries.len(), 2);
    matrix.entries.get_mut("blk.0.attn_q.weight").expect("there").counts.fill(0);
    let refusal = || ImportanceMatrix::open(&path).expect_err("nothing told").to_string();
    matrix.write(&path, Format::Gguf, true).expect("written");
    assert!(refusal().contains("all 0"), "{}", refusal());
    // A legacy file: one entry, its name, calls, two means; then the last call and no name of a text.
    let number = |n: i32| n.to_le_bytes().to_vec();
    let parts = [number(1), number(1), b"x".to_vec(), number(3), number(2), vec![0; 8], number(3), number(0)];
    std::fs::write(&path, parts.concat()).expect("writable");
    assert!(refusal().contains("all 0"), "{}", refusal());
}

#[test]
fn a_gguf_file_reads_back_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("imatrix.gguf");
    sample().write(&path, Format::of_name(&path), false).expect("written");
    assert_eq!(ImportanceMatrix::open(&path).expect("sound"), sample());
    let error = sample().write(&path, Format::Gguf, false).expect_err("it exists").to_string();
    assert!(error.contains("--force"), "{error}");
}

#[test]
fn a_legacy_file_keeps_the_means() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("imatrix.dat");
    sample().write(&path, Format::of_name(&path), false).expect("written");
    let found = ImportanceMatrix::open(&path).expect("sound");
    for (name, entry) in &sample().entries {
        let (weights, expected) = (found.entries[name].weights(), entry.weights());
        assert_eq!(weights, expected, "{name}");
    }
    assert_eq!(found.datasets, ["a.txt"]);
    // The oldest files end behind the last entry.
    let bytes = std::fs::read(&path).expect("written above");
    std::fs::write(&path, &bytes[..bytes.len() - 4 - 4 - "a.txt".len()]).expect("writable");
    assert_eq!(ImportanceMatrix::open(&path).expect("sound").entries.len(), 2);
}

#[test]
fn merging_adds_sums_and_counts() {
    let mut matrix = sample();
    matrix.merge(&sample()).expect("alike");
    let entry = &matrix.entries["blk.0.attn_q.weight"];
    assert_eq!((&entry.squares[..], &entry.counts[..]), (&[20.0, 8.0, 1.0][..], &[4][..]));
    assert_eq!(entry.weights(), [5.0, 2.0, 0.25]);
    assert_eq!(matrix.datasets, ["a.txt"]);
    let mut other = sample();
    other.entries.insert("blk.0.attn_q.weight".into(), Entry::new(1, 4));
    let error = matrix.merge(&other).expect_err("another shape").to_string();
    assert!(error.contains("attn_q") && error.contains("different models"), "{error}");
}

#[test]
fn one_count_for_all_experts_stands_for_each() {
    let mut old = sample();
    let entry = old.entries.get_mut("blk.0.ffn_up_exps.weight").expect("there");
    (entry.counts, entry.sums) = (vec![3], None);
    let mut matrix = sample();
    matrix.merge(&old).expect("alike");
    let entry = &matrix.entries["blk.0.ffn_up_exps.weight"];
    assert_eq!((&entry.counts[..], &entry.sums), (&[3, 4][..], &None));
}

#[test]
fn what_is_no_importance_matrix_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x");
    let refusal = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("writable");
        ImportanceMatrix::open(&path).expect_err("not sound").to_string()
    };
    for bytes in [&b""[..], b"hello world, this is text", &[1, 0, 0, 0, 255, 255, 255, 127], &[0; 16]] {
        assert!(refusal(bytes).contains("not an importance matrix"), "{}", refusal(bytes));
    }
    let dat = dir.path().join("imatrix.dat");
    let mut matrix = sample();
    matrix.entries.get_mut("blk.0.attn_q.weight").expect("there").squares[1] = f64::NAN;
    matrix.write(&dat, Format::Legacy, false).expect("written");
    let bytes = std::fs::read(&dat).expect("written above");
    assert!(refusal(&bytes).contains("sum of squares of NaN; collect it again"), "{}", refusal(&bytes));
    let sound = {
        sample().write(&dat, Format::Legacy, true).expect("written");
        std::fs::read(&dat).expect("written above")
    };
    for n in 0..sound.len() - 4 - 4 - "a.txt".len() {
        assert!(refusal(&sound[..n]).contains("not an importance matrix"), "cut to {n} bytes");
    }
}
