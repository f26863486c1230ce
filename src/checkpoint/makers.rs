//! Checkpoints as Meta and Mistral publish them beside those of transformers: consolidated weight files with names of
//! their own, and params.json.
//!
//! They become what a checkpoint of transformers is: tensors get its names, and params.json becomes a configuration.
//! What stays is the order of the rows of queries and keys, which is that of GGUF already ([`PAIRED_ROWS`]), and
//! that Meta's files of several ranks hold a part of each matrix ([`axis_of`]).
//!
//! Sources: `params.json` and the model code of llama-models and mistral-inference; transformers'
//! convert_llama_weights_to_hf and convert_mistral_weights_to_hf.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::config::Config;
use super::folder::Folder;
use super::shard::Shard;
use crate::error::{Error, Result};

/// The configuration beside such weights.
pub(super) const PARAMS: &str = "params.json";

/// A key of the configurations of such checkpoints: their queries and keys have the elements that rotate together beside
/// each other, where transformers has them half a head apart.
pub const PAIRED_ROWS: &str = "gguf_kit.paired_rows";

/// Names of modules, there and in transformers, behind `layers.N.` and elsewhere.
const MODULES: [(&str, &str); 12] = [
    ("attention.wq", "self_attn.q_proj"),
    ("attention.wk", "self_attn.k_proj"),
    ("attention.wv", "self_attn.v_proj"),
    ("attention.wo", "self_attn.o_proj"),
    ("feed_forward.w1", "mlp.gate_proj"),
    ("feed_forward.w2", "mlp.down_proj"),
    ("feed_forward.w3", "mlp.up_proj"),
    ("attention_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("feed_forward.gate", "block_sparse_moe.gate"),
    ("tok_embeddings", "model.embed_tokens"),
    ("output", "lm_head"),
];

/// What such files hold beside weights: rotary frequencies, which are computed anew.
const COMPUTED: &str = "rope.freqs";

/// The embedding, there.
const EMBEDDING: &str = "tok_embeddings.weight";

/// Values of params.json that mean another model than the `llama` family.
const OTHERS: [&str; 6] =
    ["llama_4_scaling", "yarn", "q_lora_rank", "kv_lora_rank", "quantization_args", "is_mamba"];

/// Whether the tensors of these files have their makers' names.
pub(super) fn has_makers_names(shards: &[Shard]) -> bool {
    shards.iter().any(|shard| shard.contains(EMBEDDING))
}

/// What transformers calls the tensor `name`; `None` for one that is computed anew.
fn transformers_name(name: &str) -> Option<String> {
    if name.ends_with(COMPUTED) {
        return None;
    }
    let (module, part) = name.rsplit_once('.').unwrap_or((name, ""));
    let (front, module) = match module.strip_prefix("layers.").and_then(|rest| rest.split_once('.')) {
        Some((layer, module)) => (format!("model.layers.{layer}."), module),
        None if module == "norm" => ("model.".to_owned(), module),
        None => (String::new(), module),
    };
    let known = MODULES.iter().find(|(own, _)| *own == module).map(|(_, name)| (*name).to_owned());
    let expert = module.strip_prefix("feed_forward.experts.");
    let module = known
        .or(expert.map(|rest| format!("block_sparse_moe.experts.{rest}")))
        .unwrap_or_else(|| module.to_owned());
    Some(format!("{front}{module}.{part}"))
}

/// The shard of every tensor by the name that transformers has for it, and what that shard calls it. Of several ranks
/// the first counts.
pub(super) fn renamed(
    shard_of: &BTreeMap<String, usize>,
) -> (BTreeMap<String, usize>, BTreeMap<String, String>) {
    let names = shard_of.iter().filter_map(|(own, &shard)| Some((transformers_name(own)?, own, shard)));
    names.map(|(name, own, shard)| ((name.clone(), shard), (name, own.clone()))).unzip()
}

/// Which axis of a matrix of these dimensions, called as transformers does, ranks divide among them; `None` for what
/// each has whole. `n_embd` is the width of the model.
pub fn axis_of(name: &str, shape: &[usize], n_embd: usize) -> Option<usize> {
    let &[_, n_in] = shape else { return None };
    let module = name.strip_suffix(".weight")?.rsplit('.').next()?;
    match module {
        "q_proj" | "k_proj" | "v_proj" | "gate_proj" | "up_proj" | "lm_head" | "w1" | "w3" => Some(0),
        "o_proj" | "down_proj" | "w2" => Some(1),
        // Llama 3 divides the vocabulary, its predecessors the width.
        "embed_tokens" => Some(usize::from(n_in != n_embd)),
        _ => None,
    }
}

/// The configuration of such a checkpoint: config.json if it is there, else what params.json means. `notes` gets what
/// had to be taken from elsewhere.
///
/// # Errors
/// [`Error::Usage`] if there is neither; [`Error::Unsupported`] for models of other families; [`Error::Malformed`]
/// for numbers that are missing.
pub(super) fn config(
    folder: &Folder,
    (shards, n_ranks): (&[Shard], usize),
    notes: &mut Vec<String>,
) -> Result<Config> {
    if let Some(mut config) = folder.read_config("config.json")? {
        config.set(PAIRED_ROWS, json!(true));
        return Ok(config);
    }
    let Some(params) = folder.read_config(PARAMS)? else {
        return Err(Error::usage(format!(
            "{} has neither {PARAMS} nor config.json, which say what the model is: download one of them from where the weights \
             came from",
            folder.path().display()
        )));
    };
    if let Some(key) = OTHERS.iter().find(|key| params.value(key).is_some()) {
        let what =
            format!("\"{key}\" belongs to a model that is read in the form of transformers only; {ADVICE}");
        return Err(Error::unsupported(params.path(), what));
    }
    let made = from_params(&params, &Weights { path: folder.path(), shards, n_ranks }, notes)?;
    Ok(Config::made(params.path(), made))
}

/// What to do about such files.
const ADVICE: &str = "download the same model in the form of transformers (config.json, and model.safetensors or its \
     shards), which repositories have beside it";

struct Weights<'a> {
    path: &'a Path,
    shards: &'a [Shard],
    n_ranks: usize,
}

