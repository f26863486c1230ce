//! Claims about the types of super-blocks: extreme blocks, hard rows, and super-blocks that know only themselves.

use std::path::PathBuf;

use crate::common::{Random, assert_same_bits, better_tiers, is_codebook, scalar};
use gguf_simd::{Activation, BlockType, Kernels, Q8KWindow};

const K_TYPES: [BlockType; 5] =
    [BlockType::Q2_K, BlockType::Q3_K, BlockType::Q4_K, BlockType::Q5_K, BlockType::Q6_K];

/// Half-precision 1.
const ONE: [u8; 2] = 0x3c00u16.to_le_bytes();

fn all_tiers() -> impl Iterator<Item = &'static Kernels> {
    better_tiers().into_iter().chain([scalar()])
}

fn encode(ty: BlockType, row: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let mut blocks = vec![0; ty.row_bytes(row.len()).expect("whole blocks")];
    Kernels::best().encode(ty, row, importance, &mut blocks);
    blocks
}

fn decode(ty: BlockType, blocks: &[u8], n: usize) -> Vec<f32> {
    let mut out = vec![0.0; n];
    Kernels::best().decode(ty, blocks, &mut out);
    out
}

/// The generator of `tools/golden_blocks.py`.
fn normals(seed: u64, n: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n).map(|_| (0..12).map(|_| random.next() >> 50).sum::<u64>() as f32 / 16384.0 - 6.0).collect()
}

/// A window of equal codes, with the scale 1.
fn window(code: i8) -> Q8KWindow {
    Q8KWindow::new([code; 256], 1.0)
}

/// Where `d` stands in a block, and `dmin` if the type has one.
fn places(ty: BlockType) -> (usize, Option<usize>) {
    match ty {
        BlockType::Q2_K => (80, Some(82)),
        BlockType::Q3_K => (108, None),
        BlockType::Q6_K => (208, None),
        _ => (0, Some(2)),
    }
}

/// A super-block of the largest magnitude: every scale, minimum and code at its end, `d` and `dmin` 1
/// or, for `dmin`, zero. With it the sum of its weights.
fn extreme_block(ty: BlockType, with_minima: bool) -> (Vec<u8>, i64) {
    let mut block = match ty {
        BlockType::Q3_K | BlockType::Q6_K => vec![0; ty.block_bytes()],
        _ => vec![0xff; ty.block_bytes()],
    };
    if ty == BlockType::Q6_K {
        block[192..208].fill(0x80);
    }
    let (d, dmin) = places(ty);
    block[d..d + 2].copy_from_slice(&ONE);
    if let Some(dmin) = dmin {
        block[dmin..dmin + 2].copy_from_slice(if with_minima { &ONE } else { &[0, 0] });
    }
    let minima = i64::from(with_minima);
    let weight = match ty {
        BlockType::Q2_K => 15 * 3 - 15 * minima,
        BlockType::Q3_K => -32 * -4,
        BlockType::Q4_K => 63 * 15 - 63 * minima,
        BlockType::Q5_K => 63 * 31 - 63 * minima,
        _ => -128 * -32,
    };
    (block, 256 * weight)
}

