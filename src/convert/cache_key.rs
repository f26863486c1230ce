//! The name of a converted file in the cache: a digest of everything that decides its bytes.
//!
//! Nothing of it is kept by hand. The plan gives the header (metadata, types, offsets) and where each row
//! comes from; [`Folder`](crate::checkpoint::Folder) the files beside the weights, as they were read, and
//! those that were looked for in vain; the encoders a sample of what they encode, and so do decoders: of plain types of
//! bytes of their own, of packed tensors some rows. Weights up to
//! `WHOLE_DIGEST_BYTES` are digested whole; of larger ones the header, the length, the time of the last
//! change and blocks spread evenly, since reading all of 15 GB would take longer than loading the result.
//! What that cannot see is a change in place, outside those blocks, by somebody who sets the time back.

use std::time::UNIX_EPOCH;

use gguf_simd::BlockType;
use gguf_simd::kernels::Kernels;
use sha2::{Digest, Sha256};

use crate::checkpoint::{Checkpoint, Folder, SourceType};
use crate::convert::plan::{Input, Plan};
use crate::convert::transform::{Reading, SourceRows};
use crate::error::Result;
use crate::quantize::decode_source;
use crate::read_file::ReadFile;

/// Weight files up to this many bytes in all are digested whole.
const WHOLE_DIGEST_BYTES: u64 = 1 << 30;

/// Blocks digested of a large file, and their bytes.
const SAMPLES: u64 = 256;
const SAMPLE_BYTES: u64 = 64 << 10;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// 24 hexadecimal digits for everything that the file which `plan` makes of `checkpoint` depends on.
///
/// # Errors
/// [`Error::Io`] for weights that cannot be read.
pub(super) fn of(checkpoint: &Checkpoint, plan: &Plan<'_>, kernels: &Kernels) -> Result<String> {
    let mut hasher = begun();
    update_with_plan(&mut hasher, plan, kernels)?;
    update_with_checkpoint(&mut hasher, checkpoint)?;
    Ok(digits(hasher))
}

