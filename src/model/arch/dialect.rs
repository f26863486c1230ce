//! Which program saved a checkpoint, as far as names, shapes and values tell it.

/// The program whose names and shapes a checkpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Those that the published checkpoints have.
    Transformers,
    /// Those of MLX's classes.
    Mlx,
}

/// Parts of names that only MLX has.
const TELLING: [&str; 6] =
    [".switch_mlp.", ".switch_glu.", ".embed_q.", ".unembed_out.", "model.h.", ".ffn.experts.0.w1."];

impl Dialect {
    /// That of a checkpoint with these tensors: their names and shapes, and whether their codes are packed as only MLX
    /// packs them. A convolution that is not turned cannot be MLX's.
    pub fn of<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize], bool)>) -> Self {
        let mut found = Self::Transformers;
        for (name, shape, is_packed) in tensors {
            match *shape {
                [_, 1, n_taps] if n_taps > 1 && name.contains("conv") => return Self::Transformers,
                [_, n_taps, 1] if n_taps > 1 && name.contains("conv") => found = Self::Mlx,
                [_, _, _] if name.ends_with(".experts.gate_proj.weight") => found = Self::Mlx,
                [_, _] if name.ends_with(".attn.k_k") => found = Self::Mlx,
                _ if is_packed || TELLING.iter().any(|part| name.contains(part)) => found = Self::Mlx,
                _ => {}
            }
        }
        found
    }

    /// Whether a tensor of shape `found` has the elements of one of `expected` in the same order.
    pub fn is_same(self, found: &[usize], expected: &[usize]) -> bool {
        self == Self::Mlx
            && match (found, expected) {
                (&[n, n_taps, 1], &[rows, 1, columns]) => (n, n_taps) == (rows, columns),
                // Vectors of heads, a row for each.
                (&[n_head, head_dim], &[n]) => n_head.checked_mul(head_dim) == Some(n),
                _ => false,
            }
    }
}
