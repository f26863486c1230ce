//! Which block type each tensor gets.
//!
//! The mixed file types spend more bits where a model is sensitive: the output matrix, the value
//! projections, the last feed-forward matrices, and there mostly in the first and last layers. The
//! choices are those of llama-quantize, tensor by tensor, so that a file of a given type is what
//! the field expects by that name.

use gguf_simd::BlockType;
use regex::Regex;

use crate::convert::{FileType, PlanOptions};
use crate::error::{Error, Result};
use crate::model::spec::layer::MixerSpec;
use crate::model::spec::{ModelSpec, Role, Suffix, TensorId};

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
pub fn choose(options: &PlanOptions, spec: &ModelSpec, tensors: &[Candidate]) -> Result<Vec<Choice>> {
    let mut recipe = Recipe::new(options, Shape::of(spec), tensors);
    // Files of others may have their layers in any order, and the recipes count them.
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&i| tensors[i].id.layer);
    let mut chosen =
        order.into_iter().map(|i| Ok((i, recipe.choose(&tensors[i])?))).collect::<Result<Vec<_>>>()?;
    chosen.sort_by_key(|&(i, _)| i);
    Ok(chosen.into_iter().map(|(_, choice)| choice).collect())
}

/// What choices depend on of the model as a whole.
#[derive(Clone, Copy, Debug)]
struct Shape {
    n_layer: usize,
    n_head: usize,
    n_head_kv: usize,
    n_expert: usize,
}

impl Shape {
    fn of(spec: &ModelSpec) -> Self {
        // Of the first layer that has some.
        let heads = spec.layers.iter().find_map(|layer| match &layer.mixer {
            MixerSpec::Attention(attention) => Some((attention.n_head, attention.n_head_kv)),
            MixerSpec::Mla(mla) => Some((mla.n_head, mla.n_head)),
            _ => None,
        });
        let (n_head, n_head_kv) = heads.unwrap_or((1, 1));
        Self { n_layer: spec.n_layer(), n_head, n_head_kv, n_expert: spec.experts().0 }
    }
}

struct Recipe<'a> {
    file_type: FileType,
    shape: Shape,
    has_importance: bool,
    overrides: &'a Overrides,
    is_tied: bool,
    n_values: usize,
    values_seen: usize,
    ffn_downs_seen: usize,
}

impl<'a> Recipe<'a> {
    fn new(options: &'a PlanOptions, shape: Shape, tensors: &[Candidate]) -> Self {
        let count = |role| tensors.iter().filter(|tensor| tensor.id.role == role).count();
        Self {
            file_type: options.file_type,
            shape,
            has_importance: options.importance.is_some(),
            overrides: &options.overrides,
            is_tied: count(Role::Output) == 0,
            n_values: count(Role::AttnV) + count(Role::AttnQkv),
            values_seen: 0,
            ffn_downs_seen: 0,
        }
    }

    fn choose(&mut self, tensor: &Candidate) -> Result<Choice> {
        if !is_quantized(tensor) {
            return Ok(Choice { block_type: tensor.block_type.unwrap_or(BlockType::F32), instead_of: None });
        }
        let is_embedding = tensor.id.role == Role::TokenEmbd;
        let is_output = tensor.id.role == Role::Output || is_embedding && self.is_tied;
        if let Some(wanted) = self.overrides.token_embd.filter(|_| is_embedding) {
            return exactly(tensor, wanted, "--token-embedding-type");
        }
        if let Some(wanted) = self.overrides.output.filter(|_| is_output) {
            return exactly(tensor, wanted, "--output-tensor-type");
        }
        let wanted = match self.overrides.tensors.iter().find(|(name, _)| name.is_match(&tensor.name)) {
            Some(&(_, wanted)) => wanted,
            // What is quantised already gains nothing from other codes.
            None => match tensor.kept.filter(|_| !self.file_type.base().is_float()) {
                Some(kept) => kept,
                None => self.mixture(tensor, is_output),
            },
        };
        Ok(fitting(tensor, wanted))
    }

    /// The type that the mixture means for a tensor, whether its blocks fit or not. Advances the
    /// counters, which therefore skip tensors that the user decided.
    fn mixture(&mut self, tensor: &Candidate, is_output: bool) -> BlockType {
        let base = self.file_type.base();
        if self.overrides.pure || base.is_float() {
            return base;
        }
        if self.file_type == FileType::MXFP4_MOE {
            // Only stacks of experts are worth four bits; they are most of such a model.
            let is_stack = tensor.shape.len() == 3 && tensor.shape[0] > 1;
            return if is_stack { base } else { BlockType::Q8_0 };
        }
        if is_output {
            return output_type(base, n_in(tensor));
        }
        match tensor.id.role {
            // A table that is looked up, not multiplied with: three values or so would ruin it.
            Role::TokenEmbd if has_few_values(base) => BlockType::Q4_K,
            // Matrices of q, k and v together count as values.
            Role::AttnV | Role::AttnQkv => self.value_type(base),
            Role::AttnK if self.shape.n_expert == 8 => BlockType::Q8_0,
            Role::AttnOutput => self.attn_output_type(base),
            Role::FfnDown | Role::FfnDownExps => self.ffn_down_type(base, tensor),
            _ => base,
        }
    }

