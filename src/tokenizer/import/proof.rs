//! A tokenizer proves itself: what a GGUF makes of a text is compared with what the file that it was made
//! from makes of it, in the library that wrote that file.
//!
//! The `tokenizers` library reads tokenizer.json; tokens that the files beside it add are added there too.

use std::collections::HashSet;

use tokenizers::{AddedToken, Tokenizer as Reference};

use super::probes::probes;
use super::ranks::Ranks;
use super::settings::Settings;
use super::tokenizer_json::{NAME, specials_around};
use crate::checkpoint::{Config, Folder};
use crate::error::Result;
use crate::limits::MAX_JSON_BYTES;
use crate::tokenizer::{TokenType, Tokenizer};

/// What a comparison showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Texts compared.
    pub n_texts: usize,
    /// The texts that became other ids.
    pub differences: Vec<Difference>,
    /// Why nothing was compared.
    pub unchecked: Option<String>,
}

/// A text that two tokenizers read differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The text.
    pub text: String,
    /// Its ids by the checkpoint's own file.
    pub expected: Vec<u32>,
    /// Its ids by the tokenizer under test, or why it has none.
    pub found: Result<Vec<u32>, String>,
}

impl Proof {
    /// Compares `tokenizer` with the tokenizer files in `folder`, beside the model's `config`, over about 200
    /// texts.
    ///
    /// # Errors
    /// `Io`, `Malformed` and `Limit`, as reading those files gives them.
    pub fn of(tokenizer: &Tokenizer, folder: &Folder, config: &Config) -> Result<Self> {
        let unchecked = |why: String| Ok(Self { unchecked: Some(why), ..Self::default() });
        let settings = Settings::open(folder, config)?;
        let text = match folder.read_text(NAME, MAX_JSON_BYTES)? {
            Some(text) => text,
            None => match Ranks::open(folder, &settings, tokenizer.n_vocab())? {
                Some(ranks) => ranks.text,
                None => return unchecked("its ids are not compared, as there is no tokenizer.json".into()),
            },
        };
        let mut reference = match Reference::from_bytes(text) {
            Ok(reference) => reference,
            Err(e) => return unchecked(format!("its ids are not compared, as tokenizer.json is odd: {e}")),
        };
        let specials = specials_of(tokenizer);
        prepare(&mut reference, &settings, &specials)?;
        let mut proof = Self::default();
        for text in probes(&specials) {
            proof.compare(tokenizer, &reference, text, false);
        }
        let follows_template = settings.flag("add_bos_token")?.or(settings.flag("add_eos_token")?).is_none();
        if follows_template && can_be_said(&reference) {
            proof.compare(tokenizer, &reference, "a b".into(), true);
        }
        Ok(proof)
    }

    /// Compares one text, with the tokens around it if `add_special`.
    fn compare(&mut self, tokenizer: &Tokenizer, reference: &Reference, text: String, add_special: bool) {
        let Ok(expected) = reference.encode_fast(text.as_str(), add_special) else { return };
        let expected = expected.get_ids().to_vec();
        let found = tokenizer.encode(&text, add_special, true).map_err(|e| e.to_string());
        self.n_texts += 1;
        if found.as_ref() != Ok(&expected) {
            self.differences.push(Difference { text, expected, found });
        }
    }
}

/// The texts of the tokens that are found as a whole, in the order of their ids.
fn specials_of(tokenizer: &Tokenizer) -> Vec<String> {
    let is_special =
        |ty: TokenType| matches!(ty, TokenType::Control | TokenType::Unknown | TokenType::UserDefined);
    let ids = (0..tokenizer.n_vocab() as u32).filter(|&id| tokenizer.token_type(id).is_some_and(is_special));
    ids.filter_map(|id| tokenizer.token_text(id).map(str::to_owned)).collect()
}

/// Whether GGUF can say what is added around texts: at most one token on either side.
fn can_be_said(reference: &Reference) -> bool {
    let post_processor = serde_json::to_value(reference.get_post_processor()).unwrap_or_default();
    specials_around(&post_processor).iter().all(|texts| texts.len() <= 1)
}

/// Adds what `AutoTokenizer` would add from the other files, as far as the tokenizer under test has it (it
/// has no more tokens than the model has rows), and switches truncation and padding off, as it does.
fn prepare(reference: &mut Reference, settings: &Settings<'_>, specials: &[String]) -> Result<()> {
    let known: HashSet<&str> = specials.iter().map(String::as_str).collect();
    // All at once: with each call the library makes its automaton of all added tokens anew, and Gemma has 6,400.
    let mut added: Vec<AddedToken> = Vec::new();
    let mut there: HashSet<String> = reference.get_added_vocabulary().get_vocab().keys().cloned().collect();
    for token in settings.added_tokens()? {
        let is_there = there.contains(&token.content);
        if token.content.is_empty()
            || !known.contains(token.content.as_str())
            || (token.id.is_none() || token.normalized.is_none()) && is_there
        {
            continue;
        }
        let flags = token.flags();
        there.insert(token.content.clone());
        added.push(AddedToken {
            content: token.content,
            single_word: flags.single_word,
            lstrip: flags.lstrip,
            rstrip: flags.rstrip,
            normalized: flags.normalized,
            special: token.special,
        });
    }
    reference.add_tokens(&added);
    reference.with_padding(None);
    // No truncation is always valid.
    let _ = reference.with_truncation(None);
    Ok(())
}
