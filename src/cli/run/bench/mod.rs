//! `gguf-run bench`: measures the speed of a model on this machine.

mod report;

use std::sync::atomic::AtomicBool;

use clap::ValueEnum;

use super::args::{DEFAULT_BATCH, KvArgs, ModelArgs};
use super::load::load_without_text;
use super::memory::own_resident_bytes;
use super::progress::bar;
use crate::cli::compute::ComputeArgs;
use crate::cli::interrupt::Busy;
use crate::cli::output::{show, show_json};
use crate::cli::values::{at_least_one, count};
use crate::error::{Error, Result};
use crate::eval::bench::{Workload, fill, profile, time};
use crate::eval::ceiling::Ceilings;
use crate::eval::together;
use crate::runtime::{Session, SessionOptions};
use report::{Report, Test};

/// Measure the speed of a model on this machine.
///
/// Times the prompt (pp, -p tokens at once), the generation (tg, -n tokens one by one) and --pg, the one
/// after the other, each from an empty context or after --depth random tokens, and shows the median,
/// slowest and fastest of -r repetitions in tokens per second.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Tokens of the prompt; 0 leaves this test out
    #[arg(short = 'p', long = "prompt-tokens", value_name = "N", default_value_t = 256, allow_negative_numbers = true, value_parser = count)]
    n_prompt: usize,
    /// Tokens to generate; 0 leaves this test out
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 32, allow_negative_numbers = true, value_parser = count)]
    n_generate: usize,
    /// Also time a prompt of P tokens with the generation of N after it, together
    #[arg(long = "pg", value_name = "P,N", value_parser = parse_mixed)]
    mixed: Option<Workload>,
    /// Also time so many sequences that generate -n tokens each at once, in tokens per second of all; several,
    /// as in 1,2,4,8,16, are timed one after the other
    #[arg(long, value_name = "N", value_delimiter = ',', allow_negative_numbers = true, value_parser = at_least_one)]
    sequences: Vec<usize>,
    /// Also time steps of so many tokens at once with the logits of each, and show their cost over that of one: what
    /// it takes to check guesses, or to generate for several at once
    #[arg(long, value_name = "N", value_delimiter = ',', allow_negative_numbers = true, value_parser = at_least_one)]
    columns: Vec<usize>,
    /// Tokens in the context beforehand; several, as in 0,4096, time each test at each depth
    #[arg(short, long = "depth", value_name = "N", value_delimiter = ',', default_value = "0", allow_negative_numbers = true, value_parser = count)]
    depths: Vec<usize>,
    /// Repetitions
    #[arg(short, long, value_name = "N", default_value_t = 5, allow_negative_numbers = true, value_parser = count)]
    repetitions: usize,
    /// Tokens of the prompt to compute at once
    #[arg(short, long, value_name = "N", default_value_t = DEFAULT_BATCH, allow_negative_numbers = true, value_parser = count)]
    batch: usize,
    #[command(flatten)]
    kv: KvArgs,
    /// Also measure the machine's limits, and show which part is reached: of the memory bandwidth by generation,
    /// of the multiply-add rate by prompts
    #[arg(long)]
    ceiling: bool,
    /// Run each test again with a clock and show where the time goes: matrices, attention, everything else,
    /// choosing tokens, waiting for threads
    #[arg(long)]
    profile: bool,
    /// How to print the result: a Markdown table, JSON or CSV
    #[arg(short, long, value_name = "FORMAT", default_value = "md")]
    output: Output,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

const EXAMPLES: &str = "\
Examples:
  gguf-run bench model.gguf -p 256 -n 32
  gguf-run bench model.gguf --pg 256,32 --ceiling --profile
  gguf-run bench model.gguf -p 0 -n 32 --sequences 1,2,4,8,16
  gguf-run bench model.gguf -p 0 -n 0 --columns 1,2,4,8
  gguf-run bench model.gguf --depth 0,4096,16384 --kv-type q8_0
  gguf-run bench model.gguf -p 512 -n 0 -r 10 --threads 4 --isa avx2 --output json";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Md,
    Json,
    Csv,
}

