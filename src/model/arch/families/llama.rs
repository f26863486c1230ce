//! `llama`: Llama 1 to 3, Mistral 7B, Mixtral and their many kin.
//!
//! A pre-norm decoder with RMS norms, grouped-query attention with rotary positions over pairs of
//! elements, and a SiLU-gated feed-forward part, or several of them as experts. Checkpoints rotate
//! the halves of a head; GGUF's `llama` rotates pairs, so the rows of q and k are reordered on the way; the files of
//! Meta and Mistral themselves have them so already.
//!
//! The sliding window that Mistral 7B v0.1 was trained with has no key in `llama` files: as
//! everywhere in the field, attention reaches over the whole context.

use super::prelude::*;
use crate::checkpoint::PAIRED_ROWS;

/// The `llama` family.
pub(super) static FAMILY: Family = LLAMA;

/// Its checkpoints as their makers have them: rotated by pairs already.
pub(super) static PAIRED: Family = Family { names: Names { is_permuted: false, ..LLAMA.names }, ..LLAMA };

/// Whether a checkpoint is one of those.
pub(super) fn is_paired(config: &Config) -> Result<bool> {
    // Helium's authors rotate pairs too.
    Ok(config.bool(PAIRED_ROWS)?.unwrap_or(config.string("model_type")? == Some("helium")))
}

const LLAMA: Family = Family {
    gguf_name: "llama",
    checkpoint_classes: &[
        "LlamaForCausalLM",
        "LLaMAForCausalLM",
        "MistralForCausalLM",
        "MixtralForCausalLM",
        "InternLM3ForCausalLM",
        "IQuestCoderForCausalLM",
        "HeliumForCausalLM",
        "Emu3ForCausalLM",
        "LlamaModel",
        "MistralModel",
        "MixtralModel",
    ],
    model_types: &["llama", "mistral", "mixtral", "internlm3", "iquestcoder", "helium", "emu3_text_model"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::FfnGateInp, "block_sparse_moe.gate"),
            (Role::FfnGateExps, "block_sparse_moe.experts.{e}.w1"),
            (Role::FfnUpExps, "block_sparse_moe.experts.{e}.w3"),
            (Role::FfnDownExps, "block_sparse_moe.experts.{e}.w2"),
        ],
        is_permuted: true,
        ..Names::PLAIN
    },
    source: plain,
    promises: |config| {
        let promises = promises(config)?;
        // Models made from others that have no bias lack that of the output, which transformers takes for zeros.
        let output_bias =
            if promises.output_bias == Promise::There { Promise::Open } else { Promise::Absent };
        Ok(Promises { output_bias, ..promises })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu", "swish"])?;
    let config = made.config;
    let is_mixtral = match config.string("model_type")? {
        Some(model_type) => model_type == "mixtral",
        None => config.strings("architectures")?.is_some_and(|classes| classes[..] == ["MixtralForCausalLM"]),
    };
    let defaults =
        if is_mixtral { Defaults { eps: 1e-5, freq_base: 1e6, ..Defaults::RMS } } else { Defaults::RMS };
    made.base(&defaults)?;
    if config.count("num_local_experts")?.is_some_and(|n| n > 0) {
        made.experts(&["num_local_experts"])?;
    }
    let n_ctx_train = config.required_count("max_position_embeddings")?;
    if let Some(window) = window_of(config)?.filter(|&window| window < n_ctx_train) {
        made.note(format!(
            "the model was trained with a sliding window of {window} positions, which GGUF files of this \
             architecture cannot say: beyond {window} tokens its answers may differ"
        ));
    }
    Ok(())
}

/// The window that layers have: of the classes of this family Mistral's and Mixtral's look at it.
fn window_of(config: &Config) -> Result<Option<usize>> {
    let kind = config.string("model_type")?.map(str::to_lowercase);
    let has_windows = kind.is_none_or(|kind| kind.contains("mistral") || kind.contains("mixtral"));
    let is_full = config
        .strings("layer_types")?
        .is_some_and(|kinds| kinds.iter().all(|kind| *kind == "full_attention"));
    if has_windows && !is_full { config.count("sliding_window") } else { Ok(None) }
}

pub(super) fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let experts = base.experts()?;
    let layer = |i| match &experts {
        None => base.layer(i, |_| {}),
        Some(experts) => base.layer_of(base.attention(i), FfnSpec::Experts(experts.clone())),
    };
    base.model((0..base.n_layer).map(layer).collect())
}
