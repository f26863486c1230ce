//! Finds factors: several rules are tried at each site, and the plain search on folded rows says which loses least.
//!
//! ```text
//! for each layer, as it is in the original:
//!     moments = of the inputs of each site, over most texts; samples = some inputs of texts held out
//!     for each site, and each rule (AWQ: a power of the inputs' RMS; SmoothQuant: of their greatest, against that of
//!     the weights):
//!         error = what the matrices' outputs change by for the samples, if some of their rows are folded and quantised
//!     keep the best rule's factors if they save something worth the while
//! ```

use std::ops::Range;
use std::sync::Arc;

use gguf_simd::{BlockType, Kernels};
use rayon::ThreadPool;
use rayon::prelude::*;

use super::super::batches::{Batch, batches};
use super::super::observe::{Gather, OfInputs, Place};
use super::super::options::CalibrateOptions;
use super::super::sample::Sample;
use super::super::track::Track;
use super::{Folded, Folding, MOST, Site, power_of_two, sites};
use crate::convert::Progress;
use crate::convert::parallel::pool;
use crate::convert::plan::Plan;
use crate::convert::transform::Reading;
use crate::error::{Error, Result};
use crate::model::InputObserver;

/// Texts that are read at most, evenly spaced: factors have few bits.
const MOST_TEXTS: usize = 32;

/// Tokens that go through a layer together.
const BATCH_TOKENS: usize = 2048;

/// Rows of a matrix that rules are tried on.
const ROWS: usize = 192;

/// What of the error has to be left at most: less is not worth a change.
const MOST_LEFT: f64 = 0.98;

/// The powers of AWQ and of SmoothQuant that are tried.
const AWQ: [f64; 4] = [0.25, 0.5, 0.75, 1.0];
const SMOOTH: [f64; 3] = [0.25, 0.5, 0.75];

/// Squares and magnitudes of the inputs of a matrix, by column.
#[derive(Debug)]
struct Moments {
    n: usize,
    squares: Vec<f64>,
    largest: Vec<f32>,
}

impl OfInputs for Moments {
    fn new(n_in: usize) -> Self {
        Self { n: 0, squares: vec![0.0; n_in], largest: vec![0.0; n_in] }
    }

    fn add(&mut self, _kernels: &Kernels, inputs: &[f32]) {
        for input in inputs.chunks_exact(self.squares.len()) {
            self.n += 1;
            for ((square, largest), x) in self.squares.iter_mut().zip(&mut self.largest).zip(input) {
                *square += f64::from(*x) * f64::from(*x);
                *largest = largest.max(x.abs());
            }
        }
    }
}

/// Shows what it sees to several.
#[derive(Debug)]
struct Several<'a, T>(Vec<Gather<'a, T>>);

impl<'a, T: OfInputs> Several<'a, T> {
    /// A `T` of each of the first matrices at `places`, with rows of so many elements.
    fn of(places: &'a [(Place, usize)], kernels: &'static Kernels, workers: &'a ThreadPool) -> Self {
        let of = |(place, n_in): &'a (Place, usize)| Gather::new((place, 0..1), *n_in, kernels, workers);
        Self(places.iter().map(of).collect())
    }

    fn finish(self) -> impl Iterator<Item = T> {
        self.0.into_iter().flat_map(Gather::finish)
    }
}

impl<T: OfInputs> InputObserver for Several<'_, T> {
    fn see(&self, weights: Range<usize>, inputs: &[f32], n_in: usize) {
        self.0.iter().for_each(|gather| gather.see(weights.clone(), inputs, n_in));
    }
}

/// A matrix of a site.
struct Reader {
    block_type: BlockType,
    /// `[.., n_in]`: some of its rows.
    rows: Vec<f32>,
}

/// Finds factors for the sites of a model that `plan` quantises.
pub(super) fn choose(
    plan: &Plan<'_>,
    options: &CalibrateOptions<'_>,
    progress: &dyn Progress,
) -> Result<Folding> {
    let mut search = Search::new(plan, options, progress)?;
    let mut folding = Folding::default();
    let n_layer = search.track.model.spec().n_layer();
    progress.calibrating((0..n_layer).map(|layer| search.n_bytes(layer)).sum());
    for layer in 0..n_layer {
        let sites = search.sites(layer)?;
        let places = sites.iter().map(|(site, _)| {
            let info = search.track.model.file().tensor(&site.readers[0]).expect("it is there");
            (Place::of(info).expect("a matrix"), site.factor_of.len())
        });
        let (kernels, workers) = (options.kernels, Arc::clone(&search.workers));
        let seen = search.walk(layer, &places.collect::<Vec<_>>())?;
        for ((site, readers), (moments, sample)) in sites.into_iter().zip(seen) {
            folding.n_tried += 1;
            let trial = Trial { kernels, site: &site, readers: &readers, moments: &moments, sample: &sample };
            if let Some((powers, errors)) = workers.install(|| trial.best()) {
                folding.folded.push(Folded { site, powers, errors });
            }
        }
        progress.advance(search.n_bytes(layer));
    }
    Ok(folding)
}

