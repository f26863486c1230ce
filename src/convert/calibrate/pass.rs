//! The pass: layer after layer, each with inputs from the already quantised ones before it.
//!
//! ```text
//! streams, originals = embedding of all texts
//! for each layer:
//!     for each stage (tensors that share their inputs: q, k, v; then o; then gate, up; then down):
//!         Hessians = what the tensors get while the layer runs on the streams, with the stages before quantised
//!         drift    = what that lacks of what they get while the original layer runs on the originals
//!         blocks   = by tensor: the plain search, and chosen codes where these do better on texts held out
//!     keep the blocks; streams = the quantised layer's, originals = the original one's
//! output matrix: the same, of the normed streams
//! ```

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use gguf_simd::BlockType;
use rayon::ThreadPool;

use super::batches::{Batch, batches};
use super::calibrated::Calibrated;
use super::drift::Drift;
use super::hessian::Hessian;
use super::observe::{Gather, OfInputs, Order, Place};
use super::options::{CalibrateOptions, key};
use super::sample::Sample;
use super::store::{Store, Stored, Won};
use super::sums::sum;
use super::tensor::{Evidence, Gathered, Made, Rows, quantise};
use super::track::{Track, see};
use crate::convert::Progress;
use crate::convert::parallel::pool;
use crate::convert::plan::{Plan, Planned};
use crate::error::{Error, Result};
use crate::gguf::PlacedTensor;
use crate::model::{NewBlocks, Until};
use crate::printable;

/// The least texts to calibrate with: one is held out of eight.
const MIN_TEXTS: usize = 8;

/// Tokens that go through a layer together.
const BATCH_TOKENS: usize = 2048;

/// Bytes of Hessians that are gathered together: experts come in groups.
const MOST_HESSIAN_BYTES: usize = 1 << 30;

/// Names of the parts that are kept: those of layers, and that of the output matrix.
fn layer_name(layer: usize) -> String {
    format!("layer-{layer}")
}
const OUTPUT: &str = "output";

/// A tensor to calibrate.
#[derive(Debug)]
struct Tensor<'a> {
    name: &'a str,
    planned: &'a Planned<'a>,
    block_type: BlockType,
    n_matrices: usize,
    place: Place,
}

impl Tensor<'_> {
    fn n_in(&self) -> usize {
        self.planned.rows.n_in()
    }
}

/// A calibration under way.
struct Pass<'a> {
    plan: &'a Plan<'a>,
    options: &'a CalibrateOptions<'a>,
    pool: Arc<ThreadPool>,
    batches: Vec<Batch>,
    track: Track<'a>,
    /// The original model, if codes are chosen.
    original: Option<Track<'a>>,
    progress: &'a dyn Progress,
}

/// Calibrates what `plan` quantises, or goes on where an earlier run was interrupted.
///
/// # Errors
/// [`Error::Usage`] for too few texts; [`Error::Unsupported`] for a model whose layers do not stand alone;
/// [`Error::Malformed`] for weights or activations that are not finite; [`Error::Io`]; [`Error::Interrupted`].
pub fn calibrate(
    plan: &Plan<'_>,
    options: &CalibrateOptions<'_>,
    progress: &dyn Progress,
) -> Result<Calibrated> {
    let n = options.texts.len();
    let n_ctx = options.texts.first().map_or(0, Vec::len);
    if n < MIN_TEXTS {
        return Err(Error::usage(format!(
            "the calibration texts have {n} chunks of {n_ctx} tokens, and {MIN_TEXTS} are the least; give \
             more text, a smaller --calibration-ctx, or a greater --calibration-chunks"
        )));
    }
    let n_together = (BATCH_TOKENS / n_ctx.max(1)).max(1);
    let store = Store::open(options.folder, &key(plan, options)?)?;
    let texts: Vec<&[u32]> = options.texts.iter().map(Vec::as_slice).collect();
    let original =
        if options.is_nearest { None } else { Some(Track::open(options, texts.clone(), n_together)?) };
    let mut pass = Pass {
        plan,
        options,
        pool: Arc::new(pool(options.n_threads, usize::MAX)?),
        batches: batches(options.texts.len(), n_together),
        track: Track::open(options, texts, n_together)?,
        original,
        progress,
    };
    let total = plan.files().tensors().zip(plan.sources()).filter(|(placed, _)| placed.shape.len() > 1);
    progress.calibrating(total.map(|(_, of)| of.rows.source_bytes(of.rows.n_rows())).sum());
    let parts = pass.layers(&store).inspect_err(|e| {
        if matches!(e, Error::Interrupted) {
            progress.kept(&printable::path(options.folder));
        }
    })?;
    Calibrated::open(plan, store, &parts)
}

