//! A checkpoint that is run is converted once, and again when anything about it changes.

use std::fs;
use std::path::Path;

use crate::common::checkpoint::Spec;
use gguf_kit::convert::{Cached, FileType, RunOptions, Silent, cached_in};
use gguf_kit::error::Error;
use gguf_simd::kernels::Kernels;

fn cached(dir: &Path, input: &Path, file_type: FileType) -> Result<Cached, Error> {
    let options = RunOptions { overwrite: false, n_threads: 1, kernels: Kernels::best() };
    cached_in(dir, input, file_type, &options, &Silent)
}

#[test]
fn the_second_time_finds_the_file_of_the_first() {
    let (dir, cache) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    Spec::default().write(dir.path());
    let first = cached(cache.path(), dir.path(), FileType::Q8_0).expect("converted");
    assert!(first.made.is_some() && first.path.starts_with(cache.path()));
    let second = cached(cache.path(), &dir.path().join("model.safetensors"), FileType::Q8_0).expect("found");
    assert!(second.made.is_none());
    assert_eq!(second.path, first.path);
    let other = cached(cache.path(), dir.path(), FileType::Q4_0).expect("converted");
    assert!(other.made.is_some() && other.path != first.path);
}

#[test]
fn a_changed_weight_or_setting_is_another_file() {
    let (dir, cache) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    Spec::default().write(dir.path());
    let first = cached(cache.path(), dir.path(), FileType::Q8_0).expect("converted");
    Spec::default().write_with(dir.path(), |name, values| {
        if name == "model.layers.1.mlp.up_proj.weight" {
            values[11] += 0.5;
        }
    });
    let second = cached(cache.path(), dir.path(), FileType::Q8_0).expect("converted");
    assert!(second.made.is_some() && second.path != first.path);
    let config = fs::read_to_string(dir.path().join("config.json")).expect("written above");
    fs::write(dir.path().join("config.json"), config.replace("10000.0", "20000.0")).expect("writable");
    let third = cached(cache.path(), dir.path(), FileType::Q8_0).expect("converted");
    assert!(third.made.is_some() && third.path != second.path);
}

#[test]
fn every_file_that_a_conversion_reads_or_looks_for_is_in_the_key() {
    let (dir, cache) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    Spec::default().write(dir.path());
    // They come one by one, each before another makes it needless to look for it.
    let texts = [
        ("tokenizer_config.json", "{}"),
        ("chat_template.json", r#"{"chat_template": "{{ messages[0].content }}"}"#),
        ("chat_template.jinja", "{{ bos_token }}"),
        ("added_tokens.json", "{}"),
        ("special_tokens_map.json", "{}"),
        ("generation_config.json", r#"{"temperature": 0.5}"#),
        ("README.md", "---\nlicense: mit\n---\n"),
        ("additional_chat_templates/rag.jinja", "{{ documents }}"),
    ];
    fs::create_dir(dir.path().join("additional_chat_templates")).expect("writable");
    let mut seen = vec![cached(cache.path(), dir.path(), FileType::Q8_0).expect("converted").path];
    for (name, text) in texts {
        let path = dir.path().join(name);
        for content in [text.to_owned(), format!("{text}\n")] {
            fs::write(&path, content).expect("writable");
            let found = cached(cache.path(), dir.path(), FileType::Q8_0).expect("converted");
            assert!(found.made.is_some() && !seen.contains(&found.path), "{name}");
            seen.push(found.path);
        }
    }
    let again = cached(cache.path(), dir.path(), FileType::Q8_0).expect("found");
    assert!(again.made.is_none() && seen.last() == Some(&again.path));
}

#[test]
fn what_the_plan_warns_of_is_told_each_time() {
    let (dir, cache) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    Spec::default().write(dir.path());
    fs::write(dir.path().join("README.md"), "---\nlicense: [\n---\n").expect("writable");
    let first = cached(cache.path(), dir.path(), FileType::Q8_0).expect("converted");
    assert!(first.warnings.iter().any(|warning| warning.contains("README.md")), "{:?}", first.warnings);
    let second = cached(cache.path(), dir.path(), FileType::Q8_0).expect("found");
    assert!(second.made.is_none());
    assert_eq!(second.warnings, first.warnings);
}

#[test]
fn a_damaged_file_is_made_again() {
    let (dir, cache) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    Spec::default().write(dir.path());
    let first = cached(cache.path(), dir.path(), FileType::Q8_0).expect("converted");
    let whole = fs::read(&first.path).expect("our own file");
    fs::write(&first.path, &whole[..whole.len() / 2]).expect("writable");
    let second = cached(cache.path(), dir.path(), FileType::Q8_0).expect("converted");
    assert!(second.made.is_some());
    assert!(fs::read(&second.path).expect("our own file") == whole);
}

#[test]
fn many_at_once_end_with_one_whole_file() {
    let (dir, cache) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    Spec::default().write(dir.path());
    let paths: Vec<_> = std::thread::scope(|scope| {
        let one = || cached(cache.path(), dir.path(), FileType::Q8_0).expect("converted or found").path;
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(paths.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(fs::read_dir(cache.path()).expect("a folder").count(), 1);
    assert!(cached(cache.path(), dir.path(), FileType::Q8_0).expect("found").made.is_none());
}

#[test]
fn an_unusable_cache_folder_names_the_variable_that_moves_it() {
    let dir = tempfile::tempdir().expect("a folder");
    Spec::default().write(dir.path());
    // A file where the folder should be.
    let blocked = dir.path().join("config.json").join("cache");
    let error = cached(&blocked, dir.path(), FileType::Q8_0).expect_err("no folder").to_string();
    assert!(error.contains("GGUF_CACHE_DIR") && error.contains("config.json"), "{error}");
}
