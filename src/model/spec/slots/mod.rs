//! The tensors of a model, derived from its spec: the one list that converter, loader and recipes walk.

mod ffn;
mod hyper;
mod pooled;
mod recurrent;
mod rwkv;

use super::layer::{
    AttentionGate, AttentionSpec, FfnInput, IndexerSpec, LayerSpec, MixerSpec, MlaSpec, NormKind, NormSpec,
    PerLayerInputSpec, QkNormExtent, QkNormSpec,
};
use super::{ModelSpec, Role, RopeFactors, Side, Suffix, TensorId};

pub(in crate::model) use rwkv::RATES;

/// A place for a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// The tensor.
    pub id: TensorId,
    /// Outermost dimension first: `[n_out, n_in]`, `[n]`, or `[n_expert, n_out, n_in]`.
    pub shape: Vec<usize>,
    /// Whether it may be missing.
    pub presence: Presence,
}

/// Whether a model can do without a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It must be there.
    Required,
    /// It may be missing: a bias, a tied output matrix.
    Optional,
    /// It, or other tensors that hold the same, as one matrix of q, k and v or three.
    Alternative,
}

/// What is known beforehand of the tensors that not every model of a family has. Of a GGUF file nothing is:
/// each may be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promises {
    /// Whether the output matrix is the embedding.
    pub is_tied: Option<bool>,
    /// Biases of q, k and v.
    pub qkv_bias: Promise,
    /// The bias of attention's output.
    pub output_bias: Promise,
    /// Biases of feed-forward matrices.
    pub mlp_bias: Promise,
}

/// What is known of a tensor beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promise {
    /// It may be there.
    #[default]
    Open,
    /// It is there.
    There,
    /// It is not there, and has no place.
    Absent,
}

impl Promise {
    /// It is there, or it is not.
    pub fn of(is_there: bool) -> Self {
        if is_there { Self::There } else { Self::Absent }
    }
}

/// Every tensor that a model may have, in the order of files.
pub fn slots(model: &ModelSpec, promises: &Promises) -> Vec<Slot> {
    let mut slots = Slots { slots: Vec::new(), layer: None, side: model.side, promises };
    let (n_embd, n_vocab) = (model.n_embd, model.n_vocab);
    slots.weight(Role::TokenEmbd, &[n_vocab, n_embd]);
    if let Some(norm) = model.embed.norm {
        slots.norm(Role::TokenEmbdNorm, norm, n_embd);
    }
    if let Some(n) = model.embed.n_positions {
        slots.weight(Role::PositionEmbd, &[n, n_embd]);
    }
    if model.embed.n_types > 0 {
        let id = TensorId::weight(Role::TokenTypes, None);
        slots.push(id, &[model.embed.n_types, n_embd], Presence::Optional);
    }
    if let Some(per_layer) = model.embed.per_layer {
        let n = per_layer.n_embd * model.n_layer();
        slots.weight(Role::PerLayerTokenEmbd, &[n_vocab, n]);
        slots.weight(Role::PerLayerModelProj, &[n, n_embd]);
        slots.norm(Role::PerLayerProjNorm, per_layer.norm, per_layer.n_embd);
    }
    if let Some(altup) = model.embed.altup {
        let shape = [altup.n_stream - 1, n_embd, n_embd];
        slots.weight(Role::AltUpProj, &shape);
        slots.weight(Role::AltUpUnembdProj, &shape);
    }
    slots.streams(model);
    slots.rope_factors(model);
    for (i, layer) in model.layers.iter().enumerate().filter(|(_, layer)| layer.repeats.is_none()) {
        slots.layer = Some(i);
        slots.layer(layer, n_embd);
    }
    slots.layer = None;
    if let Some(norm) = model.head.norm {
        slots.norm(model.head.norm_role, norm, n_embd);
    }
    if model.head.has_logits {
        let presence = if promises.is_tied == Some(false) { Presence::Required } else { Presence::Optional };
        slots.push(TensorId::weight(Role::Output, None), &[n_vocab, n_embd], presence);
        slots.push(TensorId::bias(Role::Output, None), &[n_vocab], Presence::Optional);
    }
    slots.pooled(model);
    slots.slots
}

