//! What a CPU can do at most: the multiply-adds that tiles are made of, on registers only.
//!
//! A benchmark that divides what a kernel does by this, measured in the same run, says how much of the
//! CPU it uses, whatever the clock does and whatever else the machine runs.

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
    let found: Loop = match isa {
        Isa::Avx512 if ty.is_float() => (x86::floats_512, 14 * 16),
        Isa::Avx512 => (x86::dots_512, 14 * 64),
        Isa::Avx2 | Isa::AvxVnni if ty.is_float() => (x86::floats_256, 10 * 8),
        Isa::AvxVnni => (x86::dots_vnni_256, 12 * 32),
        Isa::Avx2 => match ty {
            BlockType::Q8_0 | BlockType::IQ4_NL | BlockType::IQ4_XS => (x86::signed_dots_256, 8 * 32),
            BlockType::Q6_K => (x86::dots_256::<2>, 4 * 2 * 32),
            BlockType::Q5_0
            | BlockType::Q5_1
            | BlockType::Q2_K
            | BlockType::Q3_K
            | BlockType::Q5_K
            | BlockType::MXFP4 => (x86::dots_256::<4>, 4 * 4 * 32),
            _ => (x86::dots_256::<8>, 4 * 8 * 32),
        },
        _ => return None,
    };
    Some(found)
}

#[cfg(target_arch = "aarch64")]
fn loop_of(isa: Isa, ty: BlockType) -> Option<Loop> {
    const CHAINS: usize = neon::CHAINS;
    let found: Loop = match isa {
        Isa::Neon | Isa::NeonDotprod | Isa::NeonI8mm if ty.is_float() => (neon::floats, CHAINS * 4),
        Isa::Neon => match ty {
            BlockType::Q8_0 | BlockType::IQ4_NL | BlockType::MXFP4 => (neon::widened::<1>, CHAINS * 16),
            BlockType::Q6_K => (neon::widened::<2>, CHAINS * 2 * 16),
            _ => (neon::widened::<4>, CHAINS * 4 * 16),
        },
        Isa::NeonDotprod => (neon::sdot, CHAINS * 16),
        Isa::NeonI8mm => (neon::smmla, CHAINS * 32),
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