impl<'a> Pass<'a> {
    /// The tensors whose names begin so that calibration can do something for.
    fn tensors(&self, begins: &str) -> Vec<Tensor<'a>> {
        let file = self.track.model.file();
        let found: HashMap<&str, _> = file.tensors().iter().map(|info| (info.name.as_str(), info)).collect();
        let planned = self.plan.files().tensors().zip(self.plan.sources());
        let tensors = planned.filter_map(|(placed, planned)| {
            let ty = placed.block_type()?;
            if !placed.name.starts_with(begins) || ty.is_float() || planned.rows.blocks_of(ty).is_some() {
                return None;
            }
            let place = Place::of(found.get(placed.name.as_str())?)?;
            let n_matrices = placed.shape[..placed.shape.len() - 2].iter().product();
            Some(Tensor { name: &placed.name, planned, block_type: ty, n_matrices, place })
        });
        tensors.collect()
    }

    /// Calibrates all that is left. Returns the names under which the parts are kept.
    fn layers(&mut self, store: &Store) -> Result<Vec<String>> {
        let mut parts = Vec::new();
        for layer in 0..self.track.model.spec().n_layer() {
            self.layer(layer, store)?;
            parts.push(layer_name(layer));
        }
        self.output(store)?;
        parts.push(OUTPUT.to_owned());
        Ok(parts)
    }

    /// Calibrates a layer, or finds what was kept of it, and takes the streams through it.
    fn layer(&mut self, layer: usize, store: &Store) -> Result<()> {
        let name = layer_name(layer);
        if let Some(kept) = store.find(&name)? {
            let kept = kept.into_iter().map(|(stored, blocks)| (stored.won.name, blocks));
            let kept = kept.map(|(name, blocks)| (self.block_type(&name), name, blocks));
            let new = kept
                .map(|(block_type, name, blocks)| (name, NewBlocks { block_type, bytes: Arc::new(blocks) }));
            self.track.model.replace(layer, new.collect::<Vec<_>>())?;
        } else {
            let tensors = self.tensors(&format!("{}{layer}.", self.track.model.spec().side.prefix()));
            let mut made = Vec::new();
            for (stage, until) in self.stages(layer, &tensors)? {
                let stage: Vec<&Tensor<'_>> = stage.iter().map(|&i| &tensors[i]).collect();
                let new = self.stage((layer, until), &stage)?;
                let blocks = new.iter().map(|(stored, new)| (stored.won.name.clone(), new.clone()));
                self.track.model.replace(layer, blocks.collect::<Vec<_>>())?;
                made.extend(new);
            }
            store.keep(
                &name,
                made.iter().map(|(stored, new)| (stored.clone(), new.bytes.as_slice())).collect(),
            )?;
        }
        self.advance(layer)?;
        self.track.model.restore(layer)
    }

    fn block_type(&self, name: &str) -> BlockType {
        let tensors = self.plan.files().tensors();
        tensors
            .into_iter()
            .find(|placed| placed.name == name)
            .and_then(PlacedTensor::block_type)
            .unwrap_or(BlockType::F32)
    }

    /// Takes the streams through a layer.
    fn advance(&mut self, layer: usize) -> Result<()> {
        for Batch { texts, .. } in &self.batches {
            self.check()?;
            self.track.advance(texts, layer, None)?;
            if let Some(original) = &mut self.original {
                original.advance(texts, layer, None)?;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.progress.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// The stages of a layer, each with how far the layer is to be computed for it.
    fn stages(&mut self, layer: usize, tensors: &[Tensor<'_>]) -> Result<Vec<(Vec<usize>, Until)>> {
        let places: Vec<Place> = tensors.iter().map(|tensor| tensor.place.clone()).collect();
        let mut stages: Vec<(Vec<usize>, Until)> = Vec::new();
        for until in [Until::Mixer, Until::End] {
            let order = Order::new(&places);
            // Every batch: an expert may be chosen late.
            for batch in 0..self.batches.len() {
                self.track.try_layer(&self.batches[batch].texts, (layer, until), Some(&order))?;
                if order.n_seen() == tensors.len() || until == Until::Mixer {
                    break;
                }
            }
            for stage in order.stages() {
                if !stages.iter().any(|(known, _)| known.contains(&stage[0])) {
                    stages.push((stage, until));
                }
            }
        }
        Ok(stages)
    }

    /// Calibrates tensors that share their inputs.
    fn stage(&mut self, layer: (usize, Until), tensors: &[&Tensor<'_>]) -> Result<Vec<(Stored, NewBlocks)>> {
        let (first, n_in) = (tensors[0], tensors[0].n_in());
        if let (1, Some(_)) = (first.n_matrices, &self.original) {
            return self.stage_beside_original(layer, tensors);
        }
        let per_matrix = n_in * n_in * size_of::<f64>();
        let at_once = (MOST_HESSIAN_BYTES / (2 * per_matrix)).clamp(1, first.n_matrices);
        let mut made = nothing_of(tensors);
        for start in (0..first.n_matrices).step_by(at_once) {
            let matrices = start..first.n_matrices.min(start + at_once);
            let place = (&first.place, matrices.clone());
            let checked_with: Vec<Sample> = self.gather(place.clone(), n_in, (layer, true))?;
            let chosen_by: Vec<Hessian> = self.gather(place, n_in, (layer, false))?;
            for (matrix, (chosen_by, held_out)) in matrices.zip(chosen_by.into_iter().zip(checked_with)) {
                let gathered = Gathered { chosen_by, drift: None, held_out };
                self.matrix(first.name, tensors, matrix, gathered, &mut made)?;
            }
        }
        Ok(finish(tensors, made))
    }

    /// Calibrates tensors of one matrix each, with what their inputs lack of those in the original model.
    fn stage_beside_original(
        &mut self,
        layer: (usize, Until),
        tensors: &[&Tensor<'_>],
    ) -> Result<Vec<(Stored, NewBlocks)>> {
        let (first, n_in) = (tensors[0], tensors[0].n_in());
        let sum = sum(first.name, &self.track.model.spec().layers[layer.0]).filter(|_| tensors.len() == 1);
        let (kernels, mut drift) = (self.options.kernels, Drift::new(n_in));
        let mut gathered = Gathered::new(n_in);
        for Batch { texts, is_held_out } in &self.batches {
            self.check()?;
            let original = self.original.as_mut().expect("there is one where codes are chosen");
            let seen = see((&mut self.track, original), texts, (layer, sum), &first.place)?;
            match is_held_out {
                true => gathered.held_out.add_seen(&seen),
                false => self.pool.install(|| {
                    gathered.chosen_by.add(kernels, &seen.inputs);
                    drift.add(kernels, &seen);
                }),
            }
        }
        gathered.drift = Some(drift);
        let mut made = nothing_of(tensors);
        self.matrix(first.name, tensors, 0, gathered, &mut made)?;
        Ok(finish(tensors, made))
    }

    /// What is gathered of some matrices of a tensor, over texts that are held out or over the others.
    fn gather<T: OfInputs>(
        &mut self,
        matrices: (&Place, Range<usize>),
        n_in: usize,
        (layer, is_held_out): ((usize, Until), bool),
    ) -> Result<Vec<T>> {
        let (kernels, workers) = (self.options.kernels, Arc::clone(&self.pool));
        let gather = Gather::new(matrices, n_in, kernels, &workers);
        for batch in 0..self.batches.len() {
            if self.batches[batch].is_held_out == is_held_out {
                self.check()?;
                gather.begin_batch();
                self.track.try_layer(&self.batches[batch].texts, layer, Some(&gather))?;
            }
        }
        Ok(gather.finish())
    }

    /// Calibrates matrix `matrix` of some tensors that share their inputs.
    fn matrix(
        &self,
        name: &str,
        tensors: &[&Tensor<'_>],
        matrix: usize,
        gathered: Gathered,
        made: &mut [(Made, usize)],
    ) -> Result<()> {
        if !gathered.is_finite() {
            let what = format!("the input of {name} is not finite: convert or download the model again");
            return Err(Error::malformed(self.options.reference, what));
        }
        let n_tokens = gathered.chosen_by.n_tokens();
        let (kernels, is_nearest) = (self.options.kernels, self.options.is_nearest);
        let evidence = self.pool.install(|| Evidence::new(kernels, gathered, is_nearest));
        for (tensor, (made, fewest)) in tensors.iter().zip(made) {
            self.check()?;
            let source = &tensor.planned.rows;
            let n_rows = source.n_rows() / tensor.n_matrices;
            let rows = Rows { source, first: matrix * n_rows, n_rows, block_type: tensor.block_type };
            quantise(kernels, &self.pool, rows, &evidence, made)?;
            *fewest = (*fewest).min(n_tokens);
            self.progress.advance(source.source_bytes(n_rows));
        }
        Ok(())
    }

    /// Calibrates the output matrix, or finds what was kept of it.
    fn output(&mut self, store: &Store) -> Result<()> {
        if store.find(OUTPUT)?.is_some() {
            return Ok(());
        }
        let tensors = self.tensors("output.weight");
        let tensors = if tensors.is_empty() && self.ties_output() {
            self.tensors("token_embd.weight")
        } else {
            tensors
        };
        let mut kept = Vec::new();
        if let Some(tensor) = tensors.first() {
            // It is often the embedding, whose values every layer has: it keeps to its own.
            let mut gathered = Gathered::new(tensor.n_in());
            for Batch { texts, is_held_out } in &self.batches {
                self.check()?;
                let (kernels, inputs) = (self.options.kernels, self.track.output_inputs(texts)?);
                match is_held_out {
                    true => gathered.held_out.add(kernels, &inputs),
                    false => self.pool.install(|| gathered.chosen_by.add(kernels, &inputs)),
                }
            }
            let mut made = nothing_of(&[tensor]);
            self.matrix(tensor.name, &[tensor], 0, gathered, &mut made)?;
            kept.extend(finish(&[tensor], made));
        }
        store.keep(OUTPUT, kept.iter().map(|(stored, new)| (stored.clone(), new.bytes.as_slice())).collect())
    }

    /// Whether the output matrix is the embedding.
    fn ties_output(&self) -> bool {
        let has_own = self.plan.files().tensors().any(|placed| placed.name == "output.weight");
        self.track.model.spec().head.has_logits && !has_own
    }
}

/// What is made of each tensor before the first of its matrices.
fn nothing_of(tensors: &[&Tensor<'_>]) -> Vec<(Made, usize)> {
    tensors.iter().map(|_| (Made::default(), usize::MAX)).collect()
}

/// The better of what was made of each tensor, with the fewest inputs of a matrix of it.
fn finish(tensors: &[&Tensor<'_>], made: Vec<(Made, usize)>) -> Vec<(Stored, NewBlocks)> {
    let of = |(tensor, (made, n_tokens)): (&&Tensor<'_>, (Made, usize))| {
        let (plain, chosen) = (made.plain.output_error, made.chosen.output_error);
        let won = Won { name: tensor.name.to_owned(), plain, chosen, n_tokens };
        let kept = if won.is_kept() { made.chosen } else { made.plain };
        let stored = Stored::new(won, kept.blocks.len() as u64, &kept.error);
        (stored, NewBlocks { block_type: tensor.block_type, bytes: Arc::new(kept.blocks) })
    };
    tensors.iter().zip(made).map(of).collect()
}
