//! Types of single tensors for a file of a given size.
//!
//! Every tensor is tried in every type, on some of its rows; what the errors cost is taken from a measurement
//! ([`Sensitivity`]), or, without one, from what tensors in its part cost in models that were measured. Then
//! `allocate` spends the bytes.

mod allocate;
mod memory;

use gguf_simd::kernels::Kernels;
use gguf_simd::{BlockType, Grid};
use regex::Regex;

use crate::convert::parallel::{in_order, pool};
use crate::convert::plan::{Plan, Planned};
use crate::convert::recipe::{Overrides, needs_importance};
use crate::convert::transform::Reading;
use crate::convert::{FileType, RunOptions};
use crate::error::{Error, Result};
use crate::model::spec::{Role, TensorId};
use crate::quantize::Sensitivity;
use allocate::{Offer, allocate};
pub use memory::memory_beside;

/// Elements of a tensor that are tried, unless a row has more.
const SAMPLE_ELEMENTS: usize = 1 << 15;

/// The types that tensors are tried in. Where importance is known, or going to be, those of fewer bits that need it as
/// well.
const TYPES: [BlockType; 18] = [
    BlockType::IQ1_M,
    BlockType::IQ2_XXS,
    BlockType::IQ2_XS,
    BlockType::IQ2_S,
    BlockType::Q2_K,
    BlockType::IQ3_XXS,
    BlockType::IQ3_S,
    BlockType::Q3_K,
    BlockType::IQ4_XS,
    BlockType::IQ4_NL,
    BlockType::Q4_0,
    BlockType::Q4_K,
    BlockType::Q5_0,
    BlockType::Q5_K,
    BlockType::Q5_1,
    BlockType::Q6_K,
    BlockType::Q8_0,
    BlockType::F16,
];

/// What calibration leaves of the divergence, on the bundled model, where codes are chosen one by one.
const LEFT_BY_CALIBRATION: f64 = 0.45;

/// How large a file is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// Bytes of the file.
    Bytes(u64),
    /// Bits that a weight takes on average.
    BitsPerWeight(f64),
}

/// The types that make a file of the size asked for.
#[derive(Clone, Debug)]
pub struct Allocation {
    /// Each tensor's, by its name in the file.
    pub types: Vec<(String, BlockType)>,
    /// The file type whose base most of the weights have.
    pub file_type: FileType,
    /// What the errors of all tensors are expected to cost, in nats, if their sensitivities were measured.
    pub divergence: Option<f64>,
}

impl Allocation {
    /// The types as overrides that name each tensor.
    pub fn overrides(&self) -> Vec<(Regex, BlockType)> {
        let rule =
            |(name, ty): &(String, BlockType)| (Regex::new(&rule_of(name)).expect("an escaped name"), *ty);
        self.types.iter().map(rule).collect()
    }

    /// The types as lines of a file: a pattern and a type each.
    pub fn lines(&self) -> String {
        self.types.iter().map(|(name, ty)| format!("{}={}\n", rule_of(name), ty.name())).collect()
    }
}

fn rule_of(name: &str) -> String {
    format!("^{}$", regex::escape(name))
}

/// Weights in the blocks of the types that only an importance matrix makes useful.
const SUPER_BLOCK_LEN: usize = 256;

