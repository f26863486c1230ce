//! Which of two places a tensor's rows come from: families name several where checkpoints of different makers hold them
//! differently.

use super::Finder;
use crate::error::Result;
use crate::model::arch::Source;

impl Finder<'_, '_> {
    /// Whether the rows come from `first` rather than from `second`: its first tensor is there, and of two that are to
    /// be one tensor in different shapes, it is in the shape of this one.
    ///
    /// # Errors
    /// As for reading the tensor's description.
    pub(super) fn is_first(&self, first: &Source, second: &Source) -> Result<bool> {
        if !self.has_first_of(first) {
            return Ok(false);
        }
        match (self.first_of(first), self.first_of(second)) {
            (Some((name, shape)), Some((other, _))) if name == other => {
                let stored = self.tensors.get(name)?;
                Ok(stored.is_some_and(|stored| self.is_shaped(stored, shape)))
            }
            _ => Ok(true),
        }
    }

    /// Whether the first tensor of `source` is there.
    fn has_first_of(&self, source: &Source) -> bool {
        match source {
            Source::Pieces(..) => self.first_of(source).is_some(),
            Source::Either(a, b) => self.has_first_of(a) || self.has_first_of(b),
            Source::Mxfp4 { codes, .. } => self.names.find(codes).is_some(),
            Source::Computed(_) => true,
        }
    }

    /// The name in the checkpoint of the first plain tensor of `source` that is there, and the shape it must have.
    fn first_of<'s>(&'s self, source: &'s Source) -> Option<(&'s str, &'s [usize])> {
        match source {
            Source::Pieces(pieces, _) => {
                let piece = pieces.first()?;
                let name = piece.names.iter().find_map(|name| self.names.find(name))?;
                Some((name, &piece.shape))
            }
            Source::Either(a, b) => self.first_of(a).or_else(|| self.first_of(b)),
            Source::Mxfp4 { .. } | Source::Computed(_) => None,
        }
    }
}
