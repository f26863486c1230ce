//! `gguf-run perplexity`, `divergence`, `bench`, `inspect` and `tokenize` on the bundled model.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use crate::common::checkpoint::Spec;
use crate::common::model::{mixed_k, new_path, write_gguf};
use crate::common::{convert, fairytale, options};
use crate::program::{assert_fails, json_of, stdout_of};
use gguf_kit::Error;
use gguf_kit::convert::FileType;
use gguf_kit::eval::bench::{self, Workload};
use gguf_kit::eval::{Chunks, perplexity};
use gguf_kit::runtime::{Engine, EngineOptions, Session};

fn model() -> String {
    fairytale().to_str().expect("paths of tests are UTF-8").to_owned()
}

/// A tale that the model was not trained on.
fn tale() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/text/the-clockmakers-lantern.txt");
    path.to_str().expect("paths of tests are UTF-8").to_owned()
}

fn number(value: &serde_json::Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[test]
fn perplexity_scores_the_second_halves() {
    let args =
        ["perplexity", &model(), "--type", "Q8_0", "-f", &tale(), "--ctx", "128", "--chunks", "3", "--json"];
    let found = json_of(args);
    assert_eq!((&found["n_chunks"], &found["n_scored"]), (&3.into(), &(3 * 63).into()));
    let perplexity = number(&found["perplexity"]);
    // The logits' bits are fixed; only the last digits of what is added up here may differ.
    assert!((perplexity - 36.100_263_904).abs() < 1e-8, "{perplexity}");
    assert!((perplexity.ln() - number(&found["mean_nll"])).abs() < 1e-9);
}

#[test]
fn perplexity_does_not_depend_on_tier_and_threads() {
    let measure = |more: &[&str]| {
        let args =
            ["perplexity", &model(), "--type", "Q4_K_M", "-f", &tale(), "--ctx", "64", "--chunks", "2"];
        let found = json_of(args.iter().chain(&["--json"]).chain(more));
        number(&found["mean_nll"])
    };
    let expected = measure(&[]);
    for isa in gguf_simd::Isa::available() {
        assert_eq!(measure(&["--isa", isa.name(), "--threads", "1"]).to_bits(), expected.to_bits(), "{isa}");
    }
}

#[test]
fn cached_types_hardly_change_the_perplexity() {
    let measure = |kv_type: &str| {
        let (model, tale) = (model(), tale());
        let args = ["perplexity", &model, "--type", "Q8_0", "-f", &tale, "--ctx", "512", "--chunks", "2"];
        let found = json_of(args.iter().chain(&["--json", "--kv-type", kv_type]));
        assert_eq!(found["kv_type"], kv_type.to_uppercase());
        number(&found["mean_nll"])
    };
    let exact = measure("f16");
    let errors = ["f32", "q8_0", "q8_0,f16", "q4_0"].map(|kv_type| (measure(kv_type) - exact).abs());
    // In nats, of about 3.8: Q8_0 keeps the perplexity within half a percent.
    assert!(errors[..3].iter().all(|&error| 0.0 < error && error < 0.005), "{errors:?}");
    assert!(errors[3] > errors[1] && errors[3] < 0.1, "{errors:?}");
}

#[test]
fn text_too_short_is_refused_with_the_tokens_it_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let short = folder.path().join("short.txt");
    std::fs::write(&short, "Once upon a time.").expect("written");
    let short = short.to_str().expect("paths of tests are UTF-8");
    assert_fails(["perplexity", &model(), "--type", "Q8_0", "-f", short], 2, &["tokens", "1024"]);
    let few = ["divergence", &model(), &model(), "--base-type", "Q8_0", "--type", "Q8_0", "-f", &tale()];
    assert_fails(few.iter().copied().chain(["--ctx", "32", "--chunks", "2"]), 2, &["30", "100"]);
}

