//! Puts feed-forward parts together.

use super::Loader;
use crate::error::{Error, Result};
use crate::model::layer::ffn::{
    Adjugate, Dense, ExpertStacks, Experts, Ffn, Gated, GatedAndExperts, Hiding, Latent, Router, Shared,
    SharedPart,
};
use crate::model::layer::{Norm, Residual};
use crate::model::spec::layer::{self as spec, ExpertsSpec, FfnShape, NormSpec};
use crate::model::spec::{Role, Suffix, TensorId};
use crate::model::weights::Stack;

impl Loader<'_> {
    pub(super) fn ffn(&self, layer: Option<usize>, spec: &spec::FfnSpec, n_embd: usize) -> Result<Ffn> {
        let residual = |role, of| {
            Ok::<_, Error>(Residual { norm: Some(self.norm(role, layer, (of, n_embd))?), scale: 1.0 })
        };
        Ok(match spec {
            spec::FfnSpec::Dense(shape) => Ffn::Dense(Dense {
                activation: shape.activation,
                up: self.linear(Role::FfnUp, layer)?,
                down: self.linear(Role::FfnDown, layer)?,
            }),
            spec::FfnSpec::Gated(shape) => Ffn::Gated(self.gated(layer, *shape)?),
            spec::FfnSpec::None => Ffn::None,
            spec::FfnSpec::Experts(spec) => Ffn::Experts(Box::new(self.experts(layer, spec)?)),
            spec::FfnSpec::GatedAndExperts(shape, experts, norm) => {
                Ffn::GatedAndExperts(Box::new(GatedAndExperts {
                    gated: self.gated(layer, *shape)?,
                    gated_residual: residual(Role::FfnPostNorm1, *norm)?,
                    expert_norm: self.norm(Role::FfnPreNorm2, layer, (*norm, n_embd))?,
                    router_norm: self.router_norm(layer, *norm, n_embd)?,
                    experts: self.experts(layer, experts)?,
                    expert_residual: residual(Role::FfnPostNorm2, *norm)?,
                }))
            }
        })
    }

    /// The norm of what the router of experts beside a gated part gets: it has no weights but a scale, and is
    /// divided by the root of its length.
    fn router_norm(&self, layer: Option<usize>, spec: NormSpec, n_embd: usize) -> Result<Norm> {
        let scale = TensorId { suffix: Suffix::Scale, ..TensorId::weight(Role::FfnGateInp, layer) };
        let root = 1.0 / (n_embd as f32).sqrt();
        let weight = self.values(scale)?.into_iter().map(|scale| scale * root).collect();
        Ok(Norm { spec, weight, bias: None })
    }

    fn gated(&self, layer: Option<usize>, shape: FfnShape) -> Result<Gated> {
        let FfnShape { n_ff, activation, is_fused, .. } = shape;
        let up = self.linear(Role::FfnUp, layer)?;
        let (gate, up) = if is_fused {
            (up.slice(0..n_ff), up.slice(n_ff..2 * n_ff))
        } else {
            (self.linear(Role::FfnGate, layer)?, up)
        };
        let norm =
            shape.hidden_norm.map(|norm| self.norm(Role::FfnSubNorm, layer, (norm, n_ff))).transpose()?;
        let hiding = Hiding { activation, cutoff: shape.cutoff, norm };
        Ok(Gated { hiding, gate, up, down: self.linear(Role::FfnDown, layer)? })
    }

    fn experts(&self, layer: Option<usize>, spec: &ExpertsSpec) -> Result<Experts> {
        let FfnShape { n_embd, n_ff, activation, .. } = spec.expert;
        let linear = |role| self.linear(role, layer);
        let (gate, up) = if self.has(Role::FfnGateUpExps, layer) {
            let whole = || self.stack(Role::FfnGateUpExps, layer, 2 * n_ff);
            let part = |first| Ok::<_, Error>(Stack { n_out: n_ff, first, ..whole()? });
            (Some(part(0)?), part(n_ff)?)
        } else {
            let stack = |role| self.stack(role, layer, n_ff);
            let gate = (!spec.is_dense).then(|| stack(Role::FfnGateExps)).transpose()?;
            (gate, stack(Role::FfnUpExps)?)
        };
        let latent = spec.is_latent.then(|| {
            Ok::<_, Error>(Latent { down: linear(Role::FfnLatentDown)?, up: linear(Role::FfnLatentUp)? })
        });
        let shared = spec.shared.map(|of| {
            if of.is_named_plainly {
                let part = SharedPart::Gated(self.gated(layer, of.shape)?);
                return Ok(Shared { part, gate: None, scale: of.scale });
            }
            let (up, down) = (linear(Role::FfnUpShexp)?, linear(Role::FfnDownShexp)?);
            let activation = of.shape.activation;
            let hiding = Hiding { activation, cutoff: None, norm: None };
            let n_ff = of.shape.n_ff;
            let part = match (spec.is_dense, of.shape.is_fused) {
                (true, _) => SharedPart::Dense(Dense { activation, up, down }),
                (false, true) => {
                    let (gate, up) = (up.slice(0..n_ff), up.slice(n_ff..2 * n_ff));
                    SharedPart::Gated(Gated { hiding, gate, up, down })
                }
                (false, false) => {
                    SharedPart::Gated(Gated { hiding, gate: linear(Role::FfnGateShexp)?, up, down })
                }
            };
            let gate = of.is_gated.then(|| self.vector(Role::FfnGateInpShexp, layer)).transpose()?;
            Ok::<_, Error>(Shared { part, gate, scale: of.scale })
        });
        let choice_bias = self.find(spec.router.choice_bias(layer)).map(|tensor| self.decode(tensor));
        let adjugate = spec.adjugate.map(|of| {
            let stack = |role, n_out| self.stack(role, layer, n_out);
            let stacks = ExpertStacks {
                activation,
                gate: Some(stack(Role::FfnGateChexps, of.n_ff)?),
                up: stack(Role::FfnUpChexps, of.n_ff)?,
                down: stack(Role::FfnDownChexps, n_embd)?,
            };
            Ok::<_, Error>(Adjugate { stacks, group: of.group, scale: of.scale })
        });
        let early_norm = spec.early_norm.map(|norm| self.norm(Role::FfnNormExps, layer, (norm, n_embd)));
        Ok(Experts {
            n_used: spec.n_used,
            early_norm: early_norm.transpose()?,
            scores: linear(Role::FfnGateInp)?,
            router: Router { spec: spec.router, choice_bias: choice_bias.transpose()? },
            latent: latent.transpose()?,
            stacks: ExpertStacks {
                activation,
                gate,
                up,
                down: self.stack(Role::FfnDownExps, layer, n_embd)?,
            },
            adjugate: adjugate.transpose()?,
            shared: shared.transpose()?,
        })
    }
}
