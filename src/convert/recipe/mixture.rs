//! The mixtures: which type each tensor of a file type means, whether its blocks fit or not.
//!
//! More bits go where a model is sensitive: to the output matrix, the values, the last feed-forward matrices, and
//! there mostly in the first and last layers. The rules are llama-quantize's, of which some depend on whether there
//! is an importance matrix.

use gguf_simd::BlockType;

use super::{Candidate, has_few_values, n_in};
use crate::convert::{FileType, PlanOptions};
use crate::model::spec::layer::{LayerSpec, MixerSpec};
use crate::model::spec::{ModelSpec, Role, Suffix};

/// What choices depend on of the model as a whole.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Those of predictions beyond the next token included.
    n_layer: usize,
    n_head: usize,
    n_head_kv: usize,
    n_expert: usize,
    is_falcon: bool,
    /// Whether llama.cpp calls the model one of 70 billion weights.
    is_70b: bool,
}

impl Shape {
    fn of(spec: &ModelSpec, architecture: &str) -> Self {
        // Those that the first layer has, as files say it: where layers differ by their numbers of heads, one without
        // attention has no heads, and where they do not, those of the others.
        let heads = |layer: &LayerSpec| match &layer.mixer {
            MixerSpec::Mla(mla) => Some((mla.n_head, mla.n_head)),
            other => other.attention().map(|attention| (attention.n_head, attention.n_head_kv)),
        };
        let has_one_number = |layer: &&LayerSpec| matches!(layer.mixer, MixerSpec::DeltaNet(_));
        let n_alike = spec.layers.iter().take_while(has_one_number).count();
        let (n_head, n_head_kv) = spec.layers.get(n_alike).and_then(heads).unwrap_or((1, 1));
        let n_layer = spec.n_layer() + spec.n_left_out;
        Self {
            n_layer,
            n_head,
            n_head_kv,
            n_expert: spec.experts().0,
            is_falcon: architecture == "falcon",
            is_70b: match architecture {
                "llama" => n_layer == 80 && n_head != n_head_kv,
                "qwen2" | "deci" | "olmo" => n_layer == 80,
                "jais2" => n_layer == 68,
                _ => false,
            },
        }
    }

    /// Whether four queries or more share a value, which is a small part of the file then.
    fn shares_values(&self) -> bool {
        self.n_head / self.n_head_kv.max(1) >= 4
    }
}

/// A file type's mixture, and how many tensors of each kind it has met.
#[derive(Debug)]
pub(super) struct Mixture {
    file_type: FileType,
    shape: Shape,
    has_importance: bool,
    is_tied: bool,
    n_values: usize,
    values_seen: usize,
    downs_seen: usize,
    gates_seen: usize,
    ups_seen: usize,
}

impl Mixture {
    pub(super) fn new(
        options: &PlanOptions,
        (spec, architecture): (&ModelSpec, &str),
        tensors: &[Candidate],
    ) -> Self {
        let count = |is: fn(Role) -> bool| {
            tensors.iter().filter(|tensor| is(tensor.id.role) && tensor.id.suffix == Suffix::Weight).count()
        };
        Self {
            file_type: options.file_type,
            shape: Shape::of(spec, architecture),
            has_importance: options.has_importance(),
            is_tied: count(|role| role == Role::Output) == 0,
            n_values: count(is_value),
            values_seen: 0,
            downs_seen: 0,
            gates_seen: 0,
            ups_seen: 0,
        }
    }

    /// Whether a tensor is the output matrix: the embedding is where the two are tied.
    pub(super) fn is_output(&self, role: Role) -> bool {
        role == Role::Output || self.is_tied && is_embedding(role)
    }

    /// The type meant for a tensor. Advances the counters, which therefore skip tensors that the user decided.
    pub(super) fn type_of(&mut self, tensor: &Candidate) -> BlockType {
        let base = self.file_type.base();
        let role = tensor.id.role;
        if self.file_type == FileType::MXFP4_MOE {
            // Only stacks of experts are worth four bits; they are most of such a model.
            let is_stack = tensor.shape.len() == 3 && tensor.shape[0] > 1;
            return if is_stack { base } else { BlockType::Q8_0 };
        }
        if self.is_output(role) {
            return self.output(base, tensor);
        }
        match role {
            role if is_embedding(role) => self.embedding(base),
            _ if self.is_tiny() => self.tiny(base, tensor),
            role if is_value(role) => self.value(base),
            Role::AttnK | Role::AttnQ => self.query_or_key(base, role),
            Role::AttnOutput => self.attn_output(base),
            Role::FfnDown | Role::FfnDownExps | Role::FfnDownShexp | Role::FfnDownChexps => {
                self.ffn_down(base, tensor)
            }
            Role::FfnGate
            | Role::FfnGateExps
            | Role::FfnGateShexp
            | Role::FfnGateChexps
            | Role::FfnGateUpExps => {
                let index = self.gates_seen;
                self.gates_seen += 1;
                self.ffn_up(base, self.index(index, tensor))
            }
            Role::FfnUp | Role::FfnUpExps | Role::FfnUpShexp | Role::FfnUpChexps => {
                let index = self.ups_seen;
                self.ups_seen += 1;
                self.ffn_up(base, self.index(index, tensor))
            }
            _ => base,
        }
    }

