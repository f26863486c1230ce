//! The floating-point environment that everything here is defined for.
//!
//! A program that embeds this crate may have changed how its threads round: audio software and some runtimes
//! have subnormal numbers flushed to zero (FTZ and DAZ in x86's MXCSR, FZ in Arm's FPCR), and a new thread
//! inherits that. The kernels would then compute other bits, and so would the compiler's own folding of
//! constants, which assumes the default. [`FloatEnvironment::enter`] is to be called where computation begins.
//!
//! It reads one register (a few cycles) and writes it only if it has to.

use core::marker::PhantomData;

/// The default environment, on this thread, until it is dropped: rounding to nearest even, subnormal numbers as
/// they are, no traps.
#[derive(Debug)]
#[must_use = "the environment lasts as long as this value"]
pub struct FloatEnvironment {
    /// What the thread had, if it was another one.
    before: Option<register::Control>,
    /// It belongs to the thread it was made on.
    of_thread: PhantomData<*const ()>,
}

impl FloatEnvironment {
    /// Sets the default environment, unless the thread has it.
    #[inline]
    pub fn enter() -> Self {
        let found = register::read();
        let before = (found & register::MODES != register::DEFAULT).then_some(found);
        if let Some(found) = before {
            register::write(found & !register::MODES | register::DEFAULT);
        }
        Self { before, of_thread: PhantomData }
    }
}

impl Drop for FloatEnvironment {
    #[inline]
    fn drop(&mut self) {
        if let Some(before) = self.before {
            register::write(before);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod register {
    use core::arch::asm;

    pub(super) type Control = u32;

    /// DAZ, the masks of exceptions, the direction of rounding, and FTZ; below them are the flags of exceptions
    /// that have been.
    pub(super) const MODES: Control = 0xffc0;

    /// All exceptions masked.
    pub(super) const DEFAULT: Control = 0x1f80;

    /// MXCSR.
    #[inline]
    pub(super) fn read() -> Control {
        let mut control = 0;
        // SAFETY: SSE is part of x86-64; the instruction stores four bytes into four.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut control, options(nostack, preserves_flags)) };
        control
    }

    /// Sets MXCSR to what `read` gave, or to that with the default modes.
    #[inline]
    pub(super) fn write(control: Control) {
        // SAFETY: SSE is part of x86-64; no bit is set that the register lacks, for it had them or they are
        // the default. The compiler assumes the default modes: they are set, or what the thread came with.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod register {
    use core::arch::asm;

    pub(super) type Control = u64;

    /// Everything: flushing, rounding, the handling of NaNs and traps.
    pub(super) const MODES: Control = Control::MAX;

    /// IEEE arithmetic without traps.
    pub(super) const DEFAULT: Control = 0;

    /// FPCR.
    #[inline]
    pub(super) fn read() -> Control {
        let control;
        // SAFETY: every program may read the register; nothing else changes.
        unsafe { asm!("mrs {}, fpcr", out(reg) control, options(nomem, nostack, preserves_flags)) };
        control
    }

    /// Sets FPCR to what `read` gave, or to the default.
    #[inline]
    pub(super) fn write(control: Control) {
        // SAFETY: every program may write the register; no bit is set that it lacks. The compiler assumes the
        // default modes: they are set, or what the thread came with. (It may not move memory accesses over
        // this, so that what is computed before is stored before.)
        unsafe { asm!("msr fpcr, {}", in(reg) control, options(nostack, preserves_flags)) };
    }
}

/// Elsewhere the environment is taken to be the default.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod register {
    pub(super) type Control = u32;
    pub(super) const MODES: Control = 0;
    pub(super) const DEFAULT: Control = 0;

    pub(super) fn read() -> Control {
        DEFAULT
    }

    pub(super) fn write(_control: Control) {}
}

#[cfg(test)]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tests {
    use core::hint::black_box;

    use super::*;

    /// FTZ and DAZ, or FZ.
    const FLUSHES: register::Control = if cfg!(target_arch = "x86_64") { 0x8040 } else { 1 << 24 };

    /// Whether a subnormal number is computed, rather than zero. The compiler may not move the product to where
    /// another environment is set, nor compare it there.
    #[inline(never)]
    fn has_subnormals() -> bool {
        black_box(black_box(f32::MIN_POSITIVE) * black_box(0.5)).to_bits() != 0
    }

    #[test]
    fn an_environment_that_flushes_is_mended_for_a_while() {
        let before = register::read();
        register::write(before | FLUSHES);
        let flushed = !has_subnormals();
        let inside = {
            let _environment = FloatEnvironment::enter();
            let _again = FloatEnvironment::enter();
            has_subnormals()
        };
        let flushed_again = !has_subnormals();
        register::write(before);
        assert!(flushed && inside && flushed_again, "{flushed} {inside} {flushed_again}");
    }

    #[test]
    fn the_default_environment_is_left_alone() {
        assert!(FloatEnvironment::enter().before.is_none());
    }
}
