//! A converted file has the tensors, types and keys that its file type promises.

use std::path::Path;

use crate::common::checkpoint::Spec;
use gguf_kit::convert::{FileType, RunOptions};
use gguf_kit::gguf::GgufFile;
use gguf_simd::BlockType;
use gguf_simd::isa::Isa;
use gguf_simd::kernels::Kernels;

/// The file types that are not made without an importance matrix: `importance` has a test of them.
const WITH_IMPORTANCE_ONLY: [FileType; 8] = [
    FileType::IQ1_S,
    FileType::IQ1_M,
    FileType::IQ2_XXS,
    FileType::IQ2_XS,
    FileType::IQ2_S,
    FileType::IQ2_M,
    FileType::IQ3_XXS,
    FileType::IQ3_XS,
];

/// The others.
fn file_types() -> impl Iterator<Item = FileType> {
    FileType::ALL.into_iter().filter(|ty| !WITH_IMPORTANCE_ONLY.contains(ty))
}

/// Types of a file of 8 layers: embedding (tied), value projections, ffn_down, everything else.
struct Expected {
    token_embd: BlockType,
    attn_output: BlockType,
    attn_v: [BlockType; 8],
    ffn_down: [BlockType; 8],
    others: BlockType,
}

#[rustfmt::skip]
fn expected(file_type: FileType) -> Expected {
    use BlockType::{BF16, F16, F32, IQ3_S, IQ4_NL, IQ4_XS, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};
    let same = |token_embd, others| Expected { token_embd, attn_output: others, attn_v: [others; 8], ffn_down: [others; 8], others };
    match file_type {
        FileType::F32 => same(F32, F32),
        FileType::F16 => same(F16, F16),
        FileType::BF16 => same(BF16, BF16),
        FileType::Q8_0 => same(Q8_0, Q8_0),
        FileType::Q6_K => same(Q6_K, Q6_K),
        FileType::Q5_K_S => same(Q6_K, Q5_K),
        FileType::Q5_1 => same(Q6_K, Q5_1),
        FileType::Q5_0 => same(Q6_K, Q5_0),
        FileType::Q4_1 => same(Q6_K, Q4_1),
        FileType::Q4_0 => same(Q6_K, Q4_0),
        FileType::IQ4_NL => Expected { ffn_down: [Q5_K, IQ4_NL, IQ4_NL, IQ4_NL, IQ4_NL, IQ4_NL, IQ4_NL, IQ4_NL], ..same(Q6_K, IQ4_NL) },
        FileType::IQ4_XS => Expected { ffn_down: [Q5_K, IQ4_XS, IQ4_XS, IQ4_XS, IQ4_XS, IQ4_XS, IQ4_XS, IQ4_XS], ..same(Q6_K, IQ4_XS) },
        FileType::MXFP4_MOE => same(Q8_0, Q8_0),
        FileType::NVFP4 | FileType::TQ1_0 | FileType::TQ2_0 | FileType::Q1_0 | FileType::Q2_0 => same(Q6_K, file_type.base()),
        FileType::Q5_K_M => Expected {
            token_embd: Q6_K,
            attn_output: Q5_K,
            attn_v: [Q6_K, Q5_K, Q5_K, Q6_K, Q5_K, Q5_K, Q6_K, Q6_K],
            ffn_down: [Q6_K, Q5_K, Q5_K, Q6_K, Q5_K, Q5_K, Q6_K, Q6_K],
            others: Q5_K,
        },
        FileType::Q4_K_M => Expected {
            token_embd: Q6_K,
            attn_output: Q4_K,
            attn_v: [Q6_K, Q4_K, Q4_K, Q6_K, Q4_K, Q4_K, Q6_K, Q6_K],
            ffn_down: [Q6_K, Q4_K, Q4_K, Q6_K, Q4_K, Q4_K, Q6_K, Q6_K],
            others: Q4_K,
        },
        FileType::Q4_K_S => Expected {
            token_embd: Q6_K,
            attn_output: Q4_K,
            attn_v: [Q5_K, Q5_K, Q5_K, Q5_K, Q4_K, Q4_K, Q4_K, Q4_K],
            ffn_down: [Q5_K, Q4_K, Q4_K, Q4_K, Q4_K, Q4_K, Q4_K, Q4_K],
            others: Q4_K,
        },
        FileType::Q3_K_L => Expected { token_embd: Q6_K, attn_output: Q5_K, attn_v: [Q5_K; 8], ffn_down: [Q5_K; 8], others: Q3_K },
        FileType::Q3_K_M => Expected {
            token_embd: Q6_K,
            attn_output: Q4_K,
            attn_v: [Q5_K, Q5_K, Q4_K, Q4_K, Q4_K, Q4_K, Q4_K, Q4_K],
            ffn_down: [Q4_K; 8],
            others: Q3_K,
        },
        FileType::Q3_K_S => same(Q6_K, Q3_K),
        FileType::IQ3_S => same(Q6_K, IQ3_S),
        FileType::IQ3_M => Expected { token_embd: Q6_K, attn_output: Q4_K, attn_v: [Q4_K; 8], ffn_down: [Q4_K, IQ3_S, IQ3_S, IQ3_S, IQ3_S, IQ3_S, IQ3_S, IQ3_S], others: IQ3_S },
        FileType::Q2_K => Expected { token_embd: Q6_K, attn_output: Q3_K, attn_v: [Q3_K; 8], ffn_down: [Q3_K; 8], others: Q2_K },
        FileType::Q2_K_S => Expected {
            token_embd: Q6_K,
            attn_output: Q2_K,
            attn_v: [Q2_K; 8],
            ffn_down: [Q4_K, Q2_K, Q2_K, Q2_K, Q2_K, Q2_K, Q2_K, Q2_K],
            others: Q2_K,
        },
        _ => unreachable!("{file_type} needs an importance matrix"),
    }
}

