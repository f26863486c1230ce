//! Which block type each tensor gets: the mixture of the file type, unless the user says otherwise.
//!
//! The mixed file types spend more bits where a model is sensitive: the output matrix, the value
//! projections, the last feed-forward matrices, and there mostly in the first and last layers. The
//! choices are those of llama-quantize, tensor by tensor, so that a file of a given type is what
//! the field expects by that name.

mod mixture;

use gguf_simd::BlockType;
use regex::Regex;

use crate::convert::{FileType, PlanOptions};
use crate::error::{Error, Result};
use mixture::{Mixture, is_embedding};

use crate::model::spec::{ModelSpec, Role, TensorId};

/// What the user says about types beyond the file type.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Tensors whose name matches get the type; the first match wins.
    pub tensors: Vec<(Regex, BlockType)>,
    /// The type of the output matrix, which is the embedding where the two are tied.
    pub output: Option<BlockType>,
    /// The type of the token embedding.
    pub token_embd: Option<BlockType>,
    /// Every quantised tensor gets the file type's base type; the mixture is skipped.
    pub pure: bool,
}

/// What a choice depends on.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The tensor's name in the GGUF file.
    pub name: String,
    /// The part it plays.
    pub id: TensorId,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// The type that the checkpoint itself has it in, where it is quantised there.
    pub kept: Option<BlockType>,
    /// The type that holds the codes or the elements that the input has, where that was asked for.
    pub held: Option<BlockType>,
    /// The type that a GGUF file has it in, where that is the input.
    pub block_type: Option<BlockType>,
}

/// The type of one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The type.
    pub block_type: BlockType,
    /// The type that was meant, where the rows did not divide into its blocks.
    pub instead_of: Option<BlockType>,
}

/// Chooses the type of every tensor, in order.
///
/// # Errors
/// [`Error::Usage`] if `--output-tensor-type` or `--token-embedding-type` names a type whose blocks
/// do not fit: these two options have no fallback.
pub fn choose(
    options: &PlanOptions,
    model: (&ModelSpec, &str),
    tensors: &[Candidate],
) -> Result<Vec<Choice>> {
    let mut mixture = Mixture::new(options, model, tensors);
    // Files of others may have their layers in any order, and the mixtures count them.
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&i| tensors[i].id.layer);
    let chosen = order.into_iter().map(|i| Ok((i, choose_one(options, &mut mixture, &tensors[i])?)));
    let mut chosen = chosen.collect::<Result<Vec<_>>>()?;
    chosen.sort_by_key(|&(i, _)| i);
    Ok(chosen.into_iter().map(|(_, choice)| choice).collect())
}

fn choose_one(options: &PlanOptions, mixture: &mut Mixture, tensor: &Candidate) -> Result<Choice> {
    if !tensor.id.is_quantised(tensor.shape.len()) {
        return Ok(Choice { block_type: tensor.block_type.unwrap_or(BlockType::F32), instead_of: None });
    }
    let (overrides, role) = (&options.overrides, tensor.id.role);
    let rule = overrides.tensors.iter().find(|(name, _)| name.is_match(&tensor.name));
    // The second table follows the first unless it is named.
    let is_embedding = role == Role::TokenEmbd || is_embedding(role) && rule.is_none();
    if let Some(wanted) = overrides.token_embd.filter(|_| is_embedding) {
        return exactly(tensor, wanted, "--token-embedding-type");
    }
    if let Some(wanted) =
        overrides.output.filter(|_| mixture.is_output(role) && (role == Role::Output || rule.is_none()))
    {
        return exactly(tensor, wanted, "--output-tensor-type");
    }
    let base = options.file_type.base();
    let wanted = match rule {
        Some(&(_, wanted)) => wanted,
        // What is quantised already gains nothing from other codes.
        None if options.file_type == FileType::KEEP => tensor.held.unwrap_or(base),
        None => match tensor.kept.filter(|_| !base.is_float()) {
            Some(kept) => kept,
            None if overrides.pure || base.is_float() => base,
            None => mixture.type_of(tensor),
        },
    };
    let choice = fitting(tensor, wanted);
    let is_kept = tensor.block_type.or(tensor.held) == Some(choice.block_type);
    if !options.has_importance() && !is_kept && needs_importance(tensor.id.role, choice.block_type) {
        let (name, ty) = (&tensor.name, choice.block_type);
        return Err(Error::usage(format!(
            "{name} would be {ty}, which is of no use without an importance matrix: make one with gguf-run imatrix, \
             and give it with --imatrix; or choose a larger --type"
        )));
    }
    Ok(choice)
}

/// Whether a tensor in blocks of `ty` is of no use unless the columns that matter are known.
pub(super) fn needs_importance(role: Role, ty: BlockType) -> bool {
    use BlockType::{IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_XXS};
    let is_table = is_embedding(role) || role == Role::Output;
    !is_table && matches!(ty, IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS)
}

/// Whether a weight is one of four values at most: such types are for models trained on them.
fn has_few_values(ty: BlockType) -> bool {
    matches!(ty, BlockType::TQ1_0 | BlockType::TQ2_0 | BlockType::Q1_0 | BlockType::Q2_0)
}

fn n_in(tensor: &Candidate) -> usize {
    tensor.shape.last().copied().unwrap_or(1)
}

fn exactly(tensor: &Candidate, wanted: BlockType, flag: &str) -> Result<Choice> {
    if n_in(tensor).is_multiple_of(wanted.block_len()) {
        return Ok(Choice { block_type: wanted, instead_of: None });
    }
    let (name, n_in, block_len) = (&tensor.name, n_in(tensor), wanted.block_len());
    let fits = fitting(tensor, wanted).block_type;
    Err(Error::usage(format!(
        "{flag} {wanted}: the rows of {name} hold {n_in} elements and {wanted} needs a multiple of {block_len}; use {flag} {fits}"
    )))
}

/// `wanted`, or what llama-quantize falls back to where the rows do not divide into its blocks.
fn fitting(tensor: &Candidate, wanted: BlockType) -> Choice {
    let fits = |ty: BlockType| n_in(tensor).is_multiple_of(ty.block_len());
    let next = |ty| match ty {
        BlockType::IQ4_XS | BlockType::NVFP4 => BlockType::IQ4_NL,
        ty if ty.name().starts_with("IQ") && ty.block_len() == 256 => BlockType::IQ4_NL,
        BlockType::Q2_K | BlockType::Q3_K => BlockType::Q4_0,
        few if has_few_values(few) => BlockType::Q4_0,
        BlockType::Q4_K => BlockType::Q5_0,
        BlockType::Q5_K => BlockType::Q5_1,
        BlockType::Q6_K => BlockType::Q8_0,
        _ => BlockType::F16,
    };
    let mut block_type = wanted;
    while !fits(block_type) {
        block_type = next(block_type);
    }
    Choice { block_type, instead_of: (block_type != wanted).then_some(wanted) }
}

#[cfg(test)]
mod tests;
