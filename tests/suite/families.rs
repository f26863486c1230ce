//! Every family computes what its authors' code computes: tiny random checkpoints with the logits that
//! transformers gives them (tools/family_fixtures.py), by way of the converter.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::common::{
    self,
    npy::{floats, read_npy},
};
use gguf_kit::checkpoint::{Checkpoint, Config};
use gguf_kit::convert::FileType;
use gguf_kit::gguf::{GgufFile, GgufWriter, Layout, PlannedTensor, Value};
use gguf_kit::model::{Family, KvTypes, ModelSpec, arch};
use gguf_kit::runtime::{Engine, EngineOptions, Logits, Session, SessionOptions};
use gguf_simd::attention::CacheType;
use gguf_simd::{BlockType, Isa};

/// The greatest error of a logit, relative to the greatest logit. Rounding costs about 1e-6, and a feature that
/// is left out or misread more than 1e-3.
pub(crate) const TOLERANCE: f32 = 1e-4;

/// What the fixtures' positions need.
const N_CTX: usize = 64;

/// What [`Fixture::convert`] made of each folder.
static CONVERTED: Mutex<BTreeMap<PathBuf, Arc<[u8]>>> = Mutex::new(BTreeMap::new());

/// A checkpoint and what it should compute.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) family: &'static Family,
}

impl Fixture {
    pub(crate) fn ids(&self) -> Vec<u32> {
        let ids = fs::read_to_string(self.path.join("ids.txt")).expect("ids.txt");
        ids.split_whitespace().map(|id| id.parse().expect("a number")).collect()
    }

    /// What the model is.
    pub(crate) fn spec(&self) -> ModelSpec {
        let checkpoint = Checkpoint::open(&self.path).expect("a checkpoint");
        // The numbers that a checkpoint keeps as tensors do not change what a model consists of.
        let float = |name: &str| Ok(Some(if name.ends_with(".eps") { -0.5 } else { 0.5 }));
        let scalars = arch::Scalars { float: &float, ..arch::Scalars::NONE };
        let behind = arch::Behind { modules: checkpoint.modules(), n_answers: 0 };
        let configured = self.family.configure_with(checkpoint.config(), scalars, &behind);
        configured.expect("hyperparameters").spec
    }

    /// Converts to F32, with the tokenizer that all fixtures share.
    pub(crate) fn convert(&self, dir: &Path) -> PathBuf {
        let checkpoint = dir.join(&self.name);
        fs::create_dir(&checkpoint).expect("a new folder");
        for from in [&self.path, &fixtures().join("tokenizer")] {
            for entry in fs::read_dir(from).expect("a fixture") {
                let entry = entry.expect("readable");
                fs::copy(entry.path(), checkpoint.join(entry.file_name())).expect("copied");
            }
        }
        let gguf = dir.join(format!("{}.gguf", self.name));
        // Many tests want the same files, and most of a small model's conversion is the proof of its tokenizer.
        let converted = || CONVERTED.lock().expect("no test failed in between");
        let found = converted().get(&self.path).cloned();
        if let Some(file) = found {
            fs::write(&gguf, &*file).expect("writable");
        } else {
            common::convert(&checkpoint, &gguf, FileType::F32);
            converted().insert(self.path.clone(), fs::read(&gguf).expect("readable").into());
        }
        gguf
    }

