//! Checkpoints as their makers publish them make the files that those of transformers make.

use std::fs;
use std::path::{Path, PathBuf};

use gguf_kit::checkpoint::Checkpoint;
use gguf_kit::convert::{FileType, Plan, PlanOptions};
use gguf_kit::gguf::GgufFile;

use crate::common::convert_named;

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"))
}

/// The files of these folders of fixtures, in a new one.
fn folder(from: &[&str], to: PathBuf) -> PathBuf {
    fs::create_dir(&to).expect("a new folder");
    for from in from {
        for entry in fs::read_dir(fixtures().join(from)).expect("a fixture") {
            let entry = entry.expect("readable");
            fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
    to
}

/// The bytes of a file of this type.
fn converted(checkpoint: &Path, file_type: FileType) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.gguf");
    convert_named(checkpoint, &path, file_type, "x");
    fs::read(path).expect("written")
}

/// The tensors of a safetensors file: their entries in the header, and their bytes.
fn tensors(path: &Path) -> Vec<(String, serde_json::Value, Vec<u8>)> {
    let bytes = fs::read(path).expect("weights");
    let (n, rest) = bytes.split_first_chunk().expect("a length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*n) as usize);
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(header).expect("a header");
    let of = |(name, entry): (String, serde_json::Value)| {
        let at = |i: usize| entry["data_offsets"][i].as_u64().expect("an offset") as usize;
        let bytes = data[at(0)..at(1)].to_vec();
        (name, entry, bytes)
    };
    header.into_iter().filter(|(name, _)| name != "__metadata__").map(of).collect()
}

fn write_tensors(path: &Path, tensors: &[(String, serde_json::Value, Vec<u8>)]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, entry, bytes) in tensors {
        let mut entry = entry.clone();
        entry["data_offsets"] = serde_json::json!([data.len(), data.len() + bytes.len()]);
        header.insert(name.clone(), entry);
        data.extend_from_slice(bytes);
    }
    let header = serde_json::Value::Object(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    fs::write(path, file).expect("written");
}

/// Half `rank` of an expert's matrix: of the columns of `w2`, else of the rows.
fn half(
    (name, entry, bytes): &(String, serde_json::Value, Vec<u8>),
    rank: usize,
) -> (String, serde_json::Value, Vec<u8>) {
    let dimension = |i: usize| entry["shape"][i].as_u64().expect("a dimension") as usize;
    let (n_out, n_in) = (dimension(0), dimension(1));
    let row_bytes = bytes.len() / n_out;
    let (shape, bytes) = if name.ends_with("w2.weight") {
        let half = |row: &[u8]| row[rank * row_bytes / 2..][..row_bytes / 2].to_vec();
        ([n_out, n_in / 2], bytes.chunks(row_bytes).flat_map(half).collect())
    } else {
        ([n_out / 2, n_in], bytes[rank * bytes.len() / 2..][..bytes.len() / 2].to_vec())
    };
    (name.clone(), serde_json::json!({ "dtype": entry["dtype"], "shape": shape }), bytes)
}

#[test]
fn parts_of_ranks_beside_whole_tensors_make_the_same_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let whole = folder(&["families/grok-2", "families/tokenizer"], dir.path().join("whole"));
    let parted = folder(&["families/grok-2", "families/tokenizer"], dir.path().join("parted"));
    fs::remove_file(parted.join("model.safetensors")).expect("removed");
    let all = tensors(&whole.join("model.safetensors"));
    let (experts, common): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(name, ..)| name.contains("block_sparse_moe.experts."));
    assert!(!experts.is_empty());
    let path = |rank: &str| parted.join(format!("pytorch_model-00001-TP-{rank}.safetensors"));
    write_tensors(&path("common"), &common);
    let halves = |rank: usize| experts.iter().map(|expert| half(expert, rank)).collect::<Vec<_>>();
    for rank in [0, 1] {
        write_tensors(&path(&format!("00{rank}")), &halves(rank));
    }
    for file_type in [FileType::F32, FileType::Q4_0] {
        assert!(converted(&whole, file_type) == converted(&parted, file_type), "{file_type}");
    }
    // One of them stands for all.
    assert!(converted(&path("001"), FileType::F32) == converted(&whole, FileType::F32));
    let mut gap = halves(1);
    gap.pop();
    write_tensors(&path("001"), &gap);
    let message = refusal(&parted);
    assert!(message.contains("in 1 of the files") && message.contains("each of 2 ranks"), "{message}");
    fs::rename(path("001"), path("002")).expect("renamed");
    let message = refusal(&parted);
    assert!(message.contains("rank 1 are missing"), "{message}");
}

/// Why a checkpoint is not converted.
fn refusal(checkpoint: &Path) -> String {
    let opened = match Checkpoint::open(checkpoint) {
        Ok(opened) => opened,
        Err(error) => return error.to_string(),
    };
    Plan::new(&opened, &PlanOptions::new(FileType::F16)).expect_err("no such model").to_string()
}

