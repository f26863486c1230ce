//! The tensors that a model may have, by the parts they play.

use std::fmt;

use super::Side;
use super::roles::Role;

/// What a tensor is to the part it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suffix {
    /// The weights.
    Weight,
    /// What is added to their product.
    Bias,
    /// What multiplies their product: one number, or one for each expert.
    Scale,
    /// Numbers of their own, whose name in GGUF has no suffix.
    Bare,
}

/// A tensor of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId {
    /// The part it plays.
    pub role: Role,
    /// Its layer, if each layer has its own.
    pub layer: Option<usize>,
    /// What it is to that part.
    pub suffix: Suffix,
    /// Which layers its layer is counted among.
    pub side: Side,
}

impl TensorId {
    /// The weights in `role`.
    ///
    /// # Panics
    /// If `layer` is missing for a role of layers, or there for one of the model (a bug in a part's spec).
    pub fn weight(role: Role, layer: Option<usize>) -> Self {
        assert_eq!(role.is_of_layer(), layer.is_some(), "{role:?} in layer {layer:?}");
        Self { role, layer, suffix: Suffix::Weight, side: Side::Alone }
    }

    /// The bias in `role`.
    ///
    /// # Panics
    /// As [`TensorId::weight`].
    pub fn bias(role: Role, layer: Option<usize>) -> Self {
        Self { suffix: Suffix::Bias, ..Self::weight(role, layer) }
    }

    /// The same among the layers of `side`, if it is of a layer.
    pub fn on(self, side: Side) -> Self {
        Self { side: if self.layer.is_some() { side } else { self.side }, ..self }
    }

    /// The tensor of this name in a GGUF file; `None` for one of no known part.
    pub fn from_gguf_name(name: &str) -> Option<Self> {
        let (side, layer, rest) = match Side::split(name) {
            None => (Side::Alone, None, name),
            Some((side, layer, rest)) => (side, Some(layer), rest),
        };
        let (stem, suffix) = rest.rsplit_once('.').unwrap_or((rest, ""));
        let suffixes = [Suffix::Weight, Suffix::Bias, Suffix::Scale, Suffix::Bare];
        let suffix = suffixes.into_iter().find(|s| s.name() == suffix)?;
        let role = Role::from_stem_on(side, stem).filter(|role| role.is_of_layer() == layer.is_some())?;
        let (without, with) = role.suffixes();
        let is_known = if suffix == Suffix::Bare { without } else { with };
        is_known.then_some(Self { role, layer, suffix, side })
    }

    /// The numbers in `role`.
    ///
    /// # Panics
    /// As [`TensorId::weight`].
    pub fn bare(role: Role, layer: Option<usize>) -> Self {
        Self { suffix: Suffix::Bare, ..Self::weight(role, layer) }
    }

    /// Whether a tensor of `n_dims` dimensions in this part is quantised: norms, biases, rotary divisors,
    /// convolutions and expert routers are few and sensitive, and stay floats.
    pub fn is_quantised(&self, n_dims: usize) -> bool {
        let is_sensitive = matches!(
            self.role,
            Role::FfnGateInp
                | Role::AttnQNorm
                | Role::AttnKNorm
                | Role::AttnRelB
                | Role::PositionEmbd
                | Role::TokenTypes
                | Role::ShortConvConv
                | Role::SsmConv
                | Role::SsmConvQ
                | Role::SsmConvK
                | Role::SsmConvV
                | Role::SsmNorm
                | Role::PerLayerModelProj
                | Role::HcHeadFn
                | Role::HcAttnFn
                | Role::HcFfnFn
                | Role::HcAttnInject
                | Role::HcFfnInject
                | Role::PleConv
                | Role::IndexerPoolGate
                | Role::IndexerPoolBase
                | Role::AltUpProj
                | Role::AltUpUnembdProj
                | Role::AltUpCorrectCoef
                | Role::AltUpPredictCoef
                | Role::AltUpRouter
                | Role::LaurelLeft
                | Role::LaurelRight
                | Role::TimeMixLerp
                | Role::TimeMixFirst
                | Role::TimeMixDecayW1
                | Role::TimeMixDecayW2
                | Role::TimeMixW1
                | Role::TimeMixW2
                | Role::TimeMixA1
                | Role::TimeMixA2
                | Role::TimeMixV1
                | Role::TimeMixV2
                | Role::TimeMixG1
                | Role::TimeMixG2
        );
        n_dims > 1 && !is_sensitive && self.suffix == Suffix::Weight
    }

    /// Its name in a GGUF file.
    pub fn gguf_name(&self) -> String {
        self.to_string()
    }
}

impl Suffix {
    /// Its name, as in `attn_q.weight`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
            Self::Scale => "scale",
            Self::Bare => "",
        }
    }
}

/// The name in a GGUF file.
impl fmt::Display for TensorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(layer) = self.layer {
            write!(f, "{}{layer}.", self.side.prefix())?;
        }
        f.write_str(self.role.stem_on(self.side))?;
        if self.suffix == Suffix::Bare { Ok(()) } else { write!(f, ".{}", self.suffix.name()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_files_are_read_back() {
        let ids = [
            TensorId::weight(Role::TokenEmbd, None),
            TensorId::bias(Role::AttnQ, Some(12)),
            TensorId::weight(Role::ShortConvInput, Some(1)),
            TensorId::bare(Role::SsmA, Some(1)),
            TensorId::weight(Role::AttnOutput, Some(3)).on(Side::Encoder),
            TensorId::weight(Role::EncOutputNorm, None).on(Side::Encoder),
            TensorId { suffix: Suffix::Scale, ..TensorId::weight(Role::FfnDownExps, Some(0)) },
        ];
        for id in ids {
            assert_eq!(TensorId::from_gguf_name(&id.gguf_name()), Some(id));
        }
        for name in
            ["blk.x.attn_q.weight", "attn_q.weight", "blk.1.output.weight", "blk.0.attn_q.gain", "output"]
        {
            assert_eq!(TensorId::from_gguf_name(name), None, "{name}");
        }
    }
}
