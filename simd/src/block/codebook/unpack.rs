//! Unpacks the codebook types for batch products.
//!
//! Row by row, entries and marks become the codes of a window in the order of the weights; then all rows are
//! transposed, sixteen bytes at a time.

use super::{Codebook, Marks};
use crate::gemm::k::{Class, KFormat, Panel};
use crate::gemm::{ROWS, Rows, Tier};

/// What is added to the codes of a type so that they are unsigned and small: nothing, where that takes eight bits.
const fn small_bias<const B: usize, C: Codebook<B>>() -> Option<u8> {
    match C::MARKS {
        Marks::Raise => Some(C::MARKS.bias()),
        Marks::Negate if C::TOP < 16 => Some(C::TOP),
        Marks::Negate => None,
    }
}

/// A window of a row, as it is unpacked: scales of sixteen or 32 weights, then `d`.
type Head = [u8; 32];

impl<const B: usize, C: Codebook<B>> KFormat<B> for C {
    const UNIT: f32 = C::UNIT;

    fn class<T: Tier>() -> Class {
        let sub_words = C::SUB_LEN / 4;
        match const { small_bias::<B, C>() } {
            Some(bias) => Class { sub_words, minima: 0, bias: i32::from(bias), bits: 5 },
            None => Class { sub_words, minima: 0, bias: T::BYTE_BIAS, bits: 8 },
        }
    }

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, B>, panel: &mut Panel) {
        let bias = const { small_bias::<B, C>() }.unwrap_or(T::BYTE_BIAS as u8);
        let (mut codes, mut heads) = ([[0; 256]; ROWS], [[0; 32]; ROWS]);
        for r in 0..ROWS {
            rows.ask_ahead(r, ROWS, |line| tier.prefetch_later(line));
            tier.store_codes::<B, C>(rows.row(r), bias, &mut codes[r]);
            heads[r] = head::<B, C>(rows.row(r));
        }
        let (codes, heads) = (Rows::of(&codes), Rows::of(&heads));
        for i in 0..16 {
            for (quad, words) in tier.quads(&codes, 16 * i).into_iter().zip(&mut panel.codes[4 * i..]) {
                tier.store(quad, words);
            }
        }
        let scales = panel.scales.as_chunks_mut::<4>().0.iter_mut().take(64 / C::SUB_LEN);
        for (quad, scales) in tier.quads(&heads, 0).into_iter().zip(scales) {
            tier.store_scales(quad, scales);
        }
        tier.store_f16(tier.quads(&heads, 16)[0], &mut panel.d);
    }
}

/// The head of a window.
#[inline(always)]
fn head<const B: usize, C: Codebook<B>>(block: &[u8; B]) -> Head {
    let (scales, d) = (C::scales(block), C::d(block));
    let mut head = [0; 32];
    for j in 0..256 / C::SUB_LEN {
        head[j] = scales[C::SUB_LEN / 16 * j];
    }
    head[16..18].copy_from_slice(&d);
    head
}
