//! `gguf-run perplexity`: measures how well a model predicts a text.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use super::args::{DEFAULT_BATCH, KvArgs, ModelArgs};
use super::input::{FileArgs, Input};
use super::load::{Model, load_for};
use super::progress::bar;
use crate::cli::compute::ComputeArgs;
use crate::cli::interrupt::Busy;
use crate::cli::output::{note, say, show, show_json, warn_beyond_training};
use crate::cli::values::count;
use crate::error::{Error, Result};
use crate::eval::base_file::{BaseFile, BaseFileWriter};
use crate::eval::distribution::Distribution;
use crate::eval::{Chunks, perplexity};
use crate::model::KvTypes;
use crate::new_file::target_of_kind;
use crate::printable::plural;
use crate::runtime::{Session, SessionOptions};
use crate::tokenizer::{Tokenizer, has_vocabulary};

/// Measure how well a model predicts a text.
///
/// Perplexity is the inverse of the probability that the model gives each next token, averaged
/// geometrically: lower is better. The protocol is that of llama.cpp's llama-perplexity: the text is
/// cut into chunks of --ctx tokens and the second half of each is scored.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    text: FileArgs,
    #[command(flatten)]
    chunks: ChunkArgs,
    #[command(flatten)]
    kv: KvArgs,
    /// Write the model's predictions to a file, in 16 bits, for gguf-run divergence or llama-perplexity
    /// --kl-divergence-base
    #[arg(long, value_name = "FILE")]
    save_base: Option<PathBuf>,
    /// Replace an existing file of predictions
    #[arg(long, requires = "save_base")]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

impl Args {
    /// Where predictions are written, as the user calls it and as it is.
    fn target(&self) -> Result<Option<(&Path, PathBuf)>> {
        let free = |path| {
            let kind = "a file of predictions";
            Ok((path, target_of_kind(path, "predictions.kld", self.force, kind, BaseFile::is_at)?))
        };
        self.save_base.as_deref().map(free).transpose()
    }
}

const EXAMPLES: &str = "\
Examples:
  gguf-run perplexity model.gguf -f text.txt
  gguf-run perplexity model-BF16.gguf -f text.txt --save-base text.kld
  gguf-run perplexity model.gguf -f text.txt --ctx 256 --chunks 20 --json
  gguf-run perplexity model-without-vocabulary.gguf --ids ids.txt";

/// How a text is cut up.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ChunkArgs {
    /// Tokens in a chunk; 0 takes what the model was trained for
    #[arg(short, long, value_name = "N", default_value_t = 512, allow_negative_numbers = true, value_parser = count)]
    ctx: usize,
    /// Score only the first N chunks [default: all]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    chunks: Option<usize>,
}

impl ChunkArgs {
    /// Cuts `input` for `model`, with a warning if the chunks are longer than it was trained for. Of numbers of tokens
    /// every one stays as it is.
    ///
    /// # Errors
    /// [`Error::Usage`] if the text is too short, or the model cannot read texts.
    pub(super) fn cut(&self, model: &Model<Option<Tokenizer>>, input: &Input) -> Result<Chunks> {
        let trained = model.engine.spec().n_ctx_train;
        let n_ctx = if self.ctx == 0 { trained } else { self.ctx };
        warn_beyond_training(n_ctx, trained);
        let (ids, first_token) = match (input, &model.tokenizer) {
            (Input::Ids(ids), _) => (ids.clone(), None),
            (Input::Text(text), Some(tokenizer)) => {
                let mut ids = tokenizer.encode(text, true, false)?;
                // An end-of-text token belongs to the end, not into the last chunk.
                if tokenizer.adds_eos() {
                    ids.pop();
                }
                (ids, tokenizer.bos().filter(|_| tokenizer.adds_bos()))
            }
            (Input::Text(_), None) => {
                return Err(Error::usage(
                    "a text needs a vocabulary; give the numbers of its tokens by --ids FILE",
                ));
            }
        };
        Chunks::new(ids, n_ctx, self.chunks, first_token)
    }

    /// As many of the first chunks as are asked for; their length is what it is.
    pub(super) fn first(&self, chunks: Chunks) -> Chunks {
        chunks.first(self.chunks.unwrap_or(usize::MAX).max(1))
    }
}

