//! Tokens that are added to a vocabulary, as `AutoTokenizer` takes them: from tokenizer.json, then from the
//! files beside it.

use std::collections::{BTreeMap, HashSet};

use super::added_type;
use super::settings::Settings;
use super::token_list::TokenList;
use super::tokenizer_json::{AddedToken, TokenizerJson};
use crate::error::Result;
use crate::printable;
use crate::tokenizer::spm::SPACE;
use crate::tokenizer::vocabulary::{AddedFlags, Kind, TokenType};

/// The score of tokens added beside a SentencePiece model; they are matched as a whole, never joined.
const ADDED_SCORE: f32 = -1000.0;

/// Puts added tokens into a vocabulary.
pub(super) struct Adder<'l, 'p> {
    pub(super) list: &'l mut TokenList<'p>,
    pub(super) kind: Kind,
    /// Whether tokens of the list may be replaced: files beside tokenizer.model rename pieces that it keeps
    /// for that purpose.
    pub(super) replaces: bool,
    /// Tokens of the model that texts become by its merges alone, though a file lists them as added.
    pub(super) merged: HashSet<&'l str>,
    pub(super) notes: &'l mut Vec<String>,
    /// Tokens before any were added.
    n_model: usize,
    flags: BTreeMap<u32, AddedFlags>,
    /// Tokens whose flags a later file changed.
    changed: Vec<String>,
}

impl<'l, 'p> Adder<'l, 'p> {
    /// Adds to `list`, which holds what the model itself has.
    pub(super) fn new(list: &'l mut TokenList<'p>, kind: Kind, notes: &'l mut Vec<String>) -> Self {
        let n_model = list.len();
        Self {
            list,
            kind,
            replaces: false,
            merged: HashSet::new(),
            notes,
            n_model,
            flags: BTreeMap::new(),
            changed: Vec::new(),
        }
    }

    /// Adds the tokens of `json` and of the files that `settings` read. Returns how each is matched.
    ///
    /// # Errors
    /// `Malformed` if a token has another's id or two ids, or no row in the embedding.
    pub(super) fn add_all(
        mut self,
        json: Option<&TokenizerJson>,
        settings: &Settings<'_>,
    ) -> Result<Vec<(u32, AddedFlags)>> {
        for token in json.map_or(&[][..], |json| &json.added_tokens) {
            self.add(token, true)?;
        }
        for token in settings.added_tokens()? {
            self.add(&token, false)?;
        }
        if !self.changed.is_empty() {
            let texts: Vec<&str> = self.changed.iter().map(String::as_str).collect();
            self.notes.push(format!(
                "tokenizer: lstrip, rstrip, single_word or normalized of {} are others in tokenizer_config.json \
                 than in tokenizer.json; tokenizer_config.json decides, as for AutoTokenizer",
                listed(&texts)
            ));
        }
        let stripping = self.flags.iter().filter(|(_, flags)| flags.change_matches());
        let texts: Vec<&str> = stripping.filter_map(|(&id, _)| self.list.text_of(id as usize)).collect();
        if !texts.is_empty() {
            self.notes.push(format!(
                "tokenizer: lstrip, rstrip or single_word of added tokens ({}) are kept in a key of this \
                 program's own, which others do not read",
                listed(&texts)
            ));
        }
        Ok(self.flags.into_iter().collect())
    }

    /// Adds `token`; `is_own` if the tokenizer's own file says so, whose ids decide.
    fn add(&mut self, token: &AddedToken, is_own: bool) -> Result<()> {
        if token.content.is_empty() {
            self.notes.push("tokenizer: an added token without text is left out".into());
            return Ok(());
        }
        if self.merged.contains(token.content.as_str()) {
            return Ok(());
        }
        let ty = added_type(&token.content, token.special);
        let text = self.text_of(&token.content, ty);
        let known = self.list.id_of(&token.content).or_else(|| self.list.id_of(&text));
        let is_added = known.is_some_and(|id| self.flags.contains_key(&(id as u32)));
        if token.id.is_none() && is_added {
            return Ok(());
        }
        let Some(id) = self.place(token, known, is_own) else { return Ok(()) };
        if is_added && !is_own && token.normalized.is_none() {
            // A file that gives only its id; its flags are known.
            return Ok(());
        }
        if self.replaces && known.is_none() {
            self.make_room(id, &text);
        }
        if known == Some(id) && text != token.content {
            self.list.clear(id);
        }
        let is_word = self.list.type_of(id) == Some(TokenType::Normal) && !looks_added(&token.content);
        if token.id.is_none() && is_word {
            // Named as a special token, but an ordinary word, which is to be shown.
            return Ok(());
        }
        let keeps = match self.list.type_of(id) {
            Some(TokenType::Unknown | TokenType::Byte) => true,
            // A piece that SentencePiece itself keeps out of texts.
            Some(TokenType::Control) => self.replaces,
            _ => false,
        };
        if !keeps || known != Some(id) {
            self.list.set(id, &text, ty, if self.kind == Kind::SentencePiece { ADDED_SCORE } else { 0.0 })?;
        }
        let before = self.flags.insert(id as u32, token.flags());
        if before.is_some_and(|before| before != token.flags()) {
            self.changed.push(token.content.clone());
        }
        Ok(())
    }

    /// User-defined tokens are matched in the text itself, so their spaces are spaces.
    fn text_of(&self, content: &str, ty: TokenType) -> String {
        if self.kind != Kind::ByteLevelBpe && ty == TokenType::UserDefined {
            content.replace(SPACE, " ")
        } else {
            content.to_owned()
        }
    }

    /// The id for `token`, whose text has the id `known`; `None` if the model has no row for it.
    fn place(&mut self, token: &AddedToken, known: Option<usize>, is_own: bool) -> Option<usize> {
        match (token.id, known) {
            (Some(id), Some(known)) if id != known && !is_own => {
                self.notes.push(format!(
                    "tokenizer: {:?} has id {known} in the tokenizer's own file, and {id} in one beside it, \
                     which is left aside",
                    token.content
                ));
                Some(known)
            }
            (Some(id), _) => Some(id),
            (None, Some(known)) => Some(known),
            (None, None) => {
                let last_added = self.flags.keys().next_back().map_or(0, |&id| id as usize + 1);
                let next = self.n_model.max(last_added);
                if next < self.list.n_vocab() {
                    return Some(next);
                }
                self.notes.push(format!(
                    "tokenizer: the special token {:?} is not in the vocabulary, and the model has no row left \
                     for it; it is left out",
                    token.content
                ));
                None
            }
        }
    }

    fn make_room(&mut self, id: usize, text: &str) {
        let replaced = matches!(
            self.list.type_of(id),
            Some(TokenType::Normal | TokenType::UserDefined | TokenType::Unused)
        );
        if let Some(other) = self.list.text_of(id).filter(|&other| replaced && other != text) {
            self.notes.push(format!("tokenizer: the added token {text:?} replaces {other:?}, id {id}"));
            self.list.clear(id);
        }
    }
}

/// Whether a text looks like a token that was added, rather than like a word; Code Llama's `▁<PRE>` does too.
fn looks_added(text: &str) -> bool {
    let text = text.trim_start_matches(SPACE);
    let brackets = [('<', '>'), ('[', ']')];
    brackets.iter().any(|&(open, close)| text.starts_with(open) && text.ends_with(close))
}

/// The first few of `texts`, for a sentence.
pub(super) fn listed(texts: &[&str]) -> String {
    printable::first_few(texts, 4)
}
