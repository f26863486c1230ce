//! The parts of layers that look at one position alone.

use gguf_simd::ops::{Gate, Xielu};

use super::NormSpec;
use crate::limits;
use crate::model::spec::faults::{first_constant_fault, first_count_fault};
use crate::model::spec::roles::Role;
use crate::model::spec::tensor::TensorId;

/// The feed-forward part.
#[derive(Clone, Debug, PartialEq)]
pub enum FfnSpec {
    /// `down(activation(up(x)))`.
    Dense(FfnShape),
    /// `down(activation(gate(x)) * up(x))`.
    Gated(FfnShape),
    /// Several parts, of which each token goes through a few.
    Experts(ExpertsSpec),
    /// A gated part and experts, both with norms of their own; their outputs are added.
    GatedAndExperts(FfnShape, ExpertsSpec, NormSpec),
    /// Nothing: the layer is a mixer alone.
    None,
}

/// A feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FfnShape {
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Width of the part.
    pub n_ff: usize,
    /// What makes it more than a matrix.
    pub activation: Gate,
    /// Whether its matrices may have biases.
    pub has_bias: bool,
    /// Whether the gate's rows lie before the others of `ffn_up`.
    pub is_fused: bool,
    /// Of what the last matrix gets, if the part is gated.
    pub hidden_norm: Option<NormSpec>,
    /// How many standard deviations above their mean the gates of a token must be to count: the rest become zero, and
    /// these what they exceed that by, before the activation (Gemma 3n).
    pub cutoff: Option<f32>,
}

/// Several parts, of which each token goes through a few.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertsSpec {
    /// Experts.
    pub n_expert: usize,
    /// Experts each token goes through.
    pub n_used: usize,
    /// One expert, whose width of input is that of its own, if experts are in a narrower space.
    pub expert: FfnShape,
    /// Whether experts, and what is shared, are plain parts without gates.
    pub is_dense: bool,
    /// Whether their inputs are brought into a space of another width than the stream's, and their outputs back.
    pub is_latent: bool,
    /// How they are chosen.
    pub router: RouterSpec,
    /// What every token goes through as well.
    pub shared: Option<SharedSpec>,
    /// Of the stream that the layer's mixer has not added to, if experts and router get that.
    pub early_norm: Option<NormSpec>,
    /// The narrow part that each expert has with some others.
    pub adjugate: Option<AdjugateSpec>,
}

/// Narrow gated parts, one for every few experts in a row, whose output is added to that of each of them (Wu et al.
/// 2025, "Grove MoE").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdjugateSpec {
    /// Width of a part.
    pub n_ff: usize,
    /// Experts that share one; divides the experts.
    pub group: usize,
    /// Multiplies its output.
    pub scale: f32,
}

/// How experts are chosen and their outputs weighed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouterSpec {
    /// Bounds the scores `x` to `softcap tanh(x / softcap)`.
    pub softcap: Option<f32>,
    /// What the router's scores become.
    pub scoring: Scoring,
    /// Whether a bias may be added to them for the choice alone.
    pub has_choice_bias: bool,
    /// Whether that bias has a name without suffix in GGUF.
    pub is_choice_bias_bare: bool,
    /// Whether the router's product may have a bias.
    pub has_bias: bool,
    /// Experts come in groups, of which only some take part.
    pub groups: Option<GroupSpec>,
    /// Whether the weights of the chosen are divided by their sum.
    pub is_normalised: bool,
    /// Multiplies the weights.
    pub scale: f32,
    /// Whether weights multiply an expert's input instead of its output.
    pub weighs_input: bool,
    /// Whether it looks at the stream that the layer's mixer has not added to, without a norm.
    pub sees_stream: bool,
}

/// What a router's scores become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// Probabilities, over all experts.
    Softmax,
    /// Numbers between 0 and 1, each for itself.
    Sigmoid,
    /// Probabilities, over those chosen.
    SoftmaxOfChosen,
    /// Probabilities, each choice's over the experts left whose scores are nearly the greatest (Liu et al. 2024,
    /// "GRIN").
    SparseMixer,
}

/// Groups of experts, of which only some take part in a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// Groups; divides the experts.
    pub n_group: usize,
    /// Groups that take part.
    pub n_used: usize,
    /// Experts whose scores, added, are the group's.
    pub n_best: usize,
}

