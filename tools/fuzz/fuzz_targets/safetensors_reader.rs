//! Any bytes, read as a safetensors file, open or are refused; what opens can be walked to its end.

#![no_main]

use std::path::Path;

use gguf_kit::checkpoint::Shard;
use gguf_kit::mapped_file::MappedFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(shard) = Shard::from_mapped(MappedFile::from_bytes(Path::new("fuzz.safetensors"), bytes.to_vec()))
    else {
        return;
    };
    for name in shard.tensor_names() {
        if let Ok(tensor) = shard.tensor(name) {
            let tensor = tensor.expect("a listed tensor is there");
            let n_elements: usize = tensor.shape.iter().product();
            assert_eq!(tensor.bytes.len(), n_elements * tensor.dtype.element_bytes());
        }
    }
});
