//! Folding: that it changes no model, where it is not done, and what it wins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{convert, fairytale};
use crate::families::{logits, registered};
use crate::program::{json_of, stderr};
use gguf_kit::convert::calibrate::{CalibrateOptions, Folding, Maker};
use gguf_kit::convert::{self, FileType, GgufInput, Plan, PlanOptions, RunOptions, Silent};
use gguf_kit::gguf::GgufFile;
use gguf_kit::runtime::{Engine, EngineOptions};
use gguf_kit::tokenizer::Tokenizer;
use gguf_simd::Kernels;

/// Folds the F32 file at `model` with these powers at every site; what made the inputs there.
fn folded(model: &Path, target: &Path, power: impl Fn(usize, usize) -> i8) -> Vec<Maker> {
    let input = GgufInput::open(model).expect("a file");
    let mut plan = Plan::of_gguf(&input, &PlanOptions::new(FileType::F32)).expect("a plan");
    let file = GgufFile::open(model).expect("a file");
    let folding = Folding::of_all_sites(plan.spec(), &|name| file.tensor(name).is_some(), power);
    plan.fold(&folding);
    let options = RunOptions { overwrite: true, n_threads: 2, kernels: Kernels::best() };
    convert::run(&plan, target, &options, &Silent).expect("converted");
    folding.makers().collect()
}

/// Powers from -4 to 4 in no order.
fn power(site: usize, i: usize) -> i8 {
    ((i * 7 + site * 3) % 9) as i8 - 4
}

#[test]
fn a_folded_model_of_any_family_has_the_logits_of_the_original_to_the_bit() {
    let dir = tempfile::tempdir().expect("a folder");
    let (target, mut n_folded) = (dir.path().join("folded.gguf"), 0);
    for fixture in registered() {
        let model = fixture.convert(dir.path());
        let makers = folded(&model, &target, power);
        if makers.is_empty() {
            continue;
        }
        n_folded += 1;
        let bits = |path: &Path| -> Vec<u32> {
            let engine = Engine::load(path, EngineOptions::default()).expect("a sound file");
            let ids = fixture.ids();
            logits(&engine, &ids, ids.len()).into_iter().map(f32::to_bits).collect()
        };
        assert!(fs::read(&model).expect("a file") != fs::read(&target).expect("a file"), "{}", fixture.name);
        assert!(bits(&model) == bits(&target), "{}", fixture.name);
    }
    assert!(n_folded > 20, "{n_folded} families were folded");
}

#[test]
fn sites_are_where_the_last_step_is_linear_and_nowhere_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let target = dir.path().join("folded.gguf");
    let makers_of = |name: &str| {
        let fixture = registered().into_iter().find(|fixture| fixture.name == name).expect("the fixture");
        let n_layer = fixture.spec().n_layer();
        let makers = folded(&fixture.convert(dir.path()), &target, power);
        [Maker::Norm, Maker::Values, Maker::Up]
            .map(|maker| makers.iter().filter(|&&found| found == maker).count() as f64 / n_layer as f64)
    };
    assert_eq!(makers_of("llama"), [2.0, 1.0, 1.0]);
    // One norm for attention and the feed-forward part; an activation alone behind the up projection.
    assert_eq!(makers_of("phi2"), [0.0, 1.0, 0.0]);
    // A narrow part beside attention reads its norm too.
    assert_eq!(makers_of("gemma3n"), [0.0, 0.0, 0.0]);
    // Experts, whose router reads the norm as well, and whose up projections are bounded.
    assert_eq!(makers_of("gpt-oss"), [1.0, 1.0, 0.0]);
}

fn tale() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/text/the-clockmakers-lantern.txt");
    fs::read_to_string(path).expect("a tale")
}

#[test]
fn factors_do_not_depend_on_threads_and_are_found_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let model = dir.path().join("m.gguf");
    convert(&fairytale(), &model, FileType::F16);
    let file = GgufFile::open(&model).expect("a file");
    let tokenizer = Tokenizer::from_metadata(file.metadata()).expect("a tokenizer");
    let ids = tokenizer.encode(&tale(), true, false).expect("tokens");
    let all: Vec<_> = ids.chunks_exact(64).take(17).map(<[u32]>::to_vec).collect();
    let input = GgufInput::open(&model).expect("a file");
    let plan_options = PlanOptions { is_calibrated: true, ..PlanOptions::new(FileType::Q4_0) };
    let plan = Plan::of_gguf(&input, &plan_options).expect("a plan");
    let found = |folder: &str, n_threads, texts: &[Vec<u32>]| {
        let options = CalibrateOptions {
            reference: &model,
            texts,
            is_nearest: false,
            folder: &dir.path().join(folder),
            n_threads,
            kernels: Kernels::best(),
        };
        Folding::find(&plan, &options, &Silent).expect("factors")
    };
    let (texts, others) = (&all[..16], &all[1..]);
    let one = found("a", 1, texts);
    assert_eq!(one.n_tried, 32, "four sites of each of eight layers");
    assert!(one == found("b", 3, texts) && one == found("b", 2, texts), "threads change factors");
    // Factors of columns that there are not are found anew.
    let kept = dir.path().join("b/folding.json");
    let text = fs::read_to_string(&kept).expect("kept");
    for (from, to) in
        [("\"factor_of\":[0", "\"factor_of\":[4000000"), ("\"factor_of\":[0,", "\"factor_of\":[")]
    {
        assert!(text.contains(from), "{text}");
        fs::write(&kept, text.replacen(from, to, 1)).expect("writable");
        assert!(found("b", 2, texts) == one, "{to}");
    }
    // Factors that are kept belong to the texts, and the folded model to the factors.
    let options = RunOptions { overwrite: false, n_threads: 2, kernels: Kernels::best() };
    let written = one.write(&model, &dir.path().join("a"), &options, &Silent).expect("written");
    assert!(found("a", 2, texts) == one && written.exists());
    assert!(found("a", 2, others) != one && !written.exists());
}

#[test]
fn columns_that_are_out_of_balance_are_folded_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    convert(&fairytale(), Path::new(&path("base.gguf")), FileType::F32);
    // The same model, with weights of very different sizes in a block.
    folded(Path::new(&path("base.gguf")), Path::new(&path("uneven.gguf")), power);
    let tale = tale();
    let (first, rest) = tale.split_at(tale[..4200].rfind(' ').expect("words"));
    fs::write(path("first.txt"), first).expect("writable");
    fs::write(path("rest.txt"), rest).expect("writable");
    let divergence = |name: &str, flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
        command.current_dir(dir.path()).args(["uneven.gguf", "--type", "Q4_0", "--json", "-o", name]);
        command.args(["--calibrate", "first.txt", "--calibration-ctx", "64", "--nearest-codes"]).args(flags);
        let output = command.output().expect("the program starts");
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(!dir.path().join(format!("{name}.calibration")).exists(), "nothing is left beside the file");
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let args = ["divergence", &path("base.gguf"), &path(name), "-f", &path("rest.txt"), "--ctx", "64"];
        let measured = json_of([&args[..], &["--json", "--quiet"]].concat());
        let with = found["calibration"]["with"].as_str().expect("text").to_owned();
        (measured["kl_divergence"]["value"].as_f64().expect("a number"), with)
    };
    let (plain, _) = divergence("plain.gguf", &[]);
    let (folded, with) = divergence("folded.gguf", &["--fold"]);
    assert!(folded < 0.5 * plain, "{folded} for {plain}");
    assert!(with.contains("of 32 places folded"), "{with}");
}
