//! What becomes of the last streams of a text: a vector, or scores of classes.

use super::layer::NormSpec;
use crate::limits;

/// How the streams of a text become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// They do not.
    None,
    /// Their mean.
    Mean,
    /// The first.
    Cls,
    /// The last.
    Last,
}

/// What a model makes of pooled streams, beside the streams themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PooledSpec {
    /// The pooling that files name, if they do.
    pub pooling: Option<Pooling>,
    /// Whether files say that the model scores pairs of texts.
    pub ranks: bool,
    /// Widths of up to two matrices that a pooled stream goes through, one after the other.
    pub dense: Vec<usize>,
    /// Scores of classes.
    pub classifier: Option<ClassifierSpec>,
}

/// Scores of classes: `output(norm(activation(dense(pooled))))`. A file may lack the inner part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassifierSpec {
    /// The pooling in front of it.
    pub pooling: Pooling,
    /// Classes.
    pub n_classes: usize,
    /// What follows the inner matrix.
    pub activation: ClassifierActivation,
    /// What follows that; a file may lack it.
    pub norm: Option<NormSpec>,
    /// Whether the scores are the probabilities of the classes.
    pub is_softmax: bool,
}

/// The activation of a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassifierActivation {
    /// The hyperbolic tangent.
    Tanh,
    /// GELU, exact.
    Gelu,
}

impl Pooling {
    /// The number that files have for it.
    pub fn code(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Mean => 1,
            Self::Cls => 2,
            Self::Last => 3,
        }
    }

    /// The pooling with this number.
    pub fn from_code(code: usize) -> Option<Self> {
        [Self::None, Self::Mean, Self::Cls, Self::Last]
            .into_iter()
            .find(|pooling| pooling.code() as usize == code)
    }
}

impl PooledSpec {
    pub(super) fn fault(&self) -> Option<String> {
        let widths = self.dense.iter().chain(self.classifier.as_ref().map(|of| &of.n_classes));
        let max = limits::MAX_DIMENSION;
        let wrong = widths.copied().find(|&n| n == 0 || n > max)?;
        Some(format!("a pooled vector of {wrong} elements; it must be within 1..={max}"))
    }
}
