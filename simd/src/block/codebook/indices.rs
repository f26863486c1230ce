//! The indices of a super-block's entries, where they are made together.

use core::arch::x86_64::*;
use core::marker::PhantomData;

use super::avx2::in_memory;
use super::{Codebook, entry};

/// The indices of a super-block's entries, each below the length of the table of `C`.
pub(crate) struct Indices<const B: usize, C> {
    numbers: [u16; 64],
    book: PhantomData<C>,
}

impl<const B: usize, C: Codebook<B>> Indices<B, C> {
    /// Those of the first entry.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        const { assert!(C::TABLE.len().is_power_of_two() && C::TABLE.len() <= 1 << 16) };
        Self { numbers: [0; 64], book: PhantomData }
    }

    /// Writes sixteen, of which the bits that an index has count.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn store(&mut self, i: usize, indices: __m256i) {
        let below = _mm256_set1_epi16(((C::TABLE.len() - 1) as u16).cast_signed());
        let out: &mut [u16; 16] = &mut self.numbers.as_chunks_mut().0[i];
        // SAFETY: 32 bytes are stored into 32.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_and_si256(indices, below)) };
    }

    /// Entry `g`.
    #[inline(always)]
    pub(crate) fn entry(&self, g: usize) -> C::Entry {
        // SAFETY: an index is below the table's length, as is zero.
        unsafe { *C::TABLE.get_unchecked(usize::from(self.numbers[g])) }
    }

    /// [`Indices::entry`] by an index that is loaded alone: the compiler would load several as a vector, and extract
    /// each.
    #[inline(always)]
    pub(crate) fn lone_entry(&self, g: usize) -> C::Entry {
        // SAFETY: a reference is valid to read.
        let index = unsafe { core::ptr::read_volatile(&self.numbers[g]) };
        // SAFETY: an index is below the table's length, as is zero.
        unsafe { *C::TABLE.get_unchecked(usize::from(index)) }
    }

    /// Has the compiler leave them in memory: see [`in_memory`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn in_memory(&mut self) {
        in_memory(&mut self.numbers);
    }
}

/// Entry `g` of a super-block; from the indices of [`Codebook::indices`], if it has them.
#[inline(always)]
pub(crate) fn entry_of<const B: usize, C: Codebook<B>>(
    block: &[u8; B],
    (has_indices, indices): (bool, &Indices<B, C>),
    g: usize,
) -> C::Entry {
    if has_indices { indices.entry(g) } else { entry::<B, C>(C::index(block, g)) }
}

/// [`entry_of`] by [`Indices::lone_entry`].
#[inline(always)]
pub(crate) fn lone_entry_of<const B: usize, C: Codebook<B>>(
    block: &[u8; B],
    (has_indices, indices): (bool, &Indices<B, C>),
    g: usize,
) -> C::Entry {
    if has_indices { indices.lone_entry(g) } else { entry::<B, C>(C::index(block, g)) }
}