#[test]
fn model_does_not_diverge_from_itself_and_a_coarser_one_does() {
    let divergence = |ty: &str| {
        let (model, tale) = (model(), tale());
        let args = ["divergence", &model, &model, "--base-type", "BF16", "--type", ty, "-f", &tale];
        json_of(args.iter().copied().chain(["--ctx", "128", "--chunks", "2", "--json"]))
    };
    let same = divergence("BF16");
    assert_eq!(number(&same["kl_divergence"]["value"]), 0.0);
    assert_eq!(number(&same["same_top"]["value"]), 1.0);
    assert_eq!(same["n_scored"], 126);
    let (fine, coarse) = (divergence("Q8_0"), divergence("Q4_0"));
    let kl = |found: &serde_json::Value| number(&found["kl_divergence"]["value"]);
    assert!(0.0 < kl(&fine) && kl(&fine) < 0.01, "{}", kl(&fine));
    assert!(kl(&fine) < kl(&coarse) && kl(&coarse) < 0.5, "{} and {}", kl(&fine), kl(&coarse));
    assert!(number(&coarse["same_top"]["value"]) < 1.0);
}

#[test]
fn a_benchmark_that_is_stopped_computes_no_more_than_a_layer_of_its_prompt() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Spec::default().write(dir.path());
    let path = new_path(dir.path(), "m");
    write_gguf(dir.path(), &path, mixed_k);
    let engine = Engine::load(&path, EngineOptions::default()).expect("a model");
    let mut session = Session::new(&engine, options(256, 16)).expect("a session");
    for workload in [Workload::Prompt(200), Workload::Mixed(200, 4)] {
        session.clear();
        let stopped = bench::time(&mut session, workload, 1, &AtomicBool::new(true));
        assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
        assert_eq!(session.n_past(), 0);
    }
    session.clear();
    bench::time(&mut session, Workload::Prompt(200), 1, &AtomicBool::new(false)).expect("measured");
    session.clear();
    let chunks = Chunks::new((0..256).collect(), 128, None, None).expect("a text");
    let stop = AtomicBool::new(true);
    let stopped =
        perplexity::perplexity(&mut session, &path, &chunks, &stop, &mut |_| Ok(()), &mut |_, _| ());
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
    assert_eq!(session.n_past(), 0);
}

#[test]
fn bench_reports_both_tests() {
    let args = ["bench", &model(), "-p", "8", "-n", "2", "-r", "2", "--output", "json"];
    let found = json_of(args);
    let names: Vec<_> = found["tests"].as_array().expect("tests").iter().map(|test| &test["test"]).collect();
    assert_eq!(names, ["pp8", "tg2"]);
    for test in found["tests"].as_array().expect("tests") {
        let [slowest, median, fastest] =
            ["slowest", "tokens_per_second", "fastest"].map(|key| number(&test[key]));
        assert!(0.0 < slowest && slowest <= median && median <= fastest, "{test}");
    }
    let deep = ["bench", &model(), "-p", "4", "-n", "1", "-r", "1", "--depth", "0,300", "--kv-type", "q8_0"];
    let found = json_of(deep.iter().chain(&["--output", "json"]));
    let names: Vec<_> = found["tests"].as_array().expect("tests").iter().map(|test| &test["test"]).collect();
    assert_eq!(names, ["pp4", "tg1", "pp4 @ d300", "tg1 @ d300"]);
    assert_eq!(found["kv_type"], "Q8_0");
    let columns = ["bench", &model(), "-p", "0", "-n", "0", "-r", "1", "--columns", "2,4"];
    let found = json_of(columns.iter().chain(&["--output", "json"]));
    let tests = found["tests"].as_array().expect("tests");
    assert_eq!(tests.iter().map(|test| &test["test"]).collect::<Vec<_>>(), ["col1", "col2", "col4"]);
    assert_eq!(number(&tests[0]["time_over_one_column"]), 1.0);
    let (one, four) = (number(&tests[0]["tokens_per_second"]), number(&tests[2]["tokens_per_second"]));
    let ratio = number(&tests[2]["time_over_one_column"]);
    assert!((ratio - 4.0 * one / four).abs() < 1e-9 * ratio, "{found}");
    let table = stdout_of(["bench", &model(), "-p", "8", "-n", "0", "-r", "1"]);
    assert!(table.contains("| pp8 |") && !table.contains("tg"), "{table}");
}

