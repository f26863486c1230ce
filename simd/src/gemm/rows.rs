//! The same window of sixteen rows.

use core::hint::black_box;
use core::marker::PhantomData;

use super::{Lines, ROWS};

/// The same window of sixteen rows, `N` bytes each, which lie at equal distances.
///
/// Sixteen references would be more than there are registers: each load would first load its pointer. With
/// every fourth row and the distance, addresses take six.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, const N: usize> {
    /// Rows 0, 4, 8 and 12, of which the compiler does not know how they follow from each other.
    fourths: [*const u8; 4],
    /// From each row to the next: `N` bytes of all sixteen are readable for `'a`.
    stride: usize,
    /// What is asked for while these are unpacked, and while they are multiplied.
    ahead: [Lines; 2],
    lifetime: PhantomData<&'a [u8; N]>,
}

impl<'a, const N: usize> Rows<'a, N> {
    /// The rows that begin `at` a byte and every `stride` bytes after it; `None` if they do not all exist.
    #[inline(always)]
    pub(crate) fn new(bytes: &'a [u8], at: usize, stride: usize) -> Option<Self> {
        let end = stride.checked_mul(ROWS - 1)?.checked_add(at)?.checked_add(N)?;
        if end > bytes.len() {
            return None;
        }
        let fourth = |i: usize| black_box(bytes[at + 4 * i * stride..].as_ptr());
        let fourths = [fourth(0), fourth(1), fourth(2), fourth(3)];
        Some(Self { fourths, stride, ahead: [Lines::NONE; 2], lifetime: PhantomData })
    }

    /// Rows that follow each other.
    #[inline(always)]
    pub(crate) fn of(rows: &'a [[u8; N]; ROWS]) -> Self {
        Self::new(rows.as_flattened(), 0, N).expect("sixteen rows")
    }

    /// The same rows. Meanwhile some lines are asked for: one half by what unpacks the rows, the other by the tile.
    #[inline(always)]
    pub(crate) fn with_ahead(self, ahead: Lines) -> Self {
        Self { ahead: ahead.halves(), ..self }
    }

    /// Asks for share `i` of `n` of what is to be asked for while the rows are unpacked.
    #[inline(always)]
    pub(crate) fn ask_ahead(&self, i: usize, n: usize, ask: impl Fn(*const u8)) {
        self.ahead[0].ask_share(i, n, ask);
    }

    /// What is to be asked for while the rows are multiplied.
    #[inline(always)]
    pub(crate) fn ahead_of_tile(&self) -> Lines {
        self.ahead[1]
    }

    /// Row `r`.
    ///
    /// # Panics
    /// If there are not as many.
    #[inline(always)]
    pub(crate) fn row(&self, r: usize) -> &'a [u8; N] {
        assert!(r < ROWS, "row {r}");
        // SAFETY: `new` found `N` bytes of each of sixteen rows inside what it borrowed for `'a`.
        unsafe { &*self.fourths[r / 4].add(r % 4 * self.stride).cast() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_lie_where_they_were_said_to() {
        let bytes: Vec<u8> = (0..200).collect();
        let rows = Rows::<20>::new(&bytes, 3, 11).expect("the last ends at 188");
        for r in 0..ROWS {
            assert_eq!(rows.row(r)[..], bytes[3 + 11 * r..][..20]);
        }
        assert!(Rows::<20>::new(&bytes, 15, 11).is_some());
        assert!(Rows::<20>::new(&bytes, 16, 11).is_none());
        assert!(Rows::<20>::new(&bytes, 0, usize::MAX).is_none());
    }
}
