//! Any bytes as tokenizer_config.json.

#![no_main]

mod tokenizer_files;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tokenizer_files::try_file("spm_json", "tokenizer_config.json", bytes));
