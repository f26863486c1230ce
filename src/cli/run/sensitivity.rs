//! `gguf-run sensitivity`: measures what errors of each tensor cost.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::args::ModelArgs;
use super::input::FileArgs;
use super::load::load_for;
use super::perplexity::{ChunkArgs, session};
use super::progress::bar;
use super::sensitivity_plot::{is_svg, svg};
use crate::cli::compute::ComputeArgs;
use crate::cli::interrupt::Busy;
use crate::cli::output::show;
use crate::error::Result;
use crate::eval::sensitivity::{measure, measured, needed_bytes};
use crate::model::KvTypes;
use crate::new_file::{NewFile, target_of_kind};
use crate::printable;
use crate::printable::plural;
use crate::quantize::Sensitivity;

/// Measure how sensitive a model is to errors of each of its tensors, for gguf-convert --target-size.
///
/// The model reads a text as it is, and then once for each tensor, which has few bits for that time; how far its
/// predictions move is written to a file. gguf-convert --target-size FILE --sensitivity then spends its bytes where
/// they count most. MODEL should be F32, F16, BF16 or Q8_0. It takes as long as reading the text once for each tensor.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    text: FileArgs,
    #[command(flatten)]
    chunks: ChunkArgs,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Draw a picture of them as well: a cell for each tensor, layer by layer
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Replace existing files
    #[arg(long)]
    force: bool,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

const EXAMPLES: &str = "\
Examples:
  gguf-run sensitivity model-F16.gguf -f text.txt --chunks 2 -o model.sensitivity.json --svg model.svg
  gguf-convert model-F16.gguf --target-size 4GiB --sensitivity model.sensitivity.json";

/// Tensors that are named.
const N_SHOWN: usize = 8;

/// Runs the subcommand.
///
/// # Errors
/// Any; [`Error::Interrupted`] after Ctrl-C.
pub(super) fn run(args: &Args) -> Result<()> {
    // Told before the measurement, not after it.
    let is_one = |path: &Path| Sensitivity::open(path).is_ok();
    target_of_kind(&args.output, "sensitivity.json", args.force, "a measurement of sensitivity", is_one)?;
    let picture = args
        .svg
        .as_deref()
        .map(|path| target_of_kind(path, "sensitivity.svg", args.force, "an SVG picture", is_svg));
    let picture = args.svg.as_deref().zip(picture.transpose()?);
    let input = args.text.read()?;
    let model = load_for(std::slice::from_ref(&input), &args.model, &args.compute, args.quiet)?;
    let chunks = args.chunks.cut(&model, &input)?;
    let of_chunks = session(&model, &chunks, KvTypes::default())?;
    model.settle(&of_chunks, needed_bytes(&model.engine, &chunks), args.quiet)?;
    drop(of_chunks);
    let bar = bar(measured(model.engine.file()).count(), "tensors", args.quiet);
    let busy = Busy::begin();
    let start = Instant::now();
    let measured = measure(&model.engine, &chunks, busy.stop(), &mut |done, name| {
        bar.set_position(done as u64);
        bar.set_message(name.to_owned());
    });
    bar.finish_and_clear();
    let n_scored = chunks.scored().len() * chunks.n_chunks();
    let name = |path: &Path| path.to_string_lossy().into_owned();
    let (model, text) = (name(&args.model.model), name(args.text.path()));
    let sensitivity = Sensitivity::new(model, text, n_scored, measured?);
    sensitivity.write(&args.output, args.force)?;
    if let Some((path, target)) = picture {
        NewFile::write(target, path, svg(&sensitivity).as_bytes(), args.force)?;
    }
    if args.quiet {
        return Ok(());
    }
    let seconds = start.elapsed().as_secs_f64();
    let (path, n) = (printable::path(&args.output), plural(sensitivity.tensors.len(), "tensor"));
    show(&format!("{path}: {n}, {n_scored} tokens scored, {seconds:.1} s\n{}", most_sensitive(&sensitivity)))
}

/// The tensors whose errors cost most.
fn most_sensitive(sensitivity: &Sensitivity) -> String {
    let mut all: Vec<_> = sensitivity.tensors.iter().collect();
    all.sort_by(|(_, a), (_, b)| b.slope().total_cmp(&a.slope()));
    let lines = all.iter().take(N_SHOWN).map(|(name, probe)| {
        format!("  {}  {:.5} for an error of 1 %\n", printable::line(name), probe.slope() * 1e-4)
    });
    format!("most sensitive, by divergence:\n{}", lines.collect::<String>())
}