#[test]
fn bench_says_what_the_machine_allows_and_where_the_time_goes() {
    let (model, more) = (model(), ["--pg", "6,2", "--profile", "--kv-type", "q8_0,f16"]);
    let args = ["bench", &model, "--type", "Q8_0", "-p", "8", "-n", "2", "-r", "2"];
    let args: Vec<_> = args.iter().copied().chain(more).collect();
    let found = json_of(args.iter().copied().chain(["--ceiling", "--output", "json"]));
    let ceilings = &found["ceilings"];
    assert!(number(&ceilings["read_bytes_per_second"]) > 0.0, "{ceilings}");
    assert!(number(&ceilings["multiply_adds_per_second"]) > 0.0, "{ceilings}");
    assert_eq!(ceilings["multiply_adds_for"], "Q8_0");
    let tests = found["tests"].as_array().expect("tests");
    assert_eq!(tests.iter().map(|test| &test["test"]).collect::<Vec<_>>(), ["pp8", "tg2", "pp6+tg2"]);
    for test in tests {
        let phase = |name: &str| number(&test["profile"][format!("{name}_seconds")]);
        assert!(phase("matmul") > 0.0 && phase("attention") > 0.0 && phase("norm") > 0.0, "{test}");
        assert_eq!(phase("sampling") > 0.0, test["test"] != "pp8", "{test}");
        assert!(phase("wait") >= 0.0, "{test}");
        assert_eq!(test["part_of_ceiling"].is_null(), test["test"] == "pp6+tg2", "{test}");
    }
    // The small model lies in the cache, so a generation may beat memory; a prompt cannot beat the CPU.
    assert!((0.0..1.0).contains(&number(&tests[0]["part_of_ceiling"])), "{tests:?}");
    let csv = stdout_of(args.iter().copied().chain(["--output", "csv"]));
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 4, "{csv}");
    // The types of keys and values are quoted: their comma is not a separator.
    assert!(lines[1..].iter().all(|line| line.len() > lines[0].len()), "{csv}");
    assert!(csv.contains(",\"Q8_0,F16\",") && csv.contains(",pp6+tg2,0,8,"), "{csv}");
    let table = stdout_of(args.iter().copied().chain(["--ceiling"]));
    for words in
        ["GB/s", "| pp6+tg2 |", "| fastest | part |", "beyond the mapped file", "| matrices | attention |"]
    {
        assert!(table.contains(words), "{words} is not in {table}");
    }
    assert_fails(["bench", &model, "--pg", "256"], 2, &["--pg", "256,32"]);
}

#[test]
fn inspect_counts_checkpoint_and_gguf_alike() {
    let checkpoint = json_of(["inspect", &model(), "--json"]);
    assert_eq!((&checkpoint["runs"], &checkpoint["totals"]["parameters"]), (&true.into(), &7_344_384.into()));
    let bench =
        json_of(["bench", &model(), "--type", "Q6_K", "-p", "1", "-n", "0", "-r", "1", "--output", "json"]);
    let gguf = json_of(["inspect", bench["model"].as_str().expect("a path"), "--json"]);
    assert_eq!((&gguf["runs"], &gguf["metadata"]["general.architecture"]), (&true.into(), &"llama".into()));
    assert_eq!(gguf["totals"]["parameters"], 7_344_384);
    let tensors = gguf["tensors"].as_array().expect("tensors");
    assert!(
        tensors.iter().any(|tensor| tensor["name"] == "blk.7.ffn_down.weight" && tensor["type"] == "Q6_K")
    );
}

#[test]
fn tokens_of_checkpoint_and_gguf_are_the_same() {
    let bench =
        json_of(["bench", &model(), "--type", "Q6_K", "-p", "1", "-n", "0", "-r", "1", "--output", "json"]);
    let gguf = bench["model"].as_str().expect("a path");
    let sentence = "Once upon a time, in the «Kingdom» of Föhr… 🎉 there <|eot_id|> lived";
    for more in [&[][..], &["--parse-special"], &["--no-special"]] {
        let ids = |model: &str| stdout_of(["tokenize", model, sentence, "--ids"].iter().chain(more));
        assert_eq!(ids(&model()), ids(gguf), "{more:?}");
    }
    let tokens = json_of(["tokenize", &model(), "Once upon a time", "--json"]);
    assert_eq!(tokens[0]["piece"], "<|begin_of_text|>");
    let spelled: String =
        tokens.as_array().expect("tokens")[1..].iter().filter_map(|token| token["piece"].as_str()).collect();
    assert_eq!(spelled, "Once upon a time");
}

