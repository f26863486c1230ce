//! `gguf-run logits`: writes what a model computes to a file, to compare it with anything.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::args::{KvArgs, ModelArgs};
use super::input::{Input, read_ids, read_text_trimmed};
use super::load::{Model, load, load_without_text};
use super::npy;
use super::progress::bar;
use crate::cli::compute::ComputeArgs;
use crate::cli::interrupt::Busy;
use crate::cli::output::{say, warn_beyond_training};
use crate::cli::values::count;
use crate::error::{Error, Result};
use crate::new_file::check_not_an_input;
use crate::printable::plural;
use crate::runtime::{Logits, Session, SessionOptions};

/// Write the logits of a text to a NumPy file.
///
/// The file holds an array of 32-bit floats, a row for each token and a column for each token of the
/// vocabulary: how likely the model finds each one to come next, before softmax and sampling. They do not
/// depend on threads, batch or CPU tier.
#[derive(clap::Args, Debug)]
#[command(
    after_help = EXAMPLES,
    override_usage = "gguf-run logits [OPTIONS] --output <FILE> <MODEL> <TEXT|--file <FILE>|--ids <FILE>>"
)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    input: InputArgs,
    /// The .npy file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace an existing .npy file
    #[arg(long)]
    force: bool,
    /// Write only the last row: what follows the text
    #[arg(long)]
    last: bool,
    /// Take special tokens that are spelled out in the text, such as <|eot_id|>, for text; by default they are read
    #[arg(long)]
    no_parse_special: bool,
    /// Tokens of context; some models compute differently when more is reserved; 0 takes what the model was
    /// trained for [default: as many as are given]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    ctx: Option<usize>,
    /// Tokens to compute at once; memory holds the logits of so many
    #[arg(short, long, value_name = "N", default_value_t = DEFAULT_BATCH, allow_negative_numbers = true, value_parser = count)]
    batch: usize,
    #[command(flatten)]
    kv: KvArgs,
    /// No progress, notes or summary
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

const EXAMPLES: &str = "\
Examples:
  gguf-run logits model.gguf \"Once upon a time\" -o logits.npy
  gguf-run logits model.gguf --ids ids.txt -o last.npy --last
  gguf-run tokenize model.gguf \"Once\" --ids | gguf-run logits model.gguf --ids - -o logits.npy";

/// Enough for the matrix kernels, and few enough that the logits of a large vocabulary stay small
/// (256 Ki words: 64 MiB).
const DEFAULT_BATCH: usize = 64;

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct InputArgs {
    /// The text; - reads standard input
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,
    /// A file with the text
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A file with the numbers of tokens, apart by white space or commas; - reads standard input
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
}

impl InputArgs {
    fn read(&self) -> Result<Input> {
        match (&self.text, &self.file, &self.ids) {
            (Some(text), ..) if text == "-" => read_text_trimmed("-".as_ref()).map(Input::Text),
            (Some(text), ..) => Ok(Input::Text(text.clone())),
            (_, Some(file), _) => read_text_trimmed(file).map(Input::Text),
            (.., Some(file)) => read_ids(file).map(Input::Ids),
            (None, None, None) => Err(Error::usage("tokens are needed: TEXT, -f FILE or --ids FILE")),
        }
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.file.iter().chain(&self.ids).map(|path| &**path)
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Any; [`Error::Interrupted`] after Ctrl-C.
pub(super) fn run(args: &Args) -> Result<()> {
    if args.batch == 0 {
        return Err(Error::usage("--batch 0 computes nothing; give 1 or more"));
    }
    // Told before the model is loaded, not when the file is to be written.
    let inputs = args.input.paths().chain([&*args.model.model]);
    let new = npy::create(&args.output, "logits.npy", args.force, inputs)?;
    let input = args.input.read()?;
    let (model, ids) = match input {
        Input::Ids(ids) => (load_without_text(&args.model, &args.compute, args.quiet)?, ids),
        Input::Text(text) => {
            let model = load(&args.model, &args.compute, args.quiet)?;
            let ids = model.tokenizer.encode_prompt(&text, !args.no_parse_special)?;
            (model.without_text(), ids)
        }
    };
    check_not_an_input(new.target(), [model.engine.file().path()])?;
    if ids.is_empty() {
        return Err(Error::usage(
            "there are no tokens to evaluate; give a text, or the numbers of some tokens",
        ));
    }
    let mut session = session(args, &model, ids.len())?;
    let batch_bytes = session.n_batch() * model.engine.n_vocab() * size_of::<f32>();
    model.settle(&session, if args.last { 0 } else { batch_bytes as u64 }, args.quiet)?;
    let n_rows = if args.last { 1 } else { ids.len() };
    let shape = (n_rows, model.engine.n_vocab());
    write(args, &mut session, &ids, shape, new.file())?;
    let path = new.finish(args.force).map_err(|e| Error::io(&args.output, "cannot write", e))?;
    if !args.quiet {
        say(format_args!("{}: {} of {} logits", path.display(), plural(n_rows, "row"), shape.1));
    }
    Ok(())
}

fn session<'e>(args: &Args, model: &'e Model<()>, n_ids: usize) -> Result<Session<'e>> {
    let trained = model.engine.spec().n_ctx_train;
    let n_ctx = match args.ctx {
        None => n_ids,
        Some(0) => trained,
        Some(n) => n,
    };
    warn_beyond_training(n_ctx, trained);
    if n_ctx < n_ids {
        return Err(Error::limit(format!(
            "{n_ids} tokens exceed the context of {n_ctx}; use a greater --ctx"
        )));
    }
    let options = SessionOptions { n_ctx, n_batch: args.batch, kv_types: args.kv.kv_types };
    Session::new(&model.engine, options)
}

/// Evaluates `ids` and writes `shape.0` rows, batch by batch.
fn write(
    args: &Args,
    session: &mut Session<'_>,
    ids: &[u32],
    shape: (usize, usize),
    file: &File,
) -> Result<()> {
    let cannot_write = |e| Error::io(&args.output, "cannot write", e);
    let mut out = BufWriter::new(file);
    out.write_all(&npy::header(shape)).map_err(cannot_write)?;
    let busy = Busy::begin();
    let bar = bar(ids.len(), "tokens", args.quiet);
    let mut n_done = 0;
    for batch in ids.chunks(session.n_batch()) {
        n_done += batch.len();
        let is_last = n_done == ids.len();
        let wanted = match (args.last, is_last) {
            (false, _) => Logits::All,
            (true, true) => Logits::Last,
            (true, false) => Logits::None,
        };
        for logit in session.step_until(batch, wanted, busy.stop())? {
            out.write_all(&logit.to_le_bytes()).map_err(cannot_write)?;
        }
        bar.set_position(n_done as u64);
    }
    bar.finish_and_clear();
    out.flush().map_err(cannot_write)
}
