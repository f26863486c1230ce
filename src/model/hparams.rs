//! The numbers that shape a decoder, from a GGUF header or a checkpoint's config.json.
//!
//! A family reads them from either and passes them through [`Hparams::checked`]; what comes out is
//! within [`crate::limits`] and consistent, so it is not checked again.

use std::path::Path;

use crate::error::{Error, Result};
use crate::limits;
use crate::model::spec::kv::{KvLayer, KvSpec};

/// Shape and constants of a dense or mixture-of-experts decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Hparams {
    /// Transformer layers.
    pub n_layer: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads; divides `n_head`.
    pub n_head_kv: usize,
    /// Elements of a query and of a key head.
    pub head_dim_k: usize,
    /// Elements of a value head.
    pub head_dim_v: usize,
    /// Width of the feed-forward part (of one expert, where there are experts).
    pub n_ff: usize,
    /// Rows of the embedding and of the output matrix.
    pub n_vocab: usize,
    /// Positions the model was trained for.
    pub n_ctx_train: usize,
    /// Added to the mean square in RMS norms.
    pub rms_eps: f32,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Experts per layer; 0 for a dense model.
    pub n_expert: usize,
    /// Experts each token goes through; 0 for a dense model.
    pub n_expert_used: usize,
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Leading elements of each head that are rotated; even.
    pub n_dims: usize,
    /// Base of the geometric series of wavelengths.
    pub freq_base: f32,
    /// How positions or frequencies are stretched.
    pub scaling: RopeScaling,
}

/// How rotary positions are stretched for longer contexts. The per-frequency divisors of Llama 3
/// are no scaling of this kind: they are the tensor `rope_freqs.weight`.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// Positions are divided by `factor`.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// YaRN (Peng et al. 2023, section 3): low frequencies interpolated, high ones kept.
    Yarn {
        /// The context extension factor.
        factor: f32,
        /// The context before extension.
        original_context: usize,
        /// Multiplies the attention temperature; 1 as in the paper.
        attn_factor: f32,
        /// Rotations above which a dimension is kept.
        beta_fast: f32,
        /// Rotations below which a dimension is interpolated.
        beta_slow: f32,
    },
}

impl Hparams {
    /// These numbers, if a model can have them: counts within the limits, heads that divide, a
    /// rotary part that fits its head, positive constants.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the number, with `path` as the file at fault.
    pub fn checked(self, path: &Path) -> Result<Self> {
        match self.fault() {
            None => Ok(self),
            Some(what) => Err(Error::malformed(path, what)),
        }
    }

    fn fault(&self) -> Option<String> {
        self.count_fault().or_else(|| self.head_fault()).or_else(|| self.constant_fault())
    }

    fn count_fault(&self) -> Option<String> {
        let counts = [
            ("the number of layers", self.n_layer, limits::MAX_LAYERS),
            ("the embedding length", self.n_embd, limits::MAX_DIMENSION),
            ("the number of attention heads", self.n_head, limits::MAX_DIMENSION),
            ("the number of key-value heads", self.n_head_kv, limits::MAX_DIMENSION),
            ("the length of a key head", self.head_dim_k, limits::MAX_HEAD_DIM),
            ("the length of a value head", self.head_dim_v, limits::MAX_HEAD_DIM),
            ("the feed-forward length", self.n_ff, limits::MAX_DIMENSION),
            ("the vocabulary size", self.n_vocab, limits::MAX_VOCAB),
            ("the context length", self.n_ctx_train, limits::MAX_DIMENSION),
        ];
        for (name, value, max) in counts {
            if value == 0 || value > max {
                return Some(format!("{name} is {value}; it must be within 1..={max}"));
            }
        }
        if self.n_expert > limits::MAX_EXPERTS || self.n_layer * self.n_expert > limits::MAX_TENSORS {
            let (n_layer, n_expert) = (self.n_layer, self.n_expert);
            return Some(format!("{n_layer} layers of {n_expert} experts; no known model has as many"));
        }
        let used = self.n_expert_used;
        match self.n_expert {
            0 if used != 0 => Some(format!("a dense model cannot use {used} experts per token")),
            n if n > 0 && (used == 0 || used > n) => {
                Some(format!("{used} of {n} experts per token; it must be within 1..={n}"))
            }
            _ => None,
        }
    }

    fn head_fault(&self) -> Option<String> {
        let Self { n_head, n_head_kv, .. } = *self;
        if !n_head.is_multiple_of(n_head_kv) {
            return Some(format!("{n_head} attention heads do not divide among {n_head_kv} key-value heads"));
        }
        for (name, head_dim) in [("key", self.head_dim_k), ("value", self.head_dim_v)] {
            if n_head.checked_mul(head_dim).is_none_or(|n| n > limits::MAX_DIMENSION) {
                let max = limits::MAX_DIMENSION;
                return Some(format!("{n_head} heads with {name}s of {head_dim} exceed {max} elements"));
            }
        }
        let n_dims = self.rope.n_dims;
        if n_dims == 0 || n_dims % 2 == 1 || n_dims > self.head_dim_k {
            let head_dim = self.head_dim_k;
            return Some(format!(
                "{n_dims} rotated elements per head; it must be an even number within 2..={head_dim}"
            ));
        }
        None
    }

