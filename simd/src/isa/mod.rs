//! CPU features as proof tokens, and the few helpers per CPU family.
//!
//! A tier is a set of CPU features that kernels are compiled for. Its token can only be made by
//! looking at the CPU, so whoever holds one may put that tier's kernels into a table
//! (see [`crate::kernels`]).

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;

/// A tier of CPU features; a better tier is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, for any CPU: the definition the other tiers equal bit for bit.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, VL, DQ and VNNI, and everything of [`Isa::Avx2`].
    Avx512,
    /// aarch64 with NEON and the dot product instructions.
    NeonDotprod,
}

impl Isa {
    /// How many tiers there are; a tier's discriminant is below it.
    pub(crate) const COUNT: usize = 4;
    const ALL: [Self; Self::COUNT] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::NeonDotprod];

    /// The name, as in `--isa`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::NeonDotprod => "neon-dotprod",
        }
    }

    /// The tier of this name, in any letter case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| isa.name().eq_ignore_ascii_case(name))
    }

    /// The tier whose kernels fill this one's gaps; none below the scalar one.
    pub fn below(self) -> Option<Self> {
        match self {
            Self::Scalar => None,
            Self::Avx2 | Self::NeonDotprod => Some(Self::Scalar),
            Self::Avx512 => Some(Self::Avx2),
        }
    }

    /// Whether the tier is one of the architecture this program is compiled for.
    pub fn is_of_target(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Avx2 | Self::Avx512 => cfg!(target_arch = "x86_64"),
            Self::NeonDotprod => cfg!(target_arch = "aarch64"),
        }
    }

    /// Every tier, worst first, whether this CPU has it or not.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    /// Whether this CPU has the tier.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::detect().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => NeonDotprod::detect().is_some(),
            #[allow(unreachable_patterns, reason = "which arms exist depends on the target")]
            _ => false,
        }
    }

    /// The tiers this CPU has, worst first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::all().filter(|isa| isa.is_available())
    }

    /// The best tier this CPU has.
    pub fn best() -> Self {
        Self::available().max().unwrap_or(Self::Scalar)
    }
}

impl core::fmt::Display for Isa {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

/// Proof that the CPU has AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// Looks at the CPU.
    pub fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        has.then_some(Self(()))
    }
}

/// Proof that the CPU has AVX-512 F, BW, VL, DQ and VNNI, and everything [`Avx2`] proves.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct Avx512(Avx2);

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// Looks at the CPU.
    pub fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni");
        Avx2::detect().filter(|_| has).map(Self)
    }

    /// The lesser proof that this one contains.
    pub fn avx2(self) -> Avx2 {
        self.0
    }
}

/// Proof that the CPU has NEON and the dot product instructions.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy, Debug)]
pub struct NeonDotprod(());

#[cfg(target_arch = "aarch64")]
impl NeonDotprod {
    /// Looks at the CPU.
    pub fn detect() -> Option<Self> {
        let has = std::arch::is_aarch64_feature_detected!("neon")
            && std::arch::is_aarch64_feature_detected!("dotprod");
        has.then_some(Self(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_tier() {
        for (i, isa) in Isa::all().enumerate() {
            assert_eq!(isa as usize, i);
            assert_eq!(Isa::from_name(&isa.name().to_uppercase()), Some(isa));
        }
        assert_eq!(Isa::from_name("avx1024"), None);
    }

    #[test]
    fn the_best_tier_is_available_and_none_above_it_is() {
        assert!(Isa::best().is_available());
        assert!(Isa::available().all(|isa| isa <= Isa::best()));
    }
}