/// A walk through the layers of the original.
struct Search<'a> {
    plan: &'a Plan<'a>,
    options: &'a CalibrateOptions<'a>,
    progress: &'a dyn Progress,
    batches: Vec<Batch>,
    track: Track<'a>,
    workers: Arc<ThreadPool>,
}

impl<'a> Search<'a> {
    fn new(
        plan: &'a Plan<'a>,
        options: &'a CalibrateOptions<'a>,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let step = options.texts.len().div_ceil(MOST_TEXTS).max(1);
        let texts: Vec<&[u32]> = options.texts.iter().step_by(step).map(Vec::as_slice).collect();
        let n_ctx = texts.first().map_or(0, |text| text.len());
        let n_together = (BATCH_TOKENS / n_ctx.max(1)).max(1);
        std::fs::create_dir_all(options.folder)
            .map_err(|e| Error::io(options.folder, "cannot create the folder", e))?;
        Ok(Self {
            plan,
            options,
            progress,
            batches: batches(texts.len(), n_together),
            workers: Arc::new(pool(options.n_threads, usize::MAX)?),
            track: Track::open(options, texts, n_together)?,
        })
    }

    /// Bytes of a layer's tensors.
    fn n_bytes(&self, layer: usize) -> u64 {
        let begins = format!("blk.{layer}.");
        let tensors =
            self.track.model.file().tensors().iter().filter(|tensor| tensor.name.starts_with(&begins));
        tensors.map(|tensor| tensor.n_bytes as u64).sum()
    }

    /// The sites of a layer that have something to win, with rows of their matrices.
    fn sites(&self, layer: usize) -> Result<Vec<(Site, Vec<Reader>)>> {
        let file = self.track.model.file();
        let has = |name: &str| file.tensor(name).is_some() && index_of(self.plan, name).is_some();
        let mut found = Vec::new();
        for site in sites(layer, &self.track.model.spec().layers[layer], &has) {
            if let Some(readers) = readers(self.plan, &site)? {
                found.push((site, readers));
            }
        }
        Ok(found)
    }

    /// Takes the streams through a layer; what the matrices at `places`, with rows of so many elements, get there.
    fn walk(&mut self, layer: usize, places: &[(Place, usize)]) -> Result<Vec<(Moments, Sample)>> {
        let (kernels, workers) = (self.options.kernels, Arc::clone(&self.workers));
        let moments = Several::<Moments>::of(places, kernels, &workers);
        let samples = Several::<Sample>::of(places, kernels, &workers);
        for batch in &self.batches {
            if self.progress.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let observer: &dyn InputObserver = if batch.is_held_out { &samples } else { &moments };
            self.track.advance(&batch.texts, layer, Some(observer))?;
        }
        Ok(moments.finish().zip(samples.finish()).collect())
    }
}

fn index_of(plan: &Plan<'_>, name: &str) -> Option<usize> {
    plan.files().tensors().position(|placed| placed.name == name)
}

/// Some rows of the matrices of a site that are quantised; `None` if there are none, so that factors win nothing.
fn readers(plan: &Plan<'_>, site: &Site) -> Result<Option<Vec<Reader>>> {
    let (mut readers, mut reading) = (Vec::new(), Reading::default());
    for name in &site.readers {
        let index = index_of(plan, name).expect("sites are of tensors that are there");
        let Some(block_type) = plan.files().tensor(index).block_type() else { continue };
        let source = &plan.sources()[index].rows;
        if block_type.is_float() || source.blocks_of(block_type).is_some() {
            continue;
        }
        let n = ROWS.min(source.n_rows());
        let mut rows = vec![0.0; n * source.n_in()];
        for (i, row) in rows.chunks_exact_mut(source.n_in()).enumerate() {
            source.read(i * source.n_rows() / n, row, &mut reading)?;
        }
        readers.push(Reader { block_type, rows });
    }
    Ok((!readers.is_empty()).then_some(readers))
}

