//! The `llama` architecture of GGUF: Llama 1 to 3, Mistral 7B, Mixtral and their many kin.
//!
//! A pre-norm decoder with RMS norms, grouped-query attention with rotary positions over pairs of
//! elements, and a SiLU-gated feed-forward part, or several of them as experts. Checkpoints rotate
//! the halves of a head; GGUF's `llama` rotates pairs, so the rows of q and k are reordered on the way.
//!
//! The sliding window that Mistral 7B v0.1 was trained with has no key in `llama` files: as
//! everywhere in the field, attention reaches over the whole context.

mod from_config;
mod from_gguf;

use crate::checkpoint::Config;
use crate::error::{Error, Result};
use crate::gguf::Value;
use crate::model::arch::rope_scaling;
use crate::model::arch::{Family, Gate, RopeOrder, Wiring};
use crate::model::{Hparams, Presence, Role, Source, TensorSpec, Transform};
use from_config::{hparams_from_config, notes_from_config, rope_config};
use from_gguf::hparams_from_gguf;

const ARCH: &str = "llama";

/// The names of the two matrices that may be one.
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// The `llama` family.
pub static FAMILY: Family = Family {
    gguf_name: ARCH,
    checkpoint_classes: &[
        "LlamaForCausalLM",
        "LLaMAForCausalLM",
        "MistralForCausalLM",
        "MixtralForCausalLM",
        "LlamaModel",
        "MistralModel",
        "MixtralModel",
    ],
    model_types: &["llama", "mistral", "mixtral"],
    base_prefix: "model.",
    hparams_from_gguf,
    hparams_from_config,
    notes_from_config,
    metadata,
    tensors,
    wiring: Wiring { rope: RopeOrder::Pairs, gate: Gate::Silu },
};

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
    let promised = Promised::of(config)?;
    let vocab_shape = [hparams.n_vocab, hparams.n_embd];
    let mut embedding = whole_model(Role::TokenEmbd, &vocab_shape, EMBEDDING);
    if promised.head == Some(Presence::Optional) {
        // A tied matrix may be saved under either name.
        embedding.source = Source::FirstOf(vec![EMBEDDING.to_owned(), HEAD.to_owned()]);
    }
    let mut specs = vec![embedding];
    if let Some(factors) = rope_freqs(hparams, config)? {
        specs.push(factors);
    }
    for layer in 0..hparams.n_layer {
        push_attention(&mut specs, hparams, layer, &promised);
        if hparams.n_expert > 0 {
            push_experts(&mut specs, hparams, layer, config.is_some());
        } else {
            push_feed_forward(&mut specs, hparams, layer, promised.mlp_bias);
        }
    }
    specs.push(whole_model(Role::OutputNorm, &[hparams.n_embd], "model.norm.weight"));
    let head = whole_model(Role::Output, &vocab_shape, HEAD);
    specs.extend(promised.head.map(|presence| TensorSpec { presence, ..head }));
    Ok(specs)
}

/// Which of the tensors that not every model has config.json says are there. `None` says that a tensor
/// is not there, and has no place; in a GGUF file each may be there.
struct Promised {
    head: Option<Presence>,
    /// Of q, k and v.
    qkv_bias: Option<Presence>,
    /// Of the attention's output. Models made from others that have none lack it, which transformers
    /// takes for zeros.
    output_bias: Option<Presence>,
    mlp_bias: Option<Presence>,
}

