//! `gguf-run embed`: turns texts into vectors.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;
use serde_json::json;

use super::args::{KvArgs, ModelArgs};
use super::load::{Model, load};
use super::npy;
use super::texts::{self, TextsArgs};
use crate::cli::compute::ComputeArgs;
use crate::cli::output::{say, show, show_json};
use crate::cli::values::count;
use crate::error::{Error, Result};
use crate::model::TextRules;
use crate::model::spec::Pooling;
use crate::new_file::check_not_an_input;
use crate::printable::plural;
use crate::runtime::{EmbedOptions, EmbedText, Embedder};
use crate::tokenizer::Tokenizer;

/// Turn texts into vectors.
///
/// Prints a vector a line, its numbers apart by spaces. Vectors of texts that mean the same lie close together: compare
/// them by their products (they have length 1). Embedding models are made for it; others give vectors too.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, override_usage = "gguf-run embed [OPTIONS] <MODEL> <TEXT...|--file <FILE>>")]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    texts: TextsArgs,
    /// Put the model's prompt of this name in front of each text, such as query or document; none puts nothing there
    /// [default: the one that the model's file says, if any]
    #[arg(long, value_name = "NAME")]
    prompt: Option<String>,
    /// How the vectors of a text's tokens become one; none prints all of them [default: as the model's file says]
    #[arg(long, value_enum, value_name = "HOW")]
    pooling: Option<PoolingArg>,
    /// Keep the first N elements of each vector; for models that were trained for it (Matryoshka)
    #[arg(long, value_name = "N", value_parser = count)]
    dimensions: Option<usize>,
    /// Leave vectors as long as they are, instead of bringing them to length 1
    #[arg(long)]
    no_normalize: bool,
    /// Print one JSON object, as servers answer /v1/embeddings
    #[arg(long, conflicts_with = "npy")]
    json: bool,
    /// Write the vectors to a NumPy file, a row each, instead of printing them
    #[arg(long, value_name = "FILE")]
    npy: Option<PathBuf>,
    /// Replace an existing .npy file
    #[arg(long, requires = "npy")]
    force: bool,
    /// Tokens to compute at once
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    batch: Option<usize>,
    #[command(flatten)]
    kv: KvArgs,
    /// No remarks on standard error
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

const EXAMPLES: &str = "\
Examples:
  gguf-run embed model.gguf \"A cat sleeps.\" \"A kitten naps.\"
  gguf-run embed path/to/all-MiniLM-L6-v2 --type Q8_0 -f sentences.txt --npy vectors.npy
  gguf-run embed Qwen3-Embedding-0.6B.gguf \"What is rust?\" --json
  gguf-run embed path/to/Qwen3-Embedding-0.6B \"What is rust?\" --prompt query --dimensions 256";

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PoolingArg {
    /// Their mean
    Mean,
    /// The first token's
    Cls,
    /// The last token's
    Last,
    /// They stay apart
    None,
}

