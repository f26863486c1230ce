//! Tiny checkpoints of any shape the `llama` family knows, with random weights and the tokenizer of
//! the bundled model.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use half::bf16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

/// A checkpoint to make. The vocabulary is the bundled model's: 4096 tokens.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// The `architectures` entry of config.json.
    pub(crate) class: &'static str,
    /// Transformer layers.
    pub(crate) n_layer: usize,
    /// Width of the residual stream.
    pub(crate) n_embd: usize,
    /// Query heads.
    pub(crate) n_head: usize,
    /// Key and value heads.
    pub(crate) n_head_kv: usize,
    /// Elements of a head, if not `n_embd / n_head`.
    pub(crate) head_dim: Option<usize>,
    /// Width of the feed-forward part.
    pub(crate) n_ff: usize,
    /// Experts; 0 for a dense model, else two of them are used per token.
    pub(crate) n_expert: usize,
    /// Whether the output matrix is the embedding.
    pub(crate) is_tied: bool,
    /// Whether every projection has a bias.
    pub(crate) has_biases: bool,
    /// The `rope_scaling` of config.json.
    pub(crate) rope_scaling: Value,
    /// Seeds the weights; not 0.
    pub(crate) seed: u64,
}

impl Default for Spec {
    /// A dense, tied model with grouped queries: 2 layers, 64 wide.
    fn default() -> Self {
        Self {
            class: "LlamaForCausalLM",
            n_layer: 2,
            n_embd: 64,
            n_head: 4,
            n_head_kv: 2,
            head_dim: None,
            n_ff: 96,
            n_expert: 0,
            is_tied: true,
            has_biases: false,
            rope_scaling: Value::Null,
            seed: 1,
        }
    }
}

/// Tokens of the bundled model's vocabulary.
pub(crate) const N_VOCAB: usize = 4096;

impl Spec {
    /// A mixture of 8 experts, untied, as Mixtral.
    pub(crate) fn mixtral() -> Self {
        Self { class: "MixtralForCausalLM", n_expert: 8, is_tied: false, ..Self::default() }
    }

