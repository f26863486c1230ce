//! Ranges beside arithmetic by hand.

use gguf_simd::half_float::{f16_to_f32, f32_to_f16};

use super::*;

/// Nearly normal numbers with a few outliers.
fn row(n: usize) -> Vec<f32> {
    let mut state = 5_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (0..4).map(|i| (state >> (16 * i) & 0xffff) as f32 / 65536.0 - 0.5).sum::<f32>()
    };
    (0..n).map(|i| next() * if i % 97 == 0 { 4.0 } else { 1.0 }).collect()
}

fn encoded(ty: BlockType, search: ScaleSearch, row: &[f32]) -> (Vec<f32>, f64) {
    let mut blocks = vec![0; ty.row_bytes(row.len()).unwrap()];
    let kernels = Kernels::best();
    let stats = encode_rows_in_ranges(kernels, (ty, search), row, row.len(), &mut blocks);
    let mut values = vec![0.0; row.len()];
    kernels.decode(ty, &blocks, &mut values);
    (values, stats.sum_squared_error)
}

/// What a group becomes with a scale from its extremes in doubles, of types with one scale or an offset.
fn min_max_by_hand(ty: BlockType, weights: &[f32], limit: f32) -> Vec<f64> {
    let cut: Vec<f64> = weights.iter().map(|&x| f64::from(x.clamp(-limit, limit))).collect();
    let least = cut.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = cut.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let extreme = if -least > greatest { least } else { greatest };
    let (low, step, top) = match ty {
        BlockType::Q4_0 => (extreme, extreme / -8.0, 15.0),
        BlockType::Q5_0 => (extreme, extreme / -16.0, 31.0),
        BlockType::Q8_0 => (-extreme, extreme / 127.0, 254.0),
        BlockType::Q6_K => (extreme, extreme / -32.0, 63.0),
        BlockType::Q3_K => (extreme, extreme / -4.0, 7.0),
        BlockType::Q2_0 => (extreme / -2.0, extreme / 2.0, 3.0),
        BlockType::Q4_1 => (least, (greatest - least) / 15.0, 15.0),
        BlockType::Q5_1 => (least, (greatest - least) / 31.0, 31.0),
        BlockType::Q4_K => (least.min(0.0), (greatest - least.min(0.0)) / 15.0, 15.0),
        BlockType::Q5_K => (least.min(0.0), (greatest - least.min(0.0)) / 31.0, 31.0),
        BlockType::Q2_K => (least.min(0.0), (greatest - least.min(0.0)) / 3.0, 3.0),
        _ => unreachable!("not by hand"),
    };
    // What one f16 stores is that one.
    let half = |x: f64| f64::from(f16_to_f32(f32_to_f16(x as f32)));
    let (low, step) = match ty {
        BlockType::Q4_1 | BlockType::Q5_1 => (half(low), half(step)),
        _ if ty.block_len() < 256 => (low / step * half(step), half(step)),
        _ => (low, step),
    };
    weights.iter().map(|&x| low + step * ((f64::from(x) - low) / step).round().clamp(0.0, top)).collect()
}

/// The RMS of differences, in steps of a group.
fn apart(found: &[f32], wanted: &[f64], step: f64) -> f64 {
    let squares = found.iter().zip(wanted).map(|(a, b)| ((f64::from(*a) - b) / step).powi(2));
    (squares.sum::<f64>() / found.len() as f64).sqrt()
}

#[test]
fn extremes_decide_the_scale_as_by_hand() {
    let row = row(2048);
    // A scale in the middle between two f16s may become either: many levels away that is a part of one, and so is an
    // offset that is chosen with it. Six bits of an f16 tell a scale to about a hundredth.
    for (ty, n, levels, most) in [
        (BlockType::Q4_0, 32, 16.0, 1e-4),
        (BlockType::Q5_0, 32, 32.0, 1e-4),
        (BlockType::Q8_0, 32, 254.0, 0.03),
        (BlockType::Q2_0, 64, 3.0, 1e-4),
        (BlockType::Q4_1, 32, 15.0, 0.03),
        (BlockType::Q5_1, 32, 31.0, 0.06),
        (BlockType::Q4_K, 32, 15.0, 0.2),
        (BlockType::Q5_K, 32, 31.0, 0.3),
        (BlockType::Q6_K, 16, 64.0, 0.2),
        (BlockType::Q3_K, 16, 8.0, 0.1),
        (BlockType::Q2_K, 16, 3.0, 0.15),
    ] {
        let percentile = ScaleSearch::Percentile(99.0);
        let limit = Scratch::default().percentile(&row, 99.0);
        for (search, limit) in [(ScaleSearch::MinMax, f32::INFINITY), (percentile, limit)] {
            let (found, _) = encoded(ty, search, &row);
            let wanted: Vec<f64> =
                row.chunks(n).flat_map(|weights| min_max_by_hand(ty, weights, limit)).collect();
            let range = row.iter().fold(0.0f64, |most, x| most.max(f64::from(x.abs()).min(f64::from(limit))));
            let apart = apart(&found, &wanted, 2.0 * range / levels);
            assert!(apart < most, "{ty} {search}: {apart} steps apart");
        }
    }
}

