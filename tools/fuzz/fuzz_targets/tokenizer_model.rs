//! Any bytes as tokenizer.model.

#![no_main]

mod tokenizer_files;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tokenizer_files::try_file("spm", "tokenizer.model", bytes));
