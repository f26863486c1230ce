//! `deepseek2-ocr`: the text part of DeepSeek-OCR: attention over keys and values, dense layers first, then experts beside
//! shared ones.

use super::prelude::*;

/// The `deepseek2-ocr` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "deepseek2-ocr",
    checkpoint_classes: &[
        "DeepseekOCRForCausalLM",
        "DeepseekOCR2ForCausalLM",
        "DeepseekOcr2ForConditionalGeneration",
        "UnlimitedOCRForCausalLM",
    ],
    model_types: &["deepseek_vl_v2", "deepseek_ocr2", "deepseek_ocr2_text"],
    keys,
    spec,
    names: Names::PLAIN,
    source: |sources, slot| match slot.id.role {
        Role::FfnGateExps | Role::FfnUpExps | Role::FfnDownExps => super::qwen3next::experts(sources, slot),
        _ => plain(sources, slot),
    },
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("attention_bias", false, true)?;
    made.refuse("use_mla", false, true)?;
    made.base(&Defaults::RMS)?;
    // Programs that read such files know one base alone.
    if made.rope(&Defaults::RMS)?.freq_base != 1e4 {
        return Err(made.unsupported("rope_theta; the deepseek2-ocr architecture has 10000".into()));
    }
    super::deepseek2::experts(made)?;
    made.replace("expert_weights_norm", Value::Bool(made.config.bool("norm_topk_prob")?.unwrap_or(false)));
    made.replace_count("expert_gating_func", 1)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    // Files of others say the rotated part of a head as in DeepSeek V2, which does not hold here.
    let mut base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    base.rope.n_dims = base.head_dim_k;
    super::dots1::spec_with(&base, Scoring::Softmax, |_, _| {})
}
