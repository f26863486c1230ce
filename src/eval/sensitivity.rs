//! Measures how sensitive a model is to errors of each of its tensors.
//!
//! The model reads a text as it is, and its logits are kept. Then it reads the text again and again, each time with
//! one tensor of a few bits a weight, and the divergence of its predictions is taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gguf_simd::{BlockType, Kernels};
use rayon::prelude::*;

use super::chunks::Chunks;
use super::divergence::MIN_SCORED;
use super::perplexity::{SLICE_LEN, begin_chunk, check, distribution};
use super::statistics::Moments;
use crate::error::{Error, Result};
use crate::gguf::{GgufFile, TensorInfo};
use crate::model::spec::TensorId;
use crate::model::{KvTypes, NewBlocks, Role};
use crate::quantize::{ErrorStats, Probe};
use crate::runtime::{Engine, Logits, Session, SessionOptions};

/// The types that a tensor is given to see what an error does: few enough bits for an effect that stands out, and
/// enough for one that is still in proportion. The first that fits its rows.
const PROBES: [BlockType; 2] = [BlockType::Q3_K, BlockType::Q4_0];

/// The bytes that measuring takes beside the model and its session: the logits of all `chunks` with the model as it
/// is and as it is changed, and the largest tensor as floats.
pub fn needed_bytes(engine: &Engine, chunks: &Chunks) -> u64 {
    let n_logits = chunks.scored().len() * chunks.n_chunks() * engine.n_vocab();
    let largest = measured(engine.file()).map(TensorInfo::n_elements).max().unwrap_or(0);
    ((2 * n_logits + largest) * size_of::<f32>()) as u64
}

/// The tensors that are measured.
pub fn measured(file: &GgufFile) -> impl Iterator<Item = &TensorInfo> {
    file.tensors().iter().filter(|tensor| {
        let is_weight = TensorId::from_gguf_name(&tensor.name)
            .is_some_and(|id| id.is_quantised(tensor.shape.len()) && id.role != Role::PerLayerTokenEmbd);
        is_weight && probe_of(tensor).is_some()
    })
}

fn probe_of(tensor: &TensorInfo) -> Option<BlockType> {
    let n_in = *tensor.shape.last()?;
    PROBES.into_iter().find(|probe| n_in.is_multiple_of(probe.block_len()))
}

/// Measures every tensor of `engine`'s model on `chunks`. Before each tensor `watch` is told its number and name.
///
/// # Errors
/// [`Error::Usage`] if too few tokens would be scored; [`Error::Interrupted`] once `stop` is true;
/// [`Error::Malformed`] for logits that are not numbers; [`Error::Limit`] if memory does not suffice.
pub fn measure(
    engine: &Engine,
    chunks: &Chunks,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(usize, &str),
) -> Result<BTreeMap<String, Probe>> {
    let n_scored = chunks.scored().len() * chunks.n_chunks();
    if n_scored < MIN_SCORED {
        return Err(Error::usage(format!(
            "only {n_scored} tokens would be scored, and {MIN_SCORED} are needed; give a longer text or --ctx"
        )));
    }
    let base = logits(engine, chunks, stop)?;
    let mut found = BTreeMap::new();
    for (i, tensor) in measured(engine.file()).enumerate() {
        watch(i, &tensor.name);
        let (probed, error) = probe(engine, tensor);
        // What is exact in so few bits is kept so by any type.
        if error.sum_squared_error > 0.0 {
            let changed = logits(&engine.with_replacement(&tensor.name, probed)?, chunks, stop)?;
            let divergence = mean_divergence(engine, &base, &changed)?;
            let relative = error.sum_squared_error / error.sum_squares;
            found.insert(tensor.name.clone(), Probe { divergence, error: relative });
        }
    }
    Ok(found)
}

/// A tensor in a few bits, as floats, and what that lost.
fn probe(engine: &Engine, tensor: &TensorInfo) -> (NewBlocks, ErrorStats) {
    let kernels = engine.kernels();
    let probe = probe_of(tensor).expect("a tensor that is measured");
    let source = tensor.ty.block_type().expect("a model that was loaded");
    let n_in = tensor.shape[tensor.shape.len() - 1];
    let row_bytes = source.row_bytes(n_in).expect("whole blocks");
    let mut blocks = vec![0; tensor.n_elements() * size_of::<f32>()];
    let rows = engine.file().bytes(tensor).par_chunks(row_bytes);
    let errors: Vec<ErrorStats> = rows
        .zip(blocks.par_chunks_mut(n_in * size_of::<f32>()))
        .map(|(row, out)| probe_row(kernels, (source, row), (probe, n_in), out))
        .collect();
    let mut error = ErrorStats::default();
    errors.iter().for_each(|of_row| error.merge(of_row));
    (NewBlocks { block_type: BlockType::F32, bytes: Arc::new(blocks) }, error)
}

fn probe_row(
    kernels: &Kernels,
    (source, row): (BlockType, &[u8]),
    (probe, n_in): (BlockType, usize),
    out: &mut [u8],
) -> ErrorStats {
    let (mut values, mut probed) = (vec![0.0; n_in], vec![0.0; n_in]);
    let mut codes = vec![0; probe.row_bytes(n_in).expect("it fits")];
    kernels.decode(source, row, &mut values);
    kernels.encode(probe, &values, None, &mut codes);
    kernels.decode(probe, &codes, &mut probed);
    for (bytes, value) in out.as_chunks_mut().0.iter_mut().zip(&probed) {
        *bytes = value.to_le_bytes();
    }
    let mut error = ErrorStats::default();
    error.add_row(&values, &probed);
    error
}

/// `[n_scored, n_vocab]`: the logits of every position of `chunks` that is scored.
fn logits(engine: &Engine, chunks: &Chunks, stop: &AtomicBool) -> Result<Vec<f32>> {
    let options = SessionOptions {
        n_ctx: chunks.n_ctx(),
        n_batch: chunks.n_ctx().min(512),
        kv_types: KvTypes::default(),
    };
    let mut session = Session::new(engine, options)?;
    let scored = chunks.scored();
    let mut found = Vec::with_capacity(scored.len() * chunks.n_chunks() * engine.n_vocab());
    for index in 0..chunks.n_chunks() {
        let ids = chunks.chunk(index);
        begin_chunk(&mut session, &ids[..scored.start], stop)?;
        for start in scored.clone().step_by(SLICE_LEN) {
            let end = scored.end.min(start + SLICE_LEN);
            found.extend_from_slice(session.step(&ids[start..end], Logits::All)?);
            check(stop)?;
        }
    }
    Ok(found)
}

fn mean_divergence(engine: &Engine, base: &[f32], changed: &[f32]) -> Result<f64> {
    let (path, n_vocab) = (engine.file().path(), engine.n_vocab());
    let rows = base.chunks_exact(n_vocab).zip(changed.chunks_exact(n_vocab));
    let all: Moments = rows
        .map(|(base, changed)| Ok(distribution(base, path)?.divergence_to(&distribution(changed, path)?)))
        .collect::<Result<_>>()?;
    Ok(all.mean().max(0.0))
}
