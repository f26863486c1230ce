//! `gguf-run divergence`: measures how far a quantised model is from the one it was made from.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::args::{KvArgs, ModelArgs};
use super::input::{Input, read_ids, read_text_trimmed};
use super::load::{Model, load_for, load_without_text};
use super::locate::{Located, locate};
use super::perplexity::{ChunkArgs, logits_bytes, session};
use super::progress::bar;
use crate::cli::compute::ComputeArgs;
use crate::cli::interrupt::Busy;
use crate::cli::output::{show, show_json};
use crate::error::{Error, Result};
use crate::eval::base_file::BaseFile;
use crate::eval::divergence::{self, Base, Divergence, Percentiles, Report, Side};
use crate::eval::{Chunks, Estimate};
use crate::model::KvTypes;
use crate::printable;
use crate::runtime::Session;
use crate::tokenizer::{Tokenizer, has_vocabulary};

/// Measure how far a quantised model is from the one it was made from.
///
/// Both models read the text side by side. Their predictions are compared token by token: the
/// Kullback-Leibler divergence of MODEL from BASE (0: none), how often both find the same
/// token likeliest, how much the right token's probability changes, and the ratio of perplexities.
/// The measures are those of llama.cpp, on exact instead of 16-bit base logits. BASE always has keys and
/// values in F16, MODEL in --kv-type: with the same file twice this measures the cache alone.
///
/// BASE can also be a file of predictions, with the text in it: gguf-run perplexity --save-base writes one, and
/// llama-perplexity --kl-divergence-base. The original model need not be run again then; its predictions have 16 bits,
/// and what is more than e^16 times less likely than the best counts as that likely: the base's own figures are too low
/// for a text that it predicts badly.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The model to compare with, usually F32, F16 or BF16; or its predictions
    #[arg(value_name = "BASE")]
    base: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Type to convert BASE to if it is a checkpoint [default: F32]
    #[arg(long, value_name = "TYPE")]
    base_type: Option<String>,
    /// A text to evaluate; - reads standard input; of several each is reported, and all together
    #[arg(short, long = "file", value_name = "FILE", num_args = 1..)]
    files: Vec<PathBuf>,
    /// A file with the numbers of tokens, apart by white space or commas, instead of a text; - reads standard input. The
    /// models need no vocabulary then
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    ids: Option<PathBuf>,
    #[command(flatten)]
    chunks: ChunkArgs,
    #[command(flatten)]
    kv: KvArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

const EXAMPLES: &str = "\
Examples:
  gguf-run divergence model-F32.gguf model-Q4_K_M.gguf -f text.txt
  gguf-run divergence model-F32.gguf model-Q4_K_M.gguf -f prose.txt code.txt
  gguf-run divergence text.kld model-Q4_K_M.gguf
  gguf-run divergence a-without-vocabulary.gguf b-without-vocabulary.gguf --ids ids.txt
  gguf-run divergence path/to/checkpoint model-Q4_K_M.gguf -f text.txt --chunks 20 --json";

/// The type a base checkpoint is converted to unless told.
const DEFAULT_BASE_TYPE: &str = "F32";

impl Args {
    /// What to evaluate.
    fn inputs(&self) -> Result<Vec<Input>> {
        if let Some(ids) = &self.ids {
            return Ok(vec![Input::Ids(read_ids(ids)?)]);
        }
        if self.files.is_empty() {
            // A file of predictions would bring its text along.
            locate(&self.base, self.quiet)?;
            return Err(Error::usage(
                "there is no text to evaluate; give one by -f FILE, or its tokens by --ids FILE",
            ));
        }
        self.files.iter().map(|path| read_text_trimmed(path).map(Input::Text)).collect()
    }

