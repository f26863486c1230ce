//! What this machine allows at most, and how near a benchmark comes to it.
//!
//! Generation reads every weight for every token, so the bandwidth of memory bounds it; a prompt shares
//! the reading between its tokens, and the multiply-adds of the CPU bound it. Both are measured with the
//! threads of the benchmark and in the same run: on a machine that others use as well they change from
//! hour to hour.

use std::hint::black_box;
use std::time::Instant;

use gguf_simd::ceiling::multiply_adds;
use gguf_simd::{BlockType, Isa};

use super::bench::{Speed, Workload};
use crate::error::{Error, Result};
use crate::runtime::Engine;
use crate::threads::{ThreadCounts, ThreadPool};

/// Bytes that no cache holds.
const MEMORY_BYTES: usize = 256 << 20;

/// Passes, of which the fastest counts.
const N_PASSES: usize = 7;

/// Parts that each thread starts a pass with.
const PARTS_PER_THREAD: usize = 16;

/// What the machine allows.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Bytes that all threads together read from memory in a second.
    pub bytes_per_second: f64,
    /// Multiply-adds a second of all threads together, with the instructions that the batch kernels for
    /// `block_type` are made of; `None` for the scalar tier.
    pub multiply_adds_per_second: Option<f64>,
    /// The type that most of the multiply-adds of the model are for.
    pub block_type: BlockType,
}

impl Ceilings {
    /// Measures them with as many threads as `engine` has for generation and for prompts, which are to be idle.
    ///
    /// # Errors
    /// [`Error::Limit`] if the system refuses the memory or the threads.
    pub fn measure(engine: &Engine) -> Result<Self> {
        let ThreadCounts { few, many } = engine.thread_counts();
        let (block_type, isa) = (Needs::of(engine).block_type, engine.kernels().isa());
        Ok(Self {
            bytes_per_second: read(&ThreadPool::new(few)?, MEMORY_BYTES)?,
            multiply_adds_per_second: multiply(&ThreadPool::new(many)?, isa, block_type),
            block_type,
        })
    }

    /// The greater of each.
    pub fn max(self, other: Self) -> Self {
        let [a, b] = [self, other].map(|ceilings| ceilings.multiply_adds_per_second);
        Self {
            bytes_per_second: self.bytes_per_second.max(other.bytes_per_second),
            multiply_adds_per_second: a.zip(b).map(|(a, b)| a.max(b)),
            ..self
        }
    }

    /// The part of what the machine allows that `speed` reaches: of the bandwidth for a generation, of
    /// the multiply-adds for a prompt; `None` for what is bound by both. What attention needs is not
    /// counted.
    pub fn part(&self, needs: &Needs, speed: &Speed) -> Option<f64> {
        match speed.workload {
            Workload::Prompt(_) => {
                Some(needs.multiply_adds_of_prompt * speed.median() / self.multiply_adds_per_second?)
            }
            Workload::Generation(_) => Some(needs.bytes * speed.median() / self.bytes_per_second),
            Workload::Mixed(..) | Workload::Together(..) | Workload::Columns(_) => None,
        }
    }
}

/// What a token takes of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Needs {
    /// Bytes of weights read for a token that is evaluated alone.
    pub bytes: f64,
    /// Multiply-adds with weights of a token of a prompt, without logits.
    pub multiply_adds_of_prompt: f64,
    /// The type that most of the multiply-adds are for.
    pub block_type: BlockType,
}

impl Needs {
    /// The needs of the model of `engine`.
    pub fn of(engine: &Engine) -> Self {
        let (file, (n_expert, n_used)) = (engine.file(), engine.spec().experts());
        let is_tied = file.tensor("output.weight").is_none();
        let used = n_used as f64 / n_expert.max(1) as f64;
        let mut needs = Self { bytes: 0.0, multiply_adds_of_prompt: 0.0, block_type: BlockType::F32 };
        let mut by_type: Vec<(BlockType, f64)> = Vec::new();
        // Tables of which a token reads a row.
        let is_table = |name: &str| matches!(name, "per_layer_token_embd.weight" | "position_embd.weight");
        let matrices = file.tensors().iter().filter(|tensor| tensor.shape.len() > 1);
        for tensor in matrices.filter(|tensor| !is_table(&tensor.name)) {
            let is_embedding = tensor.name == "token_embd.weight";
            // Of an embedding that is not the output matrix too, a token reads one row.
            let (Some(block_type), false) = (tensor.ty.block_type(), is_embedding && !is_tied) else {
                continue;
            };
            let part = if tensor.name.contains("_exps.") { used } else { 1.0 };
            let n_elements = part * tensor.n_elements() as f64;
            needs.bytes += part * tensor.n_bytes as f64;
            if !is_embedding && tensor.name != "output.weight" {
                needs.multiply_adds_of_prompt += n_elements;
            }
            match by_type.iter_mut().find(|(ty, _)| *ty == block_type) {
                Some((_, n)) => *n += n_elements,
                None => by_type.push((block_type, n_elements)),
            }
        }
        let most = by_type.into_iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
        Self { block_type: most.map_or(needs.block_type, |(ty, _)| ty), ..needs }
    }
}

