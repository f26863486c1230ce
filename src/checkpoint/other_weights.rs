//! What a folder without weights holds instead: checkpoints inside it, weights in formats that are not read, and what
//! makes of those a checkpoint that is.

use std::fs;
use std::path::{Path, PathBuf};

use super::weight_names::{PYTORCH, SAFETENSORS};

/// Entries of a folder that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// Whether a name is one of a format, and what to do.
type Other = (fn(&str) -> bool, &'static str);

/// What folders of other formats hold, by the name of one entry, and what to do.
const OTHERS: &[Other] = &[
    (is_unfinished, "is an unfinished download; go on with it"),
    (
        |name| name == "zero_to_fp32.py" || name.starts_with("global_step"),
        "is of DeepSpeed, whose script joins the parts of each process: python zero_to_fp32.py . OUTPUT",
    ),
    (
        |name| name.ends_with(".distcp") || name.contains("_fsdp_"),
        "holds the shards of training with FSDP; join them: accelerate merge-weights FOLDER OUTPUT",
    ),
    (
        |name| name == "latest_checkpointed_iteration.txt" || name.starts_with("mp_rank_"),
        "is of Megatron; convert it to Hugging Face's format with the tools of the one who trained it",
    ),
    (
        |name| name.ends_with(".msgpack"),
        "holds weights of Flax; save them anew with transformers before version 5: from_pretrained(FOLDER, \
         from_flax=True), then save_pretrained",
    ),
    (
        |name| name.ends_with(".h5") || name.contains(".ckpt."),
        "holds weights of TensorFlow; save them anew with transformers before version 5: from_pretrained(FOLDER, \
         from_tf=True), then save_pretrained",
    ),
    (|name| name.ends_with(".keras"), "is of Keras; use the original checkpoint"),
    (|name| name.starts_with("openvino_"), "holds a model of OpenVINO; use the original checkpoint"),
    (
        |name| name == "onnx" || name.ends_with(".onnx"),
        "holds an ONNX model, which is a program with its weights; use the original checkpoint",
    ),
    (|name| name.ends_with(".mlpackage"), "holds a model of Core ML; use the original checkpoint"),
    (|name| name.ends_with(".nemo"), "is of NeMo; export it to Hugging Face's format there"),
    (|name| name.ends_with(".engine"), "holds a model of TensorRT; use the original checkpoint"),
];

/// The list of the parts of a pipeline of diffusers, which lie in folders of their own and are not language models.
const PIPELINE: &str = "model_index.json";

/// What there is instead of weights in `dir`, which holds entries called `names`, and what to do; `None` for nothing
/// that is known.
pub(super) fn instead(dir: &Path, names: &[String]) -> Option<String> {
    if names.iter().any(|name| name == PIPELINE) {
        return Some(format!(
            "with {PIPELINE}, it is a pipeline of diffusers, which makes pictures; language models are converted here"
        ));
    }
    let within = checkpoints_within(dir, names);
    if let Some(last) = within.last() {
        let others = match within.len() - 1 {
            0 => String::new(),
            n => format!(", and {n} more"),
        };
        return Some(format!("there is a checkpoint in {}{others}: name that", last.display()));
    }
    let inner = names.iter().flat_map(|name| names_in(&dir.join(name)));
    let all: Vec<String> = names.iter().cloned().chain(inner).collect();
    let (name, what) =
        OTHERS.iter().find_map(|(is, what)| all.iter().find(|name| is(name)).map(|name| (name, what)))?;
    Some(match is_unfinished(name) {
        true => format!("{} {what}", name.escape_debug()),
        false => format!("with {}, it {what}", name.escape_debug()),
    })
}

/// The folders in `dir` that hold a configuration and weights, the latest of training last; those of a repository in
/// the hub's cache are in its `snapshots`.
fn checkpoints_within(dir: &Path, names: &[String]) -> Vec<PathBuf> {
    let snapshots = dir.join("snapshots");
    let (dir, inner) = match names.iter().any(|name| name == "snapshots") {
        true => (snapshots.as_path(), names_in(&snapshots)),
        false => (dir, names.to_vec()),
    };
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for name in inner {
        let path = dir.join(&name);
        if path.join("config.json").is_file() && names_in(&path).iter().any(|name| may_hold_weights(name)) {
            let step = name.rsplit('-').next().and_then(|step| step.parse().ok());
            found.push((step.unwrap_or(0), path));
        }
    }
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// Whether a file of this name is a part of one that is being downloaded, or no longer.
fn is_unfinished(name: &str) -> bool {
    let known = [".part", ".partial", ".incomplete", ".crdownload", ".download", ".aria2"];
    known.iter().filter_map(|ending| name.strip_suffix(ending)).any(may_hold_weights)
}

fn may_hold_weights(name: &str) -> bool {
    SAFETENSORS.may_hold_weights(name) || PYTORCH.may_hold_weights(name)
}

/// The names in a folder that are UTF-8; none of what is not a folder or cannot be read.
fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().take(MAX_ENTRIES);
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(files: &[&str]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
        let names = names_in(dir.path());
        instead(dir.path(), &names).map(|said| said.replace(&format!("{}/", dir.path().display()), ""))
    }

    #[test]
    fn a_checkpoint_in_a_folder_is_named_the_last_of_training_first() {
        let of = |name: &str| [format!("{name}/config.json"), format!("{name}/model.safetensors")];
        let files = [of("checkpoint-500"), of("checkpoint-1000"), of("checkpoint-90")].concat();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let said_of = said(&files).unwrap();
        assert!(said_of.contains("in checkpoint-1000, and 2 more"), "{said_of}");
        let hub = ["refs/main", "blobs/1", "snapshots/abc/config.json", "snapshots/abc/pytorch_model.bin"];
        assert!(said(&hub).unwrap().contains("in snapshots/abc: name that"));
        assert_eq!(said(&["a/config.json", "b/model.safetensors", "README.md"]), None);
    }

    #[test]
    fn weights_of_other_formats_are_named_with_what_makes_them_readable() {
        for (files, expected) in [
            (
                &["config.json", "model.safetensors.part"][..],
                "model.safetensors.part is an unfinished download",
            ),
            (&["config.json", "zero_to_fp32.py"], "zero_to_fp32.py . OUTPUT"),
            (&["latest", "global_step500/mp_rank_00_model_states.pt"], "DeepSpeed"),
            (&["pytorch_model_fsdp_0/__0_0.distcp"], "accelerate merge-weights"),
            (&["__0_0.distcp", ".metadata"], "accelerate merge-weights"),
            (&["iter_0000100/mp_rank_00/model_optim_rng.pt"], "Megatron"),
            (&["config.json", "flax_model.msgpack"], "from_flax=True"),
            (&["config.json", "tf_model.h5"], "from_tf=True"),
            (&["model.ckpt.index", "checkpoint"], "TensorFlow"),
            (&["openvino_model.bin", "openvino_model.xml"], "OpenVINO"),
            (&["onnx/model.onnx"], "ONNX"),
            (&["model.onnx", "model.onnx_data"], "ONNX"),
            (&["model_index.json", "unet/config.json", "unet/model.safetensors"], "a pipeline of diffusers"),
        ] {
            let said = said(files).unwrap_or_default();
            assert!(said.contains(expected), "{files:?}: {said}");
        }
    }
}