/// A site whose factors are to be found.
struct Trial<'a> {
    kernels: &'a Kernels,
    site: &'a Site,
    readers: &'a [Reader],
    moments: &'a Moments,
    sample: &'a Sample,
}

impl Trial<'_> {
    /// The best factors, as powers of two, and the errors without them and with them; `None` if none are worth it.
    fn best(&self) -> Option<(Vec<i8>, (f64, f64))> {
        let mut rules = vec![vec![0; self.site.n_factors]];
        rules.extend(self.rules());
        let errors: Vec<f64> = rules.par_iter().map(|powers| self.error(powers)).collect();
        let best = (0..rules.len()).min_by(|&a, &b| errors[a].total_cmp(&errors[b]))?;
        (errors[best] < MOST_LEFT * errors[0]).then(|| (rules.swap_remove(best), (errors[0], errors[best])))
    }

    fn rules(&self) -> Vec<Vec<i8>> {
        let (mut squares, mut largest) = (vec![0.0; self.site.n_factors], vec![0.0f32; self.site.n_factors]);
        let mut of_weights = vec![0.0f32; self.site.n_factors];
        for (column, &factor) in self.site.factor_of.iter().enumerate() {
            let factor = factor as usize;
            squares[factor] += self.moments.squares[column];
            largest[factor] = largest[factor].max(self.moments.largest[column]);
            for reader in self.readers {
                let column = reader.rows.iter().skip(column).step_by(self.site.factor_of.len());
                of_weights[factor] = column.fold(of_weights[factor], |most, x| most.max(x.abs()));
            }
        }
        // Minus infinity, or not a number, where no input or no weight is.
        let log = libm::log2;
        let awq = AWQ.map(|a| squares.iter().map(|&square| a / 2.0 * log(square)).collect::<Vec<f64>>());
        let smooth = SMOOTH.map(|a| {
            let logs = largest.iter().zip(&of_weights);
            logs.map(|(x, w)| a * log(f64::from(*x)) - (1.0 - a) * log(f64::from(*w))).collect()
        });
        awq.into_iter().chain(smooth).map(|logs| self.powers(&logs)).collect()
    }

    /// Whole powers of two about the mean. What no input reaches stays as it is.
    fn powers(&self, logs: &[f64]) -> Vec<i8> {
        let is_live = |log: &&f64| log.is_finite();
        let n = logs.iter().filter(is_live).count().max(1);
        let mean = logs.iter().filter(is_live).sum::<f64>() / n as f64;
        let most = f64::from(MOST);
        let power = |log: &f64| if is_live(&log) { (log - mean).round().clamp(-most, most) as i8 } else { 0 };
        logs.iter().map(power).collect()
    }

    /// What outputs change by for inputs that were held out, with these factors.
    fn error(&self, powers: &[i8]) -> f64 {
        let factors: Vec<f32> =
            self.site.factor_of.iter().map(|&factor| power_of_two(powers[factor as usize])).collect();
        let n_in = factors.len();
        let importance: Vec<f32> = self
            .moments
            .squares
            .iter()
            .zip(&factors)
            .map(|(square, factor)| (square / self.moments.n.max(1) as f64) as f32 / (factor * factor))
            .collect();
        let (mut folded, mut values, mut spare, mut lost) =
            (vec![0.0; n_in], Vec::new(), Vec::new(), Vec::new());
        let mut sum = 0.0;
        for Reader { block_type, rows } in self.readers {
            let mut blocks = vec![0; block_type.row_bytes(n_in).expect("whole blocks")];
            values.resize(rows.len(), 0.0);
            for (row, values) in rows.chunks_exact(n_in).zip(values.chunks_exact_mut(n_in)) {
                folded.iter_mut().zip(row).zip(&factors).for_each(|((to, x), factor)| *to = x * factor);
                self.kernels.encode(*block_type, &folded, Some(&importance), &mut blocks);
                self.kernels.decode(*block_type, &blocks, values);
                for ((value, x), factor) in values.iter_mut().zip(row).zip(&factors) {
                    *value = x - *value / factor;
                }
            }
            self.sample.lost_outputs(self.kernels, rows, 0, &mut lost);
            sum += self.sample.output_error(self.kernels, &values, &lost, &mut spare)
                / (rows.len() / n_in) as f64;
        }
        sum
    }
}
