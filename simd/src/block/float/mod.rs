//! Dot products of the float types: 16 lanes, then a tree.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;

/// `out[r] = w[r] . x` for float weights of `N` bytes, in the canonical order of [`crate::block`].
#[inline(always)]
pub(crate) fn gemv<const N: usize>(
    weights: &[u8],
    x: &[f32],
    out: &mut [f32],
    value: impl Fn(&[u8; N]) -> f32,
) {
    let (chunks, tail) = x.as_chunks::<16>();
    let tail_x = padded(tail, 0.0);
    for (row, out) in weights.chunks_exact(N * x.len()).zip(out) {
        let mut lanes = [0.0; 16];
        let (weights, tail_w) = row.as_chunks::<N>().0.as_chunks::<16>();
        for (w, x) in weights.iter().zip(chunks) {
            for l in 0..16 {
                lanes[l] = value(&w[l]).mul_add(x[l], lanes[l]);
            }
        }
        if !tail_w.is_empty() {
            let tail_w = padded(tail_w, [0; N]);
            for l in 0..16 {
                lanes[l] = value(&tail_w[l]).mul_add(tail_x[l], lanes[l]);
            }
        }
        *out = sum(lanes);
    }
}

/// The sum of 16 lanes as a tree: l and l+8, l and l+4, l and l+2, l and l+1.
#[inline(always)]
pub(crate) fn sum(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
    }
    lanes[0]
}

/// Fewer than 16 values, filled up with zeros.
#[inline(always)]
pub(crate) fn padded<T: Copy>(values: &[T], zero: T) -> [T; 16] {
    let mut padded = [zero; 16];
    padded[..values.len()].copy_from_slice(values);
    padded
}
