//! The numbers of a `llama` model from the keys of a GGUF file.

use crate::error::{Error, Result};
use crate::gguf::Metadata;
use crate::model::arch::llama::ARCH;
use crate::model::arch::rope_scaling;
use crate::model::{Hparams, Rope};

pub(super) fn hparams_from_gguf(metadata: &Metadata) -> Result<Hparams> {
    let key = |name: &str| format!("{ARCH}.{name}");
    let n_embd = metadata.required_count(&key("embedding_length"))?;
    let n_head = required(metadata, &key("attention.head_count"))?;
    let derived = n_embd.checked_div(n_head).unwrap_or(0);
    let head_dim_k = metadata.count(&key("attention.key_length"))?.unwrap_or(derived);
    let n_ctx_train = metadata.required_count(&key("context_length"))?;
    let n_vocab = match metadata.array_len("tokenizer.ggml.tokens")? {
        Some(n_vocab) => n_vocab,
        None => metadata.required_count(&key("vocab_size"))?,
    };
    Hparams {
        n_layer: metadata.required_count(&key("block_count"))?,
        n_embd,
        n_head,
        n_head_kv: uniform_count(metadata, &key("attention.head_count_kv"))?.unwrap_or(n_head),
        head_dim_k,
        head_dim_v: metadata.count(&key("attention.value_length"))?.unwrap_or(derived),
        n_ff: required(metadata, &key("feed_forward_length"))?,
        n_vocab,
        n_ctx_train,
        rms_eps: metadata.required_f32(&key("attention.layer_norm_rms_epsilon"))?,
        rope: Rope {
            n_dims: metadata.count(&key("rope.dimension_count"))?.unwrap_or(head_dim_k),
            freq_base: metadata.f32(&key("rope.freq_base"))?.unwrap_or(10000.0),
            scaling: rope_scaling::from_metadata(metadata, ARCH, n_ctx_train)?,
        },
        n_expert: metadata.count(&key("expert_count"))?.unwrap_or(0),
        n_expert_used: metadata.count(&key("expert_used_count"))?.unwrap_or(0),
    }
    .checked(metadata.path())
}

fn required(metadata: &Metadata, key: &str) -> Result<usize> {
    uniform_count(metadata, key)?
        .ok_or_else(|| Error::malformed(metadata.path(), format!("the key {key} is missing")))
}

/// A count that may be stated once or per layer, if all layers agree.
fn uniform_count(metadata: &Metadata, key: &str) -> Result<Option<usize>> {
    if metadata.array_len(key).is_err() {
        return metadata.count(key);
    }
    let Some(counts) = metadata.i32s(key)? else {
        return Ok(None);
    };
    let Some(&first) = counts.first() else {
        return Err(Error::malformed(metadata.path(), format!("{key} is an empty array")));
    };
    if let Some(other) = counts.iter().find(|&&count| count != first) {
        let what = format!("{key} differs from layer to layer ({first} and {other}); one value is needed");
        return Err(Error::unsupported(metadata.path(), what));
    }
    match usize::try_from(first) {
        Ok(count) => Ok(Some(count)),
        Err(_) => Err(Error::malformed(metadata.path(), format!("{key} is {first}"))),
    }
}
