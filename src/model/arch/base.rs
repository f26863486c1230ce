//! What the decoders of all families have in common: a [`Base`] reads the numbers that every one has, and
//! makes plain layers, of which a family changes what it has otherwise.

use gguf_simd::ops::Gate;

use super::keys::Keys;
use super::rope_scaling;
use crate::error::Result;
use crate::limits;
use crate::model::arch::{pooled, ranking};
use crate::model::spec::layer::{
    AttentionSpec, ExpertsSpec, FfnInput, FfnShape, FfnSpec, LayerSpec, MixerSpec, NormKind, NormSpec,
    QkNormExtent, QkNormSpec, RopeOrder, RopeUse, RouterSpec, Scoring, SharedSpec, Window,
};
use crate::model::spec::{EmbedSpec, HeadSpec, ModelSpec, Role, RopeSpec, Side};

/// The numbers that every decoder has.
#[derive(Clone, Debug)]
pub(crate) struct Base<'k> {
    /// Where they were read, and others can be.
    pub(crate) keys: Keys<'k>,
    /// Layers, without those of predictions beyond the next token.
    pub(crate) n_layer: usize,
    /// Layers of such predictions.
    pub(crate) n_left_out: usize,
    /// Width of the residual stream.
    pub(crate) n_embd: usize,
    /// `[n_layer]`: query heads.
    pub(crate) n_head: Vec<usize>,
    /// `[n_layer]`: key-value heads.
    pub(crate) n_head_kv: Vec<usize>,
    /// Elements of a query and of a key head.
    pub(crate) head_dim_k: usize,
    /// Elements of a value head.
    pub(crate) head_dim_v: usize,
    /// `[n_layer]`: width of the feed-forward part.
    pub(crate) n_ff: Vec<usize>,
    /// The norms of all layers.
    pub(crate) norm: NormSpec,
    /// The rotary embedding.
    pub(crate) rope: RopeSpec,
    /// Which elements rotate together.
    pub(crate) order: RopeOrder,
    /// The activation of feed-forward parts.
    pub(crate) activation: Gate,
}

impl<'k> Base<'k> {
    /// Reads them; `order` and `activation` are the family's.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] for numbers that are missing or that no model has.
    pub(crate) fn read(keys: Keys<'k>, kind: NormKind, order: RopeOrder, activation: Gate) -> Result<Self> {
        let n_left_out = keys.count("nextn_predict_layers")?.unwrap_or(0);
        let n_block = keys.required_count("block_count")?;
        let n_layer = n_block.saturating_sub(n_left_out);
        if n_layer == 0 || n_block > limits::MAX_LAYERS {
            let max = limits::MAX_LAYERS;
            let what = format!("the number of layers is {n_layer}; it must be within 1..={max}");
            return Err(crate::Error::malformed(keys.path(), what));
        }
        let n_embd = keys.required_count("embedding_length")?;
        // Files of recurrent models may say nothing of what they have not.
        let is_recurrent = keys.contains("ssm.state_size") || keys.contains("wkv.head_size");
        let counts = |key: &str, may_lack: bool| match keys.counts(key, n_layer)? {
            None if may_lack => Ok(vec![0; n_layer]),
            counts => counts.ok_or_else(|| keys.missing(key)),
        };
        let n_head = counts("attention.head_count", is_recurrent)?;
        // Models of experts alone have no other width.
        let may_lack = is_recurrent || keys.contains("expert_feed_forward_length");
        let n_ff = counts("feed_forward_length", may_lack)?;
        // Layers without attention have no heads.
        let derived = n_embd.checked_div(n_head.iter().copied().max().unwrap_or(0)).unwrap_or(0);
        let head_dim_k = keys.count("attention.key_length")?.unwrap_or(derived);
        let eps = match kind {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        };
        Ok(Self {
            n_layer,
            n_left_out,
            n_embd,
            n_head_kv: keys.counts("attention.head_count_kv", n_layer)?.unwrap_or_else(|| n_head.clone()),
            n_head,
            head_dim_k,
            head_dim_v: keys.count("attention.value_length")?.unwrap_or(derived),
            n_ff,
            norm: NormSpec { kind, eps: epsilon(&keys, eps)?, has_weight: true, is_bare: false },
            rope: rope_scaling::rope(&keys, head_dim_k)?,
            order,
            activation,
            keys,
        })
    }

    /// Attention of layer `i`.
    pub(crate) fn attention(&self, i: usize) -> AttentionSpec {
        let (n_head, n_head_kv) = (self.n_head[i], self.n_head_kv[i]);
        AttentionSpec {
            head_dim_v: self.head_dim_v,
            rope: Some(RopeUse { index: 0, order: self.order }),
            ..AttentionSpec::plain(self.n_embd, n_head, n_head_kv, self.head_dim_k)
        }
    }

