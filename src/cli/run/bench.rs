//! `gguf-run bench`: measures the speed of a model on this machine.

use clap::ValueEnum;
use serde_json::json;

use super::args::{DEFAULT_BATCH, KvArgs, ModelArgs};
use super::load::{Model, load};
use super::progress::bar;
use crate::cli::compute::ComputeArgs;
use crate::cli::interrupt::Busy;
use crate::cli::output::{bytes, count, show, show_json};
use crate::error::{Error, Result};
use crate::eval::bench::{Speed, Workload, fill, time};
use crate::gguf::TensorInfo;
use crate::model::KvTypes;
use crate::runtime::{Session, SessionOptions};

/// Measure the speed of a model on this machine.
///
/// Times the prompt (pp, -p tokens at once) and the generation (tg, -n tokens one by one), each from
/// an empty context or after --depth random tokens, and shows the median, slowest and fastest of -r
/// repetitions in tokens per second.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Tokens of the prompt; 0 leaves this test out
    #[arg(short = 'p', long = "prompt-tokens", value_name = "N", default_value_t = 256)]
    n_prompt: usize,
    /// Tokens to generate; 0 leaves this test out
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 32)]
    n_generate: usize,
    /// Tokens in the context beforehand; several, as in 0,4096, time each test at each depth
    #[arg(short, long = "depth", value_name = "N", value_delimiter = ',', default_value = "0")]
    depths: Vec<usize>,
    /// Repetitions
    #[arg(short, long, value_name = "N", default_value_t = 5)]
    repetitions: usize,
    /// Tokens of the prompt to compute at once
    #[arg(short, long, value_name = "N", default_value_t = DEFAULT_BATCH)]
    batch: usize,
    #[command(flatten)]
    kv: KvArgs,
    /// How to print the result: a Markdown table or JSON
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
  gguf-run bench model.gguf --depth 0,4096,16384 --kv-type q8_0
  gguf-run bench model.gguf -p 512 -n 0 -r 10 --threads 4 --isa avx2 --output json";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Md,
    Json,
}

/// Runs the subcommand.
///
/// # Errors
/// Any; [`Error::Interrupted`] after Ctrl-C.
pub(super) fn run(args: &Args) -> Result<()> {
    let workloads = [Workload::Prompt(args.n_prompt), Workload::Generation(args.n_generate)];
    let workloads: Vec<_> = workloads.into_iter().filter(|workload| workload.n_tokens() > 0).collect();
    if workloads.is_empty() || args.repetitions == 0 || args.batch == 0 {
        return Err(Error::usage("nothing to measure: give -p or -n, -r and --batch at least 1"));
    }
    let model = load(&args.model, &args.compute, args.quiet)?;
    let depth = args.depths.iter().copied().max().unwrap_or(0);
    // A sum that is too great is refused as any context that is.
    let n_ctx = args.n_prompt.max(args.n_generate).saturating_add(depth);
    let options = SessionOptions { n_ctx, n_batch: args.batch, kv_types: args.kv.kv_types };
    let mut session = Session::new(&model.engine, options)?;
    model.settle(session.cache_bytes() as u64, session.n_batch(), args.quiet)?;
    let bar = bar(workloads.len() * args.depths.len(), "tests", args.quiet);
    let busy = Busy::begin();
    let mut speeds = Vec::new();
    for &depth in &args.depths {
        bar.set_message(format!("d{depth}"));
        bar.tick();
        fill(&mut session, depth, busy.stop())?;
        for &workload in &workloads {
            bar.set_message(workload.name(depth));
            bar.tick();
            speeds.push(time(&mut session, workload, args.repetitions, busy.stop())?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    match args.output {
        Output::Md => show(&markdown(&model, &speeds, args.kv.kv_types)),
        Output::Json => show_json(&as_json(&model, &speeds, args)),
    }
}

/// The model's name, bytes of its tensors, and parameters.
fn describe(model: &Model) -> (String, u64, u64) {
    let file = model.engine.file();
    let name = file.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let tensors = file.tensors();
    let n_bytes = tensors.iter().map(|tensor| tensor.n_bytes as u64).sum();
    (name, n_bytes, tensors.iter().map(TensorInfo::n_elements).map(|n| n as u64).sum())
}

fn markdown(model: &Model, speeds: &[Speed], kv_types: KvTypes) -> String {
    let (name, n_bytes, n_parameters) = describe(model);
    let mut out = format!(
        "CPU: {}; tier {}; threads {}; keys and values {kv_types}\n\n",
        cpu_name(),
        model.engine.kernels().isa(),
        model.engine.n_threads()
    );
    out += "| model | weights | parameters | test | tokens/s | slowest | fastest |\n";
    out += "|:--|--:|--:|:--|--:|--:|--:|\n";
    for speed in speeds {
        out += &format!(
            "| {name} | {} | {} | {} | {:.2} | {:.2} | {:.2} |\n",
            bytes(n_bytes),
            count(n_parameters),
            speed.name(),
            speed.median(),
            speed.min(),
            speed.max(),
        );
    }
    out
}

fn as_json(model: &Model, speeds: &[Speed], args: &Args) -> serde_json::Value {
    let (_, n_bytes, n_parameters) = describe(model);
    let tests: Vec<_> = speeds
        .iter()
        .map(|speed| {
            json!({
                "test": speed.name(),
                "depth": speed.depth,
                "n_tokens": speed.workload.n_tokens(),
                "tokens_per_second": speed.median(),
                "slowest": speed.min(),
                "fastest": speed.max(),
                "samples": speed.samples,
            })
        })
        .collect();
    json!({
        "model": model.engine.file().path(),
        "weight_bytes": n_bytes,
        "parameters": n_parameters,
        "cpu": cpu_name(),
        "isa": model.engine.kernels().isa().name(),
        "threads": model.engine.n_threads(),
        "batch": args.batch,
        "kv_type": args.kv.kv_types.to_string(),
        "tests": tests,
    })
}

/// The CPU's name as Linux tells it, else its architecture.
fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
