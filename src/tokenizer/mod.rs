//! Text to ids and back: vocabularies, the tokenizer keys of GGUF, and encoding itself.
//!
//! A [`Vocabulary`] is read from a checkpoint's tokenizer files or from GGUF metadata and written to
//! the latter; a [`Tokenizer`] is built from it. Three kinds are served: byte-level BPE, SentencePiece
//! BPE, and Gemma 4's BPE over characters. Ids equal those of llama.cpp on the same file, save where it approximates a model's own
//! expression (tekken and gpt-4o take combining marks for letters, as the models do).

mod bpe;
mod byte_chars;
mod character_bpe;
mod decoder;
mod engine;
mod import;
mod literal;
mod merge;
mod metadata;
mod pre_tokenizer;
mod pre_tokenizer_table;
mod special_ids;
mod special_tokens;
mod spm;
mod vocabulary;

pub use decoder::StreamDecoder;
pub use engine::Tokenizer;
pub use import::{Difference, Proof};
pub use special_ids::{Role, SpecialIds};
pub use vocabulary::{Kind, TokenType, Vocabulary};