#[test]
fn tables_have_the_extreme_at_their_outermost_level() {
    let row = row(512);
    for ty in [BlockType::IQ4_NL, BlockType::IQ4_XS, BlockType::NVFP4] {
        let n = if ty == BlockType::NVFP4 { 16 } else { 32 };
        let (found, _) = encoded(ty, ScaleSearch::MinMax, &row);
        for (found, weights) in found.chunks(n).zip(row.chunks(n)) {
            let at = (0..n).max_by(|&i, &j| weights[i].abs().total_cmp(&weights[j].abs())).unwrap();
            let apart = (found[at] / weights[at] - 1.0).abs();
            assert!(apart < 0.07, "{ty}: {} for {}", found[at], weights[at]);
        }
    }
}

#[test]
fn the_encoders_search_loses_least() {
    let row = row(2048);
    for ty in BlockType::all().filter(|&ty| ScaleSearch::has_range(ty)) {
        let mut blocks = vec![0; ty.row_bytes(row.len()).unwrap()];
        let mut scratch = Vec::new();
        let kernels = Kernels::best();
        let mse = super::super::encode_rows(kernels, ty, &row, row.len(), None, &mut blocks, &mut scratch);
        for search in [ScaleSearch::MinMax, ScaleSearch::Percentile(99.0), ScaleSearch::Kl] {
            let (_, lost) = encoded(ty, search, &row);
            assert!(mse.sum_squared_error <= 1.001 * lost, "{ty} {search}: {lost} lost");
        }
    }
}

#[test]
fn a_divergence_is_that_by_hand() {
    // Two levels of two bins; what is above them is counted in the last. With one more in each bin the original is
    // 9, 5, 3, 3 of 20 and what is spread 7, 7, 3, 1 of 18: .45 ln(.45 / .3889) + .25 ln(.25 / .3889) + ..
    let found = divergence_within(&[8, 4, 2, 0, 1, 1], 4, 2);
    assert!((found - 0.088_405).abs() < 1e-5, "{found}");
    assert_eq!(divergence_within(&[3, 3, 3, 3], 4, 2), 0.0);
}

#[test]
fn divergence_clips_outliers_and_nothing_of_even_magnitudes() {
    let row = row(2048);
    let largest = row.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let limit = least_diverging_limit(8, &row);
    assert!(limit < 0.7 * largest, "{limit} of {largest}");
    let n_clipped = row.iter().filter(|x| x.abs() > limit).count();
    assert!((1..=2048 / 50).contains(&n_clipped), "{n_clipped} are clipped");
    let even: Vec<f32> = (0..2048).map(|i| (i as f32 + 0.5) / 2048.0).collect();
    assert_eq!(least_diverging_limit(8, &even), even[2047]);
}

#[test]
fn rows_of_zeros_stay_zeros() {
    for ty in BlockType::all().filter(|&ty| ScaleSearch::has_range(ty)) {
        for search in [ScaleSearch::MinMax, ScaleSearch::Percentile(99.9), ScaleSearch::Kl] {
            assert_eq!(encoded(ty, search, &[0.0; 256]), (vec![0.0; 256], 0.0), "{ty} {search}");
        }
    }
}

#[test]
fn searches_have_names() {
    for name in ["mse", "min-max", "percentile:99.5", "kl"] {
        assert_eq!(name.parse::<ScaleSearch>().unwrap().to_string(), name);
    }
    assert_eq!("percentile".parse(), Ok(ScaleSearch::Percentile(99.9)));
    for name in ["", "max", "percentile:", "percentile:101", "percentile:nan", "kl:3"] {
        assert!(name.parse::<ScaleSearch>().is_err(), "{name}");
    }
}
