//! The rows of a vocabulary while it is put together from several files.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::tokenizer::vocabulary::TokenType;

/// Tokens by id; at most as many as the model has rows in its embedding, and no text twice.
pub(super) struct TokenList<'a> {
    /// The file that is being read, for messages.
    path: &'a Path,
    rows: Vec<Option<Row>>,
    ids: HashMap<String, usize>,
    n_vocab: usize,
}

#[derive(Clone)]
struct Row {
    text: String,
    ty: TokenType,
    score: f32,
}

/// A finished list: one entry per row of the embedding.
pub(super) struct Tokens {
    pub(super) texts: Vec<String>,
    pub(super) types: Vec<TokenType>,
    pub(super) scores: Vec<f32>,
}

impl<'a> TokenList<'a> {
    /// An empty list for a model with `n_vocab` rows; `path` names the file in messages.
    pub(super) fn new(path: &'a Path, n_vocab: usize) -> Self {
        Self { path, rows: Vec::new(), ids: HashMap::new(), n_vocab }
    }

    /// Puts a token at `id`. An empty one is left out: it could never be told from nothing.
    ///
    /// # Errors
    /// `Malformed` if the model has no row `id`, if another text has it, or if the text has another id.
    pub(super) fn set(&mut self, id: usize, text: &str, ty: TokenType, score: f32) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if id >= self.n_vocab {
            let n = self.n_vocab;
            let what = format!(
                "token {text:?} has id {id}, but the model's embedding has {n} rows; the tokenizer files \
                 belong to another model, or config.json's vocab_size is too low"
            );
            return Err(Error::malformed(self.path, what));
        }
        if let Some(other) = self.text_of(id).filter(|&other| other != text) {
            let what = format!("two tokens have id {id}: {other:?} and {text:?}; one of them needs another");
            return Err(Error::malformed(self.path, what));
        }
        if let Some(other) = self.id_of(text).filter(|&other| other != id) {
            let what =
                format!("token {text:?} has two ids, {other} and {id}; one of them needs another text");
            return Err(Error::malformed(self.path, what));
        }
        self.ids.insert(text.to_owned(), id);
        if id >= self.rows.len() {
            self.rows.resize(id + 1, None);
        }
        self.rows[id] = Some(Row { text: text.to_owned(), ty, score });
        Ok(())
    }

    /// Takes the token at `id` away, for another to take its place.
    pub(super) fn clear(&mut self, id: usize) {
        if let Some(row) = self.rows.get_mut(id).and_then(Option::take) {
            self.ids.remove(&row.text);
        }
    }

    /// The id of the token with this text.
    pub(super) fn id_of(&self, text: &str) -> Option<usize> {
        self.ids.get(text).copied()
    }

    /// The text of the token at `id`, if there is one.
    pub(super) fn text_of(&self, id: usize) -> Option<&str> {
        self.rows.get(id)?.as_ref().map(|row| row.text.as_str())
    }

    /// The type of the token at `id`, if there is one.
    pub(super) fn type_of(&self, id: usize) -> Option<TokenType> {
        self.rows.get(id)?.as_ref().map(|row| row.ty)
    }

    /// How many tokens there are so far.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Rows of the model's embedding.
    pub(super) fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    /// Fills the rows without a token with unused ones, `[PAD7]` and so on.
    pub(super) fn finish(mut self) -> Tokens {
        self.rows.resize(self.n_vocab, None);
        let mut tokens = Tokens { texts: Vec::new(), types: Vec::new(), scores: Vec::new() };
        for (id, row) in self.rows.into_iter().enumerate() {
            let unused = || {
                let mut text = format!("[PAD{id}]");
                while self.ids.contains_key(&text) {
                    text.push('_');
                }
                Row { text, ty: TokenType::Unused, score: -1000.0 }
            };
            let Row { text, ty, score } = row.unwrap_or_else(unused);
            tokens.texts.push(text);
            tokens.types.push(ty);
            tokens.scores.push(score);
        }
        tokens
    }
}

impl Tokens {
    /// The ids by text.
    pub(super) fn index(&self) -> HashMap<&str, u32> {
        self.texts.iter().enumerate().map(|(id, text)| (text.as_str(), id as u32)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> TokenList<'static> {
        TokenList::new(Path::new("tokenizer.json"), 4)
    }

    #[test]
    fn rows_without_a_token_are_filled_with_unused_ones_of_other_texts() {
        let mut list = list();
        list.set(2, "[PAD1]", TokenType::Normal, 0.0).unwrap();
        list.set(0, "a", TokenType::Control, 0.0).unwrap();
        list.set(3, "", TokenType::Normal, 0.0).unwrap();
        assert_eq!(list.type_of(0), Some(TokenType::Control));
        assert_eq!((list.type_of(1), list.len()), (None, 2));
        let tokens = list.finish();
        assert_eq!(tokens.texts, ["a", "[PAD1]_", "[PAD1]", "[PAD3]"]);
        let (used, unused) = (TokenType::Normal, TokenType::Unused);
        assert_eq!(tokens.types, [TokenType::Control, unused, used, unused]);
        assert_eq!(tokens.index()["[PAD1]"], 2);
    }

    #[test]
    fn a_token_beyond_the_embedding_is_named_with_both_numbers() {
        let message = list().set(4, "x", TokenType::Normal, 0.0).unwrap_err().to_string();
        assert!(message.contains("\"x\" has id 4") && message.contains("4 rows"), "{message}");
    }

    #[test]
    fn an_id_with_two_texts_and_a_text_with_two_ids_are_refused_by_name() {
        let mut list = list();
        list.set(1, "a", TokenType::Normal, 0.0).unwrap();
        list.set(1, "a", TokenType::Control, 0.0).unwrap();
        let message = list.set(1, "b", TokenType::Normal, 0.0).unwrap_err().to_string();
        assert!(message.contains("have id 1: \"a\" and \"b\""), "{message}");
        let message = list.set(2, "a", TokenType::Normal, 0.0).unwrap_err().to_string();
        assert!(message.contains("\"a\" has two ids, 1 and 2"), "{message}");
        list.clear(1);
        list.set(2, "a", TokenType::Normal, 0.0).unwrap();
    }
}
