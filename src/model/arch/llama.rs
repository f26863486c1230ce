//! The `llama` architecture of GGUF: Llama 1 to 3, Mistral 7B, Mixtral and their many kin.
//!
//! A pre-norm decoder with RMS norms, grouped-query attention with rotary positions over pairs of
//! elements, and a SiLU-gated feed-forward part, or several of them as experts. Checkpoints rotate
//! the halves of a head; GGUF's `llama` rotates pairs, so the rows of q and k are reordered on the way.
//!
//! The sliding window that Mistral 7B v0.1 was trained with has no key in `llama` files: as
//! everywhere in the field, attention reaches over the whole context.

use crate::checkpoint::Config;
use crate::error::{Error, Result};
use crate::gguf::{Metadata, Value};
use crate::model::arch::rope_scaling::{self, RopeConfig};
use crate::model::arch::{Family, Gate, RopeOrder, Wiring};
use crate::model::{Hparams, Presence, Role, Rope, Source, TensorSpec, Transform};

const ARCH: &str = "llama";

/// The `llama` family.
pub static FAMILY: Family = Family {
    gguf_name: ARCH,
    checkpoint_classes: &["LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM", "MixtralForCausalLM"],
    hparams_from_gguf,
    hparams_from_config,
    metadata,
    tensors,
    wiring: Wiring { rope: RopeOrder::Pairs, gate: Gate::Silu },
};

fn hparams_from_gguf(metadata: &Metadata) -> Result<Hparams> {
    let key = |name: &str| format!("{ARCH}.{name}");
    let n_embd = metadata.required_count(&key("embedding_length"))?;
    let n_head = required(metadata, &key("attention.head_count"))?;
    let derived = n_embd.checked_div(n_head).unwrap_or(0);
    let head_dim_k = metadata.count(&key("attention.key_length"))?.unwrap_or(derived);
    let n_ctx_train = metadata.required_count(&key("context_length"))?;
    let n_vocab = match metadata.array_len("tokenizer.ggml.tokens")? {
        Some(n_vocab) => n_vocab,
        None => metadata.required_count(&key("vocab_size"))?,
    };
    Hparams {
        n_layer: metadata.required_count(&key("block_count"))?,
        n_embd,
        n_head,
        n_head_kv: uniform_count(metadata, &key("attention.head_count_kv"))?.unwrap_or(n_head),
        head_dim_k,
        head_dim_v: metadata.count(&key("attention.value_length"))?.unwrap_or(derived),
        n_ff: required(metadata, &key("feed_forward_length"))?,
        n_vocab,
        n_ctx_train,
        rms_eps: metadata.required_f32(&key("attention.layer_norm_rms_epsilon"))?,
        rope: Rope {
            n_dims: metadata.count(&key("rope.dimension_count"))?.unwrap_or(head_dim_k),
            freq_base: metadata.f32(&key("rope.freq_base"))?.unwrap_or(10000.0),
            scaling: rope_scaling::from_metadata(metadata, ARCH, n_ctx_train)?,
        },
        n_expert: metadata.count(&key("expert_count"))?.unwrap_or(0),
        n_expert_used: metadata.count(&key("expert_used_count"))?.unwrap_or(0),
    }
    .checked(metadata.path())
}

fn required(metadata: &Metadata, key: &str) -> Result<usize> {
    uniform_count(metadata, key)?
        .ok_or_else(|| Error::malformed(metadata.path(), format!("the key {key} is missing")))
}

/// A count that may be stated once or per layer, if all layers agree.
fn uniform_count(metadata: &Metadata, key: &str) -> Result<Option<usize>> {
    if metadata.array_len(key).is_err() {
        return metadata.count(key);
    }
    let Some(counts) = metadata.i32s(key)? else {
        return Ok(None);
    };
    let Some(&first) = counts.first() else {
        return Err(Error::malformed(metadata.path(), format!("{key} is an empty array")));
    };
    if let Some(other) = counts.iter().find(|&&count| count != first) {
        let what = format!("{key} differs from layer to layer ({first} and {other}); one value is needed");
        return Err(Error::unsupported(metadata.path(), what));
    }
    match usize::try_from(first) {
        Ok(count) => Ok(Some(count)),
        Err(_) => Err(Error::malformed(metadata.path(), format!("{key} is {first}"))),
    }
}