struct Slots<'p> {
    slots: Vec<Slot>,
    layer: Option<usize>,
    side: Side,
    promises: &'p Promises,
}

impl Slots<'_> {
    fn push(&mut self, id: TensorId, shape: &[usize], presence: Presence) {
        self.slots.push(Slot { id: id.on(self.side), shape: shape.to_vec(), presence });
    }

    fn weight(&mut self, role: Role, shape: &[usize]) {
        self.push(TensorId::weight(role, self.layer), shape, Presence::Required);
    }

    fn alternative(&mut self, role: Role, shape: &[usize]) {
        self.push(TensorId::weight(role, self.layer), shape, Presence::Alternative);
    }

    /// A bias of `n` elements that the layer's part allows; whether it is there is for `promised` to say.
    fn bias(&mut self, role: Role, n: usize, promised: Promise) {
        let presence = match promised {
            Promise::Absent => return,
            Promise::There => Presence::Required,
            Promise::Open => Presence::Optional,
        };
        self.push(TensorId::bias(role, self.layer), &[n], presence);
    }

    fn norm(&mut self, role: Role, norm: NormSpec, n: usize) {
        if norm.has_weight {
            self.push(norm.weights(role, self.layer), &[n], Presence::Required);
        }
        if norm.kind == NormKind::Layer && norm.has_weight {
            self.push(TensorId::bias(role, self.layer), &[n], Presence::Optional);
        }
    }

    fn rope_factors(&mut self, model: &ModelSpec) {
        for rope in &model.ropes {
            let n = match rope.factors {
                RopeFactors::FirstOf { n } => n,
                _ => rope.n_dims / 2,
            };
            let roles: &[Role] = match rope.factors {
                RopeFactors::Never => &[],
                RopeFactors::Fixed | RopeFactors::FirstOf { .. } => &[Role::RopeFreqs],
                RopeFactors::ByContext { .. } => &[Role::RopeFactorsLong, Role::RopeFactorsShort],
            };
            for &role in roles {
                let id = TensorId::weight(role, None);
                if !self.slots.iter().any(|slot| slot.id == id) {
                    self.push(id, &[n], Presence::Optional);
                }
            }
        }
    }

    fn layer(&mut self, layer: &LayerSpec, n_embd: usize) {
        self.mixed_streams(layer);
        if let Some(norm) = layer.mixer_norm {
            self.norm(layer.mixer_norm_role, norm, n_embd);
        }
        match &layer.mixer {
            MixerSpec::Attention(spec) => self.attention(spec),
            MixerSpec::Mla(spec) => self.mla(spec),
            MixerSpec::ShortConv(spec) => self.short_conv(spec),
            MixerSpec::DeltaNet(spec) => self.delta_net(spec),
            MixerSpec::Kda(spec) => self.kda(spec),
            MixerSpec::Lightning(spec) => self.lightning(spec),
            MixerSpec::Mamba2(spec) => self.mamba2(spec),
            MixerSpec::Mamba1(spec) => self.mamba1(spec),
            MixerSpec::HeadMamba(spec) => self.head_mamba(spec),
            MixerSpec::Rwkv6(spec) => self.rwkv6(spec),
            MixerSpec::Rwkv7(spec) => self.rwkv7(spec),
            MixerSpec::AttentionAndMamba2(attention, spec) => {
                self.attention(attention);
                self.mamba2(spec);
            }
            MixerSpec::Linear { n_embd } => {
                self.weight(Role::AttnOutput, &[*n_embd, *n_embd]);
                self.bias(Role::AttnOutput, *n_embd, self.promises.output_bias);
            }
            MixerSpec::None => {}
        }
        if let Some(norm) = layer.mixer_post_norm {
            self.norm(layer.mixer_post_norm_role, norm, n_embd);
        }
        if let Some(norm) = layer.mixer_stream_norm {
            self.norm(Role::AttnOutputNorm, norm, n_embd);
        }
        match layer.ffn_input {
            FfnInput::Sequential(Some(norm)) | FfnInput::Beside(norm) => {
                self.norm(layer.ffn_norm_role, norm, n_embd);
            }
            FfnInput::Sequential(None) | FfnInput::Shared => {}
        }
        self.ffn(&layer.ffn, n_embd);
        if let Some(norm) = layer.ffn_post_norm {
            self.norm(layer.ffn_post_norm_role, norm, n_embd);
        }
        if let Some(norm) = layer.ffn_stream_norm {
            self.norm(Role::LayerOutputNorm, norm, n_embd);
        }
        if let Some(PerLayerInputSpec { n, norm, .. }) = layer.per_layer {
            self.weight(Role::PerLayerInpGate, &[n, n_embd]);
            self.weight(Role::PerLayerProj, &[n_embd, n]);
            self.norm(Role::PerLayerPostNorm, norm, n_embd);
        }
        if let Some(altup) = layer.altup {
            self.altup(altup, n_embd);
        }
        if layer.stored_scale.is_some() {
            self.weight(Role::LayerOutputScale, &[1]);
        }
        if layer.has_gains {
            for role in [Role::AttnOutput, Role::FfnDown] {
                let id = TensorId { suffix: Suffix::Scale, ..TensorId::weight(role, self.layer) };
                self.push(id, &[1], Presence::Optional);
            }
        }
    }

    fn attention(&mut self, spec: &AttentionSpec) {
        let (n_k, n_v) = (spec.n_embd_k(), spec.n_embd_v());
        let n_q = spec.n_query_rows();
        // A layer that uses another's keys and values may have its own: other programs ask for them, and no program computes with them.
        let has_kv = spec.shares_kv_with.is_none();
        let parts: &[(Role, usize)] = &[(Role::AttnQ, n_q), (Role::AttnK, n_k), (Role::AttnV, n_v)];
        for &(role, n) in parts {
            if has_kv || role == Role::AttnQ {
                self.alternative(role, &[n, spec.n_embd]);
                if role == Role::AttnV && spec.may_lack_values() {
                    self.slots.last_mut().expect("just pushed").presence = Presence::Optional;
                }
                if spec.has_qkv_bias {
                    self.bias(role, n, self.promises.qkv_bias);
                }
            } else {
                self.push(TensorId::weight(role, self.layer), &[n, spec.n_embd], Presence::Optional);
            }
        }
        if has_kv {
            self.alternative(Role::AttnQkv, &[n_q + n_k + n_v, spec.n_embd]);
            if spec.has_qkv_bias {
                self.bias(Role::AttnQkv, n_q + n_k + n_v, self.promises.qkv_bias);
            }
        }
        if let Some(qk_norm) = spec.qk_norm {
            let first = self.slots.len();
            self.qk_norm(Role::AttnQNorm, qk_norm, spec.n_embd_q(), spec.head_dim_k);
            let of_keys = self.slots.len();
            self.qk_norm(Role::AttnKNorm, qk_norm, n_k, spec.head_dim_k);
            let may_lack = if qk_norm.is_optional { first } else { of_keys };
            if qk_norm.is_optional || !has_kv {
                self.slots[may_lack..].iter_mut().for_each(|slot| slot.presence = Presence::Optional);
            }
        }
        match spec.gate {
            None => {}
            Some(AttentionGate::Head) => self.weight(Role::AttnGate, &[spec.n_head, spec.n_embd]),
            Some(AttentionGate::Element) => self.weight(Role::AttnGate, &[spec.n_embd_out(), spec.n_embd]),
            // Its rows are among those of q.
            Some(AttentionGate::WithQuery) => {}
        }
        if let Some(norm) = spec.output_norm {
            self.norm(Role::AttnSubNorm, norm, spec.n_embd_out());
        }
        self.weight(Role::AttnOutput, &[spec.n_embd, spec.n_embd_out()]);
        if spec.has_output_bias {
            self.bias(Role::AttnOutput, spec.n_embd, self.promises.output_bias);
        }
        if spec.has_sinks {
            self.weight(Role::AttnSinks, &[spec.n_head]);
        }
        if let Some(of) = spec.relative.filter(|of| self.layer == Some(of.layer)) {
            self.weight(Role::AttnRelB, &[of.n_buckets, spec.n_head]);
        }
        let Some(IndexerSpec { n_head, head_dim, .. }) = spec.indexer else { return };
        for (role, shape) in [
            (Role::IndexerQProj, vec![n_head * head_dim, spec.n_embd]),
            (Role::IndexerKProj, vec![head_dim, spec.n_embd]),
            (Role::IndexerQNorm, vec![head_dim]),
            (Role::IndexerKNorm, vec![head_dim]),
        ] {
            self.push(TensorId::weight(role, self.layer), &shape, Presence::Optional);
        }
    }

    fn qk_norm(&mut self, role: Role, spec: QkNormSpec, n: usize, head_dim: usize) {
        match spec.extent {
            QkNormExtent::Head => self.norm(role, spec.norm, head_dim),
            QkNormExtent::Token => self.norm(role, spec.norm, n),
            QkNormExtent::HeadOfItsOwn => {
                self.weight(role, &[n / head_dim, head_dim]);
                if spec.norm.kind == NormKind::Layer {
                    self.push(
                        TensorId::bias(role, self.layer),
                        &[n / head_dim, head_dim],
                        Presence::Optional,
                    );
                }
            }
            QkNormExtent::QueryGain if role == Role::AttnQNorm => self.weight(role, &[n / head_dim, 1]),
            QkNormExtent::QueryGain => {}
        }
    }

    fn mla(&mut self, spec: &MlaSpec) {
        let (n_head, rank) = (spec.n_head, spec.kv_lora_rank);
        let n_q = n_head * spec.head_dim_k();
        match spec.q_lora_rank {
            None => self.weight(Role::AttnQ, &[n_q, spec.n_embd]),
            Some(q_rank) => {
                self.weight(Role::AttnQA, &[q_rank, spec.n_embd]);
                self.norm(Role::AttnQANorm, spec.norm, q_rank);
                self.weight(Role::AttnQB, &[n_q, q_rank]);
            }
        }
        self.weight(Role::AttnKvAMqa, &[spec.n_cached(), spec.n_embd]);
        self.norm(Role::AttnKvANorm, spec.norm, rank);
        if let Some(norm) = spec.key_norm {
            self.norm(Role::AttnKNorm, norm, spec.n_rot);
        }
        self.alternative(Role::AttnKB, &[n_head, rank, spec.head_dim_nope]);
        self.alternative(Role::AttnVB, &[n_head, spec.head_dim_v, rank]);
        self.alternative(Role::AttnKvB, &[n_head * (spec.head_dim_nope + spec.head_dim_v), rank]);
        if spec.gate.is_some() {
            self.weight(Role::AttnGate, &[spec.n_gate(), spec.n_embd]);
        }
        self.weight(Role::AttnOutput, &[spec.n_embd, spec.n_embd_out()]);
        if spec.has_sinks {
            self.weight(Role::AttnSinks, &[n_head]);
        }
        let Some(IndexerSpec { n_head, head_dim, n_pool }) = spec.indexer else { return };
        let q_rank = spec.q_lora_rank.unwrap_or(spec.n_embd);
        let of = |role| TensorId::weight(role, self.layer);
        // Layers may use the choice of another's.
        for (id, shape) in [
            (of(Role::IndexerKNorm), vec![head_dim]),
            (TensorId::bias(Role::IndexerKNorm, self.layer), vec![head_dim]),
            (of(Role::IndexerProj), vec![n_head, spec.n_embd]),
            (of(Role::IndexerAttnK), vec![head_dim, spec.n_embd]),
            (of(Role::IndexerAttnQB), vec![n_head * head_dim, q_rank]),
            (of(Role::IndexerPoolGate), vec![head_dim, spec.n_embd]),
            (of(Role::IndexerPoolBase), vec![n_pool.unwrap_or(0), head_dim]),
        ] {
            if n_pool.is_none() && matches!(id.role, Role::IndexerPoolGate | Role::IndexerPoolBase) {
                continue;
            }
            self.push(id, &shape, Presence::Optional);
        }
    }
}
