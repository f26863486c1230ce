//! GGUF files that leave out what this program's own files have, or have it in another form.

use std::path::{Path, PathBuf};
use std::process::Command;

use gguf_kit::convert::FileType;
use gguf_kit::gguf::{
    DEFAULT_ALIGNMENT, GgmlType, GgufFile, GgufWriter, Layout, PlannedTensor, TensorInfo, Value,
};
use gguf_simd::BlockType;

use crate::common::checkpoint::Spec;
use crate::common::convert;
use crate::common::model::new_path;
use crate::common::parts::write_part;
use crate::hostile::{GgufBytes, STRING, U32};
use crate::program::{assert_fails, json_of, run, run_with_input, stderr, stdout_of};

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// A folder with `m.gguf`, a tiny model.
fn workplace() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    Spec::default().write(dir.path());
    let path = new_path(dir.path(), "m");
    convert(dir.path(), &path, FileType::F32);
    (dir, path)
}

/// The model at `path` with other metadata, as `name`.
fn changed(path: &Path, name: &str, change: impl Fn(&mut Vec<(String, Value)>)) -> PathBuf {
    let file = GgufFile::open(path).expect("a model");
    let mut pairs = file.metadata().to_pairs();
    change(&mut pairs);
    let to = path.with_file_name(name);
    write_part(&file, file.tensors(), pairs, &to);
    to
}

/// The bytes of the logits for a few tokens.
fn logits(model: &Path) -> Vec<u8> {
    let to = model.with_extension("npy");
    let output =
        run_with_input(["logits", text(model), "--ids", "-", "-o", text(&to), "-q", "--force"], "1 2 3");
    assert!(output.status.success(), "{}", stderr(&output));
    std::fs::read(to).expect("written")
}

#[test]
fn a_model_without_a_vocabulary_computes_from_ids_and_refuses_text() {
    let (_dir, path) = workplace();
    let expected = logits(&path);
    let is_of_tokenizer = |key: &str| key.starts_with("tokenizer.");
    for (name, model, has_size) in
        [("bare.gguf", None, false), ("none.gguf", Some("none"), true), ("old.gguf", Some("no_vocab"), false)]
    {
        let bare = changed(&path, name, |pairs| {
            pairs.retain(|(key, _)| !is_of_tokenizer(key) && (has_size || key != "llama.vocab_size"));
            let model = model.map(|model| Value::String(model.into()));
            pairs.extend(model.map(|model| ("tokenizer.ggml.model".to_owned(), model)));
        });
        assert!(logits(&bare) == expected, "{name}");
        let bench = json_of(["bench", text(&bare), "-p", "4", "-n", "2", "-r", "1", "--output", "json"]);
        assert_eq!(bench["tests"].as_array().map(Vec::len), Some(2));
        let advice = ["no vocabulary", "logits --ids"];
        assert_fails(["complete", text(&bare), "-p", "x"], 1, &advice);
        assert_fails(["tokenize", text(&bare), "x"], 1, &advice);
        assert!(stdout_of(["inspect", text(&bare)]).contains("no vocabulary"));
        let shown = json_of(["inspect", text(&bare), "--json"]);
        assert_eq!((&shown["runs"], &shown["has_vocabulary"]), (&true.into(), &false.into()));
    }
}

