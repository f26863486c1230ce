//! Files that torch wrote give the tensors that torch had; hostile ones give a message.

use std::path::{Path, PathBuf};

use crate::checkpoint::Shard;
use crate::error::Error;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pytorch").join(name)
}

/// Every tensor of a file: name, type, shape and bytes.
fn contents(name: &str) -> Vec<(String, &'static str, Vec<usize>, Vec<u8>)> {
    let shard = Shard::open(&fixture(name)).expect("a sound file");
    let read = |name: &str| {
        let view = shard.tensor(name).expect("readable").expect("named by the file itself");
        let mut bytes = vec![0; view.n_bytes as usize];
        view.read_at(0, &mut bytes).expect("inside the file");
        (name.to_owned(), view.dtype.name(), view.shape.to_vec(), bytes)
    };
    shard.tensor_names().map(read).collect()
}

#[test]
fn files_of_torch_hold_what_the_safetensors_library_wrote_of_the_same_tensors() {
    let expected = contents("tensors.safetensors");
    assert_eq!(expected.len(), 22);
    assert_eq!(contents("new.pt"), expected);
    assert_eq!(contents("protocol-4.pt"), expected);
    let old = contents("old.pt");
    assert_eq!(old.len(), 14);
    let is_old = |name: &str| old.iter().any(|(other, ..)| other == name);
    let expected: Vec<_> = expected.into_iter().filter(|(name, ..)| is_old(name)).collect();
    assert_eq!(old, expected);
}

#[test]
fn parameters_count_as_tensors_and_trainers_files_hold_them_deeper() {
    let ones = [1.0_f32; 4].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
    let expected = vec![("w".to_owned(), "F32", vec![2, 2], ones)];
    assert_eq!(contents("module.pt"), expected);
    assert_eq!(contents("trainer.pt"), expected);
    let nested: Vec<String> = contents("nested.pt").into_iter().map(|(name, ..)| name).collect();
    assert_eq!(nested, ["b", "w"]);
}

#[test]
fn hostile_files_are_refused_with_the_reason_and_nothing_is_executed() {
    for (name, said) in [
        ("hostile-system.pt", "asks for posix.system"),
        ("hostile-eval.pt", "asks for builtins.eval"),
        ("hostile-compressed.pt", "is compressed (method 8)"),
        ("hostile-missing-storage.pt", "data/0 is missing"),
        ("hostile-short-storage.pt", "tensor w of shape [4, 4] does not fit into the 60 bytes"),
        ("hostile-big-endian.pt", "big-endian"),
        ("hostile-no-pickle.pt", "without a data.pkl"),
        ("hostile-cut.pt", "cut short"),
        ("hostile-circle.pt", "no dictionary of tensors"),
        ("hostile-again.pt", "no dictionary of tensors"),
        ("hostile-deep.pt", "no dictionary of tensors"),
        ("hostile-recall.pt", "a value that it has not made"),
        ("hostile-memo.pt", "values, far more than weights need"),
        ("hostile-no-tensors.pt", "no dictionary of tensors"),
        ("qmodel.pt", "what HQQ's save_quantized writes"),
    ] {
        let message = Shard::open(&fixture(name)).expect_err(name).to_string();
        assert!(message.contains(name) && message.contains(said), "\"{message}\" should say \"{said}\"");
    }
    assert!(!Path::new("executed").exists());
}

#[test]
fn views_are_read_as_if_they_lay_row_after_row() {
    let shard = Shard::open(&fixture("views.pt")).expect("a sound file");
    let read = |name: &str| {
        let view = shard.tensor(name).expect("readable").expect("there");
        let mut bytes = vec![0; view.n_bytes as usize];
        view.read_at(0, &mut bytes).expect("inside the file");
        let floats = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        (view.shape.to_vec(), floats.collect::<Vec<_>>())
    };
    let turned: Vec<f32> = (0..32).map(|i| (i % 4 * 8 + i / 4) as f32).collect();
    assert_eq!(read("turned"), (vec![8, 4], turned));
    let cut = [10, 11, 12, 13, 18, 19, 20, 21, 26, 27, 28, 29].map(|i| i as f32);
    assert_eq!(read("cut"), (vec![3, 4], cut.to_vec()));
    // The error comes when the tensor is asked for.
    for (name, reason) in [("repeated", "repeats its numbers"), ("freqs_cis", "complex numbers")] {
        let error = shard.tensor(name).expect_err("no weights");
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

/// Every beginning of a file, and every file with one byte changed, is an error or a sound file: no panic.
#[test]
fn damaged_files_never_panic() {
    use crate::read_file::ReadFile;
    for name in ["module.pt", "old.pt", "views.pt"] {
        let path = fixture(name);
        let bytes = std::fs::read(&path).expect("a fixture");
        for n in (0..bytes.len()).step_by(7) {
            let cut = Shard::from_file(ReadFile::from_bytes(&path, bytes[..n].to_vec()));
            assert!(cut.is_err(), "{name} cut at {n}");
            let mut changed = bytes.clone();
            changed[n] ^= 0xff;
            let Ok(shard) = Shard::from_file(ReadFile::from_bytes(&path, changed)) else { continue };
            for name in shard.tensor_names() {
                if let Ok(Some(view)) = shard.tensor(name) {
                    let mut bytes = vec![0; view.n_bytes as usize];
                    view.read_at(0, &mut bytes).expect("checked when it was opened");
                }
            }
        }
    }
}
