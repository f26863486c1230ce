//! Cache lines that are asked for a share at a time, while something else is computed.

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Cache lines that follow each other. They are asked for and not read: an address need not be anybody's memory.
#[derive(Clone, Copy)]
pub(crate) struct Lines {
    first: *const u8,
    n: usize,
}

impl Lines {
    /// No lines.
    pub(crate) const NONE: Self = Self { first: core::ptr::null(), n: 0 };

    /// The lines of some bytes.
    #[inline(always)]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { first: bytes.as_ptr(), n: bytes.len().div_ceil(LINE) }
    }

    /// The lines in two parts of about the same size.
    #[inline(always)]
    pub(crate) fn halves(self) -> [Self; 2] {
        let n = self.n / 2;
        [Self { first: self.first, n }, Self { first: self.first.wrapping_add(n * LINE), n: self.n - n }]
    }

    /// Asks for share `i` of `n` equal ones; the last are smaller where there are not as many lines.
    #[inline(always)]
    pub(crate) fn ask_share(self, i: usize, n: usize, ask: impl Fn(*const u8)) {
        let share = self.n.div_ceil(n);
        for line in share * i..(share * (i + 1)).min(self.n) {
            ask(self.first.wrapping_add(line * LINE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_both_halves_are_every_line_once() {
        let bytes = [0; 1000];
        for n_bytes in [0, 1, 64, 65, 640, 1000] {
            for n_shares in [1, 3, 8, 16] {
                let asked = core::cell::RefCell::new(Vec::new());
                for half in Lines::of(&bytes[..n_bytes]).halves() {
                    for i in 0..n_shares {
                        half.ask_share(i, n_shares, |line| {
                            asked.borrow_mut().push(line as usize - bytes.as_ptr() as usize);
                        });
                    }
                }
                let expected: Vec<usize> = (0..n_bytes.div_ceil(LINE)).map(|line| line * LINE).collect();
                assert_eq!(asked.into_inner(), expected, "{n_bytes} bytes in {n_shares} shares");
            }
        }
    }

    #[test]
    fn no_lines_are_none() {
        Lines::NONE.ask_share(0, 8, |_| panic!("there is none"));
    }
}
