//! `gguf-run complete`: continues a text.

use std::cell::Cell;
use std::path::PathBuf;

use serde_json::json;

use super::args::{ContextArgs, ModelArgs, SamplingArgs};
use super::input::read_text_trimmed;
use super::load::{Model, load};
use super::speculation::SpeculationArgs;
use super::statistics::Environment;
use crate::cli::compute::ComputeArgs;
use crate::cli::interrupt::Busy;
use crate::cli::output::{also, note, say, show_generated, show_json};
use crate::cli::values::{MaxTokens, max_tokens};
use crate::error::{Error, Result};
use crate::runtime::Sampler;
use crate::runtime::generate::{Finish, Generation, Generator, Request};

/// Continue a text.
///
/// Shows the prompt and then its continuation on standard output, as it is computed, until the model
/// ends the text, the context is full, or -n tokens are reached; then statistics on standard error.
/// Special tokens that the prompt spells out, such as <|eot_id|>, are read as such, unless
/// --no-parse-special is given.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Generate at most so many tokens [default: -1, until the text ends or the context is full]
    #[arg(short = 'n', long = "tokens", visible_alias = "n-predict", value_name = "N",
        allow_negative_numbers = true, value_parser = max_tokens)]
    max_tokens: Option<MaxTokens>,
    /// End before this text comes up; may be given several times
    #[arg(long = "stop", value_name = "TEXT", allow_hyphen_values = true)]
    stop_strings: Vec<String>,
    /// Take special tokens that are spelled out in the prompt, such as <|eot_id|>, for text; by default they are read
    #[arg(long)]
    no_parse_special: bool,
    /// Never let the model end the text
    #[arg(long)]
    ignore_eos: bool,
    /// Show the continuation without the prompt
    #[arg(long)]
    no_echo: bool,
    /// Instead of streaming, print one JSON object with text and statistics at the end
    #[arg(long)]
    json: bool,
    /// No statistics, notes or progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    speculation: SpeculationArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

const EXAMPLES: &str = "\
Examples:
  gguf-run complete model.gguf -p \"Once upon a time\"
  gguf-run complete model.gguf -f story.txt -n 200 --temp 0
  echo \"Once upon a time\" | gguf-run complete model.gguf -p - --stop \"The end\"
  gguf-run complete path/to/checkpoint --type Q6_K -p \"Once upon a time\" --seed 7
  gguf-run complete model.gguf -f long.txt -n 100 --session long.session";

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct PromptArgs {
    /// The text to continue; - reads standard input
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// A file with the text to continue
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl PromptArgs {
    fn text(&self) -> Result<String> {
        match (&self.prompt, &self.file) {
            (Some(prompt), _) if prompt == "-" => read_text_trimmed("-".as_ref()),
            (Some(prompt), _) => Ok(prompt.clone()),
            (None, Some(file)) => read_text_trimmed(file),
            (None, None) => Err(Error::usage("a prompt is needed: -p TEXT or -f FILE")),
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Any; [`Error::Interrupted`] after Ctrl-C.
pub(super) fn run(args: &Args) -> Result<()> {
    if args.stop_strings.iter().any(String::is_empty) {
        return Err(Error::usage(
            "--stop \"\" would end every text at once; give some text, or leave it out",
        ));
    }
    args.speculation.check()?;
    args.context.n_batch()?;
    args.context.check_session_file()?;
    args.context.check_text_file()?;
    let text = args.prompt.text()?;
    let quiet = args.quiet || args.json;
    let model = load(&args.model, &args.compute, quiet)?;
    let draft = args.speculation.load_draft(&args.model, &args.compute, quiet)?;
    let n_ctx = args.context.n_ctx(model.engine.spec().n_ctx_train);
    let mut sampler = sampler(args, &model, n_ctx)?;
    let session = args.context.open_session(&model.engine, n_ctx)?;
    let mut generator = args.speculation.generator(&model, draft.as_ref(), session, quiet)?;
    let environment = Environment::new(&model, generator.session(), sampler.options().seed);
    let ids = model.tokenizer.encode_prompt(&text, !args.no_parse_special)?;
    if !quiet && model.tokenizer.bos().is_some_and(|bos| ids.starts_with(&[bos, bos])) {
        note(
            "the prompt begins with the beginning-of-text token twice: it is added to every prompt, so leave it out",
        );
    }
    let busy = Busy::begin();
    let request = Request {
        prompt: &ids,
        max_tokens: args.max_tokens.and_then(MaxTokens::count),
        stop_strings: &args.stop_strings,
        stop: busy.stop(),
        marked: None,
    };
    let mut out = String::new();
    let generated = if args.json {
        generator.run(&request, &mut sampler, &mut |piece| {
            out.push_str(piece);
            Ok(())
        })
    } else {
        stream(&mut generator, &request, &mut sampler, (!args.no_echo).then_some(&*text))
    };
    // What was computed is kept also where a reader went away in the middle.
    let saved = args.context.save_session(generator.session());
    let generation = also(generated, saved)?;
    if args.json {
        let statistics = environment.json(&generation, &args.stop_strings);
        show_json(&json!({ "prompt": text, "text": out, "statistics": statistics }))?;
    } else if !args.quiet {
        say(format_args!("\n{}", environment.lines(&generation, &args.stop_strings)));
    }
    if generation.finish == Finish::Interrupted { Err(Error::Interrupted) } else { Ok(()) }
}

fn sampler(args: &Args, model: &Model, n_ctx: usize) -> Result<Sampler> {
    let mut sampler = Sampler::new(args.sampling.resolve(model.engine.metadata(), n_ctx)?)?;
    if args.ignore_eos {
        let ends =
            (0..model.tokenizer.n_vocab() as u32).filter(|&id| model.tokenizer.is_end_of_generation(id));
        ends.for_each(|id| sampler.ban(id));
    }
    Ok(sampler)
}

/// Shows `echo` and then the continuation as it comes.
fn stream(
    generator: &mut Generator<'_>,
    request: &Request<'_>,
    sampler: &mut Sampler,
    echo: Option<&str>,
) -> Result<Generation> {
    let ends_line = Cell::new(false);
    let mut show = |piece: &str| {
        ends_line.set(piece.ends_with('\n'));
        show_generated(piece)
    };
    generator.check(request.prompt)?;
    if let Some(prompt) = echo {
        show(prompt)?;
    }
    let generation = generator.run(request, sampler, &mut show)?;
    if !ends_line.get() {
        show("\n")?;
    }
    Ok(generation)
}