/// An expert that every token goes through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharedSpec {
    /// The part.
    pub shape: FfnShape,
    /// Whether the sigmoid of a product multiplies its output.
    pub is_gated: bool,
    /// Multiplies its output.
    pub scale: f32,
    /// Whether files name its matrices as those of a layer without experts.
    pub is_named_plainly: bool,
}

impl RouterSpec {
    /// The bias for the choice alone.
    pub(in crate::model) fn choice_bias(&self, layer: Option<usize>) -> TensorId {
        if self.is_choice_bias_bare {
            TensorId::bare(Role::ExpProbs, layer)
        } else {
            TensorId::bias(Role::ExpProbs, layer)
        }
    }
}

impl FfnShape {
    pub(super) fn fault(&self) -> Option<String> {
        let counts = [("the feed-forward length", self.n_ff, limits::MAX_DIMENSION)];
        let constants = match self.activation {
            Gate::ClampedSilu { alpha, limit } => vec![("alpha", alpha), ("the activation's bound", limit)],
            Gate::BoundedSilu { limit, .. } => vec![("the activation's bound", limit)],
            Gate::Xielu(Xielu { positive, eps, .. }) => {
                vec![("xIELU's alpha_p", positive), ("xIELU's eps", -eps)]
            }
            _ => Vec::new(),
        };
        first_count_fault(&counts)
            .or_else(|| first_constant_fault(&constants))
            .or_else(|| self.hidden_norm.and_then(|norm| norm.fault()))
            .or_else(|| self.number_fault())
    }

    /// Of numbers that may be of either sign.
    fn number_fault(&self) -> Option<String> {
        let mut numbers = vec![("the cutoff of gates", self.cutoff.unwrap_or(0.0))];
        if let Gate::Xielu(Xielu { negative, beta, .. }) = self.activation {
            numbers.extend([("xIELU's alpha_n", negative), ("xIELU's beta", beta)]);
        }
        let (name, value) = numbers.into_iter().find(|(_, value)| !value.is_finite())?;
        Some(format!("{name} is {value}; it must be a number"))
    }
}

impl ExpertsSpec {
    pub(super) fn fault(&self) -> Option<String> {
        let Self { n_expert, n_used, router, .. } = *self;
        if n_expert > limits::MAX_EXPERTS {
            return Some(format!("{n_expert} experts in a layer; no known model has as many"));
        }
        if n_used == 0 || n_used > n_expert {
            return Some(format!(
                "{n_used} of {n_expert} experts per token; it must be within 1..={n_expert}"
            ));
        }
        if let Some(GroupSpec { n_group, n_used: n_groups, n_best }) = router.groups {
            let divides = n_group > 0 && n_expert.is_multiple_of(n_group);
            if !divides || n_groups == 0 || n_groups > n_group || n_best > n_expert / n_group {
                return Some(format!(
                    "{n_expert} experts in {n_group} groups, of which {n_groups} take part"
                ));
            }
            if n_used > n_groups * (n_expert / n_group) {
                return Some(format!("{n_used} experts of {n_groups} groups of {}", n_expert / n_group));
            }
        }
        if let Some(AdjugateSpec { n_ff, group, scale }) = self.adjugate {
            if group == 0 || !n_expert.is_multiple_of(group) {
                return Some(format!("{n_expert} experts do not divide into groups of {group}"));
            }
            let fault = first_count_fault(&[("the width of adjugate experts", n_ff, limits::MAX_DIMENSION)])
                .or_else(|| first_constant_fault(&[("the scale of adjugate experts", scale)]));
            if fault.is_some() {
                return fault;
            }
        }
        first_constant_fault(&[("the scale of the experts' weights", router.scale)])
            .or_else(|| {
                first_constant_fault(&[("the soft cap of router scores", router.softcap.unwrap_or(1.0))])
            })
            .or_else(|| self.early_norm.and_then(|norm| norm.fault()))
            .or_else(|| self.expert.fault())
            .or_else(|| self.shared.and_then(|shared| shared.shape.fault()))
            .or_else(|| {
                let scale = self.shared.map_or(1.0, |shared| shared.scale);
                first_constant_fault(&[("the scale of what is shared", scale)])
            })
    }
}

impl FfnSpec {
    pub(super) fn fault(&self) -> Option<String> {
        match self {
            Self::Dense(shape) | Self::Gated(shape) => shape.fault(),
            Self::Experts(spec) => spec.fault(),
            Self::GatedAndExperts(shape, spec, norm) => {
                shape.fault().or_else(|| spec.fault()).or_else(|| norm.fault())
            }
            Self::None => None,
        }
    }
}
