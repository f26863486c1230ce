//! `gguf-run embed` and `rerank`, and the library under them: vectors of encoders and of decoders, scores of pairs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common;
use crate::common::npy::read_npy;
use crate::encoders;
use crate::families::{self, Fixture};
use crate::program;
use gguf_kit::convert::FileType;
use gguf_kit::model::spec::Pooling;
use gguf_kit::runtime::{EmbedOptions, EmbedText, Embedder, Engine, EngineOptions};

fn encoder(name: &str) -> Fixture {
    encoders::registered().into_iter().find(|fixture| fixture.name == name).expect("the fixture")
}

fn decoder(name: &str) -> Fixture {
    families::registered().into_iter().find(|fixture| fixture.name == name).expect("the fixture")
}

fn texts() -> Vec<EmbedText> {
    let ids: [&[u32]; 4] = [&[7, 8, 9], &[11], &[30, 31, 32, 33, 34, 35, 36], &[7, 8, 9]];
    ids.iter().map(|ids| EmbedText::new(ids.to_vec())).collect()
}

fn embed(engine: &Engine, change: impl Fn(&mut EmbedOptions), texts: &[EmbedText]) -> Vec<Vec<f32>> {
    let mut options = EmbedOptions::new(texts.iter().map(|text| text.ids.len()).max().unwrap());
    change(&mut options);
    Embedder::new(engine, options).unwrap().embed(texts).unwrap()
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

#[test]
fn vectors_do_not_depend_on_company_and_pool_what_the_tokens_have() {
    let dir = tempfile::tempdir().unwrap();
    for fixture in [encoder("bert"), decoder("qwen3")] {
        let engine = Engine::load(&fixture.convert(dir.path()), EngineOptions::default()).unwrap();
        let texts = texts();
        let raw = |pooling| {
            let options = move |options: &mut EmbedOptions| {
                options.pooling = Some(pooling);
                options.is_normalized = false;
            };
            embed(&engine, options, &texts)
        };
        let n_embd = engine.spec().n_embd;
        let (rows, first, last, mean) =
            (raw(Pooling::None), raw(Pooling::Cls), raw(Pooling::Last), raw(Pooling::Mean));
        for (i, text) in texts.iter().enumerate() {
            let tokens: Vec<&[f32]> = rows[i].chunks(n_embd).collect();
            assert_eq!(tokens.len(), text.ids.len(), "{}", fixture.name);
            assert_eq!((first[i].as_slice(), last[i].as_slice()), (tokens[0], tokens[tokens.len() - 1]));
            for (j, x) in mean[i].iter().enumerate() {
                let sum: f64 = tokens.iter().map(|token| f64::from(token[j])).sum();
                assert_eq!(*x, (sum / tokens.len() as f64) as f32, "{}", fixture.name);
            }
        }
        let together = embed(&engine, |_| {}, &texts);
        assert!(together.iter().all(|vector| (length(vector) - 1.0).abs() < 1e-6));
        assert_eq!(together[0], together[3]);
        for (text, vector) in texts.iter().zip(&together) {
            let alone = embed(&engine, |options| options.n_batch = 2, std::slice::from_ref(text));
            assert_eq!(&alone[0], vector, "{}", fixture.name);
        }
    }
}

#[test]
fn a_decoder_pools_its_last_token_and_an_encoder_the_mean_unless_files_say_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    for (fixture, usual) in [(encoder("bert"), Pooling::Mean), (decoder("qwen3"), Pooling::Last)] {
        let engine = Engine::load(&fixture.convert(dir.path()), EngineOptions::default()).unwrap();
        assert_eq!(
            Embedder::new(&engine, EmbedOptions::new(8)).unwrap().pooling(),
            usual,
            "{}",
            fixture.name
        );
    }
}

#[test]
fn models_without_classes_score_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for fixture in [encoder("bert"), decoder("qwen3")] {
        let engine = Engine::load(&fixture.convert(dir.path()), EngineOptions::default()).unwrap();
        let mut embedder = Embedder::new(&engine, EmbedOptions::new(8)).unwrap();
        let message = embedder.scores(&texts()).unwrap_err().to_string();
        assert!(message.contains("not a rerank model"), "{message}");
        assert!(embedder.embed(&[]).unwrap().is_empty());
    }
}

