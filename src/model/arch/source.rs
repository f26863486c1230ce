//! Where the rows of a GGUF tensor lie in a checkpoint.

use crate::model::spec::Slot;

/// Where the values of a tensor come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Rows of checkpoint tensors, piece after piece.
    Pieces(Vec<Piece>, ValueMap),
    /// Rows of blocks of 32 codes of four bits with an exponent each, as OCP's MXFP4 has them (gpt-oss): row `i` is
    /// the row `first + i step` there.
    Mxfp4 {
        /// The tensor of the codes, `[n_expert, step * n_out, n_in / 32, 16]`; the first of a pair is the low half.
        codes: String,
        /// The tensor of the exponents, `[n_expert, step * n_out, n_in / 32]`.
        exponents: String,
        /// The row of the first.
        first: usize,
        /// Rows from one to the next.
        step: usize,
    },
    /// The first if the checkpoint has its first tensor, else the second; of two that one tensor may be, that whose shape
    /// it has.
    Either(Box<Self>, Box<Self>),
    /// Values computed from the configuration.
    Computed(Vec<f32>),
}

/// Rows of one checkpoint tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The names that the tensor may have; the first that is there is taken.
    pub names: Vec<String>,
    /// The shape it must have there.
    pub shape: Vec<usize>,
    /// Rows that this piece makes.
    pub n_rows: usize,
    /// Where each lies in the tensor.
    pub rows: RowMap,
}

/// Which row of a checkpoint tensor each row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowMap {
    /// The same.
    Same,
    /// Rows `2 i + s` of each head of `head_dim` rows are its rows `s head_dim / 2 + i`: from the rotary order
    /// of halves, which checkpoints have, to that of pairs.
    Pairs {
        /// Rows of a head.
        head_dim: usize,
    },
    /// Every `run` rows are rows that follow each other, the first of them from `first` on at every
    /// `stride`; brought to pairs before, if `pairs` says the rows of a head.
    Strided {
        /// The first row of the first run.
        first: usize,
        /// Rows of a run.
        run: usize,
        /// Rows from a run to the next.
        stride: usize,
        /// As [`RowMap::Pairs`].
        pairs: Option<usize>,
    },
    /// Rows from `first` on are those of `n_group` times `group` heads of `head_dim` rows, brought from the order of
    /// the groups, one after the other, to that in which the first heads of all groups come first.
    Tiled {
        /// The row of the first.
        first: usize,
        /// Rows of a head.
        head_dim: usize,
        /// Groups.
        n_group: usize,
        /// Heads of a group.
        group: usize,
    },
    /// As [`RowMap::Tiled`], of the elements of every row.
    TiledColumns {
        /// Elements of a head.
        head_dim: usize,
        /// Groups.
        n_group: usize,
        /// Heads of a group.
        group: usize,
    },
    /// Element `j` of each row is the element `first + j step` of the row there.
    Spread {
        /// The element of the first.
        first: usize,
        /// Elements from one to the next.
        step: usize,
    },
    /// Row `i` is a column of a block of as many rows as it has elements: blocks of `n_cols` columns, of which
    /// each gives `n_out` rows, its columns `first + j step`.
    Columns {
        /// Rows that a block makes.
        n_out: usize,
        /// Columns of a block.
        n_cols: usize,
        /// The column of the first.
        first: usize,
        /// Columns from one to the next.
        step: usize,
        /// Rows of a block in the checkpoint that are passed over before the next.
        skipped: usize,
    },
}

/// What becomes of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueMap {
    /// Nothing.
    Same,
    /// This is added: norms that store the difference from it.
    Plus(f32),
    /// They are multiplied.
    Times(f32),
    /// Rows up to each of these ends are multiplied by what stands beside it.
    TimesByRow([(usize, f32); 5]),
    /// Those of the second half of every head of `head_dim` rows change their sign.
    NegatedHalves {
        /// Rows of a head.
        head_dim: usize,
    },
    /// They are `-e^x`: decays that are stored as logarithms.
    NegativeExp,
    /// They are `e^x`.
    Exp,
    /// Every row is divided by its length.
    UnitRows,
}

