//! Tells one model file from another, and with which adapters it runs.

use sha2::{Digest, Sha256};

use crate::gguf::GgufFile;
use crate::model::adapter::Adapter;

/// Bytes read at the beginning, in the middle and at the end of every tensor.
const SAMPLE_BYTES: usize = 4096;

/// A digest of the whole header (metadata, vocabulary, names, shapes and types of the tensors), of the
/// file's length, and of three samples of every tensor: of a model of seven billion weights four
/// megabytes are read. Training, merging or quantising a tensor anew changes nearly all of its bytes; a
/// file of which only single bytes between the samples were changed has the fingerprint of the original.
pub(super) fn fingerprint(file: &GgufFile, adapters: &[Adapter]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    update(&mut hasher, file);
    // One that is applied no times changes nothing of what was computed.
    for adapter in adapters.iter().filter(|adapter| adapter.scale() != 0.0) {
        hasher.update(adapter.scale().to_le_bytes());
        update(&mut hasher, adapter.file());
    }
    hasher.finalize().into()
}

fn update(hasher: &mut Sha256, file: &GgufFile) {
    let bytes = file.mapped_file().bytes();
    hasher.update(file.file_len().to_le_bytes());
    let data = file.tensors().iter().map(|tensor| tensor.offset).min().and_then(|n| usize::try_from(n).ok());
    hasher.update(&bytes[..data.unwrap_or(bytes.len()).min(bytes.len())]);
    for tensor in file.tensors() {
        let bytes = file.bytes(tensor);
        let last = bytes.len().saturating_sub(SAMPLE_BYTES);
        for start in [0, last / 2, last] {
            hasher.update(&bytes[start..bytes.len().min(start + SAMPLE_BYTES)]);
        }
    }
}