/// Runs the subcommand.
///
/// # Errors
/// Any; [`Error::Interrupted`] after Ctrl-C.
pub(super) fn run(args: &Args) -> Result<()> {
    let both = [Workload::Prompt(args.n_prompt), Workload::Generation(args.n_generate)];
    let together = args.sequences.iter().map(|&n| Workload::Together(n, args.n_generate));
    // Costs are those over one column.
    let one = (!args.columns.is_empty() && !args.columns.contains(&1)).then_some(1);
    let columns = one.into_iter().chain(args.columns.iter().copied()).map(Workload::Columns);
    let all = both.into_iter().chain(args.mixed).chain(together).chain(columns);
    let workloads: Vec<_> = all.filter(|workload| workload.n_tokens() > 0).collect();
    if workloads.is_empty() || args.repetitions == 0 || args.batch == 0 {
        return Err(Error::usage(
            "nothing to measure: give -p, -n, --pg or --columns, -r and --batch at least 1",
        ));
    }
    let model = load_without_text(&args.model, &args.compute, args.quiet)?;
    let depth = args.depths.iter().copied().max().unwrap_or(0);
    let longest = workloads.iter().map(|workload| workload.n_positions()).max().unwrap_or(0);
    // A sum that is too great is refused as any context that is.
    let n_ctx = longest.saturating_add(depth);
    let options = SessionOptions { n_ctx, n_batch: args.batch, kv_types: args.kv.kv_types };
    // The context is as long as what is measured.
    let other_option = |e: Error| {
        e.with_option_called("a smaller --ctx or --batch", "smaller -p, -n, --depth, --sequences or --batch")
            .with_option_called("a smaller --ctx", "smaller -p, -n, --depth or --sequences")
            .with_option_called("--ctx", "-p, -n, --depth or --sequences of")
    };
    let mut session = Session::new(&model.engine, options).map_err(other_option)?;
    let n_sequences = args.sequences.iter().copied().max().unwrap_or(0) as u64;
    let more = n_sequences.saturating_mul(session.cache_bytes());
    model.settle(&session, more, args.quiet).map_err(other_option)?;
    let measure = || args.ceiling.then(|| Ceilings::measure(&model.engine)).transpose();
    let before = measure()?;
    let bar = bar(workloads.len() * args.depths.len(), "tests", args.quiet);
    let busy = Busy::begin();
    let mut tests = Vec::new();
    for &depth in &args.depths {
        bar.set_message(format!("d{depth}"));
        bar.tick();
        fill(&mut session, depth, busy.stop())?;
        for &workload in &workloads {
            bar.set_message(workload.name(depth));
            bar.tick();
            tests.push(test(&mut session, workload, args, busy.stop())?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let own_bytes = own_resident_bytes();
    let ceilings = before.zip(measure()?).map(|(before, after)| before.max(after));
    let report = Report { model: &model, session: &session, tests, ceilings, own_bytes };
    match args.output {
        Output::Md => show(&report.markdown()),
        Output::Json => show_json(&report.json()),
        Output::Csv => show(&report.csv()),
    }
}

/// Times a workload, and says where its time goes if that is asked for and it is one sequence's.
fn test(session: &mut Session<'_>, workload: Workload, args: &Args, stop: &AtomicBool) -> Result<Test> {
    if let Workload::Together(n_sequences, n) = workload {
        let speed = together::time(session, n_sequences, n, args.repetitions, stop)?;
        return Ok(Test { speed, profile: None });
    }
    let speed = time(session, workload, args.repetitions, stop)?;
    let profile = || profile(session, workload, args.repetitions, stop);
    let profile = args.profile.then(profile).transpose()?;
    Ok(Test { speed, profile })
}

/// Parses `P,N`, as in 256,32.
fn parse_mixed(text: &str) -> Result<Workload, String> {
    let numbers =
        text.split_once(',').and_then(|(p, n)| Some((p.trim().parse().ok()?, n.trim().parse().ok()?)));
    match numbers {
        Some((n_prompt, n)) if n_prompt > 0 && n > 0 => Ok(Workload::Mixed(n_prompt, n)),
        _ => Err("give the tokens of the prompt and those to generate, as in 256,32".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_workloads_are_two_numbers() {
        assert_eq!(parse_mixed("256,32"), Ok(Workload::Mixed(256, 32)));
        for wrong in ["", "256", "256,", "0,32", "256,32,1", "-1,2"] {
            assert!(parse_mixed(wrong).is_err_and(|message| message.contains("256,32")), "{wrong}");
        }
    }
}
