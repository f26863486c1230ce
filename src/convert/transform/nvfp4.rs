//! Rows of NVFP4 that are kept: the blocks have the codes and scales of the checkpoint, and its scales of whole tensors
//! become numbers that GGUF has beside the matrices (`blk.0.attn_q.scale`).
//!
//! To encode the decoded values again could take other scales: only those near the greatest value are tried, and one
//! that its quantiser chose otherwise would be lost.

use gguf_simd::BlockType;
use gguf_simd::kernels::Kernels;

use super::{Origin, Part, Place, Reading, SourceRows, keeps_columns};
use crate::error::Result;
use crate::gguf::GgmlType;
use crate::model::arch::ValueMap;
use crate::model::spec::{Presence, Role, Slot, Suffix, TensorId};

/// Matrices that readers multiply with a number beside them.
const SCALED: [Role; 20] = [
    Role::AttnQ,
    Role::AttnK,
    Role::AttnV,
    Role::AttnQkv,
    Role::AttnOutput,
    Role::AttnGate,
    Role::FfnGate,
    Role::FfnUp,
    Role::FfnDown,
    Role::FfnGateShexp,
    Role::FfnUpShexp,
    Role::FfnDownShexp,
    Role::FfnGateExps,
    Role::FfnUpExps,
    Role::FfnDownExps,
    Role::SsmIn,
    Role::SsmOut,
    Role::Output,
    Role::SsmAlpha,
    Role::SsmBeta,
];

/// Has every tensor that is NVFP4 written with its own codes, where blocks and one number beside them, or one for each
/// expert, hold it; adds those numbers. Does nothing unless `is_wanted`.
pub(in crate::convert) fn keep(found: &mut Vec<(Slot, SourceRows<'_>)>, is_wanted: bool) {
    if !is_wanted {
        return;
    }
    let taken: Vec<TensorId> = found.iter().map(|(slot, _)| slot.id).collect();
    let mut kept = Vec::with_capacity(found.len());
    for (slot, mut rows) in found.drain(..) {
        let id = TensorId { suffix: Suffix::Scale, ..slot.id };
        let Some(scales) = rows.nvfp4_scales(&slot) else {
            kept.push((slot, rows));
            continue;
        };
        let is_scaled = scales.iter().any(|scale| *scale != 1.0);
        if is_scaled && (!SCALED.contains(&slot.id.role) || taken.contains(&id)) {
            kept.push((slot, rows));
            continue;
        }
        rows.is_nvfp4 = true;
        kept.push((slot, rows));
        if is_scaled {
            let slot = Slot { id, shape: vec![scales.len()], presence: Presence::Optional };
            kept.push((slot, SourceRows::computed(scales)));
        }
    }
    *found = kept;
}

impl SourceRows<'_> {
    /// The scales of the whole matrix, or of each expert of a stack, if blocks hold the rest; `None` for what is not
    /// NVFP4, or parts of one matrix whose scales differ.
    fn nvfp4_scales(&self, slot: &Slot) -> Option<Vec<f32>> {
        let Origin::Checkpoint(parts) = &self.origin else { return None };
        if slot.id.suffix != Suffix::Weight || self.values != ValueMap::Same {
            return None;
        }
        if !self.n_in.is_multiple_of(BlockType::NVFP4.block_len()) {
            return None;
        }
        let factor = |part: &Part<'_>| {
            let is_whole = keeps_columns(part.rows) && part.stored.shape().last() == Some(&self.n_in);
            part.stored.as_nvfp4().filter(|_| is_whole).map(|nvfp4| nvfp4.factor())
        };
        let factors: Vec<f32> = parts.iter().map(factor).collect::<Option<_>>()?;
        let is_stack = slot.id.role.is_expert_stack() && slot.shape.len() == 3;
        let n = if is_stack { slot.shape[0] } else { 1 };
        if factors.len() == n {
            return Some(factors);
        }
        factors.iter().all(|factor| *factor == factors[0]).then(|| vec![factors[0]; n])
    }

    /// Whether blocks of type `ty` hold the codes and scales that the rows have, without those of the whole.
    pub(in crate::convert) fn is_nvfp4_in(&self, ty: GgmlType) -> bool {
        self.is_nvfp4 && !self.is_multiplied() && ty == BlockType::NVFP4.into()
    }

    /// Puts the blocks of rows `first..` into `out`.
    ///
    /// # Errors
    /// As [`Scaled::read_nvfp4`](crate::convert::stored::Scaled::read_nvfp4).
    pub(in crate::convert) fn read_nvfp4(
        &self,
        first: usize,
        mut out: &mut [u8],
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        let Origin::Checkpoint(parts) = &self.origin else { unreachable!("marked by `keep`") };
        let row_bytes = self.n_in / BlockType::NVFP4.block_len() * BlockType::NVFP4.block_bytes();
        let n_rows = out.len() / row_bytes;
        let mut row = first;
        while row < first + n_rows {
            let Place { part, first: start, .. } = self.locate(parts, row);
            // Rows that follow each other there are read together.
            let follows = |i: &usize| {
                let place = self.locate(parts, row + i);
                place.part == part && place.first == start + i * self.n_in
            };
            let n = 1 + (1..first + n_rows - row).take_while(follows).count();
            let (blocks, rest) = out.split_at_mut(n * row_bytes);
            let nvfp4 = parts[part].stored.as_nvfp4().expect("all parts are, of rows that `keep` marked");
            nvfp4.read_nvfp4(start / self.n_in, row_bytes, blocks, bytes)?;
            (out, row) = (rest, row + n);
        }
        Ok(())
    }

    /// Decodes the blocks of rows `first..` into `out`, `[rows, n_in]`.
    pub(super) fn decode_nvfp4(&self, first: usize, out: &mut [f32], reading: &mut Reading) -> Result<()> {
        let n_bytes = out.len() / BlockType::NVFP4.block_len() * BlockType::NVFP4.block_bytes();
        let mut blocks = std::mem::take(&mut reading.blocks);
        blocks.resize(n_bytes, 0);
        let read = self.read_nvfp4(first, &mut blocks, &mut reading.bytes);
        // Whatever the tier, the bits are the same.
        Kernels::best().decode(BlockType::NVFP4, &blocks, out);
        reading.blocks = blocks;
        read
    }
}
