//! Any bytes as special_tokens_map.json.

#![no_main]

mod tokenizer_files;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tokenizer_files::try_file("spm_json", "special_tokens_map.json", bytes));
