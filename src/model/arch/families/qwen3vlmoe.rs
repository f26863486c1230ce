//! `qwen3vlmoe`: the text part of Qwen 3 VL 30B-A3B and 235B-A22B, and of Qwen 3 Omni: Qwen 3 with experts, whose positions have three
//! dimensions for images and are plain for text.

use super::prelude::*;

/// The `qwen3vlmoe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "qwen3vlmoe",
    checkpoint_classes: &[
        "Qwen3VLMoeForConditionalGeneration",
        "Qwen3VLMoeModel",
        "Qwen3OmniMoeForConditionalGeneration",
        "Qwen3OmniMoeThinkerForConditionalGeneration",
    ],
    model_types: &[
        "qwen3_vl_moe",
        "qwen3_vl_moe_text",
        "qwen3_omni_moe",
        "qwen3_omni_moe_text",
        "qwen3_omni_moe_thinker",
    ],
    keys,
    spec: super::qwen3moe::spec,
    names: Names::PLAIN,
    source,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.refuse("norm_topk_prob", true, false)?;
    super::qwen2moe::every_layer_has_experts(made)?;
    made.base(&Defaults { freq_base: 5e6, has_sections: true, ..Defaults::RMS })?;
    made.experts(&["num_local_experts", "num_experts"])?;
    made.count("expert_feed_forward_length", "moe_intermediate_size")?;
    super::qwen3vl::images(made)
}

/// Of VL models on the Hub the experts' matrices are turned, and gate and up lie side by side; transformers 5 saves them as
/// it computes with them, and reads either, by the shape. Of Omni models experts lie apart.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let turned = super::llama4::turned(sources, slot, "mlp.experts")?;
    if !slot.id.role.is_expert_stack() {
        return Ok(turned);
    }
    let (upright, turned) = (super::qwen3next::experts(sources, slot)?.map(Box::new), turned.map(Box::new));
    Ok(upright.zip(turned).map(|(upright, turned)| Source::Either(upright, turned)))
}