fn hparams_from_config(config: &Config) -> Result<Hparams> {
    refuse_variants(config)?;
    let n_embd = config.required_count("hidden_size")?;
    let n_head = config.required_count("num_attention_heads")?;
    let head_dim = match config.count("head_dim")? {
        Some(head_dim) => head_dim,
        None => derived_head_dim(config, n_embd, n_head)?,
    };
    let n_ctx_train = config.required_count("max_position_embeddings")?;
    let rope = RopeConfig::read(config, n_ctx_train)?;
    let n_expert = config.count("num_local_experts")?.unwrap_or(0);
    Hparams {
        n_layer: config.required_count("num_hidden_layers")?,
        n_embd,
        n_head,
        n_head_kv: config.count("num_key_value_heads")?.unwrap_or(n_head),
        head_dim_k: head_dim,
        head_dim_v: head_dim,
        n_ff: config.required_count("intermediate_size")?,
        n_vocab: config.required_count("vocab_size")?,
        n_ctx_train,
        rms_eps: config.f32("rms_norm_eps")?.unwrap_or(1e-6),
        rope: Rope { n_dims: head_dim, freq_base: rope.freq_base, scaling: rope.scaling },
        n_expert,
        n_expert_used: if n_expert == 0 { 0 } else { config.required_count("num_experts_per_tok")? },
    }
    .checked(config.path())
}

fn derived_head_dim(config: &Config, n_embd: usize, n_head: usize) -> Result<usize> {
    if n_head == 0 || !n_embd.is_multiple_of(n_head) {
        let what = format!(
            "hidden_size {n_embd} does not divide among {n_head} attention heads, and head_dim is not given"
        );
        return Err(Error::malformed(config.path(), what));
    }
    Ok(n_embd / n_head)
}

/// Refuses what a class of this family can be configured to, but GGUF's `llama` cannot express.
fn refuse_variants(config: &Config) -> Result<()> {
    let unsupported = |what: String| Err(Error::unsupported(config.path(), what));
    let activation = config.string("hidden_act")?.unwrap_or("silu");
    if !matches!(activation, "silu" | "swish") {
        return unsupported(format!("hidden_act \"{activation}\"; the llama architecture has silu"));
    }
    if let Some(part) = config.f32("partial_rotary_factor")?.filter(|&part| part != 1.0) {
        return unsupported(format!(
            "partial_rotary_factor {part}; whole heads are rotated in the llama architecture"
        ));
    }
    Ok(())
}

fn metadata(hparams: &Hparams, config: &Config) -> Result<Vec<(String, Value)>> {
    let key = |name: &str| format!("{ARCH}.{name}");
    // Within MAX_DIMENSION by `checked`.
    let count = |n: usize| Value::U32(n as u32);
    let mut pairs = vec![
        (key("block_count"), count(hparams.n_layer)),
        (key("context_length"), count(hparams.n_ctx_train)),
        (key("embedding_length"), count(hparams.n_embd)),
        (key("feed_forward_length"), count(hparams.n_ff)),
        (key("attention.head_count"), count(hparams.n_head)),
        (key("attention.head_count_kv"), count(hparams.n_head_kv)),
        (key("rope.freq_base"), Value::F32(hparams.rope.freq_base)),
        (key("attention.layer_norm_rms_epsilon"), Value::F32(hparams.rms_eps)),
    ];
    if hparams.n_expert > 0 {
        pairs.push((key("expert_count"), count(hparams.n_expert)));
        pairs.push((key("expert_used_count"), count(hparams.n_expert_used)));
    }
    if config.count("head_dim")?.is_some() {
        pairs.push((key("attention.key_length"), count(hparams.head_dim_k)));
        pairs.push((key("attention.value_length"), count(hparams.head_dim_v)));
    }
    pairs.push((key("vocab_size"), count(hparams.n_vocab)));
    pairs.push((key("rope.dimension_count"), count(hparams.rope.n_dims)));
    pairs.extend(rope_scaling::to_metadata(ARCH, &hparams.rope.scaling));
    Ok(pairs)
}

fn tensors(hparams: &Hparams, config: Option<&Config>) -> Result<Vec<TensorSpec>> {
    let mut specs =
        vec![whole_model(Role::TokenEmbd, &[hparams.n_vocab, hparams.n_embd], "model.embed_tokens.weight")];
    if let Some(factors) = rope_freqs(hparams, config)? {
        specs.push(factors);
    }
    for layer in 0..hparams.n_layer {
        push_attention(&mut specs, hparams, layer);
        if hparams.n_expert > 0 {
            push_experts(&mut specs, hparams, layer, config.is_some());
        } else {
            push_feed_forward(&mut specs, hparams, layer);
        }
    }
    specs.push(whole_model(Role::OutputNorm, &[hparams.n_embd], "model.norm.weight"));
    // In a GGUF file the output matrix is there or not; a checkpoint says whether it is tied, and
    // one that is not must have it.
    let tied = match config {
        Some(config) => config.bool("tie_word_embeddings")?.unwrap_or(false),
        None => false,
    };
    if !tied {
        let mut output = whole_model(Role::Output, &[hparams.n_vocab, hparams.n_embd], "lm_head.weight");
        if config.is_none() {
            output.presence = Presence::Optional;
        }
        specs.push(output);
    }
    Ok(specs)
}