    /// Whether the file type is one of two bits or fewer with a codebook, which have rules of their own.
    fn is_tiny(&self) -> bool {
        use FileType::{IQ1_M, IQ1_S, IQ2_M, IQ2_S, IQ2_XS, IQ2_XXS};
        matches!(self.file_type, IQ2_XXS | IQ2_XS | IQ2_S | IQ2_M | IQ1_S | IQ1_M)
    }

    /// The layer of a tensor, counted as `seen` where layers have no experts.
    fn index(&self, seen: usize, tensor: &Candidate) -> usize {
        if self.shape.n_expert > 1 { tensor.id.layer.unwrap_or(seen) } else { seen }
    }

    /// The output matrix decides every token: Q6_K, or Q8_0 where that was the base or blocks misfit.
    fn output(&self, base: BlockType, tensor: &Candidate) -> BlockType {
        let fits = n_in(tensor).is_multiple_of(base.block_len());
        if self.shape.is_falcon || base == BlockType::Q8_0 || !fits {
            BlockType::Q8_0
        } else if self.is_tiny() || self.file_type == FileType::IQ3_XXS {
            BlockType::Q5_K
        } else {
            BlockType::Q6_K
        }
    }

    /// A table that is looked up, not multiplied with: few values would ruin it.
    fn embedding(&self, base: BlockType) -> BlockType {
        use FileType::{IQ1_M, IQ1_S, IQ2_M, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_XXS};
        match self.file_type {
            IQ2_XXS | IQ2_XS | IQ1_S | IQ1_M => BlockType::Q2_K,
            IQ2_S | IQ2_M | IQ3_XXS => BlockType::IQ3_S,
            _ if has_few_values(base) => BlockType::Q4_K,
            _ => base,
        }
    }

    /// The rules of the smallest types.
    fn tiny(&mut self, base: BlockType, tensor: &Candidate) -> BlockType {
        let is_two_and_a_half = matches!(self.file_type, FileType::IQ2_S | FileType::IQ2_M);
        let more = if is_two_and_a_half { BlockType::IQ3_S } else { BlockType::Q2_K };
        let Shape { n_layer, n_expert, .. } = self.shape;
        match tensor.id.role {
            role if is_value(role) => {
                if self.shape.shares_values() || n_expert >= 4 {
                    BlockType::Q4_K
                } else {
                    more
                }
            }
            Role::AttnK if n_expert == 8 => BlockType::Q4_K,
            Role::FfnDown | Role::FfnDownExps | Role::FfnDownShexp | Role::FfnDownChexps => {
                let index = self.downs_seen;
                self.downs_seen += 1;
                if index < n_layer / 8 { more } else { base }
            }
            Role::AttnOutput if n_expert == 8 => BlockType::Q5_K,
            Role::AttnOutput if is_two_and_a_half => BlockType::IQ3_S,
            Role::AttnOutput if matches!(self.file_type, FileType::IQ1_S | FileType::IQ1_M) => {
                BlockType::IQ2_XXS
            }
            _ => base,
        }
    }

    fn value(&mut self, base: BlockType) -> BlockType {
        use FileType::{
            IQ3_M, IQ3_S, IQ3_XS, IQ3_XXS, IQ4_NL, IQ4_XS, Q2_K, Q2_K_S, Q3_K_L, Q3_K_M, Q4_K_M, Q4_K_S,
            Q5_K_M,
        };
        let index = self.values_seen;
        self.values_seen += 1;
        let Shape { n_expert, is_70b, .. } = self.shape;
        let shares = self.shape.shares_values();
        let mixed = match self.file_type {
            Q4_K_M | Q5_K_M if has_more_bits(index, self.n_values) => BlockType::Q6_K,
            Q4_K_S if index < 4 => BlockType::Q5_K,
            Q3_K_L => BlockType::Q5_K,
            Q3_K_M if index < 2 => BlockType::Q5_K,
            Q3_K_M | IQ3_M => BlockType::Q4_K,
            Q2_K | Q2_K_S | IQ3_XXS | IQ3_XS | IQ3_S if shares => BlockType::Q4_K,
            Q2_K => BlockType::Q3_K,
            IQ3_XXS if !self.has_importance => BlockType::IQ3_S,
            IQ4_NL | IQ4_XS if shares => BlockType::Q5_K,
            _ => base,
        };
        if n_expert == 8 {
            return BlockType::Q8_0;
        }
        // Eight queries share a value there, so values are a small part of a sensitive place.
        if is_70b && matches!(mixed, BlockType::Q3_K | BlockType::Q4_K) {
            return BlockType::Q5_K;
        }
        mixed
    }