#[test]
fn consolidated_files_make_the_bytes_that_those_of_transformers_make() {
    let dir = tempfile::tempdir().expect("a folder");
    for (own, family) in [("llama", "families/llama"), ("mixtral", "families/llama-mixtral")] {
        let hub = folder(&["families/tokenizer", family], dir.path().join(format!("{own}-hub")));
        let makers = folder(
            &["families/tokenizer", &format!("consolidated/{own}")],
            dir.path().join(format!("{own}-makers")),
        );
        // Both say how to sample, and params.json says neither this nor which tokens begin and end texts.
        fs::copy(hub.join("generation_config.json"), makers.join("generation_config.json")).expect("copied");
        for file_type in [FileType::F32, FileType::Q8_0] {
            assert!(converted(&makers, file_type) == converted(&hub, file_type), "{own} as {file_type}");
        }
    }
}

#[test]
fn a_rank_stands_for_all_and_a_folder_with_both_forms_is_taken_as_transformers_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let makers = folder(&["families/tokenizer", "consolidated/llama"], dir.path().join("makers"));
    let of_folder = converted(&makers, FileType::F32);
    assert!(converted(&makers.join("consolidated.01.pth"), FileType::F32) == of_folder);
    let both =
        folder(&["families/tokenizer", "consolidated/llama", "families/llama"], dir.path().join("both"));
    let hub = folder(&["families/tokenizer", "families/llama"], dir.path().join("hub"));
    assert!(converted(&both, FileType::F32) == converted(&hub, FileType::F32));
}

#[test]
fn what_params_json_leaves_open_is_noted() {
    let dir = tempfile::tempdir().expect("a folder");
    let makers = folder(&["families/tokenizer", "consolidated/llama"], dir.path().join("makers"));
    let params = makers.join("params.json");
    let text = fs::read_to_string(&params).expect("a fixture");
    fs::write(&params, text.replace("\"max_seq_len\": 64, ", "").replace("300.0", "500000.0"))
        .expect("writable");
    let opened = Checkpoint::open(&makers).expect("a sound checkpoint");
    assert!(
        opened.notes().iter().any(|note| note.contains("8192, those of Llama 3")),
        "{:?}",
        opened.notes()
    );
    let out = dir.path().join("x.gguf");
    convert_named(&makers, &out, FileType::F32, "x");
    let file = GgufFile::open(&out).expect("written");
    assert_eq!(file.metadata().count("llama.context_length").expect("a count"), Some(8192));
    // Meta's files never name the width of the feed-forward part; Mistral's do.
    let text = fs::read_to_string(&params).expect("written before").replacen('{', "{\"hidden_dim\": 96, ", 1);
    fs::write(&params, text).expect("writable");
    let opened = Checkpoint::open(&makers).expect("a sound checkpoint");
    let notes = opened.notes();
    assert!(notes.iter().any(|note| note.contains("32768, those of Mistral 7B")), "{notes:?}");
}

#[test]
fn broken_sets_of_ranks_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let new = |name: &str| folder(&["families/tokenizer", "consolidated/llama"], dir.path().join(name));
    let gap = new("gap");
    fs::rename(gap.join("consolidated.01.pth"), gap.join("consolidated.02.pth")).expect("renamed");
    assert!(refusal(&gap).contains("consolidated.01.pth is missing"), "{}", refusal(&gap));
    let one = new("one");
    fs::remove_file(one.join("consolidated.01.pth")).expect("removed");
    // Half of everything: the shapes tell.
    assert!(refusal(&one).contains("shape"), "{}", refusal(&one));
    let cut = new("cut");
    let bytes = fs::read(cut.join("consolidated.01.pth")).expect("a fixture");
    fs::write(cut.join("consolidated.01.pth"), &bytes[..bytes.len() / 2]).expect("writable");
    assert!(refusal(&cut).contains("consolidated.01.pth"), "{}", refusal(&cut));
    let other = new("other");
    fs::copy(fixtures().join("pytorch/new.pt"), other.join("consolidated.01.pth")).expect("copied");
    assert!(refusal(&other).contains("is missing, which the first of 2 files has"), "{}", refusal(&other));
    let bare = new("bare");
    fs::remove_file(bare.join("params.json")).expect("removed");
    assert!(refusal(&bare).contains("neither params.json nor config.json"), "{}", refusal(&bare));
    let short = new("short");
    fs::write(short.join("params.json"), "{\"dim\": 32}").expect("writable");
    assert!(refusal(&short).contains("\"n_heads\" is missing"), "{}", refusal(&short));
    let later = new("later");
    fs::write(later.join("params.json"), "{\"dim\": 32, \"llama_4_scaling\": {}}").expect("writable");
    assert!(refusal(&later).contains("in the form of transformers"), "{}", refusal(&later));
}
