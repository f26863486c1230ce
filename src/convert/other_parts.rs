//! What checkpoints hold beside a language model: other parts of multimodal models, and layers that predict
//! tokens beyond the next. A conversion leaves them out with a note.

use crate::model::arch::Names;
use crate::model::spec::ModelSpec;

/// What the names of other parts begin with, after `model.` if that is in front.
const PARTS: [&str; 44] = [
    "vision_encoder.",
    "vision_language_adapter.",
    "pre_mm_projector_norm.",
    "vision_tower.",
    "vision_model.",
    "vision_embedder.",
    "visual.",
    "vpm.",
    "vit.",
    "sam_model.",
    "qwen2_model.",
    "view_seperator",
    "vision_adapter.",
    "mlp_AR.",
    "connector.",
    "aligner.",
    "high_res_vision_",
    "merger.",
    "mlp1.",
    "acoustic_tokenizer_encoder.",
    "semantic_tokenizer_encoder.",
    "audio_adaptor.",
    "projector.",
    "resampler.",
    "image_newline",
    "multi_modal_projector.",
    "vit_large_projector.",
    "mm_projector.",
    "patch_merger.",
    "embed_vision.",
    "embed_audio.",
    "audio_tower.",
    "audio_model.",
    "audio_embed.",
    "audio_projection_layer.",
    "multi_modal_mlp.",
    "vision_projection.",
    "img_processor.",
    "embed_tokens_extend.",
    "talker.",
    "token2wav.",
    "code2wav.",
    "mtp.",
    "mtp_block.",
];

/// Names listed in a note before it says "and more".
const MAX_LISTED: usize = 3;

/// Whether a tensor belongs to what is left out of a model.
pub(super) fn is_left_out(name: &str, spec: &ModelSpec, family: &Names) -> bool {
    let of_base = name.strip_prefix(family.base_prefix).unwrap_or(name);
    if family.left_out.iter().any(|part| of_base.starts_with(part)) {
        return true;
    }
    let plain = name.strip_prefix("thinker.").unwrap_or(name);
    let plain = plain.strip_prefix("model.").unwrap_or(plain);
    if PARTS.iter().any(|part| plain.starts_with(part)) {
        return true;
    }
    let layer =
        plain.split_once("layers.").and_then(|(_, rest)| rest.split('.').next()?.parse::<usize>().ok());
    let n_layer = spec.n_layer();
    layer.is_some_and(|i| (n_layer..n_layer + spec.n_left_out).contains(&i))
}

/// What the user should know of the tensors that were left out.
pub(super) fn note(left_out: &[&str]) -> Option<String> {
    let n = left_out.len();
    left_out.first()?;
    let listed: Vec<String> =
        left_out.iter().take(MAX_LISTED).map(|name| name.escape_debug().to_string()).collect();
    let more = if n > MAX_LISTED { format!(" and {} more", n - MAX_LISTED) } else { String::new() };
    Some(format!(
        "{} left out, of parts beside the language model: {}{more}",
        if n == 1 { "1 tensor is".to_owned() } else { format!("{n} tensors are") },
        listed.join(", ")
    ))
}
