//! Command lines as people type them: values with hyphens, negative numbers, advice that is followed.

use crate::common::fairytale;
use crate::program::{assert_failed, assert_fails, command, run, run_with_input, stderr, stdout, stdout_of};

fn model() -> String {
    fairytale().to_str().expect("paths of tests are UTF-8").to_owned()
}

#[test]
fn texts_that_begin_with_a_hyphen_are_values() {
    let model = model();
    let complete = ["complete", &model, "--type", "Q8_0", "-n", "1", "-q", "-p"];
    for prompt in ["- Once", "--", "--stop"] {
        stdout_of(complete.iter().chain(&[prompt]));
    }
    for stop in ["---", "- ", "-->", "-1", "-q", "--quiet"] {
        stdout_of(complete.iter().chain(&["Once", "--stop", stop]));
    }
    let chat = ["chat", &model, "--type", "Q8_0", "-n", "1", "--stop", "--", "--system", "- Be brief."];
    assert!(stderr(&run_with_input(chat, "/system\n")).contains("- Be brief."));
}

#[test]
fn minus_one_token_is_no_limit_and_less_is_explained() {
    let model = model();
    let complete =
        |n| ["complete", &model, "--type", "Q8_0", "-p", "Once", "--ctx", "12", "--ignore-eos", "-n", n];
    let unlimited = run(complete("-1"));
    assert!(stderr(&unlimited).contains("the full context"), "{}", stderr(&unlimited));
    assert_fails(complete("-2"), 2, &["-2", "--tokens", "-1 to go on"]);
    let chat = ["chat", &model, "--type", "Q8_0", "--ctx", "64", "-n", "-1", "--temp", "0"];
    let output = run_with_input(chat, "Tell me a story.\n");
    assert!(!stdout(&output).is_empty());
    assert_fails(["chat", &model, "-n", "0"], 2, &["-n 0"]);
}

#[test]
fn negative_numbers_are_answered_with_what_the_option_takes() {
    let model = model();
    for option in ["--ctx", "--batch", "--top-k", "--threads"] {
        let args = ["complete", &model, "-p", "x", option, "-5"];
        assert_fails(args, 2, &["'-5'", option, "0 or more"]);
    }
    for option in ["--ctx", "--chunks"] {
        assert_fails(["perplexity", &model, "-f", "x", option, "-5"], 2, &["'-5'", option, "0 or more"]);
    }
    for option in ["--prompt-tokens", "--tokens", "--depth", "--repetitions", "--batch"] {
        assert_fails(["bench", &model, option, "-5"], 2, &["'-5'", option, "0 or more"]);
    }
    assert_fails(["complete", &model, "-p", "x", "--ram", "-1G"], 2, &["-1G", "--ram", "512M"]);
    assert_fails(["complete", &model, "-p", "x", "--seed", "-2"], 2, &["-2", "--seed", "-1 for a new"]);
    stdout_of(["complete", &model, "--type", "Q8_0", "-p", "x", "-n", "1", "--seed", "-1"]);
}

#[test]
fn options_of_llama_cpp_that_begin_like_one_here_are_explained() {
    let model = model();
    assert_fails(["complete", &model, "-p", "x", "-n", "4", "-ngl", "99"], 2, &["leave -ngl out"]);
    assert_fails(["complete", &model, "-p", "x", "-fa"], 2, &["leave -fa out"]);
    assert_fails(["complete", &model, "-p", "x", "-cnv"], 2, &["gguf-run chat MODEL"]);
    assert_fails(["chat", &model, "-ctk", "q8_0"], 2, &["--kv-type TYPE"]);
    assert_fails(["chat", &model, "hello"], 2, &["echo TEXT | gguf-run chat MODEL"]);
}

