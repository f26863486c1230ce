//! The numbers of a `llama` model from config.json, as transformers' classes read them.

use crate::checkpoint::Config;
use crate::error::{Error, Result};
use crate::model::arch::rope_scaling::RopeConfig;
use crate::model::{Hparams, Rope};

/// What transformers' configuration classes assume where config.json is silent and weights cannot tell.
struct Defaults {
    rms_eps: f32,
    freq_base: f32,
}

impl Defaults {
    fn of(config: &Config) -> Result<Self> {
        let is_mixtral = match config.string("model_type")? {
            Some(model_type) => model_type == "mixtral",
            None => {
                config.strings("architectures")?.is_some_and(|classes| classes[..] == ["MixtralForCausalLM"])
            }
        };
        Ok(if is_mixtral {
            Self { rms_eps: 1e-5, freq_base: 1e6 }
        } else {
            Self { rms_eps: 1e-6, freq_base: 1e4 }
        })
    }
}

pub(super) fn hparams_from_config(config: &Config) -> Result<Hparams> {
    refuse_variants(config)?;
    let n_embd = config.required_count("hidden_size")?;
    let n_head = config.required_count("num_attention_heads")?;
    let head_dim = match config.count("head_dim")? {
        Some(head_dim) => head_dim,
        None => derived_head_dim(config, n_embd, n_head)?,
    };
    let n_ctx_train = config.required_count("max_position_embeddings")?;
    let rope = rope_config(config, n_ctx_train)?;
    let n_expert = config.count("num_local_experts")?.unwrap_or(0);
    Hparams {
        n_layer: config.required_count("num_hidden_layers")?,
        n_embd,
        n_head,
        n_head_kv: config.count("num_key_value_heads")?.unwrap_or(n_head),
        head_dim_k: head_dim,
        head_dim_v: head_dim,
        n_ff: config.required_count("intermediate_size")?,
        n_vocab: config.required_count("vocab_size")?,
        n_ctx_train,
        rms_eps: config.f32("rms_norm_eps")?.unwrap_or(Defaults::of(config)?.rms_eps),
        rope: Rope { n_dims: head_dim, freq_base: rope.freq_base, scaling: rope.scaling },
        n_expert,
        n_expert_used: if n_expert == 0 { 0 } else { config.required_count("num_experts_per_tok")? },
    }
    .checked(config.path())
}

fn derived_head_dim(config: &Config, n_embd: usize, n_head: usize) -> Result<usize> {
    if n_head == 0 || !n_embd.is_multiple_of(n_head) {
        let what = format!(
            "hidden_size {n_embd} does not divide among {n_head} attention heads, and head_dim is not given"
        );
        return Err(Error::malformed(config.path(), what));
    }
    Ok(n_embd / n_head)
}

/// Refuses what a class of this family can be configured to, but GGUF's `llama` cannot express.
fn refuse_variants(config: &Config) -> Result<()> {
    let unsupported = |what: String| Err(Error::unsupported(config.path(), what));
    let activation = config.string("hidden_act")?.unwrap_or("silu");
    if !matches!(activation, "silu" | "swish") {
        return unsupported(format!("hidden_act \"{activation}\"; the llama architecture has silu"));
    }
    Ok(())
}

/// What config.json says of rotary positions.
pub(super) fn rope_config(config: &Config, n_ctx_train: usize) -> Result<RopeConfig> {
    RopeConfig::read(config, n_ctx_train, Defaults::of(config)?.freq_base)
}

/// What GGUF's `llama` cannot carry and the user should know.
pub(super) fn notes_from_config(hparams: &Hparams, config: &Config) -> Result<Vec<String>> {
    let mut notes = rope_config(config, hparams.n_ctx_train)?.notes;
    if let Some(window) = config.count("sliding_window")?.filter(|&window| window < hparams.n_ctx_train) {
        // Attention in the field's runtimes reaches over the whole context for this family.
        notes.push(format!(
            "the model was trained with a sliding window of {window} positions, which GGUF files of this \
             architecture cannot say: beyond {window} tokens its answers may differ"
        ));
    }
    Ok(notes)
}
