//! Collects an importance matrix: what the inputs of every product are while a model reads texts.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use super::chunks::Chunks;
use crate::error::{Error, Result};
use crate::gguf::GgufFile;
use crate::model::{InputObserver, KvTypes};
use crate::quantize::{Entry, ImportanceMatrix};
use crate::runtime::{Engine, Evaluator, Logits, Part, Sequence, SessionOptions};

/// Tokens evaluated at once, unless a chunk has more: the weights are read once for them all, which counts for a
/// model that does not fit into memory.
const BATCH_TOKENS: usize = 2048;

/// As many where the output matrix is looked at: its products have a row of logits for every token.
const BATCH_TOKENS_WITH_OUTPUT: usize = 128;

/// Gathers the inputs of the matrices of a file.
#[derive(Debug)]
struct Collector {
    path: PathBuf,
    /// Sorted by their place in the file.
    tensors: Vec<Tensor>,
    state: Mutex<State>,
}

/// A tensor of one matrix or several.
#[derive(Debug)]
struct Tensor {
    name: String,
    span: Range<usize>,
    n_matrices: usize,
    n_in: usize,
}

#[derive(Debug, Default)]
struct State {
    /// By tensor.
    entries: Vec<Option<Entry>>,
    /// The first tensor with an input that is not finite.
    fault: Option<usize>,
}

impl Collector {
    /// For the layers of `file`; for all its tensors if `with_output`.
    fn new(file: &GgufFile, with_output: bool) -> Self {
        let of_interest =
            file.tensors().iter().filter(|tensor| with_output || tensor.name.starts_with("blk."));
        let mut tensors: Vec<Tensor> = of_interest
            .filter_map(|tensor| {
                let [ref outer @ .., _, n_in] = tensor.shape[..] else { return None };
                let start = usize::try_from(tensor.offset).ok()?;
                let span = start..start + tensor.n_bytes;
                let n_matrices = outer.iter().product();
                Some(Tensor { name: tensor.name.clone(), span, n_matrices, n_in })
            })
            .collect();
        tensors.sort_by_key(|tensor| tensor.span.start);
        let entries = tensors.iter().map(|_| None).collect();
        let state = Mutex::new(State { entries, fault: None });
        Self { path: file.path().to_owned(), tensors, state }
    }

    /// The tensor that has a matrix of its own at byte `start` of the file, and the number of the matrix. Some
    /// products are with a part of a matrix, and those with its other parts have the same inputs.
    fn matrix_at(&self, start: usize) -> Option<(usize, usize)> {
        let i = self.tensors.partition_point(|tensor| tensor.span.start <= start).checked_sub(1)?;
        let Tensor { span, n_matrices, .. } = &self.tensors[i];
        let (within, n_bytes) = (start - span.start, span.len() / n_matrices);
        (span.contains(&start) && within % n_bytes == 0).then(|| (i, within / n_bytes))
    }

    /// What was seen.
    ///
    /// # Errors
    /// [`Error::Malformed`] if an input was not finite.
    fn finish(self) -> Result<Vec<(String, Entry)>> {
        self.check()?;
        let State { entries, .. } = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let named = self.tensors.into_iter().zip(entries);
        Ok(named.filter_map(|(tensor, entry)| Some((tensor.name, entry?))).collect())
    }

    fn check(&self) -> Result<()> {
        match self.state.lock().unwrap_or_else(PoisonError::into_inner).fault {
            None => Ok(()),
            Some(i) => {
                let name = &self.tensors[i].name;
                let what = format!("the input of {name} is not finite: convert or download the model again");
                Err(Error::malformed(&self.path, what))
            }
        }
    }
}

impl InputObserver for Collector {
    fn see(&self, weights: Range<usize>, inputs: &[f32], n_in: usize) {
        let Some((tensor, matrix)) = self.matrix_at(weights.start) else { return };
        let Tensor { n_matrices, n_in: expected, .. } = self.tensors[tensor];
        debug_assert_eq!(n_in, expected, "{}", self.tensors[tensor].name);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !inputs.iter().all(|x| x.is_finite()) {
            state.fault.get_or_insert(tensor);
            return;
        }
        state.entries[tensor].get_or_insert_with(|| Entry::new(n_matrices, n_in)).see(matrix, inputs, n_in);
    }
}

/// What to collect.
#[derive(Clone, Copy, Debug)]
pub struct CollectOptions {
    /// The types of keys and values.
    pub kv_types: KvTypes,
    /// Whether to look at the output matrix too, and at whatever else is outside the layers.
    pub with_output: bool,
}

impl CollectOptions {
    /// What an evaluator of chunks of `n_ctx` tokens is made for.
    pub fn evaluator(&self, n_ctx: usize) -> SessionOptions {
        let most = if self.with_output { BATCH_TOKENS_WITH_OUTPUT } else { BATCH_TOKENS };
        let n_batch = if n_ctx < most { most / n_ctx * n_ctx } else { most };
        SessionOptions { n_ctx: n_ctx.max(n_batch), n_batch, kv_types: self.kv_types }
    }
}

/// Has the model read all chunks of `texts`, and gathers what its matrices get. After each batch `watch` is told
/// how many chunks are done. All texts have chunks of one length.
///
/// # Errors
/// [`Error::Interrupted`] once `stop` is true; [`Error::Malformed`] if an input is not finite; what
/// [`Evaluator::new`] and [`Sequence::new`] give.
pub fn collect(
    engine: &Engine,
    texts: &[Chunks],
    options: CollectOptions,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(usize),
) -> Result<ImportanceMatrix> {
    let n_ctx = texts.iter().map(Chunks::n_ctx).max().unwrap_or(0);
    let of_evaluator = options.evaluator(n_ctx);
    let mut evaluator = Evaluator::new(engine, of_evaluator)?;
    let of_sequence = SessionOptions { n_ctx, n_batch: n_ctx.min(of_evaluator.n_batch), ..of_evaluator };
    let n_together = (of_evaluator.n_batch / n_ctx).max(1);
    let sequences = (0..n_together).map(|_| Sequence::new(engine, of_sequence));
    let mut sequences = sequences.collect::<Result<Vec<_>>>()?;
    let collector = Collector::new(engine.file(), options.with_output);
    let chunks: Vec<Vec<u32>> =
        texts.iter().flat_map(|text| (0..text.n_chunks()).map(|i| text.chunk(i))).collect();
    let mut done = 0;
    for batch in chunks.chunks(n_together) {
        sequences.iter_mut().for_each(Sequence::clear);
        let parts = sequences.iter_mut().zip(batch);
        let mut parts: Vec<_> = parts.map(|(sequence, ids)| Part::new(sequence, ids, Logits::All)).collect();
        evaluator.observe(&mut parts, &collector, options.with_output, stop)?;
        collector.check()?;
        done += batch.len();
        watch(done);
    }
    Ok(ImportanceMatrix {
        entries: collector.finish()?.into_iter().collect(),
        datasets: Vec::new(),
        chunk_len: u32::try_from(n_ctx).unwrap_or(u32::MAX),
    })
}
