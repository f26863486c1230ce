//! Files of a size that is asked for, from types chosen by what errors cost.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::checkpoint::Spec;
use crate::common::{convert, fairytale};
use crate::program::{assert_fails, json_of, stdout_of};
use gguf_kit::convert::FileType;
use gguf_kit::gguf::GgufFile;
use gguf_kit::model::KvTypes;
use gguf_kit::runtime::{Engine, EngineOptions, SessionOptions};
use serde_json::Value;

fn run(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    command.current_dir(dir).args(args).output().expect("the program starts")
}

fn converted(dir: &Path, args: &[&str]) {
    let output = run(dir, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn refusal(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

#[test]
fn a_file_has_the_size_asked_for_whatever_that_is() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("tiny")).expect("writable");
    Spec { n_embd: 256, n_ff: 256, n_layer: 2, ..Spec::default() }.write(&dir.path().join("tiny"));
    for bits in [3.7, 5.3] {
        converted(dir.path(), &["tiny", "--bpw", &bits.to_string(), "-q"]);
        let file = dir.path().join(format!("tiny-{bits}bpw.gguf"));
        let found = json_of(["inspect", text(&file), "--json"])["totals"]["bits_per_weight"].as_f64();
        assert!(found.is_some_and(|found| found <= bits && found > bits - 0.2), "{found:?} for {bits}");
    }
    let n = fs::metadata(dir.path().join("tiny-5.3bpw.gguf")).expect("a file").len();
    converted(dir.path(), &["tiny", "--target-size", &n.to_string(), "-o", "sized.gguf", "-q"]);
    let found = fs::metadata(dir.path().join("sized.gguf")).expect("a file").len();
    assert!(found <= n && found as f64 > 0.97 * n as f64, "{found} for {n}");
    let least = refusal(dir.path(), &["tiny", "--target-size", "100K"]);
    assert!(least.contains("takes at least") && least.contains("--target-size"), "{least}");
    let message = refusal(dir.path(), &["tiny", "--bpw", "4.6", "--type", "Q4_0"]);
    assert!(message.contains("cannot be used with"), "{message}");
}

#[test]
fn measured_sensitivities_decide_and_saved_types_give_the_same_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let model = dir.path().join("exact.gguf");
    convert(&fairytale(), &model, FileType::F32);
    let tale = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/text/the-clockmakers-lantern.txt");
    let (measured, picture) = (dir.path().join("s.json"), dir.path().join("s.svg"));
    let measure = [
        "sensitivity",
        text(&model),
        "-f",
        text(&tale),
        "--ctx",
        "256",
        "--chunks",
        "1",
        "-o",
        text(&measured),
        "--svg",
        text(&picture),
    ];
    assert!(stdout_of(measure).contains("57 tensors, 127 tokens scored"));
    assert_fails(measure, 2, &["s.json exists", "--force"]);
    let picture = fs::read_to_string(picture).expect("a picture");
    assert!(picture.starts_with("<svg") && picture.matches("<title>").count() == 57, "{picture}");
    let found: Value = serde_json::from_slice(&fs::read(&measured).expect("a file")).expect("JSON");
    let slope = |name: &str| {
        let of = |key: &str| found["tensors"][name][key].as_f64().expect("a number");
        of("divergence") / of("error")
    };
    // The embedding is the output matrix as well.
    assert!(slope("token_embd.weight") > 10.0 * slope("blk.3.attn_q.weight"));

    let of_size = ["exact.gguf", "--target-size", "4.5M", "--sensitivity", "s.json", "-q", "-o"];
    converted(dir.path(), &[&of_size[..], &["a.gguf", "--save-types", "types.txt"]].concat());
    let replayed =
        ["exact.gguf", "--type", "Q4_K_M", "--tensor-type-file", "types.txt", "-q", "-o", "b.gguf"];
    converted(dir.path(), &replayed);
    let types = |name: &str| {
        let file = GgufFile::open(&dir.path().join(name)).expect("a model");
        file.tensors().iter().map(|tensor| (tensor.name.clone(), tensor.ty)).collect::<Vec<_>>()
    };
    assert_eq!(types("a.gguf"), types("b.gguf"));
    // The embedding gets more bits than the matrices whose errors cost little.
    let file = GgufFile::open(&dir.path().join("a.gguf")).expect("a model");
    let bits = |name: &str| {
        let tensor = file.tensor(name).expect("there");
        tensor.n_bytes as f64 * 8.0 / tensor.n_elements() as f64
    };
    assert!(bits("token_embd.weight") > bits("blk.3.attn_q.weight") + 1.0);
    let message = refusal(dir.path(), &[&of_size[..], &["c.gguf", "--save-types", "types.txt"]].concat());
    assert!(message.contains("types.txt exists"), "{message}");
}

#[test]
fn a_model_made_to_fit_runs_in_that_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let model = fairytale();
    let fitted = [text(&model), "--fit", "52M", "--ctx", "1024", "-q", "-o", "m.gguf"];
    converted(dir.path(), &fitted);
    let engine = Engine::load(&dir.path().join("m.gguf"), EngineOptions::default()).expect("a model");
    let options = SessionOptions { n_ctx: 1024, n_batch: 512, kv_types: KvTypes::default() };
    let demand = engine.demand(options).expect("a session");
    let needed = demand.weights + demand.cache + demand.buffers + demand.tokenizer;
    assert!(needed < 52_000_000 && demand.cache + demand.buffers > 4_000_000, "{demand:?}");
    // What is not counted there is the program.
    assert!(needed > 20_000_000, "{demand:?}");
    let message = refusal(dir.path(), &[text(&model), "--fit", "20M"]);
    assert!(message.contains("4096 tokens") && message.contains("--fit more"), "{message}");
}

#[test]
fn sensitivities_of_another_model_and_damaged_ones_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let model = fairytale();
    let refused = |content: &str, status: i32| {
        fs::write(dir.path().join("s.json"), content).expect("writable");
        let output = run(dir.path(), &[text(&model), "--bpw", "5", "--sensitivity", "s.json"]);
        assert_eq!(output.status.code(), Some(status), "{content}");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let with = |tensors: &str| {
        format!(
            r#"{{"format": "gguf-kit sensitivity 1", "model": "", "text": "", "n_scored": 1, "tensors": {{{tensors}}}}}"#
        )
    };
    let other = refused(&with(r#""x.weight": {"divergence": 1, "error": 1}"#), 2);
    assert!(other.contains("knows 0 of 57 tensors"), "{other}");
    let broken = refused(&with(r#""token_embd.weight": {"divergence": 1, "error": 0}"#), 1);
    assert!(broken.contains("token_embd.weight: a divergence of 1 for an error of 0"), "{broken}");
    assert!(refused("[]", 1).contains("not a file of sensitivities"));
    assert!(refused(&with("").replace(" 1\"", " 9\""), 1).contains("its format is"));
    fs::write(dir.path().join("rules.txt"), "# mine\n\nffn_down=Q6_K\nattn_v\n").expect("writable");
    let output = run(dir.path(), &[text(&model), "--type", "Q4_0", "--tensor-type-file", "rules.txt"]);
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.code() == Some(1) && message.contains("line 4: REGEX=TYPE"), "{message}");
}
