//! CPU features as proof tokens, and the few helpers per CPU family.
//!
//! A tier is a set of CPU features that kernels are compiled for. Its token, a value of no size, comes from
//! looking at the CPU (`detect`) or from code that is itself compiled for the features (`here`), which can
//! only be reached with them. So a function that takes the token may execute the tier's instructions, though
//! it is safe to call: tables of kernels are made from a `Proof`, and the generic bodies that are compiled
//! for several tiers pass the token on to the few functions that differ.

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
    /// x86-64 with AVX-VNNI (the 256-bit form without AVX-512), and everything of [`Isa::Avx2`].
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, VL, DQ and VNNI, and everything of [`Isa::Avx2`].
    Avx512,
    /// aarch64 with NEON, which all of them have.
    Neon,
    /// aarch64 with the dot product instructions, and everything of [`Isa::Neon`].
    NeonDotprod,
    /// aarch64 with the 8-bit matrix multiplication instructions, and everything of
    /// [`Isa::NeonDotprod`].
    NeonI8mm,
}

impl Isa {
    /// How many tiers there are; a tier's discriminant is below it.
    pub(crate) const COUNT: usize = 7;
    const ALL: [Self; Self::COUNT] = [
        Self::Scalar,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512,
        Self::Neon,
        Self::NeonDotprod,
        Self::NeonI8mm,
    ];

    /// The name, as in `--isa`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
            Self::NeonDotprod => "neon-dotprod",
            Self::NeonI8mm => "neon-i8mm",
        }
    }

    /// The tier of this name, in any letter case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| isa.name().eq_ignore_ascii_case(name))
    }

    /// The tier whose kernels fill this one's gaps; none below the scalar one. (A CPU with AVX-512 need
    /// not have AVX-VNNI.)
    pub fn below(self) -> Option<Self> {
        match self {
            Self::Scalar => None,
            Self::Avx2 | Self::Neon => Some(Self::Scalar),
            Self::AvxVnni | Self::Avx512 => Some(Self::Avx2),
            Self::NeonDotprod => Some(Self::Neon),
            Self::NeonI8mm => Some(Self::NeonDotprod),
        }
    }

    /// Whether the tier is one of the architecture this program is compiled for.
    pub fn is_of_target(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Avx2 | Self::AvxVnni | Self::Avx512 => cfg!(target_arch = "x86_64"),
            Self::Neon | Self::NeonDotprod | Self::NeonI8mm => cfg!(target_arch = "aarch64"),
        }
    }

    /// Every tier, worst first, whether this CPU has it or not.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    /// Whether this CPU has the tier.
    pub fn is_available(self) -> bool {
        self.detect().is_some()
    }

    /// Looks at the CPU for the tier.
    pub(crate) fn detect(self) -> Option<Proof> {
        match self {
            Self::Scalar => Some(Proof::Scalar),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::detect().map(Proof::Avx2),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => AvxVnni::detect().map(Proof::AvxVnni),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::detect().map(Proof::Avx512),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Neon::detect().map(Proof::Neon),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => NeonDotprod::detect().map(Proof::NeonDotprod),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => NeonI8mm::detect().map(Proof::NeonI8mm),
            #[allow(unreachable_patterns, reason = "which arms exist depends on the target")]
            _ => None,
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

/// The token of some tier: what a table of functions is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Proof {
    /// Needs none.
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    #[cfg(target_arch = "aarch64")]
    NeonDotprod(NeonDotprod),
    #[cfg(target_arch = "aarch64")]
    NeonI8mm(NeonI8mm),
}

impl Proof {
    /// The tier.
    pub(crate) fn isa(self) -> Isa {
        match self {
            Self::Scalar => Isa::Scalar,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Isa::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(_) => Isa::AvxVnni,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => Isa::Avx512,
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => Isa::Neon,
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod(_) => Isa::NeonDotprod,
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm(_) => Isa::NeonI8mm,
        }
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

    /// The token, in code that is compiled for the features: to reach it, one has to have them.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(crate) fn here() -> Self {
        Self(())
    }
}

/// Proof that the CPU has AVX-VNNI, and everything [`Avx2`] proves.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct AvxVnni(());

#[cfg(target_arch = "x86_64")]
impl AvxVnni {
    /// Looks at the CPU.
    pub fn detect() -> Option<Self> {
        (Avx2::detect().is_some() && is_x86_feature_detected!("avxvnni")).then_some(Self(()))
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

    /// The token, in code that is compiled for the features: to reach it, one has to have them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
    pub(crate) fn here() -> Self {
        Self(Avx2::here())
    }

    /// The lesser proof that this one contains.
    pub fn avx2(self) -> Avx2 {
        self.0
    }
}

/// Proof that the CPU has NEON.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

#[cfg(target_arch = "aarch64")]
impl Neon {
    /// Looks at the CPU.
    pub fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    /// The token, in code that is compiled for the features: to reach it, one has to have them.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn here() -> Self {
        Self(())
    }
}

/// Proof that the CPU has the dot product instructions, and everything [`Neon`] proves.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy, Debug)]
pub struct NeonDotprod(());

#[cfg(target_arch = "aarch64")]
impl NeonDotprod {
    /// Looks at the CPU.
    pub fn detect() -> Option<Self> {
        (Neon::detect().is_some() && std::arch::is_aarch64_feature_detected!("dotprod")).then_some(Self(()))
    }
}

/// Proof that the CPU has the 8-bit matrix multiplication instructions, and everything
/// [`NeonDotprod`] proves.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy, Debug)]
pub struct NeonI8mm(());

#[cfg(target_arch = "aarch64")]
impl NeonI8mm {
    /// Looks at the CPU.
    pub fn detect() -> Option<Self> {
        let has = NeonDotprod::detect().is_some() && std::arch::is_aarch64_feature_detected!("i8mm");
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
    fn a_tier_is_better_than_the_one_below_it_and_implies_it() {
        for isa in Isa::all() {
            assert!(isa.below().is_none_or(|below| below < isa));
            assert!(isa.detect().is_none_or(|proof| proof.isa() == isa));
            assert!(!isa.is_available() || isa.is_of_target() && isa.below().is_none_or(Isa::is_available));
        }
    }

    #[test]
    fn the_best_tier_is_available_and_none_above_it_is() {
        assert!(Isa::best().is_available());
        assert!(Isa::available().all(|isa| isa <= Isa::best()));
    }
}