/// The checkpoint of `fixture` as sentence-transformers would save it, with a matrix of 4 rows behind the pooling.
fn with_modules(fixture: &Fixture, dir: &Path) -> PathBuf {
    let checkpoint = dir.join("modules");
    fixture.convert(dir);
    fs::rename(dir.join(&fixture.name), &checkpoint).unwrap();
    let module = |path: &str, ty: &str| {
        format!(r#"{{"path": "{path}", "type": "sentence_transformers.models.{ty}"}}"#)
    };
    let modules = [module("", "Transformer"), module("1_Pooling", "Pooling"), module("2_Dense", "Dense")];
    fs::write(checkpoint.join("modules.json"), format!("[{}]", modules.join(","))).unwrap();
    fs::create_dir(checkpoint.join("1_Pooling")).unwrap();
    fs::write(checkpoint.join("1_Pooling/config.json"), r#"{"pooling_mode_cls_token": true}"#).unwrap();
    fs::create_dir(checkpoint.join("2_Dense")).unwrap();
    let dense = r#"{"in_features": 64, "out_features": 4, "bias": false,
        "activation_function": "torch.nn.modules.linear.Identity"}"#;
    fs::write(checkpoint.join("2_Dense/config.json"), dense).unwrap();
    // Row i adds up elements i and i + 4.
    let weight = |i: usize| if i % 64 == i / 64 || i % 64 == i / 64 + 4 { 1.0f32 } else { 0.0 };
    let data: Vec<u8> = (0..256).flat_map(|i| weight(i).to_le_bytes()).collect();
    let header = br#"{"linear.weight":{"dtype":"F32","shape":[4,64],"data_offsets":[0,1024]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header, &data].concat();
    fs::write(checkpoint.join("2_Dense/model.safetensors"), file).unwrap();
    checkpoint
}

#[test]
fn folders_of_sentence_transformers_bring_their_pooling_and_matrices() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = encoder("bert");
    let plain = Engine::load(&fixture.convert(dir.path()), EngineOptions::default()).unwrap();
    let other = tempfile::tempdir().unwrap();
    let gguf = other.path().join("m.gguf");
    common::convert(&with_modules(&fixture, other.path()), &gguf, FileType::F32);
    let engine = Engine::load(&gguf, EngineOptions::default()).unwrap();
    let raw = |options: &mut EmbedOptions| options.is_normalized = false;
    let found = embed(&engine, raw, &texts());
    let first = |options: &mut EmbedOptions| {
        options.pooling = Some(Pooling::Cls);
        options.is_normalized = false;
    };
    for (found, first) in found.iter().zip(embed(&plain, first, &texts())) {
        assert_eq!(found.len(), 4);
        for (i, x) in found.iter().enumerate() {
            assert!((x - (first[i] + first[i + 4])).abs() < 1e-5, "{x}");
        }
    }
    let metadata = engine.metadata();
    assert_eq!(metadata.count("bert.pooling_type").unwrap(), Some(2));
    assert_eq!(metadata.count("bert.dense_2_feat_out").unwrap(), Some(4));
}

#[test]
fn embed_prints_lines_json_and_arrays_of_the_same_vectors() {
    let dir = tempfile::tempdir().unwrap();
    let gguf = encoder("bert").convert(dir.path());
    let gguf = gguf.to_str().unwrap();
    let lines = program::stdout_of(["embed", gguf, "a cat", "a dog", "--quiet"]);
    let rows: Vec<Vec<f32>> =
        lines.lines().map(|line| line.split(' ').map(|x| x.parse().unwrap()).collect()).collect();
    assert_eq!((rows.len(), rows[0].len()), (2, 64));
    let json = program::json_of(["embed", gguf, "a cat", "a dog", "--quiet", "--json"]);
    assert_eq!(json["object"], "list");
    assert_eq!(json["data"][1]["index"], 1);
    let vector = json["data"][1]["embedding"].as_array().unwrap();
    assert_eq!(vector.iter().map(|x| x.as_f64().unwrap() as f32).collect::<Vec<_>>(), rows[1]);
    assert!(json["usage"]["prompt_tokens"].as_u64().unwrap() >= 10);
    let (file, npy) = (dir.path().join("texts.txt"), dir.path().join("v.npy"));
    fs::write(&file, "a cat\na dog\n").unwrap();
    let args = ["embed", gguf, "-q", "-f", file.to_str().unwrap(), "--npy", npy.to_str().unwrap()];
    program::stdout_of(args);
    assert_eq!(read_npy(&npy), ([2, 64], rows.concat()));
    let again = program::run(args);
    assert_eq!(again.status.code(), Some(2), "{}", program::stderr(&again));
}