    fn query_or_key(&self, base: BlockType, role: Role) -> BlockType {
        match self.file_type {
            _ if role == Role::AttnK && self.shape.n_expert == 8 => BlockType::Q8_0,
            FileType::IQ3_XS => BlockType::IQ3_XXS,
            FileType::IQ3_XXS => BlockType::IQ2_S,
            _ => base,
        }
    }

    fn ffn_down(&mut self, base: BlockType, tensor: &Candidate) -> BlockType {
        use FileType::{
            IQ3_M, IQ3_XXS, IQ4_NL, IQ4_XS, Q2_K, Q2_K_S, Q3_K_L, Q3_K_M, Q4_0, Q4_K_M, Q4_K_S, Q5_0, Q5_K_M,
        };
        let index = self.index(self.downs_seen, tensor);
        self.downs_seen += 1;
        let Shape { n_layer, n_expert, is_falcon, .. } = self.shape;
        let (is_first, has_more) = (index < n_layer / 8, has_more_bits(index, n_layer));
        match self.file_type {
            Q4_K_M if is_falcon && index < n_layer / 16 => BlockType::Q6_K,
            Q4_K_M if is_falcon && has_more => BlockType::Q5_K,
            Q4_K_M if is_falcon => base,
            Q4_K_M | Q5_K_M if has_more => BlockType::Q6_K,
            Q4_K_S if is_first && !is_falcon => BlockType::Q5_K,
            IQ4_NL | IQ4_XS if is_first && !self.has_importance => BlockType::Q5_K,
            // Importance alone does not save the first of these from wild values.
            Q4_0 if is_first && self.has_importance => BlockType::Q4_1,
            Q5_0 if is_first && self.has_importance => BlockType::Q5_1,
            Q3_K_L => {
                if is_falcon {
                    BlockType::Q4_K
                } else {
                    BlockType::Q5_K
                }
            }
            Q3_K_M if index < n_layer / 16 => BlockType::Q5_K,
            Q3_K_M if is_falcon && !has_more => base,
            Q3_K_M => BlockType::Q4_K,
            Q2_K => BlockType::Q3_K,
            Q2_K_S if is_first => BlockType::Q4_K,
            IQ3_XXS if !self.has_importance => {
                if is_first {
                    BlockType::Q4_K
                } else {
                    BlockType::Q3_K
                }
            }
            IQ3_M if is_first || n_expert == 8 && has_more => BlockType::Q4_K,
            _ => base,
        }
    }

    fn attn_output(&self, base: BlockType) -> BlockType {
        use FileType::{
            IQ3_M, IQ3_S, IQ3_XS, IQ3_XXS, IQ4_NL, IQ4_XS, Q2_K, Q3_K_L, Q3_K_M, Q3_K_S, Q4_K_M, Q4_K_S,
        };
        match (self.file_type, self.shape.n_expert) {
            (Q3_K_L, _) if self.shape.is_falcon => BlockType::Q4_K,
            _ if self.shape.is_falcon => base,
            (
                Q2_K | Q3_K_S | Q3_K_M | Q4_K_S | Q4_K_M | IQ4_NL | IQ4_XS | IQ3_XXS | IQ3_XS | IQ3_S | IQ3_M,
                8,
            ) => BlockType::Q5_K,
            (_, 8) => base,
            (Q3_K_L, _) => BlockType::Q5_K,
            (Q3_K_M | IQ3_M, _) => BlockType::Q4_K,
            (IQ3_XXS, _) => BlockType::IQ3_S,
            (Q2_K, _) => BlockType::Q3_K,
            _ => base,
        }
    }

    /// A gate or an up matrix of the layer that `index` counts.
    fn ffn_up(&self, base: BlockType, index: usize) -> BlockType {
        let n_layer = self.shape.n_layer;
        let is_between = index >= n_layer / 8 && index < 7 * n_layer / 8;
        if self.file_type == FileType::IQ3_XS && is_between { BlockType::IQ3_XXS } else { base }
    }
}

/// Whether a tensor makes values, maybe with queries and keys.
fn is_value(role: Role) -> bool {
    matches!(role, Role::AttnV | Role::AttnQkv | Role::AttnKvB)
}

/// Whether a tensor is looked up by tokens.
pub(super) fn is_embedding(role: Role) -> bool {
    matches!(role, Role::TokenEmbd | Role::PerLayerTokenEmbd)
}

/// Whether the medium mixtures give tensor `index` of `total` more bits: in the first and the last
/// eighth, and every third between.
fn has_more_bits(index: usize, total: usize) -> bool {
    index < total / 8 || index >= 7 * total / 8 || (index - total / 8) % 3 == 2
}