    /// As [`Fixture::convert`], with the configuration as files on the Hub spell it.
    fn convert_hub(&self, dir: &Path) -> PathBuf {
        let (checkpoint, gguf) = (dir.join(&self.name), dir.join("hub.gguf"));
        fs::rename(checkpoint.join("config.hub.json"), checkpoint.join("config.json")).expect("renamed");
        common::convert(&checkpoint, &gguf, FileType::F32);
        gguf
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families")
}

/// The fixtures of families that are registered.
pub(crate) fn registered() -> Vec<Fixture> {
    registered_in(&fixtures())
}

/// The fixtures in a folder of families that are registered.
pub(crate) fn registered_in(folder: &Path) -> Vec<Fixture> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the fixtures") {
        let entry = entry.expect("readable");
        let name = entry.file_name().into_string().expect("UTF-8");
        let Ok(config) = fs::read_to_string(entry.path().join("config.json")) else { continue };
        let config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
        let class = config["architectures"][0].as_str().expect("a class");
        let config = Config::open(&entry.path().join("config.json")).expect("JSON");
        if let Some((_, family)) = arch::by_classes(&[class], &config).expect("a sound configuration") {
            let family = arch::variant(family, &config).expect("a sound configuration");
            assert!(name.starts_with(family.gguf_name), "{name} is of {}", family.gguf_name);
            found.push(Fixture { name, path: entry.path(), family });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The logits of all `ids`, in batches of `n_batch`.
pub(crate) fn logits(engine: &Engine, ids: &[u32], n_batch: usize) -> Vec<f32> {
    let kv_types = KvTypes::both(CacheType::F32);
    let options = SessionOptions { n_ctx: N_CTX, n_batch: ids.len(), kv_types };
    let mut session = Session::new(engine, options).expect("little memory");
    let steps = ids.chunks(n_batch);
    steps.flat_map(|batch| session.step(batch, Logits::All).expect("a step").to_vec()).collect()
}

/// What a file says of its model, in any order.
fn keys(file: &GgufFile) -> BTreeMap<String, serde_json::Value> {
    let metadata = file.metadata();
    metadata.keys().map(|key| (key.to_owned(), metadata.to_json(key))).collect()
}

#[test]
fn every_family_has_a_fixture() {
    let found: Vec<_> = registered().into_iter().chain(crate::encoders::registered()).collect();
    for name in arch::gguf_names() {
        assert!(found.iter().any(|fixture| fixture.family.gguf_name == name), "{name} has none");
    }
}

#[test]
fn every_family_computes_the_logits_of_transformers() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut wrong = Vec::new();
    for fixture in registered() {
        let gguf = fixture.convert(dir.path());
        let engine = Engine::load(&gguf, EngineOptions::default()).expect("a sound file");
        let ids = fixture.ids();
        let (shape, theirs) = read_npy(&fixture.path.join("logits.npy"));
        assert_eq!(shape, [ids.len(), engine.n_vocab()], "{}", fixture.name);
        let ours = logits(&engine, &ids, ids.len());
        let greatest = theirs.iter().fold(0.0, |greatest: f32, x| greatest.max(x.abs()));
        let difference = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{}: {:.1e}", fixture.name, difference / greatest);
        // Not the other way round: a NaN is wrong.
        if !(ours.iter().all(|x| x.is_finite()) && difference <= TOLERANCE * greatest) {
            wrong.push(format!("{}: {:.1e}", fixture.name, difference / greatest));
        }
    }
    assert!(wrong.is_empty(), "relative errors: {wrong:?}");
}

#[test]
fn old_and_new_spellings_of_a_configuration_mean_the_same() {
    // Those that transformers does not have are spelled in one way only.
    for fixture in registered().into_iter().filter(|fixture| fixture.path.join("config.hub.json").exists()) {
        let dir = tempfile::tempdir().expect("a folder");
        let (new, old) = (fixture.convert(dir.path()), fixture.convert_hub(dir.path()));
        let (new, old) = [new, old].map(|path| GgufFile::open(&path).expect("a sound file")).into();
        assert_eq!(keys(&new), keys(&old), "{}", fixture.name);
        assert_eq!(new.tensors().len(), old.tensors().len(), "{}", fixture.name);
        for (new_tensor, old_tensor) in new.tensors().iter().zip(old.tensors()) {
            assert_eq!(new_tensor.name, old_tensor.name, "{}", fixture.name);
            assert!(
                new.bytes(new_tensor) == old.bytes(old_tensor),
                "{} of {}",
                new_tensor.name,
                fixture.name
            );
        }
    }
}

#[test]
fn every_family_computes_the_same_bits_on_every_tier_in_any_batches() {
    let dir = tempfile::tempdir().expect("a folder");
    for fixture in registered() {
        let gguf = fixture.convert(dir.path());
        let ids = fixture.ids();
        let mut expected: Option<Vec<u32>> = None;
        for isa in Isa::available() {
            for n_threads in [1, 3] {
                let options =
                    EngineOptions { n_threads: Some(n_threads), isa: Some(isa), ..EngineOptions::default() };
                let engine = Engine::load(&gguf, options).expect("a sound file");
                for n_batch in [1, 7, ids.len()] {
                    let bits: Vec<_> = logits(&engine, &ids, n_batch).into_iter().map(f32::to_bits).collect();
                    let what =
                        format!("{} on {isa}, {n_threads} threads, batches of {n_batch}", fixture.name);
                    assert!(*expected.get_or_insert_with(|| bits.clone()) == bits, "{what}");
                }
            }
        }
    }
}

#[test]
fn contexts_beyond_the_positions_that_an_indexer_chooses_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    for fixture in registered().into_iter().filter(|fixture| fixture.spec().max_ctx.is_some()) {
        let engine =
            Engine::load(&fixture.convert(dir.path()), EngineOptions::default()).expect("a sound file");
        let session = |n_ctx| {
            let kv_types = KvTypes::both(CacheType::F32);
            Session::new(&engine, SessionOptions { n_ctx, n_batch: 8, kv_types })
        };
        let most = fixture.spec().max_ctx.expect("filtered");
        assert!(session(most).is_ok(), "{}", fixture.name);
        let error = session(most + 1).expect_err("too long").to_string();
        assert!(error.contains(&format!("--ctx {most}")), "{}: {error}", fixture.name);
    }
}