/// Chooses the type of every tensor that `plan` quantises and `overrides` do not name, so that the file has at most
/// `size` and its errors cost as little as may be; less if the file is going to be calibrated, in types that this does
/// something for.
///
/// # Errors
/// [`Error::Usage`] if the size cannot be reached, naming the least, or if `sensitivity` is another model's; as
/// reading the weights gives.
pub fn fit(
    plan: &Plan<'_>,
    (overrides, is_calibrated): (&Overrides, bool),
    size: Size,
    sensitivity: Option<&Sensitivity>,
    options: &RunOptions,
) -> Result<Allocation> {
    let free: Vec<usize> = free_tensors(plan, overrides);
    let placed = |i: usize| plan.files().tensor(i);
    let movable: u64 = free.iter().map(|&i| placed(i).n_bytes).sum();
    let n_in_all: u64 = plan.files().tensors().map(|tensor| tensor.n_bytes).sum();
    let (budget, fixed) = match size {
        Size::Bytes(n) => (n, plan.file_bytes() - movable),
        Size::BitsPerWeight(bits) => ((bits * plan.n_parameters() as f64 / 8.0) as u64, n_in_all - movable),
    };
    let slopes = slopes(plan, &free, sensitivity)?;
    let pool = pool(options.n_threads, free.len())?;
    let offers = in_order(&pool, free.len(), |worker: &mut Worker, at| {
        let (source, placed) = (&plan.sources()[free[at]], placed(free[at]));
        let id = TensorId::from_gguf_name(&placed.name).expect("a free tensor");
        worker.offers(options.kernels, source, (id.role, is_calibrated), slopes[at])
    })?;
    let only = |offers: &Vec<(BlockType, Offer)>| offers.iter().map(|(_, offer)| *offer).collect();
    let choices = allocate(&offers.iter().map(only).collect::<Vec<_>>(), budget.saturating_sub(fixed));
    let is_left_larger = |&i: &usize| {
        let source = &plan.sources()[i];
        source.importance.is_none() && source.rows.n_in().is_multiple_of(SUPER_BLOCK_LEN)
    };
    let importance_helps = !is_calibrated && free.iter().any(is_left_larger);
    let chosen = choices.map_err(|least| too_small(size, least + fixed, plan, importance_helps))?;
    let chosen: Vec<(BlockType, Offer)> = chosen.iter().zip(&offers).map(|(&i, offers)| offers[i]).collect();
    let loss: f64 = chosen.iter().map(|(_, offer)| offer.loss).sum();
    let types: Vec<(String, BlockType)> =
        free.iter().zip(&chosen).map(|(&i, (ty, _))| (placed(i).name.clone(), *ty)).collect();
    let elements = free.iter().map(|&i| plan.sources()[i].rows.n_elements());
    let file_type = nearest(types.iter().map(|(_, ty)| *ty).zip(elements));
    Ok(Allocation { types, file_type, divergence: sensitivity.map(|_| loss) })
}

fn too_small(size: Size, least: u64, plan: &Plan<'_>, importance_helps: bool) -> Error {
    let what = match size {
        Size::Bytes(_) => {
            format!(
                "this model's file takes at least {least} bytes; give --target-size as many, or --fit more"
            )
        }
        Size::BitsPerWeight(_) => {
            let bits = least as f64 * 8.0 / plan.n_parameters() as f64;
            format!(
                "this model takes at least {:.3} bits per weight; give --bpw as many",
                (bits * 1000.0).ceil() / 1000.0
            )
        }
    };
    let hint = if importance_helps { "; an importance matrix (--imatrix) allows smaller types" } else { "" };
    Error::usage(what + hint)
}

/// The tensors that may change their types.
fn free_tensors(plan: &Plan<'_>, overrides: &Overrides) -> Vec<usize> {
    let is_free = |name: &str, n_dims: usize, planned: &Planned<'_>| {
        let Some(id) = TensorId::from_gguf_name(name) else { return false };
        let is_named = overrides.tensors.iter().any(|(rule, _)| rule.is_match(name))
            || overrides.token_embd.is_some() && id.role == Role::TokenEmbd
            || overrides.output.is_some() && matches!(id.role, Role::Output | Role::TokenEmbd);
        id.is_quantised(n_dims) && !is_named && planned.rows.packed_type().is_none()
    };
    let tensors = plan.files().tensors().zip(plan.sources()).enumerate();
    tensors
        .filter(|(_, (placed, planned))| {
            planned.rows.are_weights() && is_free(&placed.name, placed.shape.len(), planned)
        })
        .map(|(i, _)| i)
        .collect()
}

/// What a unit of squared relative error of each tensor costs.
fn slopes(plan: &Plan<'_>, free: &[usize], sensitivity: Option<&Sensitivity>) -> Result<Vec<f64>> {
    let names = || free.iter().map(|&i| plan.files().tensor(i).name.as_str());
    let n_layer = plan.spec().n_layer();
    let is_tied = !plan.files().tensors().any(|tensor| tensor.name == "output.weight");
    let usual = |name: &str| usual_slope(TensorId::from_gguf_name(name), n_layer, is_tied);
    let Some(measured) = sensitivity else { return Ok(names().map(usual).collect()) };
    let n_known = names().filter(|&name| measured.tensors.contains_key(name)).count();
    if measured.tensors.is_empty() {
        return Err(Error::usage(
            "the file of sensitivities has no tensor: the rows of that model fit the blocks of no type of few bits",
        ));
    }
    if n_known * 2 < free.len() {
        return Err(Error::usage(format!(
            "the file of sensitivities knows {n_known} of {} tensors: it is of another model; measure this one with \
             gguf-run sensitivity",
            free.len()
        )));
    }
    // What was exact in few bits was not measured, and costs nothing.
    Ok(names().map(|name| measured.tensors.get(name).map_or(0.0, |probe| probe.slope())).collect())
}

