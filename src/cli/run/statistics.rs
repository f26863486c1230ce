//! The statistics at the end of a generation.

use std::time::Duration;

use serde_json::{Value, json};

use super::load::Model;
use super::memory::peak_resident_bytes;
use crate::cli::output::bytes;
use crate::model::KvTypes;
use crate::printable::plural;
use crate::runtime::Session;
use crate::runtime::generate::{Finish, Generation};
use crate::runtime::residency::{Plan, Residency};
use crate::runtime::speculate::Speculated;
use crate::threads::ThreadCounts;

/// What is known about a model and a session that generate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Environment {
    load_time: Duration,
    file_bytes: u64,
    weights: Weights,
    cache_bytes: u64,
    kv_types: KvTypes,
    n_ctx: usize,
    seed: u64,
    threads: ThreadCounts,
    isa: &'static str,
}

impl Environment {
    /// Looks at `model` and `session`.
    pub(super) fn new(model: &Model, session: &Session<'_>, seed: u64) -> Self {
        Self {
            load_time: model.load_time.get(),
            file_bytes: model.engine.file().file_len(),
            weights: Weights::of(model),
            cache_bytes: session.cache_bytes(),
            kv_types: session.kv_types(),
            n_ctx: session.n_ctx(),
            seed,
            threads: model.engine.thread_counts(),
            isa: model.engine.kernels().isa().name(),
        }
    }

    /// The lines for people.
    pub(super) fn lines(&self, generation: &Generation, stop_strings: &[String]) -> String {
        let n_computed = generation.n_prompt - generation.n_reused;
        let reused = match generation.n_reused {
            0 => String::new(),
            n => format!(", {n} more were in the cache"),
        };
        let peak =
            peak_resident_bytes().map_or(String::new(), |peak| format!(", peak resident {}", bytes(peak)));
        let mut lines = vec![
            format!("prompt      {}{reused}", rate(n_computed, generation.prompt_time)),
            format!(
                "generation  {}; {} in all",
                rate(generation.n_steps, generation.generation_time),
                plural(generation.n_generated, "token"),
            ),
            format!("load        {:.2} s; {}, {}", self.load_time.as_secs_f64(), self.threads, self.isa),
            format!(
                "memory      file {} mapped, cache {} ({}) for {} tokens{peak}",
                bytes(self.file_bytes),
                bytes(self.cache_bytes),
                self.kv_types,
                self.n_ctx,
            ),
            format!("ended       by {}; seed {}", describe(generation.finish, stop_strings), self.seed),
        ];
        if let Some(speculated) = generation.speculated.filter(|speculated| speculated.n_guessed > 0) {
            lines.insert(2, describe_speculated(speculated));
        }
        lines.join("\n")
    }

    /// The same for programs.
    pub(super) fn json(&self, generation: &Generation, stop_strings: &[String]) -> Value {
        let n_computed = generation.n_prompt - generation.n_reused;
        json!({
            "prompt_tokens": generation.n_prompt,
            "prompt_tokens_reused": generation.n_reused,
            "prompt_seconds": generation.prompt_time.as_secs_f64(),
            "prompt_tokens_per_second": per_second(n_computed, generation.prompt_time),
            "generated_tokens": generation.n_generated,
            "generation_steps": generation.n_steps,
            "generation_seconds": generation.generation_time.as_secs_f64(),
            "generation_tokens_per_second": per_second(generation.n_steps, generation.generation_time),
            "speculation": generation.speculated.map(speculated_json),
            "load_seconds": self.load_time.as_secs_f64(),
            "file_bytes": self.file_bytes,
            "pinned_bytes": self.weights.pinned,
            "streamed_bytes": self.weights.streamed,
            "cache_bytes": self.cache_bytes,
            "kv_type": self.kv_types.to_string(),
            "peak_resident_bytes": peak_resident_bytes(),
            "n_ctx": self.n_ctx,
            "threads": self.threads.few,
            "prompt_threads": self.threads.many,
            "isa": self.isa,
            "seed": self.seed,
            "finish": finish_name(generation.finish),
            "stop_string": stop_string(generation.finish, stop_strings),
        })
    }
}