#[test]
fn layers_of_predictions_beyond_the_next_token_are_not_taken_for_the_last() {
    for fixture in registered() {
        let path = fixture.path.join("config.json");
        let text = fs::read_to_string(&path).expect("config.json");
        let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let object = config.as_object_mut().expect("an object");
        if object.contains_key("num_nextn_predict_layers") || object.contains_key("text_config") {
            continue;
        }
        object.insert("num_nextn_predict_layers".into(), 1.into());
        let config = Config::parse(&path, &config.to_string()).expect("JSON");
        let float = |name: &str| Ok(Some(if name.ends_with(".eps") { -0.5 } else { 0.5 }));
        let scalars = arch::Scalars { float: &float, ..arch::Scalars::NONE };
        let checkpoint = Checkpoint::open(&fixture.path).expect("a checkpoint");
        let behind = arch::Behind { modules: checkpoint.modules(), n_answers: 0 };
        let configured = fixture.family.configure_with(&config, scalars, &behind);
        let n_layer = configured.expect("hyperparameters").spec.n_layer();
        assert_eq!(n_layer, fixture.spec().n_layer(), "{}", fixture.name);
    }
}

/// Puts `n` in place of every number of layers, and leaves lists of layers out.
fn with_layers(config: &mut serde_json::Value, n: u64) {
    const NUMBERS: [&str; 6] = [
        "num_hidden_layers",
        "n_layer",
        "n_layers",
        "num_layers",
        "num_nextn_predict_layers",
        "num_transformer_layers",
    ];
    const LISTS: [&str; 4] = ["layer_types", "layers_block_type", "mlp_layer_types", "layer_rope_theta"];
    let Some(object) = config.as_object_mut() else { return };
    object.retain(|key, _| !LISTS.contains(&key.as_str()));
    for (key, value) in object {
        if NUMBERS.contains(&key.as_str()) {
            *value = n.into();
        }
        with_layers(value, n);
    }
}

#[test]
fn more_layers_than_any_model_has_are_refused_before_lists_are_made_of_them() {
    for fixture in registered() {
        let path = fixture.path.join("config.json");
        let text = fs::read_to_string(&path).expect("config.json");
        for n in [1 << 31, u64::from(u32::MAX), 1 << 40, i64::MAX as u64] {
            let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            with_layers(&mut config, n);
            let config = Config::parse(&path, &config.to_string()).expect("JSON");
            assert!(fixture.family.configure(&config).is_err(), "{} with {n} layers", fixture.name);
        }
    }
}

/// Rewrites a file of `deepseek2` in F32 as it would have been made before April 2025: keys and values of heads in
/// one matrix, and what a head has in the keys that now say what is cached.
fn write_old_deepseek2(fixture: &Fixture, new: &GgufFile, path: &Path) {
    let metadata = new.metadata();
    let key = |key: &str| format!("deepseek2.{key}");
    let count = |name: &str| metadata.required_count(&key(name)).expect("a number");
    let (n_head, rank) = (count("attention.head_count"), count("attention.kv_lora_rank"));
    let (head_dim_k, head_dim_v) = (count("attention.key_length_mla"), count("attention.value_length_mla"));
    let nope = head_dim_k - count("rope.dimension_count");

    let checkpoint = Checkpoint::open(&fixture.path).expect("a checkpoint");
    let mut pairs = fixture.family.configure(checkpoint.config()).expect("hyperparameters").pairs;
    pairs.retain(|(name, _)| !name.ends_with("_mla"));
    let changed = [
        ("attention.key_length", head_dim_k),
        ("attention.value_length", head_dim_v),
        ("attention.head_count_kv", n_head),
    ];
    for (name, value) in changed {
        let pair = pairs.iter_mut().find(|(of, _)| *of == key(name)).expect("it is there");
        pair.1 = Value::U32(value as u32);
    }
    pairs.push(("general.architecture".into(), Value::String("deepseek2".into())));
    pairs.push(("tokenizer.ggml.model".into(), Value::String("none".into())));

    let mut planned = Vec::new();
    let mut data = Vec::new();
    for tensor in new.tensors().iter().filter(|tensor| !tensor.name.contains("attn_v_b")) {
        let (name, mut shape) = (tensor.name.replace("attn_k_b", "attn_kv_b"), tensor.shape.clone());
        let mut values = floats(new.bytes(tensor));
        if name != tensor.name {
            let of_values = tensor.name.replace("attn_k_b", "attn_v_b");
            let of_values = new.tensors().iter().find(|tensor| tensor.name == of_values).expect("values");
            let v_b = floats(new.bytes(of_values));
            let heads = values.chunks(rank * nope).zip(v_b.chunks(head_dim_v * rank));
            let rows = heads.flat_map(|(keys, values)| {
                let turned = (0..nope * rank).map(|i| keys[i % rank * nope + i / rank]);
                turned.chain(values.iter().copied()).collect::<Vec<f32>>()
            });
            values = rows.collect();
            shape = vec![n_head * (nope + head_dim_v), rank];
        }
        planned.push(PlannedTensor { name, shape, ty: BlockType::F32.into() });
        data.push(values);
    }
    let writer = GgufWriter::create(path, Layout::new(pairs, planned, 32).expect("a layout"), true);
    let writer = writer.expect("a writable folder");
    for (i, values) in data.iter().enumerate() {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        writer.write_at(i, 0, &bytes).expect("a writable folder");
    }
    writer.finish().expect("a writable folder");
}

