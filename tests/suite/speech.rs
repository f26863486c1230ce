//! `gguf-run` with the bundled model: it speaks, stops when it should, and measures.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use crate::common::fairytale;
use crate::program::{
    assert_failed, assert_fails, command, json_of, output_with_input, run, run_with_input, stderr, stdout,
    stdout_of,
};

const PROMPT: &str = "Once upon a time";

/// The arguments that begin every completion of these tests.
fn complete<'a>(model: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let model = model.to_str().expect("paths of tests are UTF-8");
    let mut args = vec!["complete", model, "--type", "Q4_K_M", "-p", PROMPT];
    args.extend_from_slice(more);
    args
}

#[test]
fn prompt_is_followed_by_text_and_statistics() {
    let model = fairytale();
    let output = run(complete(&model, &["-n", "20", "--temp", "0"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with(PROMPT) && text.len() > PROMPT.len() + 20 && text.ends_with('\n'), "{text:?}");
    for word in ["tokens/s", "load", "cache", "ended       by ", "seed"] {
        assert!(stderr(&output).contains(word), "{word} is not in: {}", stderr(&output));
    }
}

#[test]
fn quiet_and_without_echo_only_the_continuation_is_left() {
    let model = fairytale();
    // The conversion is over after this.
    let whole = stdout_of(complete(&model, &["-n", "20", "--temp", "0"]));
    let output = run(complete(&model, &["-n", "20", "--temp", "0", "--quiet", "--no-echo"]));
    assert_eq!(format!("{PROMPT}{}", stdout(&output)), whole);
    assert_eq!(stderr(&output), "");
}

#[test]
fn same_text_for_every_tier_thread_count_and_batch() {
    let model = fairytale();
    let text = |more: &[&str]| {
        let args: Vec<_> = ["-n", "24", "--temp", "0", "--quiet"].iter().chain(more).copied().collect();
        stdout_of(complete(&model, &args))
    };
    let expected = text(&[]);
    for isa in gguf_simd::Isa::available() {
        for threads in ["1", "2"] {
            assert_eq!(
                text(&["--isa", isa.name(), "--threads", threads]),
                expected,
                "{isa}, {threads} threads"
            );
        }
    }
    for batch in ["1", "3"] {
        assert_eq!(text(&["--batch", batch]), expected, "batch {batch}");
    }
}

#[test]
fn seed_decides_the_text() {
    let model = fairytale();
    let text = |seed| stdout_of(complete(&model, &["-n", "30", "--quiet", "--seed", seed]));
    assert_eq!(text("7"), text("7"));
    assert_ne!(text("7"), text("8"));
}

#[test]
fn no_part_of_a_stop_string_is_shown() {
    let model = fairytale();
    let args = ["-n", "40", "--temp", "0", "--quiet", "--no-echo"];
    let whole = stdout_of(complete(&model, &args));
    // Words from the middle of the text, which begin in one token and end in another.
    let middle = whole.char_indices().map(|(i, _)| i).nth(whole.chars().count() / 2).expect("a middle");
    let stop: String = whole[middle..].chars().take(9).collect();
    let at = whole.find(&stop).expect("it is in the text");
    let stopped = json_of(complete(&model, &["-n", "40", "--temp", "0", "--json", "--stop", &stop]));
    assert_eq!(stopped["text"], whole[..at]);
    assert_eq!(stopped["statistics"]["finish"], "stop-string");
    assert_eq!(stopped["statistics"]["stop_string"], stop);
}

#[test]
fn json_holds_text_and_statistics() {
    let model = fairytale();
    let found =
        json_of(complete(&model, &["-n", "5", "--temp", "0", "--json", "--ctx", "64", "--threads", "1"]));
    assert_eq!(found["prompt"], PROMPT);
    assert!(!found["text"].as_str().expect("a text").is_empty());
    let statistics = &found["statistics"];
    for (key, value) in [("generated_tokens", 5), ("generation_steps", 4), ("n_ctx", 64), ("threads", 1)] {
        assert_eq!(statistics[key], value, "{key}");
    }
    assert_eq!(statistics["finish"], "max-tokens");
    assert!(statistics["prompt_tokens_per_second"].as_f64().expect("a speed") > 0.0);
}

#[test]
fn full_context_ends_the_text() {
    let model = fairytale();
    let args = complete(&model, &["--ctx", "24", "--temp", "0", "--ignore-eos", "--json"]);
    let found = json_of(args);
    let statistics = &found["statistics"];
    assert_eq!(statistics["finish"], "context-full");
    let tokens = statistics["prompt_tokens"].as_u64().zip(statistics["generated_tokens"].as_u64());
    // The last token is shown, but there is no room to go on from it.
    assert_eq!(tokens.map(|(prompt, generated)| prompt + generated), Some(25));
}

#[test]
fn prompt_longer_than_the_context_is_refused_before_anything_is_shown() {
    let model = fairytale();
    assert_fails(complete(&model, &["--ctx", "3"]), 1, &["3", "--ctx"]);
}

#[test]
fn context_beyond_training_is_warned_of() {
    let model = fairytale();
    let output = run(complete(&model, &["--ctx", "600", "-n", "1"]));
    assert!(output.status.success());
    assert!(stderr(&output).contains("warning") && stderr(&output).contains("512"), "{}", stderr(&output));
}

#[test]
fn options_out_of_range_are_wrong_usage() {
    let model = fairytale();
    assert_fails(complete(&model, &["--temp", "-1"]), 2, &["temperature"]);
    assert_fails(complete(&model, &["--top-p", "2"]), 2, &["top-p"]);
    assert_fails(complete(&model, &["--repeat-last-n", "-2"]), 2, &["--repeat-last-n"]);
}

#[test]
fn reader_that_goes_away_is_no_failure() {
    let model = fairytale();
    let mut child = command(complete(&model, &["--ignore-eos"])).spawn().expect("gguf-run starts");
    let mut first = [0; 20];
    let mut out = child.stdout.take().expect("a pipe");
    out.read_exact(&mut first).expect("the text begins");
    drop(out);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}: {}", output.status, stderr(&output));
    assert!(!stderr(&output).contains("error"), "{}", stderr(&output));
}

#[test]
#[cfg(unix)]
fn ctrl_c_ends_the_text_with_statistics() {
    let model = fairytale();
    // Slow enough that the signal comes in the middle.
    let args = complete(&model, &["--ignore-eos", "--isa", "scalar", "--threads", "1"]);
    let mut child = command(args).spawn().expect("gguf-run starts");
    let mut out = child.stdout.take().expect("a pipe");
    out.read_exact(&mut [0; 20]).expect("the text begins");
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill starts");
    assert!(sent.success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("whole characters");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("Ctrl-C"), "{}", stderr(&output));
}

/// A chat with the bundled model that is given `lines`.
fn chat(more: &[&str], lines: &str) -> std::process::Output {
    let model = fairytale();
    let model = model.to_str().expect("paths of tests are UTF-8");
    let args = ["chat", model, "--type", "Q4_K_M", "-n", "12", "--temp", "0"];
    run_with_input(args.iter().chain(more), lines)
}

#[test]
fn chat_answers_piped_lines_and_keeps_what_it_has_computed() {
    let output = chat(&[], "Tell me a story.\n/regen\nAnd then?\n/exit\nnot read any more\n");
    let text = stdout(&output);
    let answers: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    assert!(answers.len() >= 3, "{text}");
    assert_eq!(answers[0], answers[1], "at temperature 0 the same answer comes again");
    assert!(stderr(&output).contains("were in the cache"), "{}", stderr(&output));
}

#[test]
fn chat_drops_the_oldest_messages_when_the_context_is_full() {
    let lines = "Tell me a story of a king.\n".repeat(4);
    let output = chat(&["--ctx", "64"], &lines);
    assert!(stderr(&output).contains("no longer sees"), "{}", stderr(&output));
    // Where nothing is answered, a script has to know.
    let model = fairytale();
    let args = ["chat", model.to_str().expect("UTF-8"), "--type", "Q4_K_M", "--ctx", "16"];
    assert_failed(&output_with_input(args, &lines), 1, &["--ctx", "nothing was answered", "4 messages"]);
}

#[test]
fn checkpoint_is_converted_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = fairytale();
    let run = || {
        let mut command = command(complete(&model, &["-n", "1"]));
        let output = command.env("GGUF_CACHE_DIR", folder.path()).output().expect("gguf-run starts");
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    assert!(run().contains("converted"));
    assert!(!run().contains("converted"));
    assert_eq!(std::fs::read_dir(folder.path()).expect("the cache").count(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn model_larger_than_the_memory_it_may_use_says_the_same_and_what_it_does() {
    let model = fairytale();
    let tell = |more: &[&str]| {
        let args: Vec<_> = ["-n", "24", "--temp", "0", "--ctx", "64"].iter().chain(more).copied().collect();
        run(complete(&model, &args))
    };
    let expected = tell(&["--quiet"]);
    let refused = tell(&["--ram", "1M", "--no-echo"]);
    assert_failed(&refused, 1, &["--ram is too little", "or more"]);
    let message = stderr(&refused);
    let least = message.split("use --ram ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a limit");
    for quiet in [true, false] {
        let output = tell(&["--ram", least, if quiet { "--quiet" } else { "--ignore-eos" }]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stdout(&output), stdout(&expected));
        let said = ["stay there", "read from disk for every token", "of a prompt", "tokens per second"];
        assert!(said.iter().all(|words| stderr(&output).contains(words) != quiet), "{}", stderr(&output));
    }
    let statistics =
        &json_of(complete(&model, &["-n", "4", "--ctx", "64", "--json", "--ram", least]))["statistics"];
    assert!(statistics["streamed_bytes"].as_u64().is_some_and(|n| n > 0), "{statistics}");
    assert_fails(complete(&model, &["--ram", "plenty"]), 2, &["plenty", "512M"]);
}