#[test]
fn no_sum_overflows_on_extreme_blocks() {
    for ty in K_TYPES {
        for with_minima in [false, true] {
            let (block, sum) = extreme_block(ty, with_minima);
            for code in [127, -127] {
                for n in [1, 2, 17] {
                    let expected = (i64::from(code) * sum * n as i64) as f64;
                    for kernels in all_tiers() {
                        let mut out = [0.0];
                        let x = vec![window(code); n];
                        kernels.gemv(ty, &block.repeat(n), 256 * n, Activation::Q8K(&x), &mut out);
                        let error = (f64::from(out[0]) - expected).abs();
                        // A few roundings to 24 bits; an overflow would be off by 2^32 or a saturation.
                        assert!(
                            error <= 1e-6 * expected.abs(),
                            "{ty} on {}: {} for {expected}",
                            kernels.isa(),
                            out[0]
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn special_scales_give_the_same_on_every_tier() {
    // Zeros, subnormals, the largest and smallest finite numbers, infinities and NaNs.
    let halves = [0x0000u16, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0x7d01];
    let mut random = Random::new(21);
    for ty in K_TYPES {
        for d in halves {
            for dmin in halves {
                let mut blocks = random.bytes(3 * ty.block_bytes());
                for block in blocks.chunks_mut(ty.block_bytes()) {
                    let at = places(ty);
                    block[at.0..at.0 + 2].copy_from_slice(&d.to_le_bytes());
                    if let Some(at) = at.1 {
                        block[at..at + 2].copy_from_slice(&dmin.to_le_bytes());
                    }
                }
                let x = [window(3), window(0), window(-100)];
                let mut expected = [0.0];
                scalar().gemv(ty, &blocks, 768, Activation::Q8K(&x), &mut expected);
                for kernels in better_tiers() {
                    let mut found = [1.0];
                    kernels.gemv(ty, &blocks, 768, Activation::Q8K(&x), &mut found);
                    let context = || format!("{ty} on {}, d {d:#06x}, dmin {dmin:#06x}", kernels.isa());
                    assert_same_bits(&expected, &found, context);
                }
            }
        }
    }
}

/// The rows a line of `k_errors.tsv` names.
fn rows(name: &str) -> Vec<f32> {
    let mut rows = normals(11, 32 * 1024);
    for row in rows.chunks_mut(1024) {
        let first = row[0];
        for x in row {
            *x = match name {
                "normal" => *x,
                "tiny" => *x / 8192.0,
                "huge" => *x * 8192.0,
                "shifted" => *x + 3.0,
                "constant" => first,
                _ => panic!("no rows are called {name}"),
            };
        }
    }
    rows
}

/// Root mean square error over the rows' root mean square, both weighted.
fn relative_error(ty: BlockType, rows: &[f32], importance: Option<&[f32]>) -> f64 {
    let (mut errors, mut squares) = (0.0, 0.0);
    for row in rows.chunks(1024) {
        let decoded = decode(ty, &encode(ty, row, importance), row.len());
        for (i, (&x, y)) in row.iter().zip(decoded).enumerate() {
            let weight = importance.map_or(1.0, |w| f64::from(w[i]));
            errors += weight * (f64::from(x) - f64::from(y)).powi(2);
            squares += weight * f64::from(x).powi(2);
        }
    }
    (errors / squares).sqrt()
}

/// Compares our errors with those that a table of the fixtures has; returns how many lines it has.
fn compare_with(table: &str) -> usize {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/blocks").join(table);
    let table = std::fs::read_to_string(path).expect("the table of reference errors");
    let squares: Vec<f32> = normals(12, 1024).iter().map(|x| x * x).collect();
    let mut seen = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let [name, importance, ty, reference] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("four fields: {line}");
        };
        let ty = BlockType::from_name(ty).expect("a block type");
        let reference: f64 = reference.parse().expect("an error");
        let importance = (importance == "squares").then_some(&squares[..]);
        let error = relative_error(ty, &rows(name), importance);
        println!("{line}: {error:.6}, ratio {:.4}", error / reference);
        assert!(error <= reference, "{line}: ours is {error}");
        seen += 1;
    }
    seen
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "takes minutes where a processor is emulated")]
fn k_encoders_err_less_than_llama_cpp_on_hard_rows_and_with_importance() {
    assert_eq!(compare_with("k_errors.tsv"), 5 * 2 * K_TYPES.len());
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "takes minutes where a processor is emulated")]
fn codebook_encoders_err_less_than_llama_cpp_with_importance() {
    let n_types = BlockType::all().filter(|&ty| is_codebook(ty)).count();
    assert_eq!(compare_with("iq_errors.tsv"), 3 * 2 * n_types);
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "takes minutes where a processor is emulated")]
fn encoding_again_errs_far_less_than_encoding() {
    for ty in K_TYPES {
        let x = normals(13, 2048);
        let first = decode(ty, &encode(ty, &x, None), x.len());
        let second = decode(ty, &encode(ty, &first, None), x.len());
        let distance = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum() };
        let (error, again) = (distance(&x, &first).sqrt(), distance(&first, &second).sqrt());
        assert!(again <= 0.25 * error, "{ty}: encoding errs by {error}, encoding again by {again}");
    }
}

#[test]
fn super_blocks_are_encoded_apart() {
    let importance: Vec<f32> = Random::new(14).floats(768).iter().map(|x| x.abs()).collect();
    let row = normals(15, 768);
    for ty in K_TYPES {
        let together = encode(ty, &row, Some(&importance));
        let apart: Vec<u8> = row
            .chunks(256)
            .zip(importance.chunks(256))
            .flat_map(|(row, importance)| encode(ty, row, Some(importance)))
            .collect();
        assert_eq!(together, apart, "{ty}");
    }
}
