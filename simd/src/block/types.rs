//! Every block type, a row each: the one place that says what a type is.
//!
//! A row holds the name the field uses, the number of the type in a GGUF tensor description, the elements and
//! the bytes of a block, its kind, and its folder in `block/`. From these rows follow [`crate::BlockType`] and
//! what it knows, the kernels of each tier (`kernels/rows.rs`) and the batch products (`gemm/table.rs`).
//!
//! | kind | activations | folder |
//! |---|---|---|
//! | `Float` | plain floats | `scalar` and a module for each family of CPUs have `decode`, `encode`, `gemv`; `unpack` widens for batch products |
//! | `Block32` | windows of Q8_0: float scales of 32 weights or fewer | the same, but `unpack` fills the panels of [`crate::gemm::block32`] |
//! | `K` | windows of Q8_K: super-blocks of 256 with integer scales | the same, with the panels of [`crate::gemm::k`] |
//! | `Codebook` | windows of Q8_K | `Book`, a [`crate::block::codebook::Codebook`] |

/// Hands all rows to the macro `$consumer`.
macro_rules! block_types {
    ($consumer:ident) => {
        $consumer! {
            F32:     0,   1,   4, Float,   f32;
            F16:     1,   1,   2, Float,   f16;
            BF16:   30,   1,   2, Float,   bf16;
            Q4_0:    2,  32,  18, Block32, q4_0;
            Q4_1:    3,  32,  20, Block32, q4_1;
            Q5_0:    6,  32,  22, Block32, q5_0;
            Q5_1:    7,  32,  24, Block32, q5_1;
            Q8_0:    8,  32,  34, Block32, q8_0;
            Q2_K:   10, 256,  84, K,       q2_k;
            Q3_K:   11, 256, 110, K,       q3_k;
            Q4_K:   12, 256, 144, K,       q4_k;
            Q5_K:   13, 256, 176, K,       q5_k;
            Q6_K:   14, 256, 210, K,       q6_k;
            IQ4_NL: 20,  32,  18, Block32, iq4_nl;
            MXFP4:  39,  32,  17, Block32, mxfp4;
            TQ1_0:  34, 256,  54, K,       tq1_0;
            TQ2_0:  35, 256,  66, K,       tq2_0;
            IQ4_XS: 23, 256, 136, K,       iq4_xs;
            Q1_0:   41, 128,  18, Block32, q1_0;
            Q2_0:   42,  64,  18, Block32, q2_0;
            NVFP4:  40,  64,  36, Block32, nvfp4;
            IQ2_XXS: 16, 256,  66, Codebook, iq2_xxs;
            IQ2_XS: 17, 256,  74, Codebook, iq2_xs;
            IQ2_S:  22, 256,  82, Codebook, iq2_s;
            IQ3_XXS: 18, 256,  98, Codebook, iq3_xxs;
            IQ3_S:  21, 256, 110, Codebook, iq3_s;
            IQ1_S:  19, 256,  50, Codebook, iq1_s;
            IQ1_M:  29, 256,  56, Codebook, iq1_m;
        }
    };
}
pub(crate) use block_types;
