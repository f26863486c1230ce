//! The type that holds the rows of a tensor as the source has them.

use std::collections::HashSet;

use gguf_simd::BlockType;

use super::{Origin, Part, SourceRows, keeps_columns};
use crate::checkpoint::SourceType;
use crate::convert::stored::{Levels, Stored};
use crate::error::Result;
use crate::model::arch::ValueMap;

impl SourceRows<'_> {
    /// The element types of the source, as far as they are plain.
    pub(in crate::convert) fn source_types(&self) -> impl Iterator<Item = SourceType> {
        let parts = match &self.origin {
            Origin::Checkpoint(parts) => &parts[..],
            Origin::Computed(_) | Origin::Mxfp4 { .. } | Origin::Blocks(_) => &[],
        };
        parts.iter().filter_map(|part| match &part.stored {
            Stored::Plain(view) => Some(view.dtype),
            Stored::Packed(_) => None,
        })
    }

    /// The block type that holds all rows with the codes, or the elements, that the source has; `None` if none does.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(in crate::convert) fn held_type(&self) -> Result<Option<BlockType>> {
        if self.is_nvfp4 && !self.is_multiplied() {
            return Ok(Some(BlockType::NVFP4));
        }
        let parts = match &self.origin {
            Origin::Checkpoint(parts) if self.values == ValueMap::Same => parts,
            Origin::Blocks(blocks) => return Ok(blocks.ty.block_type()),
            Origin::Mxfp4 { .. } => return Ok(Some(BlockType::MXFP4)),
            Origin::Checkpoint(_) | Origin::Computed(_) => return Ok(None),
        };
        if let Some(ty) = self.type_of_grids()? {
            return Ok(Some(ty));
        }
        if let Some(types) = parts.iter().map(|part| part.stored.float_type()).collect::<Option<Vec<_>>>() {
            // Of two types the one that holds both.
            let is_one = types.iter().all(|ty| *ty == types[0]);
            return Ok(Some(if is_one { types[0] } else { BlockType::F32 }));
        }
        let mut common: Option<Levels> = None;
        let mut seen = HashSet::new();
        // Every expert may be a part of the same two stacks.
        for Part { stored, rows, .. } in parts.iter().filter(|part| seen.insert(&part.name)) {
            let Stored::Packed(packed) = stored else { return Ok(None) };
            let levels = if keeps_columns(*rows) { packed.levels()? } else { None };
            let Some(levels) = levels else { return Ok(packed.block_type()) };
            common = Some(match common {
                None => levels,
                Some(common) => common.and(&levels),
            });
        }
        Ok(common.and_then(|levels| levels.block_type(self.n_in)))
    }
}
