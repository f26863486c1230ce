//! What a CPU can do at most: the multiply-adds that tiles are made of, on registers only.
//!
//! A benchmark that divides what a kernel does by this, measured in the same run, says how much of the
//! CPU it uses, whatever the clock does and whatever else the machine runs.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::gemm::{Codes, codes};
#[cfg(target_arch = "x86_64")]
use crate::isa::Avx2;
#[cfg(target_arch = "aarch64")]
use crate::isa::Neon;
use crate::{BlockType, Isa};

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Rounds of a loop: some hundred thousand cycles.
const ROUNDS: usize = 100_000;

/// Some rounds of a loop, and its multiply-adds in one.
type Loop = (unsafe fn(), usize);

/// Does the multiply-adds that the tier's tiles for `ty` are made of, as fast as it can for about a
/// millisecond, and returns how many they were: the caller has the clock. `None` for the scalar tier,
/// which has no tiles, and for one that this CPU lacks.
pub fn multiply_adds(isa: Isa, ty: BlockType) -> Option<usize> {
    let (run, per_round) = loop_of(isa, ty).filter(|_| isa.is_available())?;
    // SAFETY: the loops of a tier need its features and no others, and this CPU has them.
    unsafe { run() };
    Some(ROUNDS * per_round)
}

#[cfg(target_arch = "x86_64")]
fn loop_of(isa: Isa, ty: BlockType) -> Option<Loop> {
    let found: Loop = match (isa, codes::<Avx2>(ty)) {
        (Isa::Avx512, None) => (x86::floats_512, 14 * 16),
        (Isa::Avx512, _) => (x86::dots_512, 14 * 64),
        (Isa::Avx2 | Isa::AvxVnni, None) => (x86::floats_256, 10 * 8),
        (Isa::AvxVnni, _) => (x86::dots_vnni_256, 12 * 32),
        (Isa::Avx2, Some(Codes { bits: 8, .. })) => (x86::signed_dots_256, 8 * 32),
        (Isa::Avx2, Some(Codes { bits: 6, .. })) => (x86::dots_256::<2>, 4 * 2 * 32),
        (Isa::Avx2, Some(Codes { bits: 5, .. } | Codes { sub_words: 4, .. })) => {
            (x86::dots_256::<4>, 4 * 4 * 32)
        }
        (Isa::Avx2, _) => (x86::dots_256::<8>, 4 * 8 * 32),
        _ => return None,
    };
    Some(found)
}

#[cfg(target_arch = "aarch64")]
fn loop_of(isa: Isa, ty: BlockType) -> Option<Loop> {
    const CHAINS: usize = neon::CHAINS;
    let found: Loop = match (isa, codes::<Neon>(ty)) {
        (Isa::Neon | Isa::NeonDotprod | Isa::NeonI8mm, None) => (neon::floats, CHAINS * 4),
        (Isa::Neon, Some(Codes { bits: 8, .. })) => (neon::widened::<1>, CHAINS * 16),
        (Isa::Neon, Some(Codes { bits: 6, .. })) => (neon::widened::<2>, CHAINS * 2 * 16),
        (Isa::Neon, _) => (neon::widened::<4>, CHAINS * 4 * 16),
        (Isa::NeonDotprod, _) => (neon::sdot, CHAINS * 16),
        (Isa::NeonI8mm, _) => (neon::smmla, CHAINS * 32),
        _ => return None,
    };
    Some(found)
}

/// Elsewhere there is the scalar tier alone.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn loop_of(_isa: Isa, _ty: BlockType) -> Option<Loop> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_this_cpu_has_do_multiply_adds_and_others_none() {
        for isa in Isa::all() {
            for ty in BlockType::all() {
                let expected = isa.is_available() && isa != Isa::Scalar;
                assert_eq!(multiply_adds(isa, ty).is_some_and(|n| n > 0), expected, "{isa}, {ty}");
            }
        }
    }
}