#[test]
fn what_other_programs_take_is_answered_with_what_these_do() {
    let model = model();
    let chat = format!("gguf-run chat {model}");
    assert_fails([&model], 2, &["unrecognized subcommand", &chat]);
    assert_fails(["story.gguf", "-p", "x"], 2, &["gguf-run complete story.gguf -p TEXT"]);
    assert_fails(["serve", &model], 2, &["gguf-run chat MODEL"]);
    assert_fails(["-m", &model, "-p", "x"], 2, &["gguf-run chat MODEL"]);
    assert_fails(["complete", "-m", &model, "-p", "x"], 2, &["gguf-run complete MODEL"]);
    assert_fails(["complete", &model, "Once"], 2, &["-p TEXT", "-f FILE"]);
    for (args, words) in [
        (["m.gguf", "n.gguf"], "-o FILE"),
        (["m", "--outfile"], "-o FILE"),
        (["m", "--outtype"], "--type TYPE"),
        (["m", "-tQ8_0"], "--type TYPE"),
        (["-m", "m"], "gguf-convert MODEL"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
        assert_failed(&command.args(args).output().expect("it starts"), 2, &[words]);
    }
}

#[test]
fn names_of_the_hub_are_recognised_without_their_prefix() {
    for input in ["Qwen/No-Such-1B", "https://huggingface.co/Qwen/No-Such-1B"] {
        assert_fails(["chat", input], 2, &[input, "hf:Qwen/No-Such-1B"]);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
        let output = command.args([input, "--type", "Q8_0"]).output().expect("it starts");
        assert_failed(&output, 2, &[input, "hf:Qwen/No-Such-1B"]);
    }
}

#[test]
fn a_hyphen_is_no_name_of_a_file_that_appears_whole() {
    let model = model();
    let folder = tempfile::tempdir().expect("a folder");
    for args in [
        &["logits", &model, "Once", "--type", "Q8_0", "-o", "-"][..],
        &["embed", &model, "Once", "--type", "Q8_0", "--npy", "-"],
        &["complete", &model, "-p", "Once", "-n", "1", "--type", "Q8_0", "--session", "-"],
    ] {
        let output = command(args).current_dir(folder.path()).output().expect("gguf-run starts");
        assert_failed(&output, 2, &["- is standard output"]);
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    command.current_dir(folder.path()).args([&model, "--type", "Q8_0", "-o", "-"]);
    assert_failed(&command.output().expect("it starts"), 2, &["- is standard output"]);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn usage_of_tokenize_names_model_and_text_in_their_order() {
    let usage = stdout_of(["tokenize", "--help"]);
    let at = |word: &str| usage.find(word).unwrap_or_else(|| panic!("{word} is not in {usage}"));
    assert!(at("<MODEL>") < at("<TEXT|"), "{usage}");
    assert_fails(["tokenize"], 2, &["<MODEL> <TEXT|--file <FILE>>"]);
}

#[test]
fn advice_for_a_text_too_short_to_score_can_be_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, path) = (model(), folder.path().join("short.txt"));
    let perplexity = |text: &str, more: &[&str]| {
        std::fs::write(&path, text).expect("written");
        let file = path.to_str().expect("UTF-8");
        let args = ["perplexity", &model, "--type", "Q8_0", "-q", "-f", file];
        run(args.iter().chain(more))
    };
    let said = stderr(&perplexity("Hello world", &[]));
    assert!(said.contains("give a longer text") && !said.contains("or less"), "{said}");
    assert!(said.contains("--ctx 16, the least, it needs 32"), "{said}");

    let text = "Once upon a time there was a king. ".repeat(12);
    let said = stderr(&perplexity(&text, &[]));
    let advised = said.split("or --ctx ").nth(1).and_then(|rest| rest.split(' ').next()).expect("advice");
    let followed = perplexity(&text, &["--ctx", advised]);
    assert!(followed.status.success(), "{}", stderr(&followed));
    assert!(perplexity(&text, &["--ctx", "16"]).status.success());
    assert_fails(
        ["perplexity", &model, "-f", path.to_str().expect("UTF-8"), "-c", "3"],
        2,
        &["--ctx 3", "16 or more"],
    );
}
