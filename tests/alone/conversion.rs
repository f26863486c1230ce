//! A conversion's own memory does not grow with the model.

use std::path::Path;

use crate::common::checkpoint::Spec;
use crate::common::convert;
use crate::common::counting::peak_of;
use gguf_kit::convert::FileType;

pub(crate) fn converting_ninety_megabytes_takes_a_few() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    // 44 M weights: 88 MB in BF16, 25 MB in Q4_0.
    let spec = Spec { n_layer: 1, n_embd: 2048, n_ff: 4096, n_head: 32, n_head_kv: 8, ..Spec::default() };
    spec.write_sparse(dir.path());
    // Once with a small model, for what a conversion needs in any case: the tokenizer above all.
    let small = tempfile::tempdir().expect("a temporary folder");
    Spec::default().write(small.path());
    let peak_of =
        |checkpoint: &Path| peak_of(|| drop(convert(checkpoint, &checkpoint.join("m.gguf"), FileType::Q4_0)));
    let (small, large) = (peak_of(small.path()), peak_of(dir.path()));
    assert!(large < small + (16 << 20), "{large} bytes for the large model, {small} for the small one");
}
