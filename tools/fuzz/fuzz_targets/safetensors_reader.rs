//! Any bytes, read as a safetensors file, open or are refused; what opens can be walked to its end.

#![no_main]

use std::path::Path;

use gguf_kit::checkpoint::Shard;
use gguf_kit::read_file::ReadFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(shard) = Shard::from_file(ReadFile::from_bytes(Path::new("fuzz.safetensors"), bytes.to_vec()))
    else {
        return;
    };
    for name in shard.tensor_names() {
        if let Ok(tensor) = shard.tensor(name) {
            let tensor = tensor.expect("a listed tensor is there");
            let n_elements: usize = tensor.shape.iter().product();
            let mut bytes = vec![0; n_elements * tensor.dtype.element_bytes()];
            assert_eq!(tensor.n_bytes, bytes.len() as u64);
            tensor.read_at(0, &mut bytes).expect("its bytes are in the file");
        }
    }
});
