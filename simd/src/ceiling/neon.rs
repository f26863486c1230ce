//! The instructions of the NEON tiles, on registers only.

use core::arch::aarch64::*;
use core::arch::asm;
use core::hint::black_box;

use super::ROUNDS;

/// Sums that do not wait for one another.
pub(super) const CHAINS: usize = 16;

/// A loop of one instruction, in assembly, for each of the sums.
macro_rules! integer_loop {
    ($name:ident, $features:literal, $extension:literal, $text:literal, $doc:literal) => {
        #[doc = $doc]
        #[target_feature(enable = $features)]
        pub(super) fn $name() {
            let (w, y) = (vdupq_n_s8(black_box(1)), vdupq_n_s8(black_box(2)));
            let mut acc = [vdupq_n_s32(0); CHAINS];
            for _ in 0..ROUNDS {
                for acc in &mut acc {
                    // SAFETY: the instruction reads and writes registers only, and is one of this
                    // function's features.
                    unsafe {
                        asm!($extension, $text, acc = inout(vreg) *acc, w = in(vreg) w, y = in(vreg) y,
                            options(pure, nomem, nostack, preserves_flags));
                    }
                }
            }
            for acc in acc {
                black_box(vaddvq_s32(acc));
            }
        }
    };
}

integer_loop!(
    sdot,
    "neon,dotprod",
    ".arch_extension dotprod",
    "sdot {acc:v}.4s, {w:v}.16b, {y:v}.4b[0]",
    "`sdot` with a lane, alone."
);
integer_loop!(
    smmla,
    "neon,i8mm",
    ".arch_extension i8mm",
    "smmla {acc:v}.4s, {w:v}.16b, {y:v}.16b",
    "`smmla` alone."
);

/// `FIT` times two products of eight codes added in 16 bits, then a pairwise sum and one that widens.
#[target_feature(enable = "neon")]
pub(super) fn widened<const FIT: usize>() {
    let (w, mut y) = (vdupq_n_s8(black_box(1)), vdupq_n_s8(black_box(2)));
    let mut acc = [vdupq_n_s32(0); CHAINS];
    for _ in 0..ROUNDS {
        for acc in &mut acc {
            let (mut low, mut high) = (vdupq_n_s16(0), vdupq_n_s16(0));
            for _ in 0..FIT {
                y = opaque(y);
                low = vmlal_s8(low, vget_low_s8(w), vget_low_s8(y));
                high = vmlal_high_s8(high, w, y);
            }
            *acc = vpadalq_s16(*acc, vpaddq_s16(low, high));
        }
    }
    for acc in acc {
        black_box(vaddvq_s32(acc));
    }
}

/// Fused multiply-adds alone.
#[target_feature(enable = "neon")]
pub(super) fn floats() {
    let (w, x) = (vdupq_n_f32(black_box(0.5)), vdupq_n_f32(black_box(0.25)));
    let mut acc = [vdupq_n_f32(0.0); CHAINS];
    for _ in 0..ROUNDS {
        for acc in &mut acc {
            *acc = vfmaq_f32(*acc, w, x);
        }
    }
    for acc in acc {
        black_box(vaddvq_f32(acc));
    }
}

/// A vector of which the compiler knows nothing, so that it computes again what it could keep.
#[inline]
#[target_feature(enable = "neon")]
fn opaque(mut v: int8x16_t) -> int8x16_t {
    // SAFETY: there is no instruction in it.
    unsafe { asm!("/* {0:v} */", inout(vreg) v, options(pure, nomem, nostack, preserves_flags)) };
    v
}
