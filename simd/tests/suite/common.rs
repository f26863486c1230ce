//! What the tests of this crate share: random bytes and floats, and equality of results.

use std::path::PathBuf;

use gguf_simd::kernels::{Operation, origin};
use gguf_simd::{BlockType, Isa, Kernels};

/// A file of `fixtures/`.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Blocks of `n` weights as a file has them: random numbers encoded or, for a codebook type, whose searches take
/// long, blocks of the fixtures in a random order.
pub(crate) fn plausible_blocks(ty: BlockType, n: usize, random: &mut Random) -> Vec<u8> {
    let n_bytes = ty.row_bytes(n).expect("whole blocks");
    if !is_codebook(ty) {
        let mut bytes = vec![0; n_bytes];
        Kernels::best().encode(ty, &random.floats(n), None, &mut bytes);
        return bytes;
    }
    let blocks = fixture(&format!("blocks/{}.bin", ty.name().to_lowercase()));
    let blocks: Vec<&[u8]> = blocks.chunks_exact(ty.block_bytes()).collect();
    let any = |_| blocks[random.next() as usize % blocks.len()];
    (0..n_bytes / ty.block_bytes()).flat_map(any).copied().collect()
}

/// Whether weights are entries of a codebook.
pub(crate) fn is_codebook(ty: BlockType) -> bool {
    ty.name().starts_with("IQ") && !matches!(ty, BlockType::IQ4_NL | BlockType::IQ4_XS)
}

/// A small generator (xorshift), so that a failure names a seed that repeats it.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| (self.next() >> 24) as u8).collect()
    }

    /// Evenly distributed in -1..1.
    pub(crate) fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }
}

/// The tables to compare with the scalar one; says which tiers this CPU lacks.
pub(crate) fn better_tiers() -> Vec<&'static Kernels> {
    for isa in Isa::all().filter(|isa| !isa.is_available()) {
        println!("skipped: this CPU has no {isa}");
    }
    Isa::available().filter(|&isa| isa != Isa::Scalar).filter_map(Kernels::get).collect()
}

/// Whether a tier does `operation` on `ty` by a kernel of its own; others are tried as those of the tier that has them.
pub(crate) fn is_own(kernels: &Kernels, ty: BlockType, operation: Operation) -> bool {
    origin(kernels.isa(), ty, operation) == Some(kernels.isa())
}

pub(crate) fn scalar() -> &'static Kernels {
    Kernels::get(Isa::Scalar).expect("every CPU runs the scalar kernels")
}

/// Asserts equal bits; a NaN equals every NaN (their payloads differ between CPUs).
#[track_caller]
pub(crate) fn assert_same_bits(expected: &[f32], found: &[f32], context: impl Fn() -> String) {
    assert_eq!(expected.len(), found.len(), "{}", context());
    for (i, (e, f)) in expected.iter().zip(found).enumerate() {
        let same = e.to_bits() == f.to_bits() || e.is_nan() && f.is_nan();
        assert!(same, "{}: value {i} is {f:e}, not {e:e}", context());
    }
}