/// The largest relative error a file type may have: that of weights like the bundled model's, and a tenth.
fn most_error(file_type: FileType) -> f64 {
    match file_type {
        FileType::F32 | FileType::BF16 => 0.0,
        FileType::F16 => 0.0001,
        FileType::Q8_0 | FileType::MXFP4_MOE => 0.006,
        FileType::Q6_K => 0.018,
        FileType::Q5_K_M | FileType::Q5_K_S | FileType::Q5_1 | FileType::Q5_0 => 0.04,
        FileType::Q4_K_M | FileType::Q4_K_S | FileType::Q4_1 | FileType::Q4_0 => 0.08,
        FileType::IQ4_NL | FileType::IQ4_XS | FileType::NVFP4 => 0.08,
        FileType::TQ1_0 | FileType::TQ2_0 => 0.43,
        FileType::Q2_0 => 0.35,
        FileType::Q1_0 => 0.6,
        FileType::Q3_K_L | FileType::Q3_K_M | FileType::Q3_K_S | FileType::IQ3_S | FileType::IQ3_M => 0.15,
        FileType::Q2_K | FileType::Q2_K_S => 0.27,
        _ => unreachable!("{file_type} needs an importance matrix"),
    }
}

#[test]
fn every_file_type_of_a_small_model_follows_its_recipe() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Spec { n_layer: 8, n_embd: 256, n_ff: 256, ..Spec::default() }.write(dir.path());
    for file_type in file_types() {
        let path = dir.path().join("m.gguf");
        let summary = crate::common::convert(dir.path(), &path, file_type);
        let error = summary.error().relative_rmse();
        assert!(error <= most_error(file_type), "{file_type}: relative error {error}");

        let file = GgufFile::open(&path).expect("our own file");
        let metadata = file.metadata();
        assert_eq!(metadata.required_string("general.architecture").expect("written"), "llama");
        assert_eq!(
            metadata.required_count("general.file_type").expect("written"),
            file_type.number() as usize
        );
        assert_eq!(metadata.required_count("general.quantization_version").expect("written"), 2);
        assert_eq!(file.tensors().len(), 74);
        assert_eq!(file.file_len(), summary.file_bytes);
        let expected = expected(file_type);
        for tensor in file.tensors() {
            let layer = tensor.name.split('.').nth(1).and_then(|layer| layer.parse::<usize>().ok());
            let want = match tensor.name.rsplit('.').nth(1).expect("a name with parts") {
                "token_embd" => expected.token_embd,
                "attn_v" => expected.attn_v[layer.expect("a layer")],
                "attn_output" => expected.attn_output,
                "ffn_down" => expected.ffn_down[layer.expect("a layer")],
                name if name.ends_with("_norm") => BlockType::F32,
                _ => expected.others,
            };
            assert_eq!(tensor.ty.block_type(), Some(want), "{file_type} {}", tensor.name);
        }
        std::fs::remove_file(&path).expect("our own file");
    }
}

/// The bytes of a conversion with `n_threads` threads on `isa`.
fn bytes_of(checkpoint: &Path, file_type: FileType, n_threads: usize, isa: Isa) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("m.gguf");
    let kernels = Kernels::get(isa).expect("an available tier");
    crate::common::convert_with(
        checkpoint,
        &path,
        file_type,
        &RunOptions { overwrite: false, n_threads, kernels },
    );
    std::fs::read(&path).expect("our own file")
}

/// Of every type the kernels have a test of their own.
#[test]
fn neither_threads_nor_the_cpu_change_a_byte() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Spec { n_embd: 256, n_ff: 256, n_layer: 1, ..Spec::default() }.write(dir.path());
    for file_type in
        [FileType::F16, FileType::Q8_0, FileType::Q4_0, FileType::IQ4_XS, FileType::Q4_K_M, FileType::Q3_K_M]
    {
        let reference = bytes_of(dir.path(), file_type, 1, Isa::Scalar);
        for (i, isa) in Isa::available().enumerate() {
            let n_threads = 2 + i;
            let bytes = bytes_of(dir.path(), file_type, n_threads, isa);
            assert!(bytes == reference, "{file_type} differs with {n_threads} threads on {}", isa.name());
        }
    }
}

#[test]
fn the_error_report_does_not_depend_on_threads() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Spec::default().write(dir.path());
    let errors = [1, 4].map(|n_threads| {
        let path = dir.path().join(format!("{n_threads}.gguf"));
        let options = RunOptions { overwrite: false, n_threads, kernels: Kernels::best() };
        let summary = crate::common::convert_with(dir.path(), &path, FileType::Q4_0, &options);
        summary.tensors.iter().map(|tensor| tensor.error).collect::<Vec<_>>()
    });
    assert_eq!(errors[0], errors[1]);
    assert!(errors[0].iter().any(|error| error.relative_rmse() > 0.01));
}