impl ValueMap {
    /// Applies it to rows of `n_in` values, of which the first is row `first`.
    pub fn apply(self, (first, n_in): (usize, usize), rows: &mut [f32]) {
        match self {
            Self::Same => {}
            Self::Plus(n) => rows.iter_mut().for_each(|x| *x += n),
            Self::Times(scale) => rows.iter_mut().for_each(|x| *x *= scale),
            Self::TimesByRow(parts) => {
                for (number, row) in (first..).zip(rows.chunks_exact_mut(n_in)) {
                    let part = parts.iter().find(|(end, _)| number < *end);
                    let scale = part.map_or(1.0, |(_, scale)| *scale);
                    row.iter_mut().for_each(|x| *x *= scale);
                }
            }
            Self::NegatedHalves { head_dim } => {
                for (number, row) in (first..).zip(rows.chunks_exact_mut(n_in)) {
                    if number % head_dim >= head_dim.div_ceil(2) {
                        row.iter_mut().for_each(|x| *x = -*x);
                    }
                }
            }
            Self::UnitRows => {
                for row in rows.chunks_exact_mut(n_in) {
                    let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
                    // As PyTorch's `normalize` has it, for rows of zeros.
                    let length = libm::sqrt(squares).max(1e-12);
                    row.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
                }
            }
            Self::NegativeExp => rows.iter_mut().for_each(|x| *x = -libm::expf(*x)),
            Self::Exp => rows.iter_mut().for_each(|x| *x = libm::expf(*x)),
        }
    }
}

impl Source {
    /// The whole of the checkpoint tensor with one of these names, which has the slot's own shape.
    pub fn whole(slot: &Slot, names: Vec<String>) -> Self {
        Self::Pieces(vec![Piece::whole(&slot.shape, names)], ValueMap::Same)
    }

    /// Tensors of equal shape, stacked along the slot's outermost dimension.
    pub fn stacked(slot: &Slot, names: impl Iterator<Item = String>) -> Self {
        let shape = &slot.shape[1..];
        Self::Pieces(names.map(|name| Piece::whole(shape, vec![name])).collect(), ValueMap::Same)
    }

    /// What becomes of the values that are read first, and which rows they are; `None` of other than plain tensors.
    pub fn reading(&self) -> Option<(ValueMap, RowMap)> {
        match self {
            Self::Pieces(pieces, values) => pieces.first().map(|piece| (*values, piece.rows)),
            Self::Either(first, _) => first.reading(),
            Self::Mxfp4 { .. } | Self::Computed(_) => None,
        }
    }

    /// The same with other values.
    pub fn with_values(self, values: ValueMap) -> Self {
        match self {
            Self::Pieces(pieces, _) => Self::Pieces(pieces, values),
            other => other,
        }
    }

    /// The same with rows that lie elsewhere.
    pub fn with_rows(self, rows: RowMap) -> Self {
        match self {
            Self::Pieces(pieces, values) => {
                Self::Pieces(pieces.into_iter().map(|piece| Piece { rows, ..piece }).collect(), values)
            }
            other => other,
        }
    }

    /// The same, of a checkpoint tensor of another name.
    pub fn with_name(self, name: &str) -> Self {
        match self {
            Self::Pieces(pieces, values) => {
                let of = |piece: Piece| Piece { names: vec![name.to_owned()], ..piece };
                Self::Pieces(pieces.into_iter().map(of).collect(), values)
            }
            other => other,
        }
    }

    /// The same, of a checkpoint tensor of another shape.
    pub fn with_shape(self, shape: &[usize]) -> Self {
        match self {
            Self::Pieces(pieces, values) => {
                let of = |piece: Piece| Piece { shape: shape.to_vec(), ..piece };
                Self::Pieces(pieces.into_iter().map(of).collect(), values)
            }
            other => other,
        }
    }
}

impl Piece {
    /// All rows of a tensor of `shape`.
    pub fn whole(shape: &[usize], names: Vec<String>) -> Self {
        let n_rows = rows_and_columns(shape).0;
        Self { names, shape: shape.to_vec(), n_rows, rows: RowMap::Same }
    }
}

/// The rows of a tensor of `shape` and the elements of one; a vector is one row.
pub fn rows_and_columns(shape: &[usize]) -> (usize, usize) {
    match *shape {
        [n] => (1, n),
        [ref outer @ .., n_in] => (outer.iter().product(), n_in),
        [] => (1, 1),
    }
}
