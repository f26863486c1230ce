//! Grids: other codes beside the scales of a block.

use gguf_simd::{BlockType, Grid, Kernels};

use crate::common::{Random, plausible_blocks};

/// Weights of each type.
const N: usize = 2048;

/// The types that have a grid.
fn types() -> impl Iterator<Item = (BlockType, &'static Grid)> {
    BlockType::all().filter_map(|ty| Some((ty, Grid::of(ty)?)))
}

#[test]
fn types_with_scales_and_a_code_for_each_weight_have_a_grid() {
    let names: Vec<_> = types().map(|(ty, _)| ty.name()).collect();
    let expected = [
        "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4",
        "IQ4_XS", "Q2_0", "NVFP4",
    ];
    assert_eq!(names, expected);
}

#[test]
fn codes_taken_from_a_block_and_put_back_change_no_value() {
    let random = &mut Random::new(1);
    for (ty, grid) in types() {
        let mut blocks = plausible_blocks(ty, N, random);
        let (mut values, mut low, mut step) = (vec![0.0; N], vec![0.0; N], vec![0.0; N]);
        Kernels::best().decode(ty, &blocks, &mut values);
        grid.read(Kernels::best(), ty, &blocks, &mut low, &mut step);
        let code = |i: usize| grid.nearest((values[i] - low[i]) / step[i]).0;
        let codes: Vec<u8> = (0..N).map(code).collect();
        grid.write(ty, &codes, &mut blocks);
        let mut again = vec![0.0; N];
        Kernels::best().decode(ty, &blocks, &mut again);
        assert_eq!(values, again, "{ty}");
    }
}

#[test]
fn other_codes_have_the_values_that_the_grid_says() {
    let random = &mut Random::new(2);
    for (ty, grid) in types() {
        let mut blocks = plausible_blocks(ty, N, random);
        let (mut values, mut low, mut step) = (vec![0.0; N], vec![0.0; N], vec![0.0; N]);
        grid.read(Kernels::best(), ty, &blocks, &mut low, &mut step);
        let chosen: Vec<(u8, f32)> = random.floats(N).iter().map(|x| grid.nearest(200.0 * x)).collect();
        let codes: Vec<u8> = chosen.iter().map(|(code, _)| *code).collect();
        grid.write(ty, &codes, &mut blocks);
        Kernels::best().decode(ty, &blocks, &mut values);
        for i in 0..N {
            let expected = low[i] + step[i] * chosen[i].1;
            let scale = low[i].abs() + (step[i] * chosen[i].1).abs();
            assert!((values[i] - expected).abs() <= 1e-5 * scale, "{ty}: {} for {expected}", values[i]);
        }
    }
}

#[test]
fn the_nearest_level_has_no_level_nearer() {
    let random = &mut Random::new(3);
    for (ty, grid) in types() {
        let levels: Vec<f32> = (-300..300).map(|x| grid.nearest(x as f32).1).collect();
        for x in random.floats(1000).iter().map(|x| 280.0 * x) {
            let found = (x - grid.nearest(x).1).abs();
            assert!(levels.iter().all(|level| (x - level).abs() >= found), "{ty}: {x}");
        }
    }
    let (_, grid) = types().next().expect("a type");
    assert_eq!(grid.nearest(f32::NAN), (0, 0.0));
}
