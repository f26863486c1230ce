//! GGUF files of any mix of types, made from checkpoints without the converter: what is tested with
//! them does not depend on it.

use std::fs;
use std::path::Path;

use gguf_kit::checkpoint::{Checkpoint, SourceType};
use gguf_kit::gguf::{GgufWriter, Layout, PlannedTensor, Value};
use gguf_kit::model::arch::{self, Piece, RowMap, Source};
use gguf_kit::model::spec::{Role, Slot, slots};
use gguf_simd::{BlockType, Kernels};
use half::bf16;

/// Writes the checkpoint in `dir` as a GGUF file without a tokenizer. Matrices get the type that
/// `type_of` says, or F16 where its blocks do not divide their rows; the rest is F32.
pub(crate) fn write_gguf(dir: &Path, out: &Path, type_of: impl Fn(&Slot) -> BlockType) {
    write_gguf_with(dir, out, type_of, &[]);
}

/// As [`write_gguf`], with some more metadata, which wins over what the checkpoint says.
pub(crate) fn write_gguf_with(
    dir: &Path,
    out: &Path,
    type_of: impl Fn(&Slot) -> BlockType,
    extra: &[(&str, Value)],
) {
    let checkpoint = Checkpoint::open(dir).expect("a checkpoint");
    let config = checkpoint.config();
    let class = config.strings("architectures").expect("a class").expect("a class")[0];
    let family = arch::by_checkpoint_class(class).expect("a known class");
    let configured = family.configure(config).expect("hyperparameters");
    let mut metadata = vec![
        ("general.architecture".to_owned(), Value::String(family.gguf_name.into())),
        ("tokenizer.ggml.model".to_owned(), Value::String("none".into())),
    ];
    metadata.extend(configured.pairs);
    metadata.retain(|(key, _)| extra.iter().all(|(name, _)| name != key));
    metadata.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));

    let slots = slots(&configured.spec, &configured.promises);
    let source_of = |slot: &Slot| family.source_of(&configured.spec, config, slot).expect("names");
    let tensors: Vec<_> = slots
        .iter()
        .filter_map(|slot| Some((slot, values_of(&checkpoint, slot, &source_of(slot)?)?)))
        .collect();
    let planned = tensors.iter().map(|(slot, _)| PlannedTensor {
        name: slot.id.gguf_name(),
        shape: slot.shape.clone(),
        ty: block_type(slot, type_of(slot)).into(),
    });
    let layout = Layout::new(metadata, planned.collect(), 32).expect("a layout");
    let writer = GgufWriter::create(out, layout, true).expect("a writable folder");
    for (i, (slot, values)) in tensors.iter().enumerate() {
        let bytes = encode(block_type(slot, type_of(slot)), values, slot.shape[slot.shape.len() - 1]);
        writer.write_at(i, 0, &bytes).expect("a writable folder");
    }
    writer.finish().expect("a writable folder");
}

fn block_type(slot: &Slot, wanted: BlockType) -> BlockType {
    let n_in = slot.shape[slot.shape.len() - 1];
    match (slot.shape.len(), wanted.row_bytes(n_in)) {
        (1, _) => BlockType::F32,
        _ if slot.id.role == Role::FfnGateInp => BlockType::F32,
        (_, Some(_)) => wanted,
        (_, None) => BlockType::F16,
    }
}

fn encode(ty: BlockType, values: &[f32], n_in: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if ty.name().starts_with("IQ") && ty.block_len() == 256 && ty != BlockType::IQ4_XS {
        return codebook_blocks(ty, ty.row_bytes(values.len()).expect("whole blocks"));
    }
    for row in values.chunks_exact(n_in) {
        let mut encoded = vec![0; ty.row_bytes(n_in).expect("whole blocks")];
        Kernels::best().encode(ty, row, None, &mut encoded);
        bytes.extend(encoded);
    }
    bytes
}