#[test]
fn prompts_of_a_folder_come_in_front_of_texts_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = with_modules(&encoder("bert"), dir.path());
    let settings = |default: &str| {
        let text = format!(
            r#"{{"prompts": {{"query": "find the ", "document": ""}}, "default_prompt_name": {default}}}"#
        );
        fs::write(checkpoint.join("config_sentence_transformers.json"), text).unwrap();
    };
    let convert = |name: &str| {
        let gguf = dir.path().join(name);
        common::convert(&checkpoint, &gguf, FileType::F32);
        gguf.to_str().unwrap().to_owned()
    };
    settings("null");
    let gguf = convert("named.gguf");
    let of = |args: &[&str]| program::stdout_of([&["embed"], args].concat());
    let (plain, with) = (of(&[&gguf, "cat", "-q"]), of(&[&gguf, "find the cat", "-q"]));
    assert_ne!(plain, with);
    assert_eq!(of(&[&gguf, "cat", "-q", "--prompt", "query"]), with);
    assert_eq!(of(&[&gguf, "cat", "-q", "--prompt", "document"]), plain);
    let refused = program::run(["embed", &gguf, "cat", "--prompt", "passage"]);
    assert!(program::stderr(&refused).contains("\"passage\", but: query, document"), "{refused:?}");
    let hint = program::run(["embed", &gguf, "cat"]);
    assert!(program::stderr(&hint).contains("--prompt query | document"), "{hint:?}");
    settings("\"query\"");
    let gguf = convert("default.gguf");
    assert_eq!(of(&[&gguf, "cat", "-q"]), with);
    assert_eq!(of(&[&gguf, "cat", "-q", "--prompt", "none"]), plain);
    let whole = of(&[&gguf, "cat", "-q", "--no-normalize"]);
    let kept = of(&[&gguf, "cat", "-q", "--no-normalize", "--dimensions", "2"]);
    assert_eq!(kept.trim().split(' ').collect::<Vec<_>>(), whole.split(' ').take(2).collect::<Vec<_>>());
    let rows = |args: &[&str]| -> Vec<Vec<f32>> {
        let printed =
            of(&[&[&gguf, "-q", "--prompt", "none", "--pooling", "none", "--no-normalize"], args].concat());
        printed.lines().map(|line| line.split(' ').map(|x| x.parse().unwrap()).collect()).collect()
    };
    let ids = |text: &str| program::stdout_of(["tokenize", &gguf, "--ids", text]);
    // The mean of what comes behind the prompt: its tokens, but for the one that ends a text.
    let (prompt, whole) = (ids("find the "), ids("find the cat"));
    let (prompt, whole): (Vec<&str>, Vec<&str>) =
        (prompt.split_whitespace().collect(), whole.split_whitespace().collect());
    let ends = prompt.last() == whole.last();
    let n_left_out = prompt.len() - usize::from(ends);
    let behind = rows(&["find the cat"])[n_left_out..].to_vec();
    assert!(n_left_out > 0 && !behind.is_empty());
    let mean = |j: usize| behind.iter().map(|row| row[j]).sum::<f32>() / behind.len() as f32;
    let pooling = r#"{"pooling_mode_mean_tokens": true, "include_prompt": false}"#;
    fs::write(checkpoint.join("1_Pooling/config.json"), pooling).unwrap();
    let left_out = convert("left-out.gguf");
    let found = of(&[&left_out, "cat", "-q", "--no-normalize"]);
    for (i, x) in found.trim().split(' ').enumerate() {
        // Row i of the matrix adds up elements i and i + 4.
        let expected = mean(i) + mean(i + 4);
        assert!((x.parse::<f32>().unwrap() - expected).abs() < 1e-4, "{x} {expected}");
    }
    settings("\"passage\"");
    let refused = program::run(["embed", &convert("absent.gguf"), "cat"]);
    assert!(program::stderr(&refused).contains("--prompt query | document | none"), "{refused:?}");
    let refused = program::run(["embed", &gguf, "cat", "--dimensions", "5"]);
    assert!(program::stderr(&refused).contains("5 elements cannot be kept of vectors of 4"), "{refused:?}");
}

#[test]
fn texts_lose_capitals_and_length_where_the_folder_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = decoder("qwen3");
    let plain = fixture.convert(dir.path());
    let checkpoint = dir.path().join(&fixture.name);
    let modules = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"}]"#;
    fs::write(checkpoint.join("modules.json"), modules).unwrap();
    let settings = r#"{"max_seq_length": 3, "do_lower_case": true}"#;
    fs::write(checkpoint.join("sentence_bert_config.json"), settings).unwrap();
    let ruled = dir.path().join("ruled.gguf");
    common::convert(&checkpoint, &ruled, FileType::F32);
    let (plain, ruled) = (plain.to_str().unwrap(), ruled.to_str().unwrap());
    let of = |args: &[&str]| program::stdout_of([&["embed", "-q", "--pooling", "last"], args].concat());
    assert_ne!(of(&[plain, "AB"]), of(&[plain, "ab"]));
    assert_eq!(of(&[ruled, "AB"]), of(&[plain, "ab"]));
    let long = "a b c d e f";
    let refused = program::run(["embed", ruled, long]);
    assert!(program::stderr(&refused).contains("the model reads 3"), "{refused:?}");
    assert_ne!(of(&[ruled, long, "--truncate"]), of(&[plain, long]));
    // A file that says 0 says nothing.
    let zero = ["--override-kv", "gguf-kit.embedding.max_tokens=u32:0", "-q"];
    let edit = std::process::Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    assert!({ edit }.arg("edit").arg(ruled).args(zero).status().unwrap().success());
    assert_eq!(of(&[ruled, long, "--truncate"]), of(&[plain, long]));
}

