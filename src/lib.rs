//! A model goes in as a Hugging Face checkpoint, is planned, quantised row by row into a GGUF,
//! mapped back into memory, and speaks.

#![deny(unsafe_code)]

pub mod chat;
pub mod checkpoint;
pub mod cli;
pub mod convert;
pub mod error;
pub mod eval;
pub mod file_kind;
pub mod gguf;
pub mod hub;
pub mod limits;
pub mod mapped_file;
pub mod model;
pub mod new_file;
pub mod paths;
pub mod printable;
pub mod quantize;
pub mod read_file;
pub mod regular_file;
pub mod runtime;
pub mod threads;
pub mod tokenizer;

pub use error::{Error, Result};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
