//! Tensors of files that models do without, by their names.

use crate::model::spec::ModelSpec;

/// What the tensors of parts that see and hear begin with. Ollama's files hold them beside those of the language model,
/// others apart.
const OTHER_PARTS: [&str; 3] = ["v.", "a.", "mm."];

/// What the names of matrices have that CogVLM's layers keep for the positions of images.
const IMAGE_MATRICES: [&str; 4] = [".vis_attn_", ".vis_gate.", ".vis_up.", ".vis_down."];

/// Whether a tensor is of a part that sees or hears.
pub(crate) fn is_of_other_part(name: &str) -> bool {
    OTHER_PARTS.iter().any(|part| name.starts_with(part))
}

/// Whether a tensor belongs to what the decoder does without: parts that see or hear, layers that predict tokens beyond
/// the next, and the rotary frequencies that old files hold and that are computed instead.
pub(super) fn is_left_out(name: &str, spec: &ModelSpec) -> bool {
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    let n_layer = spec.n_layer();
    is_of_other_part(name)
        || layer.is_some_and(|i| (n_layer..n_layer + spec.n_left_out).contains(&i))
        || name.ends_with(".attn_rot_embd.weight")
        || name.ends_with("rope_inv_freq.weight")
        || layer.is_some() && IMAGE_MATRICES.iter().any(|part| name.contains(part))
}

/// Whether it is a tensor such as `blk.0.ffn_gate.7.weight`.
pub(super) fn is_expert_apart(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    matches!(parts[..], ["blk", _, "ffn_gate" | "ffn_up" | "ffn_down", expert, "weight"] if expert.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::{is_expert_apart, is_of_other_part};

    #[test]
    fn tensors_of_parts_that_see_and_hear_are_told_from_others() {
        for name in ["v.blk.0.attn_q.weight", "a.blk.1.ffn_up.weight", "mm.0.weight"] {
            assert!(is_of_other_part(name), "{name}");
        }
        for name in ["blk.0.attn_v.weight", "output.weight", "token_embd.weight", "vocab.weight"] {
            assert!(!is_of_other_part(name), "{name}");
        }
    }

    #[test]
    fn tensors_of_single_experts_are_told_from_others() {
        assert!(is_expert_apart("blk.0.ffn_gate.7.weight") && is_expert_apart("blk.31.ffn_down.0.weight"));
        for name in ["blk.0.ffn_gate.weight", "blk.0.ffn_gate_exps.weight", "blk.0.attn_q.0.weight"] {
            assert!(!is_expert_apart(name), "{name}");
        }
    }
}