#[test]
fn measures_of_a_model_without_a_vocabulary_take_the_numbers_of_tokens() {
    let (dir, path) = workplace();
    let bare = changed(&path, "bare.gguf", |pairs| pairs.retain(|(key, _)| !key.starts_with("tokenizer.")));
    let ids: Vec<String> = (0..256).map(|i| (i * 7 % 50 + 3).to_string()).collect();
    let list = dir.path().join("ids.txt");
    std::fs::write(&list, ids.join(" ")).expect("written");
    let of =
        |model: &Path| json_of(["perplexity", text(model), "--ids", text(&list), "--ctx", "32", "--json"]);
    assert_eq!(of(&bare)["mean_nll"], of(&path)["mean_nll"]);
    assert!(of(&bare)["mean_nll"].as_f64().is_some_and(|nll| nll > 0.5));
    let pair = [text(&bare), text(&path)];
    let compared = json_of(["divergence", pair[0], pair[1], "--ids", text(&list), "--ctx", "32", "--json"]);
    assert_eq!((&compared["n_scored"], &compared["kl_divergence"]["value"]), (&120.into(), &0.0.into()));
    // What is kept of it is compared with as well, and only where nothing else puts a token before the chunks.
    let (kept, scores) = (dir.path().join("kept.kld"), dir.path().join("sensitivity.json"));
    let keep = |model: &Path| {
        let args =
            ["perplexity", text(model), "--ids", text(&list), "--ctx", "32", "--save-base", text(&kept)];
        run(args)
    };
    let refused = keep(&path);
    assert!(stderr(&refused).contains("has a vocabulary: give the text") && !kept.exists());
    assert!(keep(&bare).status.success());
    let compared = json_of(["divergence", text(&kept), text(&bare), "--json"]);
    assert!(compared["kl_divergence"]["value"].as_f64().is_some_and(|kl| kl.abs() < 1e-4));
    stdout_of(["sensitivity", text(&bare), "--ids", text(&list), "--ctx", "32", "-o", text(&scores)]);
    assert!(scores.exists());
    let matrix = dir.path().join("imatrix.gguf");
    stdout_of(["imatrix", text(&bare), "--ids", text(&list), "--ctx", "32", "-o", text(&matrix)]);
    assert!(matrix.exists());
    let prose = dir.path().join("prose.txt");
    std::fs::write(&prose, "Once upon a time. ".repeat(20)).expect("written");
    assert_fails(
        ["divergence", text(&bare), text(&path), "-f", text(&prose)],
        1,
        &["no vocabulary", "--ids"],
    );
}

#[test]
fn tensors_of_parts_that_see_and_hear_are_left_aside_with_a_note_and_others_named() {
    let (_dir, path) = workplace();
    let with = |name: &str, extra: &str| {
        let file = GgufFile::open(&path).expect("a model");
        let planned = file.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor));
        let planned: Vec<_> = planned.chain([(extra, &file.tensors()[0])]).collect();
        let described = planned.iter().map(|(name, tensor)| PlannedTensor {
            name: (*name).to_owned(),
            shape: tensor.shape.clone(),
            ty: tensor.ty,
        });
        let pairs = file.metadata().to_pairs();
        let layout = Layout::new(pairs, described.collect(), DEFAULT_ALIGNMENT).expect("a layout");
        let to = path.with_file_name(name);
        let writer = GgufWriter::create(&to, layout, false).expect("a file");
        for (i, (_, tensor)) in planned.iter().enumerate() {
            writer.write_at(i, 0, file.bytes(tensor)).expect("written");
        }
        writer.finish().expect("a file");
        to
    };
    let sees = with("sees.gguf", "v.blk.0.attn_q.weight");
    assert!(logits(&sees) == logits(&path));
    let output = run(["complete", text(&sees), "-p", "a", "-n", "1", "--temp", "0"]);
    assert!(output.status.success());
    assert!(stderr(&output).contains("1 tensor of parts that see or hear"), "{}", stderr(&output));
    let other = with("other.gguf", "mtp.fc.weight");
    assert_fails(["complete", text(&other), "-p", "a"], 1, &["mtp.fc.weight", "--ignore-tensor"]);
}