/// A session that holds one of `chunks`, its keys and values in `kv_types`.
///
/// # Errors
/// [`Error::Limit`] if memory does not suffice, [`Error::Usage`] for types that do not
/// fit the model's heads.
pub(super) fn session<'e, T>(model: &'e Model<T>, chunks: &Chunks, kv_types: KvTypes) -> Result<Session<'e>> {
    let n_ctx = chunks.n_ctx();
    Session::new(&model.engine, SessionOptions { n_ctx, n_batch: n_ctx.min(DEFAULT_BATCH), kv_types })
}

/// Bytes that the logits of a chunk take.
pub(super) fn logits_bytes(session: &Session<'_>) -> u64 {
    (session.n_ctx() * session.engine().n_vocab() * size_of::<f32>()) as u64
}

/// Refuses to keep predictions of the numbers of tokens where the model has a vocabulary: the file has no place to say so,
/// and who reads it puts the vocabulary's first token before each chunk.
fn check_kept<T>(model: &Model<T>, input: &Input) -> Result<()> {
    if matches!(input, Input::Ids(_)) && has_vocabulary(model.engine.metadata()) {
        return Err(Error::usage(
            "--save-base keeps predictions of numbers of tokens (--ids) of models without a vocabulary alone; this one \
             has a vocabulary: give the text, by -f FILE",
        ));
    }
    Ok(())
}

/// Runs the subcommand.
///
/// # Errors
/// Any; [`Error::Interrupted`] after Ctrl-C.
pub(super) fn run(args: &Args) -> Result<()> {
    let target = args.target()?;
    let input = args.text.read()?;
    let model = load_for(std::slice::from_ref(&input), &args.model, &args.compute, args.quiet)?;
    target.as_ref().map_or(Ok(()), |_| check_kept(&model, &input))?;
    let chunks = args.chunks.cut(&model, &input)?;
    let mut session = session(&model, &chunks, args.kv.kv_types)?;
    model.settle(&session, logits_bytes(&session), args.quiet)?;
    let bar = bar(chunks.n_chunks(), "chunks", args.quiet);
    let busy = Busy::begin();
    let start = Instant::now();
    let path = model.engine.file().path();
    let n_vocab = model.engine.n_vocab();
    let saved = target.map(|(path, target)| BaseFileWriter::create(path, target, &chunks, n_vocab));
    let mut saved = saved.transpose()?;
    let mut keep = |row: &Distribution<'_>| saved.as_mut().map_or(Ok(()), |saved| saved.push(row));
    let result =
        perplexity::perplexity(&mut session, path, &chunks, busy.stop(), &mut keep, &mut |done, so_far| {
            bar.set_position(done as u64);
            let estimate = so_far.estimate();
            bar.set_message(format!("perplexity {:.4} ± {:.4}", estimate.value, estimate.error));
        });
    bar.finish_and_clear();
    let result = result?;
    if let Some(saved) = saved {
        saved.finish(args.force)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let (estimate, nll) = (result.estimate(), result.mean_nll());
    let n_tokens = chunks.n_ctx() * chunks.n_chunks();
    if !estimate.value.is_finite() {
        note(format_args!(
            "the perplexity is too large for a number (mean nll {:.1}): the text is practically impossible to this \
             model, whose weights are probably broken",
            nll.value
        ));
    }
    if args.json {
        return show_json(&json!({
            "model": path,
            "text": args.text.path(),
            "n_ctx": chunks.n_ctx(),
            "n_chunks": chunks.n_chunks(),
            "n_scored": result.n_scored(),
            "perplexity": estimate.value,
            "perplexity_error": estimate.error,
            "mean_nll": nll.value,
            "mean_nll_error": nll.error,
            "seconds": seconds,
            "tokens_per_second": n_tokens as f64 / seconds,
            "kv_type": args.kv.kv_types.to_string(),
            "isa": model.engine.kernels().isa().name(),
            "threads": model.engine.thread_counts().many,
        }));
    }
    show(&format!(
        "perplexity  {:.4} ± {:.4}\nmean nll    {:.6} ± {:.6}\nscored      {} tokens in {} of {} tokens\n",
        estimate.value,
        estimate.error,
        nll.value,
        nll.error,
        result.n_scored(),
        plural(chunks.n_chunks(), "chunk"),
        chunks.n_ctx(),
    ))?;
    if !args.quiet {
        say(format_args!("time        {seconds:.1} s ({:.1} tokens/s)", n_tokens as f64 / seconds));
    }
    Ok(())
}