/// Blocks of a codebook type, whose encoders take long: any bytes under scales below 0.004.
fn codebook_blocks(ty: BlockType, n_bytes: usize) -> Vec<u8> {
    // The upper bits of a product with PCG's multiplier look random.
    let noise = |i: usize| ((i as u64 + 1).wrapping_mul(6_364_136_223_846_793_005) >> 48) as u8;
    let mut bytes: Vec<u8> = (0..n_bytes).map(noise).collect();
    for block in bytes.chunks_exact_mut(ty.block_bytes()) {
        // The upper byte of the f16 is the second, but for IQ1_M; there the last one has its upper four bits.
        let upper = if ty == BlockType::IQ1_M { ty.block_bytes() - 1 } else { 1 };
        block[upper] &= if ty == BlockType::IQ1_M { 0x1f } else { 0x1b };
    }
    bytes
}

/// The values of a tensor as its slot wants them; `None` if the checkpoint does not have it.
fn values_of(checkpoint: &Checkpoint, slot: &Slot, source: &Source) -> Option<Vec<f32>> {
    let read = |name: &str| {
        let tensor = checkpoint.tensor(name).expect("a sound checkpoint")?;
        assert_eq!(tensor.dtype, SourceType::BF16);
        let mut bytes = vec![0; tensor.n_bytes as usize];
        tensor.read_at(0, &mut bytes).expect("a sound checkpoint");
        let halves = bytes.chunks_exact(2);
        Some(halves.map(|half| bf16::from_le_bytes([half[0], half[1]]).to_f32()).collect::<Vec<_>>())
    };
    let width = if slot.shape.len() > 1 { slot.shape[slot.shape.len() - 1] } else { 1 };
    let piece = |piece: &Piece| {
        let values = piece.names.iter().find_map(|name| read(name))?;
        let RowMap::Pairs { head_dim } = piece.rows else { return Some(values) };
        let row_of = |row: usize| {
            let (head, i) = (row / head_dim, row % head_dim);
            head * head_dim + i % 2 * (head_dim / 2) + i / 2
        };
        let rows = 0..values.len() / width;
        Some(rows.flat_map(|row| values[row_of(row) * width..][..width].to_vec()).collect())
    };
    match source {
        Source::Computed(values) => Some(values.clone()),
        Source::Either(first, second) => {
            values_of(checkpoint, slot, first).or_else(|| values_of(checkpoint, slot, second))
        }
        Source::Mxfp4 { .. } => panic!("the checkpoints of tests are plain"),
        Source::Pieces(pieces, _) => {
            Some(pieces.iter().map(piece).collect::<Option<Vec<Vec<f32>>>>()?.concat())
        }
    }
}

/// A tensor's type in a mix like Q4_K_M's: Q6_K for half of v and down, Q4_K for the rest.
pub(crate) fn mixed_k(slot: &Slot) -> BlockType {
    match (slot.id.role, slot.id.layer) {
        (Role::TokenEmbd | Role::Output, _) => BlockType::Q6_K,
        (Role::AttnV | Role::FfnDown | Role::FfnDownExps, Some(layer)) if layer % 2 == 0 => BlockType::Q6_K,
        (Role::AttnK, _) => BlockType::Q5_K,
        _ => BlockType::Q4_K,
    }
}

/// A different format for every consumer of an activation.
pub(crate) fn mixed_formats(slot: &Slot) -> BlockType {
    match slot.id.role {
        Role::AttnQ | Role::FfnGate => BlockType::Q4_1,
        Role::AttnK | Role::FfnUp => BlockType::Q5_K,
        Role::AttnV => BlockType::BF16,
        Role::AttnOutput | Role::FfnDown => BlockType::Q5_0,
        _ => BlockType::Q5_1,
    }
}

/// The path of a new GGUF file in `dir`.
pub(crate) fn new_path(dir: &Path, name: &str) -> std::path::PathBuf {
    fs::create_dir_all(dir).expect("a writable folder");
    dir.join(format!("{name}.gguf"))
}