/// The F32 model at `path`, as `name`, with the tensors that `change` gives another type and other bytes.
fn retyped(
    path: &Path,
    name: &str,
    change: impl Fn(&TensorInfo, &[f32]) -> Option<(GgmlType, Vec<u8>)>,
) -> PathBuf {
    let file = GgufFile::open(path).expect("a model");
    let floats = |tensor: &TensorInfo| {
        let (floats, _) = file.bytes(tensor).as_chunks();
        floats.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect::<Vec<_>>()
    };
    let changed = |tensor: &TensorInfo| {
        change(tensor, &floats(tensor)).unwrap_or_else(|| (tensor.ty, file.bytes(tensor).to_vec()))
    };
    let contents: Vec<_> = file.tensors().iter().map(changed).collect();
    let planned = file.tensors().iter().zip(&contents).map(|(tensor, (ty, _))| PlannedTensor {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        ty: *ty,
    });
    let pairs = file.metadata().to_pairs();
    let layout = Layout::new(pairs, planned.collect(), DEFAULT_ALIGNMENT).expect("a layout");
    let to = path.with_file_name(name);
    let writer = GgufWriter::create(&to, layout, false).expect("a file");
    for (i, (_, bytes)) in contents.iter().enumerate() {
        writer.write_at(i, 0, bytes).expect("written");
    }
    writer.finish().expect("a file");
    to
}

fn bytes_of(values: &[f32], bytes: impl Fn(f32) -> Vec<u8>) -> Vec<u8> {
    values.iter().flat_map(|&value| bytes(value)).collect()
}

#[test]
fn norms_of_every_float_type_are_computed_with_exactly() {
    let (_dir, path) = workplace();
    let is_norm = |tensor: &TensorInfo| tensor.shape.len() == 1;
    // Values that need all bits of a float.
    let path = retyped(&path, "fine.gguf", |tensor, values| {
        is_norm(tensor).then(|| (tensor.ty, bytes_of(values, |x| (x * 1.000_13).to_le_bytes().to_vec())))
    });
    let as_f64 = retyped(&path, "norms-f64.gguf", |tensor, values| {
        is_norm(tensor).then(|| (GgmlType::F64, bytes_of(values, |x| f64::from(x).to_le_bytes().to_vec())))
    });
    assert!(logits(&as_f64) == logits(&path));
    type Half = (&'static str, BlockType, fn(f32) -> Vec<u8>, fn(f32) -> f32);
    let halves: [Half; 2] = [
        (
            "f16",
            BlockType::F16,
            |x| half::f16::from_f32(x).to_le_bytes().to_vec(),
            |x| half::f16::from_f32(x).to_f32(),
        ),
        (
            "bf16",
            BlockType::BF16,
            |x| half::bf16::from_f32(x).to_le_bytes().to_vec(),
            |x| half::bf16::from_f32(x).to_f32(),
        ),
    ];
    for (name, ty, bytes, rounded) in halves {
        let odd = retyped(&path, &format!("norms-{name}.gguf"), |tensor, values| {
            is_norm(tensor).then(|| (ty.into(), bytes_of(values, bytes)))
        });
        let plain = retyped(&path, &format!("rounded-{name}.gguf"), |tensor, values| {
            is_norm(tensor).then(|| (tensor.ty, bytes_of(values, |x| rounded(x).to_le_bytes().to_vec())))
        });
        assert!(logits(&odd) == logits(&plain), "{name}");
        assert!(logits(&odd) != logits(&path), "{name} rounds");
    }
}

#[test]
fn a_matrix_of_f64_is_refused_by_name_and_a_conversion_makes_it_one_to_compute_with() {
    let (dir, path) = workplace();
    let odd = retyped(&path, "f64.gguf", |_, values| {
        Some((GgmlType::F64, bytes_of(values, |x| f64::from(x).to_le_bytes().to_vec())))
    });
    let out = dir.path().join("out.npy");
    let args = ["logits", text(&odd), "--ids", "-", "-o", text(&out)];
    assert_fails(args, 1, &["is a matrix of F64", "gguf-convert", "--type F32"]);
    let convert = |ty: &str, to: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
        let output = command.arg(&odd).args(["--type", ty, "-q", "-o"]).arg(to).output().expect("it starts");
        assert!(output.status.success(), "{}", stderr(&output));
    };
    for ty in ["F32", "keep"] {
        let to = dir.path().join(format!("from-{ty}.gguf"));
        convert(ty, &to);
        assert!(logits(&to) == logits(&path), "{ty}");
    }
}