    /// The feed-forward part of layer `i`.
    pub(crate) fn ffn(&self, i: usize) -> FfnShape {
        self.ffn_of(self.n_ff[i])
    }

    /// A feed-forward part of width `n_ff`.
    pub(crate) fn ffn_of(&self, n_ff: usize) -> FfnShape {
        FfnShape {
            n_embd: self.n_embd,
            n_ff,
            activation: self.activation,
            has_bias: true,
            is_fused: false,
            hidden_norm: None,
            cutoff: None,
        }
    }

    /// Layer `i` with `attention` and `ffn`, norms in front of both.
    pub(crate) fn layer_of(&self, attention: AttentionSpec, ffn: FfnSpec) -> LayerSpec {
        LayerSpec {
            mixer: MixerSpec::Attention(attention),
            mixer_norm: Some(self.norm),
            mixer_norm_role: Role::AttnNorm,
            norms_stream: false,
            mixer_post_norm: None,
            mixer_post_norm_role: Role::AttnPostNorm,
            mixer_stream_norm: None,
            ffn,
            ffn_input: FfnInput::Sequential(Some(self.norm)),
            ffn_norm_role: Role::FfnNorm,
            ffn_post_norm: None,
            ffn_post_norm_role: Role::FfnPostNorm,
            ffn_stream_norm: None,
            residual_scale: 1.0,
            mixer_scale: 1.0,
            per_layer: None,
            altup: None,
            hyper: None,
            ngram: None,
            stored_scale: None,
            has_gains: false,
            repeats: None,
            last_norm: None,
        }
    }

    /// A plain layer `i` whose attention was changed by `change`.
    pub(crate) fn layer(&self, i: usize, change: impl FnOnce(&mut AttentionSpec)) -> LayerSpec {
        let mut attention = self.attention(i);
        change(&mut attention);
        self.layer_of(attention, FfnSpec::Gated(self.ffn(i)))
    }

    /// The experts of every layer that has some, chosen by probabilities that are normalised; `None` for a
    /// dense model.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] for keys of another type.
    pub(crate) fn experts(&self) -> Result<Option<ExpertsSpec>> {
        let n_expert = self.keys.count("expert_count")?.unwrap_or(0);
        let n_used = self.keys.count("expert_used_count")?.unwrap_or(0);
        if n_expert == 0 {
            if n_used != 0 {
                let what = format!("a dense model cannot use {n_used} experts per token");
                return Err(crate::Error::malformed(self.keys.path(), what));
            }
            return Ok(None);
        }
        let n_ff = self.keys.count("expert_feed_forward_length")?.filter(|&n| n > 0).unwrap_or(self.n_ff[0]);
        Ok(Some(ExpertsSpec {
            n_expert,
            n_used,
            expert: FfnShape { has_bias: false, ..self.ffn_of(n_ff) },
            is_dense: false,
            is_latent: false,
            router: RouterSpec {
                softcap: None,
                scoring: Scoring::Softmax,
                has_choice_bias: false,
                is_choice_bias_bare: false,
                has_bias: false,
                groups: None,
                is_normalised: true,
                scale: 1.0,
                weighs_input: false,
                sees_stream: false,
            },
            shared: None,
            early_norm: None,
            adjugate: None,
        }))
    }

    /// How a router's scores are read, by the number of the function in a file; `default` where it says none.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] for another function.
    pub(crate) fn scoring(&self, default: Scoring) -> Result<Scoring> {
        match self.keys.count("expert_gating_func")?.unwrap_or(0) {
            0 => Ok(default),
            1 => Ok(Scoring::Softmax),
            2 => Ok(Scoring::Sigmoid),
            3 => Ok(Scoring::SoftmaxOfChosen),
            other => Err(self.keys.unsupported(format!("expert_gating_func {other}"))),
        }
    }

    /// Dense layers in front of those with experts.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] for a key of another type.
    pub(crate) fn n_dense(&self) -> Result<usize> {
        let n_dense = self.keys.count("leading_dense_block_count")?;
        Ok(n_dense.unwrap_or_else(|| {
            // Some files of other programs leave it to their tensors.
            let chooses = |i: usize| self.keys.has_tensor(&format!("blk.{i}.ffn_gate_inp.weight"));
            (0..self.n_layer).position(chooses).unwrap_or(0)
        }))
    }

    /// What multiplies the weights of experts.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] for a key of another type.
    pub(crate) fn expert_scale(&self) -> Result<f32> {
        Ok(self.keys.f32("expert_weights_scale")?.filter(|&scale| scale != 0.0).unwrap_or(1.0))
    }

    /// An expert of width `n_ff` that every token goes through.
    pub(crate) fn shared(&self, n_ff: usize, is_gated: bool) -> Option<SharedSpec> {
        let shape = FfnShape { has_bias: false, ..self.ffn_of(n_ff) };
        (n_ff > 0).then_some(SharedSpec { shape, is_gated, scale: 1.0, is_named_plainly: false })
    }