/// 24 hexadecimal digits for everything that the files which `plans` make of their one input depend on.
///
/// # Errors
/// As [`of`].
pub(super) fn of_work(plans: &[&Plan<'_>], kernels: &Kernels) -> Result<String> {
    let mut hasher = begun();
    plans.iter().try_for_each(|plan| update_with_plan(&mut hasher, plan, kernels))?;
    match plans[0].input() {
        Input::Checkpoint(checkpoint) => update_with_checkpoint(&mut hasher, checkpoint)?,
        Input::Gguf(input) => {
            let is_sampled = input.files().map(ReadFile::n_bytes).sum::<u64>() > WHOLE_DIGEST_BYTES;
            input.files().try_for_each(|file| update_with_weights(&mut hasher, file, is_sampled))?;
        }
    }
    Ok(digits(hasher))
}

fn begun() -> Sha256 {
    Sha256::new().chain_update(concat!("gguf-kit ", env!("CARGO_PKG_VERSION"), ";"))
}

fn digits(hasher: Sha256) -> String {
    hasher.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

fn update_with_checkpoint(hasher: &mut Sha256, checkpoint: &Checkpoint) -> Result<()> {
    let mut update_with_folder = |folder: &Folder| {
        for (name, content) in folder.asked_for() {
            hasher.update(format!("{name:?} {content:?};"));
        }
    };
    update_with_folder(checkpoint.folder());
    checkpoint.adapters().iter().for_each(|adapter| update_with_folder(adapter.folder()));
    let is_sampled = checkpoint.total_bytes() > WHOLE_DIGEST_BYTES;
    for shard in checkpoint.shards() {
        update_with_weights(hasher, shard.file(), is_sampled)?;
    }
    for adapter in checkpoint.adapters() {
        hasher.update(adapter.scale().to_le_bytes());
        update_with_weights(hasher, adapter.shard().file(), is_sampled)?;
    }
    Ok(())
}

fn update_with_plan(hasher: &mut Sha256, plan: &Plan<'_>, kernels: &Kernels) -> Result<()> {
    plan.files().layouts().iter().for_each(|layout| hasher.update(layout.header()));
    hasher.update(format!("{};", plan.scale_search()));
    for source in plan.sources() {
        source.rows.update_digest(hasher);
        update_with_packed(hasher, &source.rows)?;
        if let Some(importance) = &source.importance {
            importance.weights().iter().for_each(|weight| hasher.update(weight.to_le_bytes()));
        }
    }
    for source_type in SourceType::ALL {
        if plan.sources().iter().any(|source| source.rows.source_types().any(|ty| ty == source_type)) {
            update_with_decoder(hasher, source_type);
        }
    }
    let is_used = |ty: &BlockType| plan.files().tensors().any(|placed| placed.block_type() == Some(*ty));
    for ty in BlockType::all().filter(is_used) {
        update_with_encoder(hasher, ty, |rows, blocks| kernels.encode(ty, rows, None, blocks));
    }
    Ok(())
}

/// Adds what the decoder of a packed tensor makes of some of its rows, and the grids that it finds.
fn update_with_packed(hasher: &mut Sha256, rows: &SourceRows<'_>) -> Result<()> {
    if rows.is_plain() {
        return Ok(());
    }
    let (mut values, mut reading) = (vec![0.0; rows.n_in()], Reading::default());
    for row in [0, rows.n_rows() / 2, rows.n_rows() - 1] {
        rows.read(row, &mut values, &mut reading)?;
        values.iter().for_each(|value| hasher.update(value.to_le_bytes()));
        let steps = reading.steps().iter().flat_map(|step| [step.scale, step.least]);
        steps.for_each(|value| hasher.update(value.to_le_bytes()));
    }
    Ok(())
}

fn update_with_decoder(hasher: &mut Sha256, source_type: SourceType) {
    let bytes: Vec<u8> = sample_rows().iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut out = vec![0.0; bytes.len() * 8 / source_type.element_bits()];
    decode_source(source_type, &bytes, &mut out);
    out.iter().for_each(|value| hasher.update(value.to_le_bytes()));
}

/// Adds what `encode` makes of some rows: an encoder that is changed so that its blocks differ gives
/// other ones here as well.
fn update_with_encoder(hasher: &mut Sha256, ty: BlockType, encode: impl Fn(&[f32], &mut [u8])) {
    let rows = sample_rows();
    let mut blocks = vec![0; ty.row_bytes(rows.len()).expect("a multiple of every block length")];
    encode(&rows, &mut blocks);
    hasher.update(format!("{ty:?};"));
    hasher.update(&blocks);
}

/// Rows like those of weights and unlike them: nearly normal numbers as they are, tiny, huge, off
/// centre, with outliers; three values only; zeros.
fn sample_rows() -> Vec<f32> {
    const ROW: usize = 1024;
    let mut state = 1_u64;
    // The sum of four 16-bit numbers less its mean, over 2^16; the generator is PCG's multiplier and increment.
    let mut normal = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let sum: i32 = (0..4).map(|i| (state >> (16 * i) & 0xffff) as i32).sum();
        (sum - 2 * 0xffff) as f32 / 65536.0
    };
    let shapes: [fn(f32) -> f32; 7] = [
        |x| x,
        |x| x / 8192.0,
        |x| x * 8192.0,
        |x| x + 3.0,
        |x| x * x * x * x * x,
        |x| if x.abs() < 0.5 { 0.0 } else { x.signum() },
        |_| 0.0,
    ];
    shapes.iter().flat_map(|shape| (0..ROW).map(|_| shape(normal())).collect::<Vec<_>>()).collect()
}

fn update_with_weights(hasher: &mut Sha256, file: &ReadFile, is_sampled: bool) -> Result<()> {
    let n_bytes = file.n_bytes();
    hasher.update(format!("{:?} {n_bytes};", file.path().file_name()));
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut update_with = |offset: u64, n: u64| -> Result<()> {
        for start in (offset..offset + n).step_by(CHUNK_BYTES) {
            let chunk = &mut chunk[..CHUNK_BYTES.min((offset + n - start) as usize)];
            file.read_at(start, chunk)?;
            hasher.update(chunk);
        }
        Ok(())
    };
    if !is_sampled {
        return update_with(0, n_bytes);
    }
    // The first megabyte, which holds the header, and blocks spread over the rest.
    update_with(0, n_bytes.min(CHUNK_BYTES as u64))?;
    let last = n_bytes.saturating_sub(SAMPLE_BYTES);
    (0..SAMPLES).try_for_each(|i| update_with(last / (SAMPLES - 1) * i, n_bytes.min(SAMPLE_BYTES)))?;
    let changed = file.modified().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    hasher.update(changed.map_or(0, |time| time.as_nanos()).to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use gguf_simd::isa::Isa;

    use super::*;

    fn digest(ty: BlockType, encode: impl Fn(&[f32], &mut [u8])) -> Vec<u8> {
        let mut hasher = Sha256::new();
        update_with_encoder(&mut hasher, ty, encode);
        hasher.finalize().to_vec()
    }

    #[test]
    fn an_encoder_that_gives_another_bit_changes_the_key() {
        for ty in BlockType::all() {
            let kernels = Kernels::best();
            let as_it_is = digest(ty, |rows, blocks| kernels.encode(ty, rows, None, blocks));
            let changed = digest(ty, |rows, blocks| {
                kernels.encode(ty, rows, None, blocks);
                *blocks.last_mut().unwrap() ^= 1;
            });
            assert_ne!(as_it_is, changed, "{ty}");
        }
    }

    #[test]
    fn every_processor_makes_the_same_key() {
        for ty in BlockType::all() {
            let of = |kernels: &Kernels| digest(ty, |rows, blocks| kernels.encode(ty, rows, None, blocks));
            assert_eq!(of(Kernels::best()), of(Kernels::get(Isa::Scalar).unwrap()), "{ty}");
        }
    }
}