#[test]
fn values_of_another_type_are_read_where_they_are_clear() {
    let (_dir, path) = workplace();
    let expected = logits(&path);
    let converted = |value: &Value| match value {
        Value::U32(n) => Value::F64(f64::from(*n)),
        Value::F32(x) if x.fract() == 0.0 => Value::U64(*x as u64),
        Value::F32(x) => Value::F64(f64::from(*x)),
        Value::Bool(is) => Value::I32(i32::from(*is)),
        other => other.clone(),
    };
    let odd = changed(&path, "odd.gguf", |pairs| {
        let of_model = |key: &str| key.starts_with("llama.") || key.starts_with("tokenizer.");
        let pairs = pairs.iter_mut().filter(|(key, _)| of_model(key));
        pairs.for_each(|(_, value)| *value = converted(value));
    });
    assert!(logits(&odd) == expected);
    let ids = |model: &Path| stdout_of(["tokenize", text(model), "Once upon a time", "--ids"]);
    assert_eq!(ids(&odd), ids(&path));
    let wrong = [("llama.block_count", Value::F32(1.5)), ("tokenizer.ggml.add_bos_token", Value::U8(2))];
    for (key, value) in wrong {
        let bad = changed(&path, "bad.gguf", |pairs| {
            pairs.retain(|(other, _)| other != key);
            pairs.push((key.to_owned(), value.clone()));
        });
        assert_fails(["complete", text(&bad), "-p", "x"], 1, &[key]);
        std::fs::remove_file(bad).expect("removed");
    }
}

#[test]
fn a_file_that_goes_with_a_model_is_told_from_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let kind = |ty: &[u8]| GgufBytes::new(1, 3).key("general.type", STRING).string(ty);
    let llama = |bytes: GgufBytes| bytes.key("general.architecture", STRING).string("llama");
    let adapter = llama(kind(b"adapter")).key("adapter.type", STRING).string("lora");
    let matrix =
        kind(b"imatrix").key("imatrix.chunk_count", U32).u32(1).key("imatrix.chunk_size", U32).u32(8);
    let vector = kind(b"model").key("general.architecture", STRING).string("controlvector");
    let vector = vector.key("controlvector.model_hint", STRING).string("llama");
    for (name, bytes, words) in [
        ("lora.gguf", adapter, ["an adapter (LoRA)", "--lora"]),
        ("imatrix.gguf", matrix, ["an importance matrix", "--imatrix"]),
        ("vector.gguf", vector, ["a control vector", "the model"]),
    ] {
        let path = bytes.tensor("x", &[8], 0, 0).data(32, 32).write(folder.path(), name);
        assert_fails(["complete", text(&path), "-p", "x"], 1, &words);
        assert_fails(["tokenize", text(&path), "x"], 1, &words);
        assert!(stdout_of(["inspect", text(&path)]).contains(words[0]));
        let mut convert = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
        let output = convert.arg(&path).args(["--type", "Q8_0", "--dry-run"]).output().expect("it starts");
        assert!(stderr(&output).contains(words[0]), "{}", stderr(&output));
    }
}

#[test]
fn a_template_that_is_called_default_is_the_template() {
    let (_dir, path) = workplace();
    const KEY: &str = "tokenizer.chat_template";
    let template = GgufFile::open(&path).expect("a model");
    let template = template.metadata().string(KEY).expect("a text").expect("it has one").to_owned();
    let renamed = |name: &str, to: &str| {
        changed(&path, name, |pairs| {
            pairs.retain(|(key, _)| key != KEY);
            pairs.push((format!("{KEY}.{to}"), Value::String(template.clone())));
            pairs.push((format!("{KEY}s"), Value::Strings(vec![to.to_owned()])));
        })
    };
    let chat =
        |model: &Path| run_with_input(["chat", text(model), "-n", "4", "--temp", "0", "-q"], "Hello\n");
    let (named, plain) = (chat(&renamed("default.gguf", "default")), chat(&path));
    assert_eq!(named.stdout, plain.stdout);
    assert_fails(["chat", text(&renamed("other.gguf", "rag"))], 1, &["special purposes (rag)"]);
}
