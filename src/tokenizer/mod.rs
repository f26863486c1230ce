//! Text to ids and back: vocabularies, the tokenizer keys of GGUF, and encoding itself.
//!
//! A [`Vocabulary`] is read from a checkpoint's tokenizer files or from GGUF metadata and written to
//! the latter; a [`Tokenizer`] is built from it. Seven kinds are served: byte-level BPE, SentencePiece
//! BPE, Gemma 4's BPE over characters, the WordPiece and Unigram of encoders, RWKV's longest tokens and PLaMo's likeliest. Ids equal those of llama.cpp on the
//! same file, save where it approximates a model's own tokenizer: tekken and gpt-4o take combining marks for letters,
//! as the models do; words of more than a hundred characters are unknown to WordPiece; control tokens are not among the words of PLaMo; and
//! see `charsmap`.

pub mod answer_marks;
mod bpe;
mod byte_chars;
mod character_bpe;
mod charsmap;
mod decoder;
mod encoder;
mod engine;
mod import;
mod kinds;
mod literal;
mod merge;
mod metadata;
mod normalizer;
mod plamo;
mod pre_tokenizer;
mod pre_tokenizer_table;
mod special_ids;
mod special_tokens;
mod spm;
mod text_ids;
mod trie;
mod unigram;
mod vocabulary;
mod wordpiece;
mod world;

pub use decoder::StreamDecoder;
pub use engine::Tokenizer;
pub use import::{Difference, Proof};
pub use kinds::has_vocabulary;
pub use special_ids::{Role, SpecialIds};
pub use vocabulary::{Kind, TokenType, Vocabulary};
