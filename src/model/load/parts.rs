//! Puts the parts of a layer together.

use super::Loader;
use crate::error::{Error, Result};
use crate::model::layer::attention::{Attention, RelativeBias};
use crate::model::layer::{FfnInput, Layer, Mixer, Norm, PerLayerInput, Residual};
use crate::model::rope::{Frequencies, FrequenciesByContext};
use crate::model::spec::layer::{self as spec, AttentionSpec, LayerSpec, NormSpec};
use crate::model::spec::{Role, RopeFactors, RopeSpec, TensorId};

impl Loader<'_> {
    /// Layer `i` of a model with streams of `n_embd` elements.
    pub(super) fn layer(&self, i: usize, spec: &LayerSpec, n_embd: usize) -> Result<Layer> {
        let layer = Some(spec.repeats.unwrap_or(i));
        let norm = |role, spec| self.norm(role, layer, (spec, n_embd));
        let residual = |role, spec: Option<NormSpec>, scale| {
            Ok::<_, Error>(Residual { norm: spec.map(|spec| norm(role, spec)).transpose()?, scale })
        };
        let ffn_input = match spec.ffn_input {
            spec::FfnInput::Sequential(of) => {
                FfnInput::Sequential(of.map(|of| norm(spec.ffn_norm_role, of)).transpose()?)
            }
            spec::FfnInput::Shared => FfnInput::Shared,
            spec::FfnInput::Beside(of) => FfnInput::Beside(norm(spec.ffn_norm_role, of)?),
        };
        let per_layer = spec.per_layer.map(|of| {
            Ok::<_, Error>(PerLayerInput {
                activation: of.activation,
                gate: self.linear(Role::PerLayerInpGate, layer)?,
                projection: self.linear(Role::PerLayerProj, layer)?,
                residual: residual(Role::PerLayerPostNorm, Some(of.norm), 1.0)?,
            })
        });
        let stored_scale = spec.stored_scale.map(|of| {
            let values = self.vector(Role::LayerOutputScale, layer)?;
            Ok::<_, Error>((of, values[0]))
        });
        let last_norm = spec.last_norm.map(|of| self.norm(Role::OutputNorm, None, (of, n_embd)));
        let stream_norm = spec.ffn_stream_norm.map(|of| norm(Role::LayerOutputNorm, of));
        Ok(Layer {
            mixer_norm: spec.mixer_norm.map(|of| norm(spec.mixer_norm_role, of)).transpose()?,
            norms_stream: spec.norms_stream,
            mixer: self.mixer(layer, &spec.mixer)?,
            mixer_residual: residual(
                spec.mixer_post_norm_role,
                spec.mixer_post_norm,
                spec.residual_scale * spec.mixer_scale,
            )?,
            mixer_stream_norm: spec.mixer_stream_norm.map(|of| norm(Role::AttnOutputNorm, of)).transpose()?,
            ffn_input,
            ffn: self.ffn(layer, &spec.ffn, n_embd)?,
            ffn_residual: residual(spec.ffn_post_norm_role, spec.ffn_post_norm, spec.residual_scale)?,
            ffn_stream_norm: stream_norm.transpose()?,
            per_layer: per_layer.transpose()?,
            hyper: spec.hyper.as_ref().map(|of| self.hyper_layer(layer, of)).transpose()?,
            ngram: spec.ngram.as_ref().map(|of| self.ngram(layer, of)).transpose()?,
            altup: spec.altup.map(|of| self.altup(layer, of, n_embd)).transpose()?,
            stored_scale: stored_scale.transpose()?,
            last_norm: last_norm.transpose()?,
        })
    }

    fn mixer(&self, layer: Option<usize>, spec: &spec::MixerSpec) -> Result<Mixer> {
        Ok(match spec {
            spec::MixerSpec::Attention(spec) => Mixer::Attention(Box::new(self.attention(layer, spec)?)),
            spec::MixerSpec::Mla(spec) => Mixer::Mla(Box::new(self.mla(layer, *spec)?)),
            spec::MixerSpec::ShortConv(spec) => Mixer::ShortConv(Box::new(self.short_conv(layer, *spec)?)),
            spec::MixerSpec::DeltaNet(spec) => Mixer::DeltaNet(Box::new(self.delta_net(layer, *spec)?)),
            spec::MixerSpec::Lightning(spec) => Mixer::Lightning(Box::new(self.lightning(layer, *spec)?)),
            spec::MixerSpec::Kda(spec) => Mixer::Kda(Box::new(self.kda(layer, *spec)?)),
            spec::MixerSpec::Mamba2(spec) => Mixer::Mamba2(Box::new(self.mamba2(layer, *spec)?)),
            spec::MixerSpec::Rwkv6(spec) => Mixer::Rwkv6(Box::new(self.rwkv6(layer, *spec)?)),
            spec::MixerSpec::Rwkv7(spec) => Mixer::Rwkv7(Box::new(self.rwkv7(layer, *spec)?)),
            spec::MixerSpec::HeadMamba(spec) => Mixer::HeadMamba(Box::new(self.head_mamba(layer, *spec)?)),
            spec::MixerSpec::Mamba1(spec) => Mixer::Mamba1(Box::new(self.mamba1(layer, *spec)?)),
            spec::MixerSpec::AttentionAndMamba2(attention, spec) => Mixer::AttentionAndMamba2(Box::new((
                self.attention(layer, attention)?,
                self.mamba2(layer, *spec)?,
            ))),
            spec::MixerSpec::Linear { .. } => Mixer::Linear(self.linear(Role::AttnOutput, layer)?),
            spec::MixerSpec::None => Mixer::None,
        })
    }

    fn attention(&self, layer: Option<usize>, spec: &AttentionSpec) -> Result<Attention> {
        let has_own = spec.shares_kv_with.is_none();
        let (n_q, n_k, n_v) = (spec.n_query_rows(), spec.n_embd_k(), spec.n_embd_v());
        let (q, k, v) = if has_own && self.has(Role::AttnQkv, layer) && !self.has(Role::AttnQ, layer) {
            let whole = self.linear(Role::AttnQkv, layer)?;
            let (k, v) = (whole.slice(n_q..n_q + n_k), whole.slice(n_q + n_k..n_q + n_k + n_v));
            (whole.slice(0..n_q), Some(k), Some(v))
        } else {
            let own = |role| has_own.then(|| self.linear(role, layer)).transpose();
            // Values may be keys that are not normed and rotated, where the two are of one shape.
            let is_v_k = has_own && spec.may_lack_values() && !self.has(Role::AttnV, layer);
            let v = if is_v_k { None } else { own(Role::AttnV)? };
            (self.linear(Role::AttnQ, layer)?, own(Role::AttnK)?, v)
        };
        let gate = spec.gate.filter(|&gate| gate != spec::AttentionGate::WithQuery);
        let head_norm = |role, n: usize, head_dim: usize| {
            let Some(of) = spec.qk_norm else { return Ok::<_, Error>(None) };
            if of.is_optional && !self.has(role, layer) {
                return Ok(None);
            }
            match of.extent {
                spec::QkNormExtent::Head => self.norm(role, layer, (of.norm, head_dim)).map(Some),
                spec::QkNormExtent::QueryGain => {
                    let gains = match role {
                        Role::AttnQNorm => self.vector(role, layer)?,
                        _ => vec![1.0; n / head_dim],
                    };
                    let weight = gains.into_iter().flat_map(|gain| vec![gain; head_dim]).collect();
                    Ok(Some(Norm { spec: of.norm, weight, bias: None }))
                }
                _ => self.norm(role, layer, (of.norm, n)).map(Some),
            }
        };
        let relative = spec.relative.map(|of| {
            let table = self.vector(Role::AttnRelB, Some(of.layer))?;
            Ok::<_, Error>(RelativeBias::new((of, spec.is_causal), &table))
        });
        Ok(Attention {
            q_norm: head_norm(Role::AttnQNorm, spec.n_embd_q(), spec.head_dim_k)?,
            k_norm: if has_own { head_norm(Role::AttnKNorm, n_k, spec.head_dim_k)? } else { None },
            v_norm: spec.v_norm.map(|of| Norm { spec: of, weight: vec![1.0; spec.head_dim_v], bias: None }),
            slopes: spec.slopes(),
            relative: relative.transpose()?,
            sinks: spec.has_sinks.then(|| self.vector(Role::AttnSinks, layer)).transpose()?,
            gate: gate.map(|_| self.linear(Role::AttnGate, layer)).transpose()?,
            output_norm: spec
                .output_norm
                .map(|norm| self.norm(Role::AttnSubNorm, layer, (norm, spec.n_embd_out())))
                .transpose()?,
            output: self.linear(Role::AttnOutput, layer)?,
            spec: spec.clone(),
            q,
            k,
            v,
        })
    }

    /// The frequencies of a rotary embedding, divided by what the file says.
    pub(super) fn frequencies(&self, rope: &RopeSpec) -> Result<FrequenciesByContext> {
        let divided_by = |role| Ok::<_, Error>(Frequencies::new(rope, self.divisors(role)?.as_deref()));
        Ok(match rope.factors {
            RopeFactors::Never => FrequenciesByContext::Same(Frequencies::new(rope, None)),
            RopeFactors::Fixed => FrequenciesByContext::Same(divided_by(Role::RopeFreqs)?),
            RopeFactors::FirstOf { .. } => {
                let divisors = self.divisors(Role::RopeFreqs)?;
                let first = divisors.as_ref().map(|divisors| &divisors[..rope.n_dims / 2]);
                FrequenciesByContext::Same(Frequencies::new(rope, first))
            }
            RopeFactors::ByContext { original_context } => FrequenciesByContext::Extended {
                original_context,
                short: divided_by(Role::RopeFactorsShort)?,
                long: divided_by(Role::RopeFactorsLong)?,
            },
        })
    }

    fn divisors(&self, role: Role) -> Result<Option<Vec<f32>>> {
        let Some(tensor) = self.find(TensorId::weight(role, None)) else { return Ok(None) };
        let divisors = self.decode(tensor)?;
        if let Some(bad) = divisors.iter().find(|divisor| !(divisor.is_finite() && **divisor > 0.0)) {
            return Err(self.malformed(format!("tensor {} divides by {bad}", tensor.name)));
        }
        Ok(Some(divisors))
    }
}
