//! One tokenizer file of any bytes among sound ones is read or refused; what is read encodes.

use std::fs;
use std::path::Path;

use gguf_kit::checkpoint::{Config, Folder};
use gguf_kit::tokenizer::{Tokenizer, Vocabulary};

/// Reads the small tokenizer of fixtures/tokenizer/`beside`, with `bytes` as its file `name`.
pub fn try_file(beside: &str, name: &str, bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tokenizer").join(beside);
    for entry in fs::read_dir(fixtures).expect("the fixtures") {
        let path = entry.expect("a readable folder").path();
        fs::copy(&path, dir.path().join(path.file_name().expect("a file"))).expect("room");
    }
    fs::write(dir.path().join(name), bytes).expect("room");
    let config = Config::parse(Path::new("config.json"), "{}").expect("valid");
    let vocabulary = Vocabulary::from_checkpoint(&Folder::new(dir.path()), &config, 512);
    let Ok(tokenizer) = vocabulary.and_then(Tokenizer::new) else { return };
    for parse_special in [false, true] {
        if let Ok(ids) = tokenizer.encode("a  b\n<s>day</s> <left> é🦙", true, parse_special) {
            tokenizer.decode(&ids, true);
        }
    }
}