fn whole_model(role: Role, shape: &[usize], name: &str) -> TensorSpec {
    TensorSpec {
        role,
        layer: None,
        shape: shape.to_vec(),
        source: Source::Checkpoint(name.to_owned()),
        transform: Transform::None,
        presence: Presence::Required,
    }
}

fn of_layer(layer: usize, role: Role, shape: &[usize], name: &str) -> TensorSpec {
    TensorSpec { layer: Some(layer), ..whole_model(role, shape, &format!("model.layers.{layer}.{name}")) }
}

/// The divisors of Llama 3's rotary frequencies: computed for a checkpoint that is scaled so,
/// looked for in any GGUF file.
fn rope_freqs(hparams: &Hparams, config: Option<&Config>) -> Result<Option<TensorSpec>> {
    let n_dims = hparams.rope.n_dims;
    let (values, presence) = match config {
        None => (Vec::new(), Presence::Optional),
        Some(config) => match RopeConfig::read(config, hparams.n_ctx_train)?.llama3 {
            None => return Ok(None),
            Some(scaling) => (scaling.divisors(n_dims, hparams.rope.freq_base), Presence::Required),
        },
    };
    Ok(Some(TensorSpec {
        role: Role::RopeFreqs,
        layer: None,
        shape: vec![n_dims / 2],
        source: Source::Computed(values),
        transform: Transform::None,
        presence,
    }))
}

fn push_attention(specs: &mut Vec<TensorSpec>, hparams: &Hparams, layer: usize) {
    let n_embd = hparams.n_embd;
    specs.push(of_layer(layer, Role::AttnNorm, &[n_embd], "input_layernorm.weight"));
    let paired = |n_head| Transform::RotaryPairs { n_head };
    let n_attn = hparams.n_head * hparams.head_dim_v;
    let projections = [
        (Role::AttnQ, Role::AttnQBias, "q_proj", [hparams.n_embd_q(), n_embd], paired(hparams.n_head)),
        (Role::AttnK, Role::AttnKBias, "k_proj", [hparams.n_embd_k(), n_embd], paired(hparams.n_head_kv)),
        (Role::AttnV, Role::AttnVBias, "v_proj", [hparams.n_embd_v(), n_embd], Transform::None),
        (Role::AttnOutput, Role::AttnOutputBias, "o_proj", [n_embd, n_attn], Transform::None),
    ];
    for (weight, bias, name, shape, transform) in projections {
        let spec = of_layer(layer, weight, &shape, &format!("self_attn.{name}.weight"));
        specs.push(TensorSpec { transform, ..spec });
        let spec = of_layer(layer, bias, &shape[..1], &format!("self_attn.{name}.bias"));
        specs.push(TensorSpec { transform, presence: Presence::Optional, ..spec });
    }
}

fn push_feed_forward(specs: &mut Vec<TensorSpec>, hparams: &Hparams, layer: usize) {
    let (n_embd, n_ff) = (hparams.n_embd, hparams.n_ff);
    specs.push(of_layer(layer, Role::FfnNorm, &[n_embd], "post_attention_layernorm.weight"));
    let projections = [
        (Role::FfnGate, Role::FfnGateBias, "gate_proj", [n_ff, n_embd]),
        (Role::FfnUp, Role::FfnUpBias, "up_proj", [n_ff, n_embd]),
        (Role::FfnDown, Role::FfnDownBias, "down_proj", [n_embd, n_ff]),
    ];
    for (weight, bias, name, shape) in projections {
        specs.push(of_layer(layer, weight, &shape, &format!("mlp.{name}.weight")));
        let spec = of_layer(layer, bias, &shape[..1], &format!("mlp.{name}.bias"));
        specs.push(TensorSpec { presence: Presence::Optional, ..spec });
    }
}

