//! Arrays made element by element, in kernels.
//!
//! `core::array::from_fn` and `map` are compiled without the CPU features of the kernel that calls
//! them. When the compiler does not inline them, neither can it inline the closure, and every vector
//! goes through memory. These always inline.

/// `[f(0), f(1), ..]`, for numbers.
#[inline(always)]
pub(crate) fn build<T: Copy + Default, const N: usize>(f: impl Fn(usize) -> T) -> [T; N] {
    let mut array = [T::default(); N];
    for (i, element) in array.iter_mut().enumerate() {
        *element = f(i);
    }
    array
}

/// `[f(array[0]), f(array[1]), ..]`.
#[inline(always)]
pub(crate) fn map<T: Copy, U: Copy + Default, const N: usize>(array: &[T; N], f: impl Fn(T) -> U) -> [U; N] {
    build(|i| f(array[i]))
}

/// [`map`] for vectors.
#[inline(always)]
pub(crate) fn map_all<T: Copy, const N: usize>(array: &[T; N], f: impl Fn(T) -> T) -> [T; N] {
    let mut all = *array;
    for element in &mut all {
        *element = f(*element);
    }
    all
}

/// `[f(0), f(1)]`, written out: a loop over vectors is not always unrolled, and keeps them in memory.
#[inline(always)]
pub(crate) fn two<T>(f: impl Fn(usize) -> T) -> [T; 2] {
    [f(0), f(1)]
}

/// `[f(0), .. f(3)]`, written out as [`two`] is.
#[inline(always)]
pub(crate) fn four<T>(f: impl Fn(usize) -> T) -> [T; 4] {
    [f(0), f(1), f(2), f(3)]
}

/// `[f(0), .. f(7)]`, written out as [`two`] is.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
pub(crate) fn eight<T>(f: impl Fn(usize) -> T) -> [T; 8] {
    [f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)]
}