#[test]
fn files_with_keys_and_values_of_heads_in_one_matrix_compute_the_same_bits() {
    let of_deepseek2 = |fixture: &Fixture| fixture.family.gguf_name == "deepseek2";
    for fixture in registered().into_iter().filter(of_deepseek2) {
        let dir = tempfile::tempdir().expect("a folder");
        let (new, old) = (fixture.convert(dir.path()), dir.path().join("old.gguf"));
        write_old_deepseek2(&fixture, &GgufFile::open(&new).expect("a sound file"), &old);
        let ids = fixture.ids();
        let [new, old] = [new, old].map(|path| {
            let engine = Engine::load(&path, EngineOptions::default()).expect("a sound file");
            logits(&engine, &ids, ids.len()).into_iter().map(f32::to_bits).collect::<Vec<_>>()
        });
        assert!(new == old, "{}", fixture.name);
    }
}

#[test]
fn vectors_that_files_keep_as_rows_compute_the_same_bits() {
    let fixture = registered().into_iter().find(|fixture| fixture.name == "qwen2").expect("Qwen 2");
    let dir = tempfile::tempdir().expect("a folder");
    let (vectors, rows) = (fixture.convert(dir.path()), dir.path().join("rows.gguf"));
    let file = GgufFile::open(&vectors).expect("a sound file");
    let mut pairs = file.metadata().to_pairs();
    pairs.retain(|(key, _)| key != "general.alignment");
    let planned = file.tensors().iter().map(|tensor| {
        let ones = if tensor.shape.len() == 1 { vec![1, 1] } else { Vec::new() };
        let shape = [ones, tensor.shape.clone()].concat();
        PlannedTensor { name: tensor.name.clone(), shape, ty: BlockType::F32.into() }
    });
    let layout = Layout::new(pairs, planned.collect(), 32).expect("a layout");
    let writer = GgufWriter::create(&rows, layout, true).expect("a writable folder");
    for (i, tensor) in file.tensors().iter().enumerate() {
        writer.write_at(i, 0, file.bytes(tensor)).expect("a writable folder");
    }
    writer.finish().expect("a writable folder");
    let ids = fixture.ids();
    let [vectors, rows] = [vectors, rows].map(|path| {
        let engine = Engine::load(&path, EngineOptions::default()).expect("a sound file");
        logits(&engine, &ids, ids.len()).into_iter().map(f32::to_bits).collect::<Vec<_>>()
    });
    assert!(vectors == rows);
}

#[test]
fn dense_layers_in_front_of_experts_are_known_by_their_tensors_where_a_file_does_not_count_them() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = registered().into_iter().find(|fixture| fixture.name == "hy_v3").expect("the fixture");
    let (gguf, bare) = (fixture.convert(dir.path()), dir.path().join("bare.gguf"));
    let key = "hy_v3.leading_dense_block_count";
    let mut edit = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    edit.arg("edit").arg(&gguf).args(["--remove-kv", key, "-q", "-o"]).arg(&bare);
    assert!(edit.status().expect("the program starts").success());
    let [counted, bare] = [&gguf, &bare].map(|path| Engine::load(path, EngineOptions::default()).unwrap());
    assert!(counted.metadata().contains(key) && !bare.metadata().contains(key));
    assert_eq!(logits(&counted, &fixture.ids(), 7), logits(&bare, &fixture.ids(), 7));
}