#[test]
fn predictions_on_disk_compare_as_the_model_does_and_texts_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("paths of tests are UTF-8").to_owned();
    let (model, tale, base) = (model(), tale(), path("base.kld"));
    let cut = ["--ctx", "128", "--chunks", "2", "--json"];
    let save = ["perplexity", &model, "--type", "BF16", "-f", &tale, "--save-base", &base];
    let saved = json_of(save.iter().copied().chain(cut));
    let kl = |found: &serde_json::Value| number(&found["kl_divergence"]["value"]);
    let stored = json_of(["divergence", &base, &model, "--type", "Q4_0", "--json"]);
    let models = ["divergence", &model, &model, "--base-type", "BF16", "--type", "Q4_0", "-f", &tale];
    let exact = json_of(models.iter().copied().chain(cut));
    assert_eq!((&stored["n_scored"], &stored["n_chunks"]), (&126.into(), &2.into()));
    assert!((kl(&stored) - kl(&exact)).abs() < 1e-4 * kl(&exact), "{} and {}", kl(&stored), kl(&exact));
    let perplexity = number(&stored["base_perplexity"]["value"]);
    assert!((perplexity / number(&saved["perplexity"]) - 1.0).abs() < 1e-3, "{perplexity}");
    assert_fails(["divergence", &base, &model, "--type", "Q4_0", "-f", &tale], 2, &["of a text of its own"]);
    assert_fails(save.iter().copied().chain(cut), 2, &["base.kld", "exists"]);

    // Of two texts each is told, and both together.
    let half = path("half.txt");
    let words = std::fs::read_to_string(&tale).expect("the tale");
    std::fs::write(&half, &words[words.len() / 2..]).expect("written");
    let found = json_of(models.iter().copied().chain([half.as_str()]).chain(cut));
    let texts = found["texts"].as_array().expect("texts");
    assert_eq!((texts.len(), &texts[1]["text"], &found["n_scored"]), (2, &half.into(), &252.into()));
    assert_eq!(kl(&texts[0]), kl(&exact));
    assert!((kl(&texts[0]) + kl(&texts[1]) - 2.0 * kl(&found)).abs() < 1e-9, "{found}");
}

#[test]
fn what_is_measured_replaces_nothing_but_what_was_measured_before() {
    let dir = tempfile::tempdir().expect("a folder");
    let model = new_path(dir.path(), "model");
    Spec::default().write(dir.path());
    convert(dir.path(), &model, FileType::F16);
    let text = dir.path().join("text.txt");
    std::fs::write(&text, "one two ".repeat(400)).expect("written");
    let (model, text) = (model.to_str().expect("UTF-8"), text.to_str().expect("UTF-8"));
    let made = dir.path().join("made");
    let made = made.to_str().expect("UTF-8");
    for (command, target) in
        [("imatrix", "-o"), ("sensitivity", "-o"), ("sensitivity", "--svg"), ("perplexity", "--save-base")]
    {
        let ctx = ["--ctx", "64", "--chunks", "4"];
        let json = format!("{made}.{command}.json");
        let more: &[&str] = if target == "--svg" { &["-o", &json, "--force"] } else { &["--force"] };
        let args = |to| [&[command, model, "-f", text][..], &ctx, &[target, to], more].concat();
        for other in [model, text] {
            let before = std::fs::read(other).expect("a file");
            assert_fails(args(other), 2, &["--force does not replace it"]);
            assert!(std::fs::read(other).expect("a file") == before, "{command} {target}");
        }
        let made = format!("{made}.{command}{target}");
        for _ in 0..2 {
            stdout_of(args(&made));
        }
    }
}