    /// Llama 3's rotary scaling, with an original context short enough to matter.
    pub(crate) fn llama3_rope() -> Self {
        let rope_scaling = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        });
        Self { rope_scaling, ..Self::default() }
    }

    /// The config.json of this checkpoint.
    pub(crate) fn config(&self) -> Value {
        let mut config = json!({
            "architectures": [self.class],
            "attention_bias": self.has_biases,
            "hidden_act": "silu",
            "hidden_size": self.n_embd,
            "intermediate_size": self.n_ff,
            "max_position_embeddings": 512,
            "mlp_bias": self.has_biases,
            "num_attention_heads": self.n_head,
            "num_hidden_layers": self.n_layer,
            "num_key_value_heads": self.n_head_kv,
            "rms_norm_eps": 1e-5,
            "rope_scaling": self.rope_scaling,
            "rope_theta": 10000.0,
            "tie_word_embeddings": self.is_tied,
            "vocab_size": N_VOCAB,
            "bos_token_id": 4091,
            "eos_token_id": 4092,
        });
        if let Some(head_dim) = self.head_dim {
            config["head_dim"] = head_dim.into();
        }
        if self.n_expert > 0 {
            config["num_local_experts"] = self.n_expert.into();
            config["num_experts_per_tok"] = 2.into();
        }
        config
    }

    /// The checkpoint's tensors: name and shape.
    pub(crate) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let Self { n_embd, n_ff, .. } = *self;
        let mut tensors = vec![
            ("model.embed_tokens.weight".to_owned(), vec![N_VOCAB, n_embd]),
            ("model.norm.weight".to_owned(), vec![n_embd]),
        ];
        if !self.is_tied {
            tensors.push(("lm_head.weight".to_owned(), vec![N_VOCAB, n_embd]));
        }
        for layer in 0..self.n_layer {
            let mut add = |name: &str, shape: &[usize]| {
                tensors.push((format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
                if self.has_biases && shape.len() > 1 {
                    tensors.push((format!("model.layers.{layer}.{name}.bias"), shape[..1].to_vec()));
                }
            };
            add("input_layernorm", &[n_embd]);
            add("post_attention_layernorm", &[n_embd]);
            let head_dim = self.head_dim.unwrap_or(n_embd / self.n_head);
            add("self_attn.q_proj", &[self.n_head * head_dim, n_embd]);
            add("self_attn.k_proj", &[self.n_head_kv * head_dim, n_embd]);
            add("self_attn.v_proj", &[self.n_head_kv * head_dim, n_embd]);
            add("self_attn.o_proj", &[n_embd, self.n_head * head_dim]);
            if self.n_expert == 0 {
                add("mlp.gate_proj", &[n_ff, n_embd]);
                add("mlp.up_proj", &[n_ff, n_embd]);
                add("mlp.down_proj", &[n_embd, n_ff]);
            } else {
                add("block_sparse_moe.gate", &[self.n_expert, n_embd]);
            }
            for expert in 0..self.n_expert {
                add(&format!("block_sparse_moe.experts.{expert}.w1"), &[n_ff, n_embd]);
                add(&format!("block_sparse_moe.experts.{expert}.w2"), &[n_embd, n_ff]);
                add(&format!("block_sparse_moe.experts.{expert}.w3"), &[n_ff, n_embd]);
            }
        }
        tensors
    }

    /// Writes config.json, the tokenizer and `model.safetensors` (BF16) into `dir`.
    pub(crate) fn write(&self, dir: &Path) {
        self.write_with(dir, |_, _| {});
    }

    /// As [`Self::write`], after `change` had each tensor's name and values in hand.
    pub(crate) fn write_with(&self, dir: &Path, change: impl FnMut(&str, &mut [f32])) {
        self.write_neighbours(dir);
        write_safetensors(&dir.join("model.safetensors"), &self.data(change));
    }

    /// As [`Self::write`], with the weights dealt out to `n_shards` files and an index.
    pub(crate) fn write_sharded(&self, dir: &Path, n_shards: usize) {
        self.write_neighbours(dir);
        let mut shards = vec![BTreeMap::new(); n_shards];
        let mut weight_map = serde_json::Map::new();
        for (i, (name, tensor)) in self.data(|_, _| {}).into_iter().enumerate() {
            weight_map.insert(name.clone(), shard_name(i % n_shards, n_shards).into());
            shards[i % n_shards].insert(name, tensor);
        }
        for (i, shard) in shards.iter().enumerate() {
            write_safetensors(&dir.join(shard_name(i, n_shards)), shard);
        }
        write_json(&dir.join("model.safetensors.index.json"), &json!({ "weight_map": weight_map }));
    }

    /// As [`Self::write`], with zeros for weights in a file that has holes where they would be.
    pub(crate) fn write_sparse(&self, dir: &Path) {
        self.write_neighbours(dir);
        let mut end = 0;
        let mut header = serde_json::Map::new();
        for (name, shape) in self.tensors() {
            let start = end;
            end += shape.iter().product::<usize>() * 2;
            header.insert(name, json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] }));
        }
        let header = Value::Object(header).to_string();
        let mut file = fs::File::create(dir.join("model.safetensors")).expect("a writable folder");
        file.write_all(&(header.len() as u64).to_le_bytes()).expect("room");
        file.write_all(header.as_bytes()).expect("room");
        file.set_len((8 + header.len() + end) as u64).expect("a file system with holes");
    }

    fn write_neighbours(&self, dir: &Path) {
        write_json(&dir.join("config.json"), &self.config());
        copy_tokenizer(dir);
    }

    fn data(&self, mut change: impl FnMut(&str, &mut [f32])) -> Tensors {
        let mut random = Random(self.seed);
        let tensor = |(name, shape): (String, Vec<usize>)| {
            let mut values = random_values(&mut random, &name, &shape);
            change(&name, &mut values);
            let bytes = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
            (name, (shape, bytes))
        };
        self.tensors().into_iter().map(tensor).collect()
    }
}

/// BF16 tensors by name: shape and bytes.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

fn shard_name(i: usize, n_shards: usize) -> String {
    format!("model-{:05}-of-{n_shards:05}.safetensors", i + 1)
}

/// Norms near one; matrices that keep the variance of what goes through them; small biases.
fn random_values(random: &mut Random, name: &str, shape: &[usize]) -> Vec<f32> {
    let n: usize = shape.iter().product();
    let n_in = *shape.last().expect("a tensor has a dimension") as f32;
    let scale = if shape.len() > 1 { 1.0 / n_in.sqrt() } else { 0.1 };
    let mean = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
    (0..n).map(|_| mean + scale * random.normal()).collect()
}

/// Writes BF16 tensors as one safetensors file.
pub(crate) fn write_safetensors(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        (name, TensorView::new(Dtype::BF16, shape.clone(), bytes).expect("shape and bytes agree"))
    });
    safetensors::serialize_to_file(views, None, path).expect("a writable folder");
}

/// Writes `value` as a JSON file.
pub(crate) fn write_json(path: &Path, value: &Value) {
    fs::write(path, serde_json::to_vec_pretty(value).expect("JSON")).expect("a writable folder");
}

/// Copies the bundled model's tokenizer files into `dir`.
pub(crate) fn copy_tokenizer(dir: &Path) {
    for name in
        ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"]
    {
        fs::copy(super::fairytale().join(name), dir.join(name)).expect("the bundled model is there");
    }
}

/// xorshift64*: the same numbers everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Nearly normal, of variance 1: the sum of twelve uniform numbers, less 6.
    pub(crate) fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}