impl From<PoolingArg> for Pooling {
    fn from(arg: PoolingArg) -> Self {
        match arg {
            PoolingArg::Mean => Self::Mean,
            PoolingArg::Cls => Self::Cls,
            PoolingArg::Last => Self::Last,
            PoolingArg::None => Self::None,
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Any.
pub(super) fn run(args: &Args) -> Result<()> {
    // Told before the model is loaded, not when the file is to be written.
    let inputs = || args.texts.paths().chain([&*args.model.model]);
    let new =
        args.npy.as_ref().map(|path| npy::create(path, "vectors.npy", args.force, inputs())).transpose()?;
    let texts = args.texts.read()?;
    let model = load(&args.model, &args.compute, args.quiet)?;
    if let Some(new) = &new {
        check_not_an_input(new.target(), [model.engine.file().path()])?;
    }
    let rules = TextRules::from_metadata(model.engine.metadata())?;
    let prompt = rules.changed(prompt(&rules, args.prompt.as_deref(), args.quiet)?);
    let n_left_out = if rules.leaves_out_prompt { n_tokens_of(&prompt, &model.tokenizer)? } else { 0 };
    let encode = |text: &String| {
        let ids = model.tokenizer.encode_behind(&prompt, &rules.changed(text))?;
        Ok(EmbedText { n_left_out, ..EmbedText::new(ids) })
    };
    let texts = texts.iter().map(encode).collect::<Result<Vec<_>>>()?;
    let texts = args.texts.within(&model, rules.max_tokens, texts)?;
    let mut options = EmbedOptions::new(texts::n_longest(&texts));
    options.kv_types = args.kv.kv_types;
    options.n_batch = args.batch.unwrap_or(options.n_batch);
    options.pooling = args.pooling.map(Pooling::from);
    options.n_kept = args.dimensions;
    options.is_normalized = !args.no_normalize;
    model.settle_evaluator(options.evaluator(&model.engine), args.quiet)?;
    let mut embedder = Embedder::new(&model.engine, options)?;
    let start = Instant::now();
    let vectors = embedder.embed(&texts)?;
    let seconds = start.elapsed().as_secs_f64();
    let rows = rows(&model, embedder.pooling(), &vectors);
    match new {
        Some(new) => {
            let path = args.npy.as_deref().unwrap_or(new.target()).to_path_buf();
            let failed = |e| Error::io(&path, "cannot write", e);
            let mut out = BufWriter::new(new.file());
            out.write_all(&npy::header((rows.len(), rows.first().map_or(0, |row| row.len()))))
                .map_err(failed)?;
            for row in &rows {
                let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
                out.write_all(&bytes).map_err(failed)?;
            }
            out.flush().map_err(failed)?;
            drop(out);
            new.finish(args.force).map_err(failed)?;
        }
        None if args.json => print_json(args, embedder.pooling(), &texts, &vectors)?,
        None => show(&rows.iter().map(|row| line(row)).collect::<String>())?,
    }
    if !args.quiet {
        let n_tokens: usize = texts.iter().map(|text| text.ids.len()).sum();
        say(format_args!(
            "{} of {} in {seconds:.2} s ({:.1} texts/s)",
            plural(texts.len(), "text"),
            plural(n_tokens, "token"),
            texts.len() as f64 / seconds
        ));
    }
    Ok(())
}

/// What comes in front of the texts: the prompt that was asked for, or that is put there by default.
fn prompt<'p>(rules: &'p TextRules, asked: Option<&str>, quiet: bool) -> Result<&'p str> {
    let names: Vec<&str> = rules.prompts.iter().map(|(name, _)| name.as_str()).collect();
    let Some(name) = asked.or(rules.default_prompt.as_deref()) else {
        if rules.prompts.iter().any(|(_, text)| !text.is_empty()) && !quiet {
            say(format_args!(
                "The model has prompts for texts, and none is used: --prompt {}",
                names.join(" | ")
            ));
        }
        return Ok("");
    };
    match rules.prompt(name) {
        Some(text) => {
            if asked.is_none() && !quiet {
                say(format_args!(
                    "In front of each text comes the model's prompt {name:?} (--prompt none: nothing)"
                ));
            }
            Ok(text)
        }
        None if name == "none" => Ok(""),
        None if asked.is_none() => Err(Error::usage(format!(
            "by the model's file its prompt {name:?} comes in front of texts, and it has none of that name; choose one: \
             --prompt {}",
            names.iter().chain(&["none"]).copied().collect::<Vec<_>>().join(" | ")
        ))),
        None if names.is_empty() => Err(Error::usage(
            "the model's file names no prompts; write what the model wants in front of the texts there yourself \
             (files made from folders of sentence-transformers by gguf-convert have theirs)",
        )),
        None => Err(Error::usage(format!("the model has no prompt {name:?}, but: {}", names.join(", ")))),
    }
}

/// How many tokens stand in front of a text behind `prompt`.
fn n_tokens_of(prompt: &str, tokenizer: &Tokenizer) -> Result<usize> {
    if prompt.is_empty() {
        return Ok(0);
    }
    Ok(tokenizer.encode_behind(prompt, "")?.len() - usize::from(tokenizer.adds_eos()))
}

/// The vectors, or without pooling those of all tokens.
fn rows<'v>(model: &Model, pooling: Pooling, vectors: &'v [Vec<f32>]) -> Vec<&'v [f32]> {
    let n_embd = model.engine.spec().n_embd;
    let of =
        |vector: &'v Vec<f32>| vector.chunks(if pooling == Pooling::None { n_embd } else { vector.len() });
    vectors.iter().flat_map(of).collect()
}

fn line(row: &[f32]) -> String {
    let numbers: Vec<String> = row.iter().map(f32::to_string).collect();
    numbers.join(" ") + "\n"
}

fn print_json(args: &Args, pooling: Pooling, texts: &[EmbedText], vectors: &[Vec<f32>]) -> Result<()> {
    let n_tokens: usize = texts.iter().map(|text| text.ids.len()).sum();
    let n_rows_of = |index: usize| (pooling == Pooling::None).then(|| texts[index].ids.len());
    let data: Vec<_> = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| {
            // Without pooling a vector for each token.
            let embedding = match n_rows_of(index) {
                None => json!(vector),
                Some(n) => json!(vector.chunks(vector.len() / n.max(1)).collect::<Vec<_>>()),
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    show_json(&json!({
        "object": "list",
        "model": args.model.model,
        "data": data,
        "usage": { "prompt_tokens": n_tokens, "total_tokens": n_tokens },
    }))
}