/// What errors of tensors in a part cost in models that were measured, relative to each other: docs/quality.md.
fn usual_slope(id: Option<TensorId>, n_layer: usize, is_tied: bool) -> f64 {
    let Some(TensorId { role, layer, .. }) = id else { return 1.0 };
    let of_role = match role {
        Role::Output => 1.0,
        Role::TokenEmbd if is_tied => 1.0,
        Role::TokenEmbd => 0.1,
        Role::FfnGate | Role::FfnGateExps => 0.03,
        Role::FfnDown | Role::FfnDownExps => 0.03,
        Role::AttnV | Role::AttnOutput => 0.012,
        Role::AttnQ | Role::AttnK => 0.01,
        _ => 0.02,
    };
    // The first layer and the last ones matter more than those between.
    let of_layer = match layer {
        Some(0) => 3.0,
        Some(i) if i + 1 >= n_layer - n_layer / 4 => 2.0,
        _ => 1.0,
    };
    of_role * of_layer
}

/// The file type whose base most of the elements have; of several with one base, the one that is in the middle.
fn nearest(types: impl Iterator<Item = (BlockType, u64)>) -> FileType {
    let mut sums: Vec<(BlockType, u64)> = Vec::new();
    for (ty, n) in types {
        match sums.iter_mut().find(|(other, _)| *other == ty) {
            Some((_, sum)) => *sum += n,
            None => sums.push((ty, n)),
        }
    }
    let most = sums.iter().max_by_key(|(_, n)| *n).map_or(BlockType::F32, |(ty, _)| *ty);
    let with_base: Vec<FileType> = FileType::ALL.into_iter().filter(|ty| ty.base() == most).collect();
    let middle = with_base.iter().find(|ty| ty.name().ends_with("_M"));
    *middle.or(with_base.first()).unwrap_or(&FileType::F16)
}

/// What a thread keeps between tensors.
#[derive(Default)]
struct Worker {
    row: Vec<f32>,
    decoded: Vec<f32>,
    blocks: Vec<u8>,
    reading: Reading,
}

impl Worker {
    /// The types that a tensor may get, each with its bytes and what its error costs.
    fn offers(
        &mut self,
        kernels: &Kernels,
        source: &Planned<'_>,
        (role, is_calibrated): (Role, bool),
        slope: f64,
    ) -> Result<Vec<(BlockType, Offer)>> {
        let (rows, n_in) = (&source.rows, source.rows.n_in());
        let is_useful = |ty: BlockType| {
            n_in.is_multiple_of(ty.block_len())
                && (source.importance.is_some() || is_calibrated || !needs_importance(role, ty))
        };
        let types: Vec<BlockType> = TYPES.into_iter().filter(|&ty| is_useful(ty)).collect();
        let n_sampled = (SAMPLE_ELEMENTS / n_in).clamp(1, rows.n_rows());
        let (mut errors, mut squares) = (vec![0.0; types.len()], 0.0);
        self.row.resize(n_in, 0.0);
        self.decoded.resize(n_in, 0.0);
        for i in 0..n_sampled {
            let row = (i as u128 * rows.n_rows() as u128 / n_sampled as u128) as usize;
            rows.read(row, &mut self.row, &mut self.reading)?;
            let importance = source.importance.as_ref().map(|importance| importance.at_row(row).0);
            let weighted =
                |difference: &mut dyn Iterator<Item = f32>| weighted_squares(importance, difference);
            squares += weighted(&mut self.row.iter().copied());
            for (&ty, error) in types.iter().zip(&mut errors) {
                self.blocks.resize(ty.row_bytes(n_in).expect("it fits"), 0);
                kernels.encode(ty, &self.row, importance, &mut self.blocks);
                kernels.decode(ty, &self.blocks, &mut self.decoded);
                *error += weighted(&mut self.row.iter().zip(&self.decoded).map(|(a, b)| a - b));
            }
        }
        let bytes_of = |ty: BlockType| (rows.n_rows() * ty.row_bytes(n_in).expect("it fits")) as u64;
        let offer = |(&ty, error): (&BlockType, f64)| {
            let relative = if squares > 0.0 { error / squares } else { 0.0 };
            let is_improved = is_calibrated && Grid::of(ty).is_some();
            let left = if is_improved { LEFT_BY_CALIBRATION } else { 1.0 };
            (ty, Offer { n_bytes: bytes_of(ty), loss: slope * relative * left })
        };
        Ok(types.iter().zip(errors).map(offer).collect())
    }
}

/// The sum of squares, each times the weight of its column.
fn weighted_squares(importance: Option<&[f32]>, values: &mut dyn Iterator<Item = f32>) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    match importance {
        None => values.map(square).sum(),
        Some(weights) => values.zip(weights).map(|(x, &weight)| square(x) * f64::from(weight)).sum(),
    }
}