/// Bytes of a model's file that stay in memory, and bytes that are read for every token; unknown where the
/// system alone decides.
#[derive(Clone, Copy, Debug)]
struct Weights {
    pinned: Option<u64>,
    streamed: Option<u64>,
}

impl Weights {
    fn of(model: &Model) -> Self {
        match model.engine.residency().map(Residency::plan) {
            Some(Plan::Whole { file_bytes }) => Self { pinned: Some(*file_bytes), streamed: Some(0) },
            Some(Plan::Divided(division)) => {
                Self { pinned: Some(division.pinned_bytes()), streamed: Some(division.streamed_bytes()) }
            }
            Some(Plan::Unplanned) | None => Self { pinned: None, streamed: None },
        }
    }
}

fn describe_speculated(speculated: Speculated) -> String {
    let Speculated { n_guessed, n_accepted, n_steps, seconds_won } = speculated;
    let (seconds, won) = (seconds_won.abs(), if seconds_won < 0.0 { "lost" } else { "won" });
    format!(
        "speculation {n_accepted} of {n_guessed} guesses accepted in {}: {} saved, {seconds:.2} s {won}",
        plural(n_steps, "step"),
        plural(n_accepted, "step"),
    )
}

fn speculated_json(speculated: Speculated) -> Value {
    json!({
        "guessed": speculated.n_guessed,
        "accepted": speculated.n_accepted,
        "steps": speculated.n_steps,
        "saved_steps": speculated.n_accepted,
        "seconds_won": speculated.seconds_won,
    })
}

fn per_second(n: usize, time: Duration) -> Option<f64> {
    (n > 0 && !time.is_zero()).then(|| n as f64 / time.as_secs_f64())
}

fn rate(n: usize, time: Duration) -> String {
    let speed = per_second(n, time).map_or(String::new(), |speed| format!(" ({speed:.1} tokens/s)"));
    format!("{} in {:.2} s{speed}", plural(n, "token"), time.as_secs_f64())
}

fn stop_string(finish: Finish, stop_strings: &[String]) -> Option<&str> {
    match finish {
        Finish::StopString(index) => stop_strings.get(index).map(String::as_str),
        _ => None,
    }
}

fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::EndOfText(_) => "end-of-text",
        Finish::StopString(_) => "stop-string",
        Finish::MaxTokens => "max-tokens",
        Finish::ContextFull => "context-full",
        Finish::Interrupted => "interrupted",
    }
}

fn describe(finish: Finish, stop_strings: &[String]) -> String {
    match finish {
        Finish::EndOfText(id) => format!("the model (token {id})"),
        Finish::StopString(_) => {
            format!("the stop string {:?}", stop_string(finish, stop_strings).unwrap_or_default())
        }
        Finish::MaxTokens => "the number of tokens asked for".to_owned(),
        Finish::ContextFull => "the full context; --ctx makes it longer".to_owned(),
        Finish::Interrupted => "an interruption (Ctrl-C or a signal)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_of_nothing_shows_no_speed() {
        assert_eq!(rate(0, Duration::ZERO), "0 tokens in 0.00 s");
        assert_eq!(rate(1, Duration::from_millis(500)), "1 token in 0.50 s (2.0 tokens/s)");
    }

    #[test]
    fn guesses_are_told_with_what_they_won_or_lost() {
        let won = Speculated { n_guessed: 8, n_accepted: 6, n_steps: 2, seconds_won: 1.5 };
        let line = "speculation 6 of 8 guesses accepted in 2 steps: 6 steps saved, 1.50 s won";
        assert_eq!(describe_speculated(won), line);
        let lost = Speculated { n_guessed: 9, n_accepted: 1, n_steps: 3, seconds_won: -0.25 };
        let line = "speculation 1 of 9 guesses accepted in 3 steps: 1 step saved, 0.25 s lost";
        assert_eq!(describe_speculated(lost), line);
    }

    #[test]
    fn stop_string_that_ended_the_text_is_named() {
        let stops = ["a".to_owned(), "b\n".to_owned()];
        assert_eq!(describe(Finish::StopString(1), &stops), "the stop string \"b\\n\"");
        assert_eq!(stop_string(Finish::MaxTokens, &stops), None);
    }
}