    fn value_type(&mut self, base: BlockType) -> BlockType {
        let index = self.values_seen;
        self.values_seen += 1;
        let Shape { n_layer, n_head, n_head_kv, n_expert } = self.shape;
        let mixed = match self.file_type {
            FileType::Q4_K_M | FileType::Q5_K_M if has_more_bits(index, self.n_values) => BlockType::Q6_K,
            FileType::Q4_K_S if index < 4 => BlockType::Q5_K,
            FileType::Q3_K_L => BlockType::Q5_K,
            FileType::Q3_K_M if index < 2 => BlockType::Q5_K,
            FileType::Q3_K_M => BlockType::Q4_K,
            // Four queries or more share a value: it is a small part of the file.
            FileType::Q2_K | FileType::Q2_K_S if n_head / n_head_kv.max(1) >= 4 => BlockType::Q4_K,
            FileType::Q2_K => BlockType::Q3_K,
            FileType::IQ4_NL | FileType::IQ4_XS if n_head / n_head_kv.max(1) >= 4 => BlockType::Q5_K,
            _ => base,
        };
        if n_expert == 8 {
            return BlockType::Q8_0;
        }
        // The 70B models: eight queries share a value, so values are a small part of a sensitive place.
        if n_layer == 80 && n_head != n_head_kv && matches!(mixed, BlockType::Q3_K | BlockType::Q4_K) {
            return BlockType::Q5_K;
        }
        mixed
    }

    fn ffn_down_type(&mut self, base: BlockType, tensor: &Candidate) -> BlockType {
        let seen = self.ffn_downs_seen;
        self.ffn_downs_seen += 1;
        let index = if self.shape.n_expert > 1 { tensor.id.layer.unwrap_or(seen) } else { seen };
        let n_layer = self.shape.n_layer;
        match self.file_type {
            FileType::Q4_K_M | FileType::Q5_K_M if has_more_bits(index, n_layer) => BlockType::Q6_K,
            FileType::Q4_K_S if index < n_layer / 8 => BlockType::Q5_K,
            FileType::IQ4_NL | FileType::IQ4_XS if index < n_layer / 8 && !self.has_importance => {
                BlockType::Q5_K
            }
            // Importance alone does not save the first of these from wild values.
            FileType::Q4_0 if index < n_layer / 8 && self.has_importance => BlockType::Q4_1,
            FileType::Q5_0 if index < n_layer / 8 && self.has_importance => BlockType::Q5_1,
            FileType::Q3_K_L => BlockType::Q5_K,
            FileType::Q3_K_M if index < n_layer / 16 => BlockType::Q5_K,
            FileType::Q3_K_M => BlockType::Q4_K,
            FileType::Q2_K => BlockType::Q3_K,
            FileType::Q2_K_S if index < n_layer / 8 => BlockType::Q4_K,
            _ => base,
        }
    }

    fn attn_output_type(&self, base: BlockType) -> BlockType {
        use FileType::{IQ4_NL, IQ4_XS, Q2_K, Q3_K_L, Q3_K_M, Q3_K_S, Q4_K_M, Q4_K_S};
        match (self.file_type, self.shape.n_expert) {
            (Q2_K | Q3_K_S | Q3_K_M | Q4_K_S | Q4_K_M | IQ4_NL | IQ4_XS, 8) => BlockType::Q5_K,
            (_, 8) => base,
            (Q3_K_L, _) => BlockType::Q5_K,
            (Q3_K_M, _) => BlockType::Q4_K,
            (Q2_K, _) => BlockType::Q3_K,
            _ => base,
        }
    }
}

/// Whether the medium mixtures give tensor `index` of `total` more bits: in the first and the last
/// eighth, and every third between.
fn has_more_bits(index: usize, total: usize) -> bool {
    index < total / 8 || index >= 7 * total / 8 || (index - total / 8) % 3 == 2
}

/// The output matrix decides every token: Q6_K, or Q8_0 where that was the base or blocks misfit.
fn output_type(base: BlockType, n_in: usize) -> BlockType {
    if base == BlockType::Q8_0 || !n_in.is_multiple_of(base.block_len()) {
        BlockType::Q8_0
    } else {
        BlockType::Q6_K
    }
}

/// Whether a weight is one of four values at most: such types are for models trained on them.
fn has_few_values(ty: BlockType) -> bool {
    matches!(ty, BlockType::TQ1_0 | BlockType::TQ2_0 | BlockType::Q1_0 | BlockType::Q2_0)
}

/// Norms, biases, rotary divisors, convolutions and expert routers are few and sensitive: they stay F32.
fn is_quantized(tensor: &Candidate) -> bool {
    let is_sensitive = matches!(
        tensor.id.role,
        Role::FfnGateInp
            | Role::AttnQNorm
            | Role::AttnKNorm
            | Role::PositionEmbd
            | Role::ShortConvConv
            | Role::SsmConv
            | Role::SsmNorm
    );
    tensor.shape.len() > 1 && !is_sensitive && tensor.id.suffix == Suffix::Weight
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
        BlockType::IQ4_XS => BlockType::IQ4_NL,
        BlockType::NVFP4 => BlockType::IQ4_NL,
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
