//! Any bytes are blocks of every type: each tier decodes them to the same bits.

#![no_main]

use gguf_simd::{BlockType, Isa, Kernels};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let scalar = Kernels::get(Isa::Scalar).expect("every CPU has it");
    for ty in BlockType::all() {
        let n_blocks = bytes.len() / ty.block_bytes();
        let blocks = &bytes[..n_blocks * ty.block_bytes()];
        let mut expected = vec![0.5; n_blocks * ty.block_len()];
        let mut found = expected.clone();
        scalar.decode(ty, blocks, &mut expected);
        for kernels in Isa::available().filter_map(Kernels::get) {
            kernels.decode(ty, blocks, &mut found);
            let same = |(e, f): (&f32, &f32)| e.to_bits() == f.to_bits() || e.is_nan() && f.is_nan();
            assert!(expected.iter().zip(&found).all(same), "{ty} on {}", kernels.isa());
        }
    }
});