impl Weights<'_> {
    /// The first dimension of a tensor.
    fn rows(&self, name: &str) -> Result<usize> {
        let shape = self.shape(name)?;
        shape.and_then(|shape| shape.first().copied()).ok_or_else(|| {
            Error::malformed(self.path, format!("tensor {name} is missing, which every such checkpoint has"))
        })
    }

    fn shape(&self, name: &str) -> Result<Option<&[usize]>> {
        let shard = self.shards.iter().find(|shard| shard.contains(name));
        Ok(shard.map(|shard| shard.tensor(name)).transpose()?.flatten().map(|view| view.shape))
    }

    fn columns(&self, name: &str) -> Result<usize> {
        Ok(self.shape(name)?.and_then(|shape| shape.last().copied()).unwrap_or(0))
    }
}

/// Whether Mistral wrote them: Meta's never say these.
fn is_mistral(params: &Config) -> bool {
    ["hidden_dim", "tied_embeddings", "sliding_window"].iter().any(|key| params.value(key).is_some())
}

fn from_params(
    params: &Config,
    weights: &Weights<'_>,
    notes: &mut Vec<String>,
) -> Result<Map<String, Value>> {
    let need = |key: &str| {
        params.count(key)?.ok_or_else(|| Error::malformed(params.path(), format!("\"{key}\" is missing")))
    };
    let (n_embd, n_head, n_ranks) = (need("dim")?, need("n_heads")?, weights.n_ranks);
    let experts = match params.object("moe")? {
        Some(moe) => Some((moe.count("num_experts")?, moe.count("num_experts_per_tok")?)),
        None => None,
    };
    let is_llama_3 = weights.columns(EMBEDDING)? == n_embd;
    let mut n_vocab = weights.rows(EMBEDDING)?;
    if is_llama_3 {
        n_vocab = n_vocab.saturating_mul(n_ranks);
    }
    let of_expert = if experts.is_some() { "experts.0." } else { "" };
    let n_ff = weights.rows(&format!("layers.0.feed_forward.{of_expert}w1.weight"))?.saturating_mul(n_ranks);
    let (class, model_type) = match (experts.is_some(), is_mistral(params)) {
        (true, _) => ("MixtralForCausalLM", "mixtral"),
        (false, true) => ("MistralForCausalLM", "mistral"),
        (false, false) => ("LlamaForCausalLM", "llama"),
    };
    let has_head = weights.shape("output.weight")?.is_some();
    let base = params.f32("rope_theta")?.unwrap_or(10_000.0);
    let eps = params.f32("norm_eps")?.unwrap_or(1e-5);
    let mut made = json!({
        "architectures": [class],
        "model_type": model_type,
        "hidden_act": "silu",
        "hidden_size": n_embd,
        "num_hidden_layers": need("n_layers")?,
        "num_attention_heads": n_head,
        "num_key_value_heads": params.count("n_kv_heads")?.unwrap_or(n_head),
        "intermediate_size": n_ff,
        "vocab_size": n_vocab,
        "rms_norm_eps": number(eps),
        "rope_theta": number(base),
        "tie_word_embeddings": !has_head || params.bool("tied_embeddings")?.unwrap_or(false),
        PAIRED_ROWS: true,
    });
    let object = made.as_object_mut().expect("an object");
    if let Some(head_dim) = params.count("head_dim")? {
        object.insert("head_dim".into(), json!(head_dim));
    }
    // Said also where there is none: its class assumes one.
    object.insert("sliding_window".into(), json!(params.count("sliding_window")?));
    if let Some((n_expert, n_used)) = experts {
        object.insert("num_local_experts".into(), json!(n_expert));
        object.insert("num_experts_per_tok".into(), json!(n_used));
    }
    let n_ctx = positions(params, (base, eps), (n_embd, has_head), object, notes)?;
    object.insert("max_position_embeddings".into(), json!(n_ctx));
    Ok(std::mem::take(object))
}