impl Promised {
    fn of(config: Option<&Config>) -> Result<Self> {
        let optional = Some(Presence::Optional);
        let Some(config) = config else {
            return Ok(Self {
                head: optional,
                qkv_bias: optional,
                output_bias: optional,
                mlp_bias: optional,
            });
        };
        let is = |key: &str| Ok::<_, Error>(config.bool(key)?.unwrap_or(false));
        let required = |promised: bool| promised.then_some(Presence::Required);
        let attention_bias = is("attention_bias")?;
        Ok(Self {
            // A tied head is the embedding, whether saved once more or not.
            head: if is("tie_word_embeddings")? { optional } else { required(true) },
            qkv_bias: required(attention_bias),
            output_bias: optional.filter(|_| attention_bias),
            mlp_bias: required(is("mlp_bias")?),
        })
    }
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
        Some(config) => match rope_config(config, hparams.n_ctx_train)?.llama3 {
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

fn push_attention(specs: &mut Vec<TensorSpec>, hparams: &Hparams, layer: usize, promised: &Promised) {
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
        let presence = if bias == Role::AttnOutputBias { promised.output_bias } else { promised.qkv_bias };
        let spec = of_layer(layer, bias, &shape[..1], &format!("self_attn.{name}.bias"));
        specs.extend(presence.map(|presence| TensorSpec { transform, presence, ..spec }));
    }
}

fn push_feed_forward(
    specs: &mut Vec<TensorSpec>,
    hparams: &Hparams,
    layer: usize,
    bias_presence: Option<Presence>,
) {
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
        specs.extend(bias_presence.map(|presence| TensorSpec { presence, ..spec }));
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
    use crate::error::Error;
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
            (r#""rope_scaling": {"type": "longrope", "factor": 2.0}"#, "longrope"),
            (
                r#""rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}"#,
                "partial_rotary_factor",
            ),
            (r#""rope_parameters": {"full_attention": {"rope_type": "default"}}"#, "full_attention"),
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
        assert_eq!(output(r#""tie_word_embeddings": true"#), Some(Presence::Optional));
    }

    #[test]
    fn biases_are_there_if_config_says_so() {
        let biases = |more: &str| {
            let config = config(more);
            let specs = tensors(&hparams_from_config(&config).expect("sound"), Some(&config)).expect("specs");
            let of_layer = specs.into_iter().filter(|spec| spec.layer == Some(0));
            let biases = of_layer.filter(|spec| spec.gguf_name().ends_with(".bias"));
            biases.map(|spec| (spec.role, spec.presence)).collect::<Vec<_>>()
        };
        assert_eq!(biases(""), []);
        assert_eq!(biases(r#""attention_bias": false, "mlp_bias": null"#), []);
        assert_eq!(
            biases(r#""attention_bias": true"#),
            [
                (Role::AttnQBias, Presence::Required),
                (Role::AttnKBias, Presence::Required),
                (Role::AttnVBias, Presence::Required),
                (Role::AttnOutputBias, Presence::Optional),
            ]
        );
        assert_eq!(biases(r#""mlp_bias": true"#).len(), 3);
    }

    #[test]
    fn silent_configurations_have_the_defaults_of_their_class() {
        let silent = |more: &str| {
            let text = format!(
                r#"{{"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 1, "intermediate_size": 64,
                "vocab_size": 10, "max_position_embeddings": 64, {more}}}"#
            );
            let hparams = hparams_from_config(&Config::parse(Path::new("config.json"), &text).expect("JSON"));
            let hparams = hparams.expect("sound");
            (hparams.rms_eps, hparams.rope.freq_base)
        };
        // LlamaConfig, MistralConfig and MixtralConfig of transformers 5.
        assert_eq!(silent(r#""model_type": "llama""#), (1e-6, 1e4));
        assert_eq!(silent(r#""model_type": "mistral""#), (1e-6, 1e4));
        assert_eq!(silent(r#""model_type": "mixtral""#), (1e-5, 1e6));
        assert_eq!(silent(r#""architectures": ["MixtralForCausalLM"]"#), (1e-5, 1e6));
    }

    #[test]
    fn dynamic_scaling_is_left_out_with_a_note() {
        let config = config(r#""rope_scaling": {"type": "dynamic", "factor": 2.0}"#);
        let hparams = hparams_from_config(&config).expect("sound");
        assert_eq!(hparams.rope.scaling, RopeScaling::None);
        let notes = notes_from_config(&hparams, &config).expect("sound");
        assert!(notes.len() == 1 && notes[0].contains("dynamic") && notes[0].contains("32768"), "{notes:?}");
    }
}
