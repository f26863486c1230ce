//! What kernels make of the windows of a row of activations, once for all rows of weights.

use core::mem::MaybeUninit;

/// As many windows as a kernel's stack has room for; of those beyond it makes the same anew for each row.
const WINDOWS: usize = 64;

/// Room on a kernel's stack, of which only what is used is written: a product of few rows is soon over.
pub(crate) struct Room<W>([MaybeUninit<W>; WINDOWS]);

impl<W: Copy> Room<W> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; WINDOWS])
    }

    /// What `arrange` makes of the first windows of a row.
    #[inline(always)]
    pub(crate) fn fill<Y>(&mut self, x: &[Y], arrange: impl Fn(&Y) -> W) -> &[W] {
        let n = x.len().min(WINDOWS);
        for (window, y) in self.0.iter_mut().zip(x) {
            window.write(arrange(y));
        }
        // SAFETY: the first `n` are written.
        unsafe { self.0[..n].assume_init_ref() }
    }
}
