//! The functions of a tier, whether this CPU has it or not: to look at; calling one takes the features.

use super::Operation;
use super::rows::{self, Decode, Encode, Gemv, Layer, Own, Quantisers};
use crate::block::BlockType;
use crate::gemm::Batch;
use crate::isa::Isa;

/// A function of the table, and the tier it was written for.
#[derive(Clone, Copy)]
pub(super) struct Entry<F> {
    pub(super) function: F,
    pub(super) tier: Isa,
}

/// The kernels of one block type.
#[derive(Clone, Copy)]
pub(super) struct TypeKernels {
    pub(super) decode: Entry<Decode>,
    pub(super) encode: Entry<Encode>,
    pub(super) gemv: Entry<Gemv>,
    /// Batch products, where a tier has better ones than a dot product per column.
    pub(super) gemm: Option<Entry<Batch>>,
}

impl TypeKernels {
    /// The kernels for any CPU.
    fn scalar(ty: BlockType) -> Self {
        fn entry<F>(function: F) -> Entry<F> {
            Entry { function, tier: Isa::Scalar }
        }
        let Own { decode, encode, gemv } = rows::scalar(ty);
        Self { decode: entry(decode), encode: entry(encode), gemv: entry(gemv), gemm: None }
    }

    /// Takes over what a tier has.
    fn overwrite(&mut self, tier: Isa, layer: Layer) {
        fn set<F>(entry: &mut Entry<F>, function: Option<F>, tier: Isa) {
            if let Some(function) = function {
                *entry = Entry { function, tier };
            }
        }
        set(&mut self.decode, layer.decode, tier);
        set(&mut self.encode, layer.encode, tier);
        set(&mut self.gemv, layer.gemv, tier);
        if let Some(function) = layer.gemm {
            self.gemm = Some(Entry { function, tier });
        }
    }
}

/// The table of a tier.
pub(super) struct Table {
    pub(super) isa: Isa,
    types: [TypeKernels; BlockType::COUNT],
    pub(super) quantisers: Entry<Quantisers>,
}

impl Table {
    /// The table of a tier of this target: that of the tier below, with what this tier does better.
    pub(super) fn of(isa: Isa) -> Self {
        let mut table = isa.below().map_or_else(Self::scalar, Self::of);
        table.isa = isa;
        for ty in BlockType::all() {
            table.types[ty as usize].overwrite(isa, rows::layer(isa, ty));
        }
        if let Some(quantisers) = rows::quantisers(isa) {
            table.quantisers = Entry { function: quantisers, tier: isa };
        }
        table
    }

    /// The table for any CPU.
    fn scalar() -> Self {
        let mut rows = BlockType::all().map(TypeKernels::scalar);
        Self {
            isa: Isa::Scalar,
            types: core::array::from_fn(|_| rows.next().expect("a row per type")),
            quantisers: Entry { function: rows::SCALAR_QUANTISERS, tier: Isa::Scalar },
        }
    }

    /// The kernels of a type.
    pub(super) fn kernels(&self, ty: BlockType) -> &TypeKernels {
        &self.types[ty as usize]
    }

    /// See [`super::Kernels::origin`].
    pub(super) fn origin(&self, ty: BlockType, operation: Operation) -> Isa {
        let kernels = self.kernels(ty);
        match operation {
            Operation::Decode => kernels.decode.tier,
            Operation::Encode => kernels.encode.tier,
            Operation::Gemv => kernels.gemv.tier,
            Operation::Gemm => kernels.gemm.map_or(kernels.gemv.tier, |gemm| gemm.tier),
        }
    }
}
