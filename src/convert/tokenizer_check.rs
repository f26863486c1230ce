//! The tokenizer as the file will carry it, held against the checkpoint's own.

use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::convert::plan::TokenizerDifferences;
use crate::error::{Error, Result};
use crate::gguf::{DEFAULT_ALIGNMENT, GgufFile, Layout, Value};
use crate::mapped_file::MappedFile;
use crate::tokenizer::{Difference, Proof, Tokenizer};

/// Differences shown in full.
const MAX_SHOWN: usize = 3;

/// Checks that the tokenizer in `pairs`, the metadata to be written, reads texts as the checkpoint's files
/// do. Returns notes: what was not compared and, if that is accepted, what differs.
///
/// # Errors
/// `Unsupported` with texts and both lists of ids for a tokenizer that differs, unless that is accepted;
/// what reading tokenizer files and metadata gives.
pub(super) fn prove(
    checkpoint: &Checkpoint,
    pairs: &[(String, Value)],
    differences: TokenizerDifferences,
) -> Result<Vec<String>> {
    if differences == TokenizerDifferences::Unchecked {
        return Ok(Vec::new());
    }
    let tokenizer = as_written(pairs)?;
    let proof = Proof::of(&tokenizer, checkpoint.folder(), checkpoint.config())?;
    let mut notes: Vec<String> = proof.unchecked.iter().map(|why| format!("tokenizer: {why}")).collect();
    let n = proof.differences.len();
    if n > 0 {
        let shown: Vec<String> = proof.differences.iter().take(MAX_SHOWN).map(show).collect();
        let what = format!(
            "the tokenizer reads {n} of {} probe texts otherwise than the checkpoint's own:{}",
            proof.n_texts,
            shown.concat()
        );
        if differences == TokenizerDifferences::Refused {
            let what = format!(
                "{what}\n(`gguf-convert --accept-tokenizer-differences` makes a GGUF file of it all the same, \
                 which gguf-run then takes)"
            );
            return Err(Error::unsupported(checkpoint.dir(), what));
        }
        notes.push(what);
    }
    Ok(notes)
}

/// The tokenizer that a file with these pairs has.
fn as_written(pairs: &[(String, Value)]) -> Result<Tokenizer> {
    let layout = Layout::new(pairs.to_vec(), Vec::new(), DEFAULT_ALIGNMENT)?;
    let bytes = layout.header().to_vec();
    let file = MappedFile::from_bytes(Path::new("the planned metadata"), bytes);
    Tokenizer::from_metadata(GgufFile::from_mapped(Arc::new(file))?.metadata())
}

fn show(difference: &Difference) -> String {
    let Difference { text, expected, found } = difference;
    let found = match found {
        Ok(ids) => list(ids),
        Err(message) => message.clone(),
    };
    format!("\n  {:?}\n    by the checkpoint: {}\n    by the GGUF file:  {found}", cut(text), list(expected))
}

/// The beginning of a long text.
fn cut(text: &str) -> String {
    const CHARS: usize = 60;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn list(ids: &[u32]) -> String {
    const SHOWN: usize = 24;
    let more = if ids.len() > SHOWN { format!(" … ({} in all)", ids.len()) } else { String::new() };
    let shown: Vec<String> = ids.iter().take(SHOWN).map(u32::to_string).collect();
    format!("{}{more}", shown.join(" "))
}
