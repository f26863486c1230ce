//! What checkpoints hold beside a language model: other parts of multimodal models, and layers that predict
//! tokens beyond the next. A conversion leaves them out with a note, and buffers that are computed anew without one.

use crate::checkpoint::Checkpoint;
use crate::model::arch::Names;
use crate::model::spec::ModelSpec;
use crate::printable;

/// What the names of other parts begin with, after `model.` if that is in front.
const PARTS: [&str; 67] = [
    "vision_encoder.",
    "vision_language_adapter.",
    "pre_mm_projector_norm.",
    "vision_tower.",
    "vision_model.",
    "vision_embed_tokens.",
    "image_tower.",
    "video_tower.",
    "visual_embeddings_table.",
    "vqmodel.",
    "generation_embeddings.",
    "generation_aligner.",
    "generation_head.",
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
    "siglip2.",
    "linear_proj.",
    "layerwise_projectors.",
    "spatial_projectors.",
    "speech_encoder.",
    "speech_audio_adapter.",
    "ln_speech.",
    "conformer.",
    "audio_adapter.",
    "audio_embedding.",
    "audio_loss_weights",
    "codebook_offsets",
    "depthformer.",
    "depth_linear.",
    "depth_embeddings.",
    "mtp.",
    "mtp_block.",
];

/// Endings of buffers that versions of transformers saved and that are computed anew.
const BUFFERS: [&str; 8] = [
    ".inv_freq",
    ".cos_cached",
    ".sin_cached",
    ".masked_bias",
    ".self_attn.slope_rate",
    ".self_attn.query_decay",
    ".self_attn.key_decay",
    ".self_attn.diagonal_decay",
];

/// Endings of those that say which positions see which, as `[1, 1, n, n]`: GPT-2 and GPT-J, GPT-NeoX.
const MASKS: [&str; 2] = [".attn.bias", ".attention.bias"];

/// What stands in the names of adapters that Phi-4-multimodal has for what it sees and hears, and text does without.
const MODAL_ADAPTERS: [&str; 4] =
    [".lora_A.vision.", ".lora_B.vision.", ".lora_A.speech.", ".lora_B.speech."];

/// What stands in the names of matrices that CogVLM has for the positions of images.
const IMAGE_MATRICES: [&str; 2] = [".vision_expert_", ".vision_mlp."];

/// What that norm is called.
const IMAGE_NORMS: [&str; 2] = ["norm.weight", "norm.bias"];

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
    let is_of_images = IMAGE_MATRICES.iter().any(|part| name.contains(part));
    if PARTS.iter().any(|part| plain.starts_with(part)) || is_modal_adapter(name) || is_of_images {
        return true;
    }
    let layer =
        plain.split_once("layers.").and_then(|(_, rest)| rest.split('.').next()?.parse::<usize>().ok());
    let n_layer = spec.n_layer();
    layer.is_some_and(|i| (n_layer..n_layer + spec.n_left_out).contains(&i))
}

/// Whether a tensor is the norm of what Sarashina's part for images gives: it has no prefix, and the language model among
/// these names has `llm.`.
pub(super) fn is_image_norm<'n>(name: &str, mut names: impl Iterator<Item = &'n str>) -> bool {
    IMAGE_NORMS.contains(&name) && names.any(|other| other.starts_with("llm."))
}

/// Whether a tensor is a buffer that is computed anew.
pub(super) fn is_computed(name: &str, checkpoint: &Checkpoint) -> bool {
    let is_square = || {
        let view = checkpoint.tensor(name).ok().flatten();
        view.is_some_and(|view| matches!(view.shape[..], [1, 1, n, m] if n == m))
    };
    let has_one = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    has_one(&BUFFERS) || has_one(&MASKS) && is_square()
}

/// Whether a tensor is of an adapter that text does without.
pub(super) fn is_modal_adapter(name: &str) -> bool {
    MODAL_ADAPTERS.iter().any(|adapter| name.contains(adapter))
}

/// What the user should know of the tensors that were left out.
pub(super) fn note(left_out: &[&str]) -> Option<String> {
    let n = left_out.len();
    left_out.first()?;
    Some(format!(
        "{} left out, of parts beside the language model: {}",
        if n == 1 { "1 tensor is".to_owned() } else { format!("{n} tensors are") },
        printable::first_few(left_out, MAX_LISTED)
    ))
}