/// Positions that a model was trained for, which most such files do not say; what stretches them goes into `object`.
fn positions(
    params: &Config,
    (base, eps): (f32, f32),
    (n_embd, has_head): (usize, bool),
    object: &mut Map<String, Value>,
    notes: &mut Vec<String>,
) -> Result<usize> {
    for key in ["max_position_embeddings", "max_seq_len", "model_max_length", "max_seqlen"] {
        if let Some(n) = params.count(key)? {
            return Ok(n);
        }
    }
    let path = params.path().display();
    if params.bool("use_scaled_rope")? == Some(true) {
        // The small models of Llama 3.2, whose files do not name it, stretch positions further.
        let factor = match params.f32("rope_scaling_factor")? {
            Some(factor) => factor,
            None => {
                let (factor, which) = if n_embd < 4096 { (32.0, "3.2") } else { (8.0, "3.1") };
                notes.push(format!(
                    "{path} does not state the factor by which positions are stretched; {factor}, that of Llama {which}, is taken"
                ));
                if has_head && n_embd < 4096 {
                    object.insert("tie_word_embeddings".into(), json!(true));
                }
                factor
            }
        };
        let scaling = json!({
            "rope_type": "llama3", "factor": number(factor), "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        });
        object.insert("rope_scaling".into(), scaling);
        return Ok(131_072);
    }
    let (n, which) = match (base, eps) {
        _ if is_mistral(params) => (32_768, "Mistral 7B"),
        (1e6, _) => (16_384, "Code Llama"),
        (500_000.0, _) => (8192, "Llama 3"),
        (_, 1e-5) => (4096, "Llama 2"),
        _ => (2048, "Llama 1"),
    };
    notes.push(format!(
        "{path} does not state how many positions the model was trained for; {n}, those of {which}, are taken (--override-kv \
         llama.context_length=int:N sets others)"
    ));
    Ok(n)
}

/// A float as people write it: 1e-5 stays 1e-5.
fn number(x: f32) -> Value {
    x.to_string().parse::<f64>().map_or(Value::Null, |x| json!(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_get_the_names_of_transformers() {
        for (own, name) in [
            ("tok_embeddings.weight", "model.embed_tokens.weight"),
            ("norm.weight", "model.norm.weight"),
            ("output.weight", "lm_head.weight"),
            ("layers.31.attention.wq.weight", "model.layers.31.self_attn.q_proj.weight"),
            ("layers.0.feed_forward.w2.qscale_weight", "model.layers.0.mlp.down_proj.qscale_weight"),
            ("layers.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight"),
            (
                "layers.2.feed_forward.experts.7.w3.weight",
                "model.layers.2.block_sparse_moe.experts.7.w3.weight",
            ),
            ("vision_encoder.ln_pre.weight", "vision_encoder.ln_pre.weight"),
        ] {
            assert_eq!(transformers_name(own).as_deref(), Some(name));
        }
        assert_eq!(transformers_name("rope.freqs"), None);
        assert_eq!(transformers_name("layers.0.attention.inner_attention.rope.freqs"), None);
    }

    #[test]
    fn ranks_divide_what_goes_in_or_what_comes_out() {
        let axis = |name: &str, shape: [usize; 2]| axis_of(name, &shape, 64);
        assert_eq!(axis("model.layers.0.self_attn.k_proj.weight", [16, 64]), Some(0));
        assert_eq!(axis("model.layers.0.mlp.down_proj.weight", [64, 48]), Some(1));
        assert_eq!(axis("model.embed_tokens.weight", [100, 64]), Some(0));
        assert_eq!(axis("model.embed_tokens.weight", [200, 32]), Some(1));
        assert_eq!(axis("model.layers.0.block_sparse_moe.gate.weight", [8, 64]), None);
        assert_eq!(axis_of("model.norm.weight", &[64], 64), None);
    }
}