    /// The files with what is evaluated.
    fn paths(&self) -> Vec<&PathBuf> {
        self.files.iter().chain(&self.ids).collect()
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Any; [`Error::Interrupted`] after Ctrl-C.
pub(super) fn run(args: &Args) -> Result<()> {
    if BaseFile::is_at(&args.base) {
        return compare_with_predictions(args, &BaseFile::open(&args.base)?);
    }
    let inputs = args.inputs()?;
    let base = load_base(args, &inputs)?;
    let model = load_for(&inputs, &args.model, &args.compute, args.quiet)?;
    let texts = inputs.iter().map(|input| args.chunks.cut(&base, input)).collect::<Result<Vec<_>>>()?;
    for (input, chunks) in inputs.iter().zip(&texts) {
        check_vocabularies(&base, &model, &args.chunks, input, chunks)?;
    }
    let mut base_session = session(&base, &texts[0], KvTypes::default())?;
    let mut session = session(&model, &texts[0], args.kv.kv_types)?;
    let session_bytes = |session: &Session<'_>| session.free_bytes() + logits_bytes(session);
    let sessions = session_bytes(&base_session) + session_bytes(&session);
    // The model whole, or where that leaves the base no room, the least of it.
    let least = model.engine.demand(session.options())?.least_weights;
    let base_plan =
        base.plan(sessions + model.engine.file().file_len()).or_else(|_| base.plan(sessions + least))?;
    let plan = model.plan(sessions + base_plan.held_bytes())?;
    base.follow(base_plan, session.n_batch(), args.quiet)?;
    model.follow(plan, session.n_batch(), args.quiet)?;
    let base_side = Side { session: &mut base_session, path: base.engine.file().path() };
    let side = Side { session: &mut session, path: model.engine.file().path() };
    measure(args, Base::Model(base_side), side, &texts)
}

/// Compares with predictions that were kept.
fn compare_with_predictions(args: &Args, base: &BaseFile) -> Result<()> {
    if !args.paths().is_empty() {
        return Err(Error::usage(format!(
            "{} holds predictions of a text of its own; leave -f and --ids out",
            args.base.display()
        )));
    }
    let model = load_without_text(&args.model, &args.compute, args.quiet)?;
    let has_vocabulary = has_vocabulary(model.engine.metadata());
    let model = model.with_text_if(has_vocabulary)?;
    let first_token = |tokenizer: &Tokenizer| tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let chunks = base.chunks(model.tokenizer.as_ref().and_then(first_token))?;
    let n_vocab = model.engine.n_vocab();
    if n_vocab != base.n_vocab() {
        return Err(Error::usage(format!(
            "{} is of a vocabulary of {} tokens, and {} has {n_vocab}; give predictions of the same model",
            args.base.display(),
            base.n_vocab(),
            model.engine.file().path().display()
        )));
    }
    let chunks = args.chunks.first(chunks);
    let mut session = session(&model, &chunks, args.kv.kv_types)?;
    model.settle(&session, logits_bytes(&session), args.quiet)?;
    let side = Side { session: &mut session, path: model.engine.file().path() };
    measure(args, Base::File(base), side, &[chunks])
}

/// Measures and reports.
fn measure(args: &Args, mut base: Base<'_, '_>, mut side: Side<'_, '_>, texts: &[Chunks]) -> Result<()> {
    let n_chunks = texts.iter().map(Chunks::n_chunks).sum();
    let bar = bar(n_chunks, "chunks", args.quiet);
    let busy = Busy::begin();
    let (mut all, mut reports, mut n_done) = (Divergence::default(), Vec::new(), 0);
    for chunks in texts {
        let measured =
            divergence::divergence(&mut base, &mut side, chunks, busy.stop(), &mut |done, so_far| {
                bar.set_position((n_done + done) as u64);
                bar.set_message(format!("mean divergence {:.6}", so_far.mean_kl()));
            });
        let measured = measured.inspect_err(|_| bar.finish_and_clear())?;
        n_done += chunks.n_chunks();
        reports.push(measured.report());
        all.append(&measured);
    }
    bar.finish_and_clear();
    let report = all.report();
    if !args.json {
        let by_text = if texts.len() > 1 { text_lines(args, &reports) } else { String::new() };
        return show(&(by_text + &report_lines(&report)));
    }
    let mut object = report_json(&report);
    object["base"] = json!(args.base);
    object["model"] = json!(side.path);
    object["kv_type"] = json!(args.kv.kv_types.to_string());
    object["n_ctx"] = json!(texts[0].n_ctx());
    object["n_chunks"] = json!(n_chunks);
    if let [text] = args.paths().as_slice() {
        object["text"] = json!(text);
    } else {
        let of_text = |(text, report): (&PathBuf, &Report)| {
            let mut object = report_json(report);
            object["text"] = json!(text);
            object
        };
        object["texts"] = args.paths().into_iter().zip(&reports).map(of_text).collect();
    }
    show_json(&object)
}

/// A line for each text.
fn text_lines(args: &Args, reports: &[Report]) -> String {
    let mut out = format!(
        "{:>12} {:>10} {:>12} {:>9} {:>10}  text\n",
        "divergence", "+-", "99.9 %", "same top", "ln ratio"
    );
    for (path, report) in args.paths().into_iter().zip(reports) {
        let (kl, far) = (report.kl, report.kl_percentiles.at[0].1);
        let (top, ratio) = (100.0 * report.same_top.value, report.ln_ratio.value);
        let path = printable::path(path);
        out +=
            &format!("{:>12.6} {:>10.6} {far:>12.6} {top:>8.2}% {ratio:>10.6}  {path}\n", kl.value, kl.error);
    }
    out + "\nall texts:\n"
}

fn load_base(args: &Args, inputs: &[Input]) -> Result<Model<Option<Tokenizer>>> {
    let is_checkpoint = matches!(locate(&args.base, args.quiet)?, Located::Checkpoint(_));
    let file_type = match &args.base_type {
        None if is_checkpoint => Some(DEFAULT_BASE_TYPE.to_owned()),
        given => given.clone(),
    };
    let base = ModelArgs { model: args.base.clone(), file_type, lora: Vec::new(), ..args.model.clone() };
    load_for(inputs, &base, &args.compute, args.quiet)
}

/// Checks that both models read the same tokens.
fn check_vocabularies(
    base: &Model<Option<Tokenizer>>,
    model: &Model<Option<Tokenizer>>,
    cut: &ChunkArgs,
    input: &Input,
    chunks: &Chunks,
) -> Result<()> {
    let paths =
        || format!("{} and {}", base.engine.file().path().display(), model.engine.file().path().display());
    let (n_base, n_model) = (base.engine.n_vocab(), model.engine.n_vocab());
    if n_base != n_model {
        return Err(Error::usage(format!(
            "{}: vocabularies of {n_base} and {n_model} tokens cannot be compared; give two files of one model",
            paths()
        )));
    }
    if cut.cut(model, input)? != *chunks {
        return Err(Error::usage(format!(
            "{}: their tokenizers split the text differently; give two files of one model",
            paths()
        )));
    }
    Ok(())
}

fn report_lines(report: &Report) -> String {
    let line = |name: &str, e: Estimate, digits: usize| {
        format!("{name:<28} {:>12.digits$} ± {:.digits$}\n", e.value, e.error)
    };
    let percent = |e: Estimate| Estimate { value: 100.0 * e.value, error: 100.0 * e.error };
    let mut out = format!("tokens scored                {:>12}\n\n", report.n_scored);
    out += &line("perplexity of MODEL", report.perplexity, 6);
    out += &line("perplexity of BASE", report.base_perplexity, 6);
    out += &line("ln(MODEL / BASE)", report.ln_ratio, 6);
    out += &line("MODEL / BASE", report.ratio, 6);
    out += &line("MODEL - BASE", report.difference, 6);
    out += &format!("correlation of ln(p)         {:>11.2}%\n\n", 100.0 * report.correlation);
    out += &line("mean divergence (nats)", report.kl, 6);
    out += &percentile_lines(&report.kl_percentiles, 1.0, "");
    out += "\n";
    out += &line("mean change of p (%)", percent(report.delta_p), 3);
    out += &line("RMS change of p (%)", percent(report.delta_p_rms), 3);
    out += &percentile_lines(&report.delta_p_percentiles, 100.0, "%");
    out += "\n";
    out += &line("same likeliest token (%)", percent(report.same_top), 3);
    out
}

fn percentile_lines(percentiles: &Percentiles, factor: f64, unit: &str) -> String {
    let line = |name: String, value: f64| format!("  {name:<26} {:>12.6}{unit}\n", factor * value);
    let mut out = line("maximum".to_owned(), percentiles.max);
    for &(percentage, value) in &percentiles.at {
        let name = if percentage == 50.0 { "median".to_owned() } else { format!("percentile {percentage}") };
        out += &line(name, value);
    }
    out + &line("minimum".to_owned(), percentiles.min)
}

fn report_json(report: &Report) -> Value {
    let estimate = |e: Estimate| json!({ "value": e.value, "error": e.error });
    let percentiles = |p: &Percentiles| {
        let at: serde_json::Map<String, Value> =
            p.at.iter().map(|&(percentage, value)| (percentage.to_string(), json!(value))).collect();
        json!({ "max": p.max, "at": at, "min": p.min })
    };
    json!({
        "n_scored": report.n_scored,
        "perplexity": estimate(report.perplexity),
        "base_perplexity": estimate(report.base_perplexity),
        "ln_ratio": estimate(report.ln_ratio),
        "ratio": estimate(report.ratio),
        "difference": estimate(report.difference),
        "correlation": report.correlation,
        "kl_divergence": estimate(report.kl),
        "kl_percentiles": percentiles(&report.kl_percentiles),
        "delta_p": estimate(report.delta_p),
        "delta_p_rms": estimate(report.delta_p_rms),
        "delta_p_percentiles": percentiles(&report.delta_p_percentiles),
        "same_top": estimate(report.same_top),
    })
}
