//! Text to ids and back: vocabularies, the `tokenizers` crate, and the tokenizer keys of GGUF.
