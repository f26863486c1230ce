//! Collects an importance matrix.

use std::path::PathBuf;
use std::time::Instant;

use super::super::args::{KvArgs, ModelArgs};
use super::super::input::read_ids;
use super::super::load::load_without_text;
use super::super::progress::bar;
use super::merge::FormatArgs;
use crate::cli::compute::ComputeArgs;
use crate::cli::interrupt::Busy;
use crate::cli::output::{show, warn, warn_beyond_training};
use crate::cli::reading::Reader;
use crate::cli::values::count;
use crate::error::{Error, Result};
use crate::eval::Chunks;
use crate::eval::imatrix::{CollectOptions, collect};
use crate::printable::plural;
use crate::quantize::ImportanceMatrix;

/// Measure which inputs of a model's matrices matter, for quantising it: an importance matrix.
///
/// The model reads the texts in chunks of --ctx tokens, as llama.cpp's llama-imatrix does, and the squares of what
/// each column of each matrix meets are summed. gguf-convert --imatrix then spends its bits on the columns that
/// count. Some 100 chunks of varied text, of the kind the model is for, are enough; none of it should serve to
/// measure the result. A .jsonl file holds a conversation in each line, {"messages": [{"role": ..., "content":
/// ...}, ...]}, and is read through the model's chat template.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in super::super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A text, or conversations as .jsonl; may be given several times
    #[arg(short, long = "file", value_name = "FILE", required_unless_present = "ids", num_args = 1..)]
    files: Vec<PathBuf>,
    /// A file with the numbers of tokens, apart by white space or commas, to read as they are instead of a text; -
    /// reads standard input. The model needs no vocabulary then
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    ids: Option<PathBuf>,
    #[command(flatten)]
    output: FormatArgs,
    /// Tokens in a chunk
    #[arg(short, long, value_name = "N", default_value_t = 512, allow_negative_numbers = true, value_parser = count)]
    ctx: usize,
    /// Read only the first N chunks of each text [default: all]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    chunks: Option<usize>,
    /// Add to what this importance matrix holds; may be given several times
    #[arg(long = "in-file", value_name = "FILE")]
    earlier: Vec<PathBuf>,
    /// Look at the output matrix as well
    #[arg(long)]
    process_output: bool,
    #[command(flatten)]
    kv: KvArgs,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

const EXAMPLES: &str = "\
Examples:
  gguf-run imatrix model-F16.gguf -f calibration.txt -o imatrix.gguf
  gguf-run imatrix model-Q8_0.gguf -f prose.txt code.txt chats.jsonl -o imatrix.gguf --chunks 50
  gguf-run imatrix merge a.gguf b.dat -o both.gguf
  gguf-run imatrix show imatrix.gguf
  gguf-convert model-F16.gguf --type IQ3_M --imatrix imatrix.gguf";

/// Collects as `args` say.
///
/// # Errors
/// Any; [`Error::Interrupted`] after Ctrl-C.
pub(super) fn run(args: &Args) -> Result<()> {
    args.output.check()?;
    let earlier = args.earlier.iter().map(|path| ImportanceMatrix::open(path)).collect::<Result<Vec<_>>>()?;
    let ids = args.ids.as_deref().map(read_ids).transpose()?;
    let model = load_without_text(&args.model, &args.compute, args.quiet)?.with_text_if(ids.is_none())?;
    let trained = model.engine.spec().n_ctx_train;
    let n_ctx = if args.ctx == 0 { trained } else { args.ctx };
    warn_beyond_training(n_ctx, trained);
    let texts = match &model.tokenizer {
        Some(tokenizer) => {
            let reader = Reader { tokenizer, n_ctx, max_chunks: args.chunks };
            args.files.iter().map(|path| reader.read(path)).collect::<Result<Vec<_>>>()?
        }
        None => vec![Chunks::new(ids.unwrap_or_default(), n_ctx, args.chunks, None)?],
    };
    let options = CollectOptions { kv_types: args.kv.kv_types, with_output: args.process_output };
    model.settle_evaluator(options.evaluator(n_ctx), args.quiet)?;
    let n_chunks = texts.iter().map(Chunks::n_chunks).sum();
    let bar = bar(n_chunks, "chunks", args.quiet);
    let busy = Busy::begin();
    let start = Instant::now();
    let collected =
        collect(&model.engine, &texts, options, busy.stop(), &mut |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    let mut matrix = collected?;
    matrix.datasets =
        args.files.iter().chain(&args.ids).map(|path| path.to_string_lossy().into_owned()).collect();
    for (earlier, path) in earlier.iter().zip(&args.earlier) {
        matrix.merge(earlier).map_err(|e| Error::usage(format!("{}: {e}", path.display())))?;
    }
    if let Some(note) = unseen(&matrix) {
        warn(note);
    }
    args.output.write(&matrix)?;
    if args.quiet {
        return Ok(());
    }
    show(&format!(
        "{}: {}, {} of {n_ctx} tokens, {:.1} s\n",
        crate::printable::path(&args.output.path),
        plural(matrix.entries.len(), "tensor"),
        plural(n_chunks, "chunk"),
        start.elapsed().as_secs_f64()
    ))
}

/// What the user should know of experts that saw nothing.
fn unseen(matrix: &ImportanceMatrix) -> Option<String> {
    let (mut n_unseen, mut n_all, mut n_tensors) = (0, 0, 0);
    for entry in matrix.entries.values() {
        let (unseen, all) = entry.n_unseen();
        (n_unseen, n_all, n_tensors) = (n_unseen + unseen, n_all + all, n_tensors + usize::from(unseen > 0));
    }
    (n_unseen > 0).then(|| {
        format!(
            "{n_unseen} of {n_all} matrices, in {}, saw no token: experts that no text chose; their columns will count \
             alike. More, and more varied, text helps",
            plural(n_tensors, "tensor")
        )
    })
}
