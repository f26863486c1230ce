//! Activations as the dot kernels read them.
//!
//! A row of activations is cut into *windows* of 256 values, the unit of the canonical float order
//! (see [`crate::block`]). A quantised window carries its codes, scales and code sums together, so
//! that a kernel walks one contiguous stream. A last window that is not full is padded with zero
//! codes, zero scales and zero sums.
//!
//! Codes stay within -127..=127: the AVX2 kernels negate them, and -128 has no negative. And the sums are those
//! of the codes: kernels use the ones or the others, as it suits them. So windows are made by the quantisers
//! ([`crate::Kernels::quantize_q8_0`]) or by `new`, and only read after that.

/// Values in a window, and in a super-block of a K type.
pub const WINDOW_LEN: usize = 256;

/// How a weight type wants its activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivationFormat {
    /// Plain floats, for the float weight types.
    F32,
    /// One scale per 32 values, with the sum of each 32 codes: the field's Q8_0 and Q8_1 in one.
    /// The scale stays an `f32`: it is never stored, and as an `f16` it can overflow.
    Q8_0,
    /// One scale per 256 values, with the sum of each 16 codes: Q8_K.
    Q8K,
}

/// 256 activations with a scale for each 32 of them.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Q8Window {
    /// The codes, in order; value = `scales[i / 32] * codes[i]`.
    pub(crate) codes: [i8; WINDOW_LEN],
    /// One scale per 32 codes; zero where all 32 values are zero.
    pub(crate) scales: [f32; 8],
    /// The sum of each 32 codes (at most 4064 in magnitude).
    pub(crate) sums: [i32; 8],
}

/// 256 activations with one scale.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Q8KWindow {
    /// The codes, in order; value = `scale * codes[i]`.
    pub(crate) codes: [i8; WINDOW_LEN],
    /// The sum of each 16 codes (at most 2032 in magnitude).
    pub(crate) sums: [i16; 16],
    /// The scale, negative where the value of largest magnitude is positive: that value maps to -127.
    pub(crate) scale: f32,
}

impl Q8Window {
    /// A window of zeros.
    pub const ZERO: Self = Self { codes: [0; WINDOW_LEN], scales: [0.0; 8], sums: [0; 8] };

    /// A window of these codes and scales.
    ///
    /// # Panics
    /// If a code is -128.
    pub fn new(codes: [i8; WINDOW_LEN], scales: [f32; 8]) -> Self {
        assert!(!codes.contains(&i8::MIN), "codes are within -127..=127");
        let mut sums = [0; 8];
        for (sum, codes) in sums.iter_mut().zip(codes.as_chunks::<32>().0) {
            *sum = codes.iter().map(|&code| i32::from(code)).sum();
        }
        Self { codes, scales, sums }
    }

    /// The codes, in order; value = `scales[i / 32] * codes[i]`.
    pub fn codes(&self) -> &[i8; WINDOW_LEN] {
        &self.codes
    }

    /// One scale per 32 codes; zero where all 32 values are zero.
    pub fn scales(&self) -> &[f32; 8] {
        &self.scales
    }

    /// The sum of each 32 codes.
    pub fn sums(&self) -> &[i32; 8] {
        &self.sums
    }
}

impl Q8KWindow {
    /// A window of zeros.
    pub const ZERO: Self = Self { codes: [0; WINDOW_LEN], sums: [0; 16], scale: 0.0 };

    /// A window of these codes with this scale.
    ///
    /// # Panics
    /// If a code is -128.
    pub fn new(codes: [i8; WINDOW_LEN], scale: f32) -> Self {
        assert!(!codes.contains(&i8::MIN), "codes are within -127..=127");
        let mut sums = [0; 16];
        for (sum, codes) in sums.iter_mut().zip(codes.as_chunks::<16>().0) {
            *sum = codes.iter().map(|&code| i16::from(code)).sum();
        }
        Self { codes, sums, scale }
    }

    /// The codes, in order; value = `scale * codes[i]`.
    pub fn codes(&self) -> &[i8; WINDOW_LEN] {
        &self.codes
    }

    /// The sum of each 16 codes.
    pub fn sums(&self) -> &[i16; 16] {
        &self.sums
    }

    /// The scale, negative where the value of largest magnitude is positive.
    pub fn scale(&self) -> f32 {
        self.scale
    }
}

/// Rows of activations, one after the other, in the format its consumer wants.
#[derive(Clone, Copy, Debug)]
pub enum Activation<'a> {
    /// `n_in` floats a row.
    F32(&'a [f32]),
    /// `ceil(n_in / 256)` windows a row.
    Q8_0(&'a [Q8Window]),
    /// `n_in / 256` windows a row.
    Q8K(&'a [Q8KWindow]),
}

impl Activation<'_> {
    /// Floats or windows in it.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::Q8_0(x) => x.len(),
            Self::Q8K(x) => x.len(),
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `len` floats or windows that begin at `first`.
    ///
    /// # Panics
    /// If they do not all exist.
    pub fn slice(&self, first: usize, len: usize) -> Self {
        match self {
            Self::F32(x) => Self::F32(&x[first..first + len]),
            Self::Q8_0(x) => Self::Q8_0(&x[first..first + len]),
            Self::Q8K(x) => Self::Q8K(&x[first..first + len]),
        }
    }

    /// The format.
    pub fn format(&self) -> ActivationFormat {
        match self {
            Self::F32(_) => ActivationFormat::F32,
            Self::Q8_0(_) => ActivationFormat::Q8_0,
            Self::Q8K(_) => ActivationFormat::Q8K,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_sum_their_codes() {
        let codes = core::array::from_fn(|i| (i % 255) as i8);
        let codes = codes.map(|code: i8| code.max(-127));
        let (small, large) = (Q8KWindow::new(codes, 0.5), Q8Window::new(codes, [0.5; 8]));
        let sum = |codes: &[i8]| codes.iter().map(|&code| i32::from(code)).sum::<i32>();
        assert!(small.sums().iter().zip(codes.chunks(16)).all(|(&s, codes)| i32::from(s) == sum(codes)));
        assert!(large.sums().iter().zip(codes.chunks(32)).all(|(&s, codes)| s == sum(codes)));
    }

    #[test]
    #[should_panic(expected = "codes are within -127..=127")]
    fn windows_refuse_the_code_without_a_negative() {
        let mut codes = [0; WINDOW_LEN];
        codes[200] = -128;
        Q8Window::new(codes, [1.0; 8]);
    }
}