/// Bytes a second that all threads read, of `n_bytes`.
fn read(pool: &ThreadPool, n_bytes: usize) -> Result<f64> {
    let mut bytes: Vec<u64> = Vec::new();
    let len = n_bytes / size_of::<u64>();
    let refused =
        |_| Error::limit(format!("there is no memory for the {n_bytes} bytes that --ceiling reads"));
    bytes.try_reserve_exact(len).map_err(refused)?;
    bytes.resize(len, 1);
    let part_len = len.div_ceil(PARTS_PER_THREAD * pool.n_threads());
    let mut parts: Vec<(&[u64], u64)> = bytes.chunks(part_len).map(|part| (part, 0)).collect();
    Ok(n_bytes as f64
        / fastest_seconds(|| {
            pool.run_parts(&mut parts, |_, (part, sum)| *sum = black_box(sum_of(black_box(part))));
        }))
}

/// Reads everything, in sums that do not wait for one another.
fn sum_of(values: &[u64]) -> u64 {
    let mut sums = [0u64; 32];
    let (chunks, rest) = values.as_chunks::<32>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*value);
        }
    }
    sums.iter().chain(rest).fold(0, |a, b| a.wrapping_add(*b))
}

/// Multiply-adds a second of all threads.
fn multiply(pool: &ThreadPool, isa: Isa, block_type: BlockType) -> Option<f64> {
    multiply_adds(isa, block_type)?;
    let mut parts = vec![0; PARTS_PER_THREAD * pool.n_threads()];
    let seconds = fastest_seconds(|| {
        pool.run_parts(&mut parts, |_, n| *n = multiply_adds(isa, block_type).unwrap_or(0));
    });
    Some(parts.iter().sum::<usize>() as f64 / seconds)
}

fn fastest_seconds(mut run: impl FnMut()) -> f64 {
    let mut time = || {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..N_PASSES).map(|_| time()).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_of_what_bounds_a_workload() {
        let ceilings = Ceilings {
            bytes_per_second: 1e9,
            multiply_adds_per_second: Some(1e12),
            block_type: BlockType::Q4_K,
        };
        let needs = Needs { bytes: 1e8, multiply_adds_of_prompt: 2e9, block_type: BlockType::Q4_K };
        let part =
            |workload, speed| ceilings.part(&needs, &Speed { workload, depth: 0, samples: vec![speed] });
        assert_eq!(part(Workload::Generation(8), 5.0), Some(0.5));
        assert_eq!(part(Workload::Prompt(8), 100.0), Some(0.2));
        assert_eq!(part(Workload::Mixed(8, 8), 100.0), None);
        let more = Ceilings { bytes_per_second: 2e9, multiply_adds_per_second: Some(5e11), ..ceilings };
        let max = ceilings.max(more);
        assert_eq!((max.bytes_per_second, max.multiply_adds_per_second), (2e9, Some(1e12)));
    }

    #[test]
    fn everything_is_read_and_every_tier_but_the_scalar_one_multiplies() {
        let pool = ThreadPool::new(2).unwrap();
        assert!(read(&pool, 1 << 20).unwrap() > 0.0);
        assert_eq!(sum_of(&[3; 70]), 3 * 70);
        for isa in Isa::available() {
            let found = multiply(&pool, isa, BlockType::Q8_0);
            assert_eq!(found.is_some_and(|n| n > 0.0), isa != Isa::Scalar, "{isa}: {found:?}");
        }
    }
}
