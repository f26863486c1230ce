//! Any bytes, read as a GGUF file, open or are refused; what opens can be walked to its end.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use gguf_kit::gguf::GgufFile;
use gguf_kit::mapped_file::MappedFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mapped = Arc::new(MappedFile::from_bytes(Path::new("fuzz.gguf"), bytes.to_vec()));
    let Ok(file) = GgufFile::from_mapped(mapped) else { return };
    let metadata = file.metadata();
    for key in metadata.keys() {
        let _ = (metadata.string(key), metadata.count(key), metadata.f32(key), metadata.bool(key));
        let _ = metadata.strings(key).map(|strings| strings.map(Iterator::count));
        let _ = (metadata.string_bytes(key), metadata.byte_strings(key).map(|strings| strings.map(Iterator::count)));
        let _ = (metadata.f32s(key), metadata.i32s(key), metadata.display(key), metadata.to_json(key));
    }
    for tensor in file.tensors() {
        assert_eq!(file.bytes(tensor).len(), tensor.n_bytes);
    }
});