    /// The norms of query and key heads, like those of the layer.
    pub(crate) fn qk_norm(&self) -> QkNormSpec {
        QkNormSpec { norm: self.norm, extent: QkNormExtent::Head, is_after_rope: false, is_optional: false }
    }

    /// The window of layers that have one.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] for a key of another type.
    pub(crate) fn window(&self) -> Result<Option<Window>> {
        Ok(self.keys.count("attention.sliding_window")?.filter(|&n| n > 0).map(Window::Sliding))
    }

    /// `[n_layer]`: whether each layer has a window: as the file says, by a list or by the length of a period
    /// that ends with a layer without; else by the length `period`, 0 for no layer and 1 for all.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] for a key of another type.
    pub(crate) fn windowed(&self, period: usize) -> Result<Vec<bool>> {
        const KEY: &str = "attention.sliding_window_pattern";
        let by = |period: usize| {
            (0..self.n_layer).map(|i| period == 1 || period > 1 && i % period < period - 1).collect()
        };
        match self.keys.bools(KEY, self.n_layer) {
            Ok(Some(layers)) => Ok(layers),
            Ok(None) => Ok(by(period)),
            Err(error) => match self.keys.count(KEY) {
                // In files 0 is all layers, and a period of 1 ends with its only layer, which has none.
                Ok(Some(period @ (0 | 1))) => Ok(vec![period == 0; self.n_layer]),
                Ok(Some(period)) => Ok(by(period)),
                _ => Err(error),
            },
        }
    }

    /// As [`Base::windowed`], of periods that begin with a layer without.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn windowed_behind_first(&self, period: usize) -> Result<Vec<bool>> {
        const KEY: &str = "attention.sliding_window_pattern";
        let by = |period: usize| (0..self.n_layer).map(|i| period == 0 || i % period > 0).collect();
        match self.keys.count(KEY) {
            Ok(of_file) => Ok(by(of_file.unwrap_or(period))),
            Err(_) => self.windowed(period),
        }
    }

    /// The model with these layers.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] for numbers that no model has.
    pub(crate) fn model(&self, mut layers: Vec<LayerSpec>) -> Result<ModelSpec> {
        if self.keys.bool("attention.causal")? == Some(false) {
            let can_see_all =
                |layer: &LayerSpec| matches!(layer.mixer, MixerSpec::Attention(_) | MixerSpec::ShortConv(_));
            if !layers.iter().all(can_see_all) {
                return Err(self.keys.unsupported("attention.causal false, of layers that only look back"));
            }
            layers.iter_mut().for_each(see_all);
        }
        let mut pooled = pooled::read(&self.keys)?;
        if pooled.ranks {
            pooled.classifier = Some(ranking::classifier(&self.keys)?);
        }
        Ok(ModelSpec {
            n_vocab: self.keys.n_vocab()?,
            n_ctx_train: self.keys.required_count("context_length")?,
            n_embd: self.n_embd,
            embed: EmbedSpec {
                scale: 1.0,
                norm: None,
                n_positions: None,
                n_types: 0,
                per_layer: None,
                altup: None,
                hyper: None,
            },
            ropes: vec![self.rope.clone()],
            layers,
            pooled,
            head: HeadSpec {
                norm: Some(self.norm),
                norm_role: Role::OutputNorm,
                scale: 1.0,
                softcap: None,
                never: None,
                has_logits: true,
            },
            max_ctx: None,
            side: Side::Alone,
            n_left_out: self.n_left_out,
        })
    }
}

/// The epsilon of norms under `key`; of models whose files may not say it, theirs.
fn epsilon(keys: &Keys<'_>, key: &str) -> Result<f32> {
    if let Some(eps) = keys.f32(key)? {
        return Ok(eps);
    }
    let usual = match keys.arch() {
        "nemotron_h" | "nemotron_h_moe" => keys.f32("attention.layer_norm_epsilon")?,
        "qwen2vl" | "rwkv6qwen2" | "arwkv7" => Some(1e-6),
        "rwkv6" | "rwkv7" => Some(1e-5),
        _ => None,
    };
    usual.ok_or_else(|| keys.missing(key))
}

/// Lets every position of a layer see the whole text.
pub(super) fn see_all(layer: &mut LayerSpec) {
    if let MixerSpec::ShortConv(conv) = &mut layer.mixer {
        conv.is_centred = true;
    }
    if let MixerSpec::Attention(attention) = &mut layer.mixer {
        attention.is_causal = false;
        // A window of so many positions lies around each.
        if let Some(Window::Sliding(n)) = attention.window {
            attention.window = Some(Window::Around((n / 2).max(1)));
        }
    }
}
