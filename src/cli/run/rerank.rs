//! `gguf-run rerank`: scores how well documents answer a query.

use serde_json::json;

use super::args::{KvArgs, ModelArgs};
use super::load::{Model, load};
use super::texts::{self, TextsArgs};
use crate::cli::compute::ComputeArgs;
use crate::cli::output::{show, show_json, warn};
use crate::error::{Error, Result};
use crate::runtime::{EmbedOptions, EmbedText, Embedder};
use crate::tokenizer::Tokenizer;

/// Score how well documents answer a query.
///
/// Prints the documents, the best first: score, number and text. Needs a rerank model, which reads the query and a
/// document together. Scores compare documents for one query; what a score means is for the model to say.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, override_usage = "gguf-run rerank [OPTIONS] <MODEL> <QUERY> <DOCUMENT...|--file <FILE>>")]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The query
    #[arg(value_name = "QUERY")]
    query: String,
    #[command(flatten)]
    documents: TextsArgs,
    /// Print one JSON object, as servers answer /v1/rerank
    #[arg(long)]
    json: bool,
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
  gguf-run rerank bge-reranker-v2-m3.gguf \"What is a panda?\" \"hi\" \"The panda is a bear of China.\"
  gguf-run rerank path/to/ms-marco-MiniLM-L6-v2 \"how to bake bread\" -f passages.txt --json";

/// Runs the subcommand.
///
/// # Errors
/// Any.
pub(super) fn run(args: &Args) -> Result<()> {
    let documents = args.documents.read()?;
    let model = load(&args.model, &args.compute, args.quiet)?;
    let pairs =
        documents.iter().map(|document| pair(&model, &args.query, document)).collect::<Result<Vec<_>>>()?;
    check_cuts(&pairs, model.engine.spec().n_ctx_train)?;
    let pairs = args.documents.within(&model, None, pairs)?;
    let mut options = EmbedOptions::new(texts::n_longest(&pairs));
    options.kv_types = args.kv.kv_types;
    model.settle_evaluator(options.evaluator(&model.engine), args.quiet)?;
    let scores = Embedder::new(&model.engine, options)?.scores(&pairs)?;
    let n_classes = scores.first().map_or(1, Vec::len);
    if n_classes > 1
        && !args.quiet
        && !model.engine.spec().pooled.classifier.as_ref().is_some_and(|classes| classes.is_softmax)
    {
        warn(format_args!(
            "the model tells {n_classes} classes apart, and documents are ranked by its number for the first: that need not be \
             the one that means a match"
        ));
    }
    let mut ranked: Vec<(usize, f32)> = scores.iter().map(|scores| scores[0]).enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if args.json {
        let n_tokens: usize = pairs.iter().map(|pair| pair.ids.len()).sum();
        let results: Vec<_> = ranked
            .iter()
            .map(|&(index, score)| json!({ "index": index, "relevance_score": score }))
            .collect();
        return show_json(&json!({
            "object": "list",
            "model": args.model.model,
            "results": results,
            "usage": { "prompt_tokens": n_tokens, "total_tokens": n_tokens },
        }));
    }
    let line =
        |&(index, score): &(usize, f32)| format!("{score:>10.4} {:>5}  {}\n", index + 1, documents[index]);
    show(&ranked.iter().map(line).collect::<String>())
}

/// Checks that pairs of more than `n_most` tokens can lose their ends: not if these are a prompt's, or if nothing of the
/// document would be left.
fn check_cuts(pairs: &[EmbedText], n_most: usize) -> Result<()> {
    for (i, EmbedText { ids, border, .. }) in
        pairs.iter().enumerate().filter(|(_, pair)| pair.ids.len() > n_most)
    {
        let (number, n) = (i + 1, ids.len());
        let why = match border {
            None => {
                "the model's prompt stands behind the document, which therefore cannot be cut; shorten it"
                    .to_owned()
            }
            Some(border) if border + 1 >= n_most => {
                format!(
                    "the query alone has {border} of these, so that nothing of the document would be left; shorten it"
                )
            }
            Some(_) => continue,
        };
        return Err(Error::limit(format!(
            "the query and document {number} have {n} tokens, and the model reads {n_most}: {why}"
        )));
    }
    Ok(())
}

/// A query and a document as the model reads them together: by its template for that, if it has one.
fn pair(model: &Model, query: &str, document: &str) -> Result<EmbedText> {
    let tokenizer = &model.tokenizer;
    let Some(template) = tokenizer.named_template("rerank") else {
        let (ids, border) = tokenizer.encode_pair(query, document)?;
        return Ok(EmbedText { border: Some(border), ..EmbedText::new(ids) });
    };
    let texts = [("{query}", query), ("{document}", document)];
    let mark = Tokenizer::free_mark(&[query, document, template])?;
    let mut whole = String::with_capacity(template.len() + query.len() + document.len());
    let mut rest = template;
    while let Some((at, name, text)) =
        texts.iter().filter_map(|&(name, text)| Some((rest.find(name)?, name, text))).min()
    {
        whole.push_str(&rest[..at]);
        whole.push_str(&tokenizer.mark(text, mark));
        rest = &rest[at + name.len()..];
    }
    whole.push_str(rest);
    Ok(EmbedText::new(tokenizer.encode_marked(&whole, mark)?))
}
