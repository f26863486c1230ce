//! What running a model takes beside its weights, estimated from what it is: weights that are not chosen yet cannot
//! be asked.

use crate::error::Result;
use crate::model::spec::ModelSpec;
use crate::model::spec::layer::{FfnShape, FfnSpec, MixerSpec};
use crate::model::{KvCache, KvOptions, KvTypes};

/// Tokens of a prompt that are computed at once, unless a user asks for others.
const N_BATCH: usize = 512;

/// Bytes that an element of a row of activations takes: a float, and its quantised forms.
const ELEMENT_BYTES: usize = 6;

/// Bytes of a token of the vocabulary: its text, its place in tables, its logit, its place among candidates.
const TOKEN_BYTES: u64 = 180;

/// Bytes of the program itself, and of what threads have on their stacks.
const PROGRAM_BYTES: u64 = 24 << 20;

/// Bytes of memory that a model takes beside its file: keys and values in F16 and recurrent states for `n_ctx`
/// tokens, activations, the vocabulary, the program.
///
/// # Errors
/// [`crate::Error::Usage`] if no cache of so many tokens can be.
pub fn memory_beside(spec: &ModelSpec, n_ctx: usize) -> Result<u64> {
    let n_batch = N_BATCH.min(n_ctx);
    let cache = KvCache::n_bytes(&spec.kv_spec(), KvOptions { n_ctx, n_batch, types: KvTypes::default() })?;
    let layers = spec.layers.iter();
    let widest =
        layers.map(|layer| mixer_elements(&layer.mixer, spec.n_embd) + ffn_elements(&layer.ffn)).max();
    let of_row = (6 * spec.n_embd + widest.unwrap_or(0)) * ELEMENT_BYTES;
    let others = (n_batch * of_row) as u64 + spec.n_vocab as u64 * TOKEN_BYTES + PROGRAM_BYTES;
    // The cache of a context beyond all limits cannot be counted.
    Ok(cache.saturating_add(others))
}

/// Elements of a token's activations in a mixer.
fn mixer_elements(mixer: &MixerSpec, n_embd: usize) -> usize {
    match mixer {
        MixerSpec::Attention(of) => 2 * (of.n_head * of.head_dim_k + of.n_embd_out()),
        // Other mixers have a few streams, each up to twice as wide as the residual one.
        _ => 8 * n_embd,
    }
}

/// Elements of a token's activations in a feed-forward part.
fn ffn_elements(ffn: &FfnSpec) -> usize {
    let of_shape = |shape: &FfnShape| 3 * shape.n_ff;
    match ffn {
        FfnSpec::None => 0,
        FfnSpec::Dense(shape) | FfnSpec::Gated(shape) => of_shape(shape),
        FfnSpec::Experts(experts) | FfnSpec::GatedAndExperts(_, experts, _) => {
            let shared = experts.shared.as_ref().map_or(0, |shared| of_shape(&shared.shape));
            let beside = if let FfnSpec::GatedAndExperts(shape, ..) = ffn { of_shape(shape) } else { 0 };
            let of_expert = of_shape(&experts.expert) + 2 * experts.expert.n_embd;
            experts.n_used * of_expert + 2 * experts.n_expert + shared + beside
        }
    }
}
