//! The rows of a vocabulary while it is put together from several files.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::tokenizer::vocabulary::TokenType;

/// Tokens by id; at most as many as the model has rows in its embedding.
pub(super) struct TokenList<'a> {
    /// The file that is being read, for messages.
    path: &'a Path,
    rows: Vec<Option<Row>>,
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
        Self { path, rows: Vec::new(), n_vocab }
    }

    /// Puts a token at `id`, in place of what was there.
    ///
    /// # Errors
    /// `Malformed` if the model has no row `id`.
    pub(super) fn set(&mut self, id: usize, text: &str, ty: TokenType, score: f32) -> Result<()> {
        if id >= self.n_vocab {
            let n = self.n_vocab;
            let what = format!(
                "token {text:?} has id {id}, but the model's embedding has {n} rows; the tokenizer files \
                 belong to \
                 another model, or config.json's vocab_size is too low"
            );
            return Err(Error::malformed(self.path, what));
        }
        if id >= self.rows.len() {
            self.rows.resize(id + 1, None);
        }
        self.rows[id] = Some(Row { text: text.to_owned(), ty, score });
        Ok(())
    }

    /// The type of the token at `id`, if there is one.
    pub(super) fn type_of(&self, id: usize) -> Option<TokenType> {
        self.rows.get(id)?.as_ref().map(|row| row.ty)
    }

    /// Fills the rows without a token with unused ones, `[PAD7]` and so on.
    pub(super) fn finish(mut self) -> Tokens {
        self.rows.resize(self.n_vocab, None);
        let mut tokens = Tokens { texts: Vec::new(), types: Vec::new(), scores: Vec::new() };
        for (id, row) in self.rows.into_iter().enumerate() {
            let unused = || Row { text: format!("[PAD{id}]"), ty: TokenType::Unused, score: -1000.0 };
            let Row { text, ty, score } = row.unwrap_or_else(unused);
            tokens.texts.push(text);
            tokens.types.push(ty);
            tokens.scores.push(score);
        }
        tokens
    }
}

impl Tokens {
    /// The ids by text; of equal texts, the first.
    pub(super) fn index(&self) -> HashMap<&str, u32> {
        let mut index = HashMap::with_capacity(self.texts.len());
        for (id, text) in self.texts.iter().enumerate() {
            index.entry(text.as_str()).or_insert(id as u32);
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_token_are_filled_with_unused_ones() {
        let mut list = TokenList::new(Path::new("tokenizer.json"), 4);
        list.set(2, "b", TokenType::Normal, 0.0).unwrap();
        list.set(0, "a", TokenType::Control, 0.0).unwrap();
        assert_eq!(list.type_of(0), Some(TokenType::Control));
        assert_eq!(list.type_of(1), None);
        let tokens = list.finish();
        assert_eq!(tokens.texts, ["a", "[PAD1]", "b", "[PAD3]"]);
        let (used, unused) = (TokenType::Normal, TokenType::Unused);
        assert_eq!(tokens.types, [TokenType::Control, unused, used, unused]);
        assert_eq!(tokens.index()["b"], 2);
    }

    #[test]
    fn a_token_beyond_the_embedding_is_named_with_both_numbers() {
        let mut list = TokenList::new(Path::new("tokenizer.json"), 4);
        let message = list.set(4, "x", TokenType::Normal, 0.0).unwrap_err().to_string();
        assert!(message.contains("\"x\" has id 4") && message.contains("4 rows"), "{message}");
    }
}