    fn constant_fault(&self) -> Option<String> {
        let mut constants =
            vec![("the epsilon of the RMS norm", self.rms_eps), ("the rotary base", self.rope.freq_base)];
        match self.rope.scaling {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => constants.push(("the rotary scaling factor", factor)),
            RopeScaling::Yarn { factor, original_context, attn_factor, beta_fast, beta_slow } => {
                if original_context == 0 || original_context > limits::MAX_DIMENSION {
                    let max = limits::MAX_DIMENSION;
                    return Some(format!(
                        "YaRN extends a context of {original_context}; it must be within 1..={max}"
                    ));
                }
                if self.rope.freq_base <= 1.0 {
                    let base = self.rope.freq_base;
                    return Some(format!("YaRN with a rotary base of {base}; it must be more than 1"));
                }
                if beta_fast <= beta_slow {
                    return Some(format!(
                        "YaRN's beta_fast {beta_fast} must exceed its beta_slow {beta_slow}"
                    ));
                }
                constants.push(("YaRN's scaling factor", factor));
                constants.push(("YaRN's attention factor", attn_factor));
                constants.push(("YaRN's beta_slow", beta_slow));
                constants.push(("YaRN's beta_fast", beta_fast));
            }
        }
        let bad = |value: &f32| !(value.is_finite() && *value > 0.0);
        let (name, value) = constants.into_iter().find(|(_, value)| bad(value))?;
        Some(format!("{name} is {value}; it must be a positive number"))
    }

    /// What the layers keep of every position.
    pub fn kv_spec(&self) -> KvSpec {
        let &Self { n_layer, n_head_kv, head_dim_k, head_dim_v, .. } = self;
        KvSpec { layers: vec![Some(KvLayer { n_head_kv, head_dim_k, head_dim_v, window: None }); n_layer] }
    }

    /// Elements of all query heads of a token.
    pub fn n_embd_q(&self) -> usize {
        self.n_head * self.head_dim_k
    }

    /// Elements of all key heads of a token.
    pub fn n_embd_k(&self) -> usize {
        self.n_head_kv * self.head_dim_k
    }

    /// Elements of all value heads of a token.
    pub fn n_embd_v(&self) -> usize {
        self.n_head_kv * self.head_dim_v
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Hparams {
        Hparams {
            n_layer: 2,
            n_embd: 64,
            n_head: 4,
            n_head_kv: 2,
            head_dim_k: 16,
            head_dim_v: 16,
            n_ff: 96,
            n_vocab: 100,
            n_ctx_train: 128,
            rms_eps: 1e-5,
            rope: Rope { n_dims: 16, freq_base: 10000.0, scaling: RopeScaling::None },
            n_expert: 0,
            n_expert_used: 0,
        }
    }

    fn fault_after(change: impl FnOnce(&mut Hparams)) -> String {
        let mut hparams = sound();
        change(&mut hparams);
        hparams.checked(Path::new("m.gguf")).expect_err("these numbers make no model").to_string()
    }

    #[test]
    fn sound_numbers_pass_unchanged() {
        assert_eq!(sound().checked(Path::new("m.gguf")).expect("sound"), sound());
    }

    #[test]
    fn impossible_numbers_are_named() {
        assert!(fault_after(|h| h.n_layer = 0).contains("number of layers"));
        assert!(fault_after(|h| h.n_layer = limits::MAX_LAYERS + 1).contains("number of layers"));
        assert!(fault_after(|h| h.n_vocab = usize::MAX).contains("vocabulary size"));
        assert!(fault_after(|h| h.n_head_kv = 3).contains("do not divide"));
        assert!(fault_after(|h| h.n_head = limits::MAX_DIMENSION).contains("exceed"));
        assert!(fault_after(|h| h.rope.n_dims = 15).contains("rotated elements"));
        assert!(fault_after(|h| h.rope.n_dims = 18).contains("rotated elements"));
        assert!(fault_after(|h| h.head_dim_k = limits::MAX_HEAD_DIM + 2).contains("key head"));
        let yarn = RopeScaling::Yarn {
            factor: 4.0,
            original_context: 64,
            attn_factor: 1.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
        };
        let rope = |freq_base| Rope { n_dims: 16, freq_base, scaling: yarn.clone() };
        assert!(fault_after(|h| h.rope = rope(1.0)).contains("rotary base of 1"));
        assert!(fault_after(|h| h.rms_eps = f32::NAN).contains("epsilon"));
        assert!(fault_after(|h| h.rope.freq_base = -1.0).contains("rotary base"));
        assert!(fault_after(|h| h.n_expert_used = 1).contains("dense model"));
        assert!(fault_after(|h| h.n_expert = 4).contains("0 of 4 experts"));
        assert!(
            fault_after(|h| h.rope.scaling = RopeScaling::Linear { factor: 0.0 }).contains("scaling factor")
        );
    }
}
