//! Command lines as people type them: values with hyphens, negative numbers, advice that is followed.

use crate::common::fairytale;
use crate::program::{assert_fails, run, run_with_input, stderr, stdout, stdout_of};

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
