//! What matrices get while layers are computed: which of them share inputs, and the Hessians of these.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gguf_simd::Kernels;
use rayon::ThreadPool;

use crate::gguf::TensorInfo;
use crate::model::InputObserver;

/// A tensor of one matrix or several, where it is in the file.
#[derive(Clone, Debug)]
pub(super) struct Place {
    span: Range<usize>,
    n_matrices: usize,
}

impl Place {
    /// Of a tensor of a mapped file; `None` of what is not a matrix.
    pub(super) fn of(tensor: &TensorInfo) -> Option<Self> {
        let [ref outer @ .., _, _] = tensor.shape[..] else { return None };
        let start = usize::try_from(tensor.offset).ok()?;
        Some(Self { span: start..start + tensor.n_bytes, n_matrices: outer.iter().product() })
    }

    /// The number of the matrix that begins at byte `start`. Some products are with a part of a matrix, and those
    /// with its other parts have the same inputs.
    fn matrix_at(&self, start: usize) -> Option<usize> {
        let n_bytes = self.span.len() / self.n_matrices;
        let within = start.checked_sub(self.span.start).filter(|&within| within < self.span.len())?;
        within.is_multiple_of(n_bytes).then(|| within / n_bytes)
    }
}

/// Learns in which order tensors come, and which have the same inputs.
#[derive(Debug)]
pub(super) struct Order<'a> {
    places: &'a [Place],
    /// The tensors and where their inputs were, in the order of their first products.
    seen: Mutex<Vec<(usize, usize)>>,
}

impl<'a> Order<'a> {
    pub(super) fn new(places: &'a [Place]) -> Self {
        Self { places, seen: Mutex::default() }
    }

    /// How many tensors were seen.
    pub(super) fn n_seen(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The tensors that were seen, those that follow one another and share their inputs together.
    pub(super) fn stages(&self) -> Vec<Vec<usize>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stages = seen.chunk_by(|a, b| a.1 == b.1);
        stages.map(|stage| stage.iter().map(|&(tensor, _)| tensor).collect()).collect()
    }
}

impl InputObserver for Order<'_> {
    fn see(&self, weights: Range<usize>, inputs: &[f32], _n_in: usize) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let tensor = self.places.iter().position(|place| place.matrix_at(weights.start).is_some());
        let Some(tensor) = tensor.filter(|&tensor| seen.iter().all(|&(other, _)| other != tensor)) else {
            return;
        };
        seen.push((tensor, inputs.as_ptr().addr()));
    }
}

/// Keeps the inputs of a matrix.
#[derive(Debug)]
pub(super) struct Capture<'a> {
    place: &'a Place,
    inputs: Mutex<Vec<f32>>,
}

impl<'a> Capture<'a> {
    /// Of the only matrix at `place`.
    pub(super) fn new(place: &'a Place) -> Self {
        Self { place, inputs: Mutex::default() }
    }

    fn inputs(&self) -> MutexGuard<'_, Vec<f32>> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `[n, n_in]`: those that came.
    pub(super) fn finish(self) -> Vec<f32> {
        self.inputs.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InputObserver for Capture<'_> {
    fn see(&self, weights: Range<usize>, inputs: &[f32], _n_in: usize) {
        if self.place.matrix_at(weights.start).is_some() {
            self.inputs().extend_from_slice(inputs);
        }
    }

    /// What comes behind the matrix in the layer need not be computed.
    fn is_done(&self) -> bool {
        !self.inputs().is_empty()
    }
}

/// What is gathered of the inputs of a matrix.
pub(super) trait OfInputs: std::fmt::Debug + Send {
    /// Of inputs of `n_in` elements, before the first.
    fn new(n_in: usize) -> Self;

    /// Adds `inputs: [n, n_in]`, on the threads of the pool that calls.
    fn add(&mut self, kernels: &Kernels, inputs: &[f32]);
}

/// Gathers a `T` of each of some matrices of a tensor.
#[derive(Debug)]
pub(super) struct Gather<'a, T> {
    place: &'a Place,
    matrices: Range<usize>,
    kernels: &'static Kernels,
    pool: &'a ThreadPool,
    gathered: Mutex<Gathered<T>>,
}

#[derive(Debug)]
struct Gathered<T> {
    by_matrix: Vec<T>,
    /// Which of the matrices have come since the last batch began.
    has_come: Vec<bool>,
}

impl<'a, T: OfInputs> Gather<'a, T> {
    /// Of `matrices` of the tensor at `place`, with rows of `n_in` elements.
    pub(super) fn new(
        (place, matrices): (&'a Place, Range<usize>),
        n_in: usize,
        kernels: &'static Kernels,
        pool: &'a ThreadPool,
    ) -> Self {
        let by_matrix: Vec<T> = matrices.clone().map(|_| T::new(n_in)).collect();
        let has_come = vec![false; by_matrix.len()];
        Self { place, matrices, kernels, pool, gathered: Mutex::new(Gathered { by_matrix, has_come }) }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered<T>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another batch goes through the layer.
    pub(super) fn begin_batch(&self) {
        self.gathered().has_come.fill(false);
    }

    /// What was gathered, by matrix.
    pub(super) fn finish(self) -> Vec<T> {
        self.gathered.into_inner().unwrap_or_else(PoisonError::into_inner).by_matrix
    }
}

impl<T: OfInputs> InputObserver for Gather<'_, T> {
    fn see(&self, weights: Range<usize>, inputs: &[f32], _n_in: usize) {
        let matrix = self.place.matrix_at(weights.start).filter(|matrix| self.matrices.contains(matrix));
        let Some(matrix) = matrix else { return };
        let mut gathered = self.gathered();
        let i = matrix - self.matrices.start;
        gathered.has_come[i] = true;
        let of_matrix = &mut gathered.by_matrix[i];
        self.pool.install(|| of_matrix.add(self.kernels, inputs));
    }

    /// What comes behind these matrices in the layer need not be computed.
    fn is_done(&self) -> bool {
        self.gathered().has_come.iter().all(|&has_come| has_come)
    }
}