/// The routed feed-forward part. The experts' own names are wanted only `from_checkpoint`.
fn push_experts(specs: &mut Vec<TensorSpec>, hparams: &Hparams, layer: usize, from_checkpoint: bool) {
    let Hparams { n_embd, n_ff, n_expert, .. } = *hparams;
    specs.push(of_layer(layer, Role::FfnNorm, &[n_embd], "post_attention_layernorm.weight"));
    specs.push(of_layer(layer, Role::FfnGateInp, &[n_expert, n_embd], "block_sparse_moe.gate.weight"));
    let stacks = [
        (Role::FfnGateExps, "w1", [n_ff, n_embd]),
        (Role::FfnUpExps, "w3", [n_ff, n_embd]),
        (Role::FfnDownExps, "w2", [n_embd, n_ff]),
    ];
    let names = if from_checkpoint { 0..n_expert } else { 0..0 };
    for (role, name, [n_out, n_in]) in stacks {
        let expert = |e| format!("model.layers.{layer}.block_sparse_moe.experts.{e}.{name}.weight");
        let source = Source::Stacked(names.clone().map(expert).collect());
        specs.push(TensorSpec { source, ..of_layer(layer, role, &[n_expert, n_out, n_in], name) });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::gguf::{GgufFile, GgufWriter, Layout};
    use crate::model::RopeScaling;

    const MISTRAL: &str = r#""hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
        "num_hidden_layers": 2, "intermediate_size": 14336, "vocab_size": 32000, "rope_theta": 1000000.0,
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-5"#;

    fn config(more: &str) -> Config {
        let comma = if more.is_empty() { "" } else { ", " };
        Config::parse(Path::new("config.json"), &format!("{{{MISTRAL}{comma}{more}}}")).expect("JSON")
    }

    /// The hyperparameters that a GGUF file with these keys has.
    fn through_gguf(pairs: Vec<(String, Value)>) -> Result<Hparams> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::new(pairs, Vec::new(), 32).expect("a sound header");
        let path = GgufWriter::create(&dir.path().join("m.gguf"), layout, false).and_then(GgufWriter::finish);
        hparams_from_gguf(GgufFile::open(&path.expect("a writable folder"))?.metadata())
    }

    #[test]
    fn what_the_keys_say_is_what_config_said() {
        let cases = [
            "",
            r#""head_dim": 96"#,
            r#""num_local_experts": 8, "num_experts_per_tok": 2"#,
            r#""rope_scaling": {"type": "linear", "factor": 4.0}"#,
            r#""rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0,
                "original_max_position_embeddings": 8192, "attention_factor": 1.5}"#,
        ];
        for more in cases {
            let config = config(more);
            let hparams = hparams_from_config(&config).expect("a sound configuration");
            let pairs = metadata(&hparams, &config).expect("keys");
            assert_eq!(through_gguf(pairs).expect("sound keys"), hparams, "with {more}");
        }
    }

    #[test]
    fn transformers_5_rope_parameters_carry_the_base() {
        let with = r#""rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}"#;
        let hparams = hparams_from_config(&config(with)).expect("sound");
        assert_eq!(hparams.rope.freq_base, 500_000.0);
        assert_eq!(hparams.rope.scaling, RopeScaling::None);
    }

    #[test]
    fn what_llama_files_cannot_express_is_refused_by_name() {
        for (more, named) in [
            (r#""hidden_act": "gelu""#, "gelu"),
            (r#""partial_rotary_factor": 0.5"#, "partial_rotary_factor"),
            (r#""rope_scaling": {"type": "dynamic", "factor": 2.0}"#, "dynamic"),
        ] {
            let error = hparams_from_config(&config(more)).expect_err(more);
            assert!(
                matches!(error, Error::Unsupported { .. }) && error.to_string().contains(named),
                "{error}"
            );
        }
    }

    #[test]
    fn per_layer_counts_must_agree() {
        let config = config("");
        let pairs = |heads: &[i32]| {
            let mut pairs = metadata(&hparams_from_config(&config).expect("sound"), &config).expect("keys");
            let slot = pairs.iter_mut().find(|(key, _)| key.ends_with("head_count_kv")).expect("written");
            slot.1 = Value::I32s(heads.to_vec());
            pairs
        };
        assert_eq!(through_gguf(pairs(&[8, 8])).expect("equal counts").n_head_kv, 8);
        assert!(matches!(through_gguf(pairs(&[8, 4])), Err(Error::Unsupported { .. })));
        assert!(matches!(through_gguf(pairs(&[-8])), Err(Error::Malformed { .. })));
    }

    #[test]
    fn an_untied_checkpoint_must_have_an_output_matrix() {
        let output = |more: &str| {
            let config = config(more);
            let specs = tensors(&hparams_from_config(&config).expect("sound"), Some(&config)).expect("specs");
            specs.into_iter().find(|spec| spec.role == Role::Output).map(|spec| spec.presence)
        };
        assert_eq!(output(""), Some(Presence::Required));
        assert_eq!(output(r#""tie_word_embeddings": true"#), None);
    }
}