#[test]
fn a_mean_leaves_out_what_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::load(&encoder("bert").convert(dir.path()), EngineOptions::default()).unwrap();
    let pooled = |pooling, n_left_out| {
        let options = |options: &mut EmbedOptions| {
            options.pooling = Some(pooling);
            options.is_normalized = false;
        };
        embed(&engine, options, &[EmbedText { n_left_out, ..EmbedText::new(vec![7, 8, 9, 10]) }]).remove(0)
    };
    let (rows, mean) = (pooled(Pooling::None, 0), pooled(Pooling::Mean, 2));
    let n_embd = mean.len();
    for (j, x) in mean.iter().enumerate() {
        let sum = f64::from(rows[2 * n_embd + j]) + f64::from(rows[3 * n_embd + j]);
        assert_eq!(*x, (sum / 2.0) as f32);
    }
    assert!(pooled(Pooling::Mean, 4).iter().all(|x| *x == 0.0));
}

#[test]
fn embed_refuses_texts_that_are_too_long_unless_they_may_be_cut() {
    let dir = tempfile::tempdir().unwrap();
    let gguf = encoder("bert").convert(dir.path());
    let gguf = gguf.to_str().unwrap();
    let long = "Ž".repeat(90);
    let output = program::run(["embed", gguf, "short", &long]);
    let message = program::stderr(&output);
    assert!(
        !output.status.success() && message.contains("text 2") && message.contains("--truncate"),
        "{message}"
    );
    assert_eq!(program::stdout_of(["embed", gguf, "short", &long, "--truncate", "-q"]).lines().count(), 2);
    let output = program::run(["embed", gguf]);
    assert_eq!(output.status.code(), Some(2), "{}", program::stderr(&output));
}

#[test]
fn rerank_prints_the_best_documents_first() {
    let dir = tempfile::tempdir().unwrap();
    let gguf = encoder("bert-rank").convert(dir.path());
    let gguf = gguf.to_str().unwrap();
    let documents = ["one", "two words", "three words here", "4"];
    let args = ["rerank", gguf, "a query"].into_iter().chain(documents);
    let json = program::json_of(args.clone().chain(["--json"]));
    let results = json["results"].as_array().unwrap();
    let scores: Vec<f64> = results.iter().map(|result| result["relevance_score"].as_f64().unwrap()).collect();
    assert!(scores.len() == 4 && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let best = documents[results[0]["index"].as_u64().unwrap() as usize];
    let lines = program::stdout_of(args);
    assert!(lines.lines().next().unwrap().ends_with(&format!("  {best}")), "{lines}");
    let long = "Ž".repeat(90);
    let cut = program::run(["rerank", gguf, &long, "one", "--truncate"]);
    assert!(program::stderr(&cut).contains("nothing of the document"), "{cut:?}");
    assert!(program::run(["rerank", gguf, "a query", &long, "--truncate", "-q"]).status.success());
    // Alone, a document has the score that it has beside others.
    let alone = program::json_of(["rerank", gguf, "a query", best, "--json"]);
    assert_eq!(alone["results"][0]["relevance_score"], results[0]["relevance_score"]);
}

#[test]
fn commands_that_generate_refuse_an_encoder_before_they_print_anything() {
    let dir = tempfile::tempdir().unwrap();
    let model = encoder("bert").convert(dir.path());
    let model = model.to_str().expect("UTF-8");
    let npy = dir.path().join("x.npy");
    let npy = npy.to_str().expect("UTF-8");
    for args in
        [&["complete", model, "-p", "hello"][..], &["logits", model, "hello", "-o", npy], &["bench", model]]
    {
        let output = program::run(args.iter().copied());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?} printed something");
        assert!(program::stderr(&output).contains("gguf-run embed or rerank"), "{args:?}");
    }
    assert!(!Path::new(npy).exists());
}
