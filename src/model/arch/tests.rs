//! From config.json to keys and to specs, by the families that show it.

use std::path::Path;

use super::*;
use crate::checkpoint::Config;
use crate::error::Error;
use crate::gguf::{GgufFile, GgufWriter, Layout};
use crate::limits;
use crate::model::spec::layer::{FfnSpec, MixerSpec};
use crate::model::spec::{Presence, Role, RopeScaling, slots};

const MISTRAL: &str = r#""hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
    "num_hidden_layers": 2, "intermediate_size": 14336, "vocab_size": 32000, "rope_theta": 1000000.0,
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-5"#;

fn llama() -> &'static Family {
    by_gguf_name("llama").expect("a family")
}

fn config(more: &str) -> Config {
    let comma = if more.is_empty() { "" } else { ", " };
    Config::parse(Path::new("config.json"), &format!("{{{MISTRAL}{comma}{more}}}")).expect("JSON")
}

/// What the model in a GGUF file with these keys is.
fn through_gguf(pairs: MetadataPairs) -> Result<ModelSpec> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let layout = Layout::new(pairs, Vec::new(), 32).expect("a sound header");
    let path = GgufWriter::create(&dir.path().join("m.gguf"), layout, false).and_then(GgufWriter::finish);
    llama().spec_of_file(GgufFile::open(&path.expect("a writable folder"))?.metadata(), &|_| None)
}

/// The fault of the model that config.json describes once `change` has changed its keys.
fn fault_after(change: impl FnOnce(&mut MetadataPairs)) -> String {
    let mut pairs = llama().configure(&config(r#""head_dim": 128"#)).expect("sound").pairs;
    change(&mut pairs);
    through_gguf(pairs).expect_err("these numbers make no model").to_string()
}

fn set(key: &str, value: Value) -> impl FnOnce(&mut MetadataPairs) {
    let key = format!("llama.{key}");
    move |pairs| {
        pairs.retain(|(name, _)| *name != key);
        pairs.push((key, value));
    }
}

#[test]
fn every_family_has_names_of_its_own() {
    for (i, family) in families::ALL.iter().enumerate() {
        for other in &families::ALL[..i] {
            // BERT's kin, GTE's two classes, Bamba and KORMo have names of their own in checkpoints, and are one architecture in files.
            assert!(
                family.gguf_name != other.gguf_name
                    || ["bert", "granitehybrid", "gte", "qwen2"].contains(&family.gguf_name),
                "{}",
                family.gguf_name
            );
            let both = |a: &[&str], b: &[&str]| a.iter().any(|name| b.contains(name));
            assert!(!both(family.checkpoint_classes, other.checkpoint_classes), "{}", family.gguf_name);
            assert!(!both(family.model_types, other.model_types), "{}", family.gguf_name);
        }
    }
}

#[test]
fn decoders_look_ahead_and_have_windows_as_their_class_says() {
    let made = |more: &str| llama().configure(&config(more)).expect("sound");
    let causal = ("llama.attention.causal".to_owned(), Value::Bool(false));
    assert!(made(r#""is_causal": false"#).pairs.contains(&causal));
    assert!(!made(r#""is_causal": true"#).pairs.contains(&causal));
    let is_told = |more: &str| !made(&format!(r#""sliding_window": 8, {more}"#)).notes.is_empty();
    assert!(is_told(r#""model_type": "mistral""#));
    assert!(!is_told(r#""model_type": "llama""#));
    assert!(!is_told(r#""model_type": "mistral", "layer_types": ["full_attention", "full_attention"]"#));
}

#[test]
fn yarns_attention_factor_of_other_converters_is_the_whole_of_it() {
    let of = |more: &str, change: &dyn Fn(&mut MetadataPairs)| {
        let mut pairs = llama().configure(&config(more)).expect("sound").pairs;
        change(&mut pairs);
        through_gguf(pairs).expect("sound keys")
    };
    let yarn = r#""rope_parameters": {"rope_type": "yarn", "factor": 8.0, "rope_theta": 10000.0,
        "original_max_position_embeddings": 8192"#;
    let plain = of(&format!("{yarn}}}"), &|_| ());
    let key = |value: f32| {
        move |pairs: &mut MetadataPairs| set("rope.scaling.yarn_attn_factor", Value::F32(value))(pairs)
    };
    // The paper's, as Olmo 3 spells it out, and what llama.cpp's converter writes of `attn_factor: 1`.
    let spelled = rope_scaling::yarn_temperature(8.0, 1.0);
    assert_eq!(of(&format!("{yarn}}}"), &key(spelled)), plain);
    assert_eq!(of(&format!("{yarn}}}"), &key(1.0)), plain);
    let own = of(&format!("{yarn}, \"attention_factor\": 1.5}}"), &|_| ());
    assert_eq!(of(&format!("{yarn}}}"), &key(1.5)), own);
    assert_ne!(own, plain);
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
        let Configured { pairs, spec, .. } = llama().configure(&config(more)).expect("sound");
        assert_eq!(through_gguf(pairs).expect("sound keys"), spec, "with {more}");
    }
}

#[test]
fn transformers_5_rope_parameters_carry_the_base() {
    let with = r#""rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}"#;
    let spec = llama().configure(&config(with)).expect("sound").spec;
    assert_eq!(spec.ropes[0].freq_base, 500_000.0);
    assert_eq!(spec.ropes[0].scaling, RopeScaling::None);
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
        let error = llama().configure(&config(more)).expect_err(more);
        assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains(named), "{error}");
    }
}

#[test]
fn counts_may_differ_by_layer() {
    let heads = |counts: &[i32]| {
        let mut pairs = llama().configure(&config("")).expect("sound").pairs;
        set("attention.head_count_kv", Value::I32s(counts.to_vec()))(&mut pairs);
        let layers = through_gguf(pairs)?.layers;
        let of = |mixer: &MixerSpec| mixer.attention().map_or(0, |attention| attention.n_head_kv);
        Ok::<_, Error>(layers.iter().map(|layer| of(&layer.mixer)).collect::<Vec<_>>())
    };
    assert_eq!(heads(&[8, 8]).expect("equal counts"), [8, 8]);
    assert_eq!(heads(&[8, 4]).expect("counts"), [8, 4]);
    assert!(matches!(heads(&[8, -8]), Err(Error::Malformed { .. })));
    assert!(matches!(heads(&[8]), Err(Error::Malformed { .. })));
}

#[test]
fn an_untied_checkpoint_must_have_an_output_matrix() {
    let output = |more: &str| {
        let Configured { spec, promises, .. } = llama().configure(&config(more)).expect("sound");
        let slot = slots(&spec, &promises).into_iter().find(|slot| slot.id.role == Role::Output);
        slot.map(|slot| slot.presence)
    };
    assert_eq!(output(""), Some(Presence::Required));
    assert_eq!(output(r#""tie_word_embeddings": true"#), Some(Presence::Optional));
}

/// The defaults of LlamaConfig, MistralConfig and MixtralConfig of transformers 5.
#[test]
fn defaults_are_those_of_the_class() {
    let silent = |more: &str| {
        let text = format!(
            r#"{{"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4, "num_hidden_layers": 1,
                "intermediate_size": 64, "vocab_size": 100, "max_position_embeddings": 128, {more}}}"#
        );
        let config = Config::parse(Path::new("config.json"), &text).expect("JSON");
        let spec = llama().configure(&config).expect("sound").spec;
        (spec.head.norm.expect("a norm").eps, spec.ropes[0].freq_base)
    };
    assert_eq!(silent(r#""model_type": "llama""#), (1e-6, 1e4));
    assert_eq!(silent(r#""model_type": "mistral""#), (1e-6, 1e4));
    assert_eq!(silent(r#""model_type": "mixtral""#), (1e-5, 1e6));
    assert_eq!(silent(r#""architectures": ["MixtralForCausalLM"]"#), (1e-5, 1e6));
}

#[test]
fn a_text_part_that_says_little_is_what_its_class_makes_of_it() {
    // As Gemma 3 4B is published.
    let text = r#"{"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": {
        "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}}"#;
    let config = Config::parse(Path::new("config.json"), text).expect("JSON");
    let family = by_gguf_name("gemma3").expect("a family");
    let Configured { spec, promises, .. } = family.configure(&config).expect("sound");
    assert_eq!((spec.n_vocab, spec.n_ctx_train, promises.is_tied), (262_208, 131_072, Some(true)));
    let MixerSpec::Attention(attention) = &spec.layers[0].mixer else { panic!("attention") };
    assert_eq!((attention.n_head, attention.n_head_kv, attention.head_dim_k), (8, 4, 256));

    // As LLaVA 1.5 is, whose text part does not even say its width.
    let text = r#"{"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava",
        "text_config": {"max_position_embeddings": 4096, "model_type": "llama", "vocab_size": 32064}}"#;
    let config = Config::parse(Path::new("config.json"), text).expect("JSON");
    let spec = llama().configure(&config).expect("sound").spec;
    assert_eq!((spec.n_embd, spec.layers.len(), spec.n_ctx_train), (4096, 32, 4096));

    // What a file has by another name, or as null, is not assumed.
    let text = r#"{"model_type": "bloom", "n_embed": 32, "num_attention_heads": 4, "num_hidden_layers": 3,
        "seq_length": 64, "vocab_size": 100}"#;
    let config = Config::parse(Path::new("config.json"), text).expect("JSON");
    let spec = by_gguf_name("bloom").expect("a family").configure(&config).expect("sound").spec;
    assert_eq!((spec.n_embd, spec.layers.len()), (32, 3));
}

#[test]
fn a_gelu_that_is_not_the_usual_one_is_in_a_key() {
    let gate = |word: &str| {
        let text = format!(
            r#"{{"model_type": "gpt_neox", "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1,
                "intermediate_size": 64, "vocab_size": 100, "rotary_pct": 1.0, "hidden_act": "{word}"}}"#
        );
        let config = Config::parse(Path::new("config.json"), &text).expect("JSON");
        let configured = by_gguf_name("gptneox").expect("a family").configure(&config)?;
        let FfnSpec::Dense(ffn) = &configured.spec.layers[0].ffn else { panic!("a dense part") };
        let is_written = configured.pairs.iter().any(|(key, _)| key == "gptneox.hidden_activation");
        Ok::<_, Error>((ffn.activation, is_written))
    };
    assert_eq!(gate("gelu").expect("sound"), (gguf_simd::ops::Gate::GeluErf, false));
    assert_eq!(gate("gelu_fast").expect("sound"), (gguf_simd::ops::Gate::GeluTanh, true));
    assert!(gate("relu").expect_err("no GELU").to_string().contains("\"relu\""));
}

#[test]
fn what_files_may_leave_unsaid_is_written_where_readers_would_take_it_otherwise() {
    let pairs = |arch: &str, more: &str| {
        let text = format!(
            r#"{{"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 16,
                "intermediate_size": 64, "vocab_size": 100, "max_position_embeddings": 128, "sliding_window": 8,
                {more}}}"#
        );
        let config = Config::parse(Path::new("config.json"), &text).expect("JSON");
        by_gguf_name(arch).expect("a family").configure(&config).expect("sound").pairs
    };
    let value =
        |pairs: &MetadataPairs, key: &str| pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
    // Of as many layers as the 27B, Gemma 2 has its scale by the width where a file is silent.
    for (n, scale) in [(46, Some(Value::F32(0.25))), (45, None)] {
        let pairs = pairs("gemma2", &format!(r#""num_hidden_layers": {n}, "query_pre_attn_scalar": 16"#));
        assert_eq!(value(&pairs, "gemma2.attention.scale"), scale, "{n}");
    }
    let pairs = pairs("exaone4", r#""num_hidden_layers": 5, "sliding_window_pattern": "LG""#);
    let windowed = Value::Bools(vec![true, false, true, false, true]);
    assert_eq!(value(&pairs, "exaone4.attention.sliding_window_pattern"), Some(windowed));
}

#[test]
fn rows_of_unit_length_have_their_direction() {
    let mut rows = [3.0, 4.0, 0.0, 0.0, -2.0, 0.0];
    ValueMap::UnitRows.apply((0, 2), &mut rows);
    assert_eq!(rows, [0.6, 0.8, 0.0, 0.0, -1.0, 0.0]);
}

#[test]
fn dynamic_scaling_is_left_out_with_a_note() {
    let config = config(r#""rope_scaling": {"type": "dynamic", "factor": 2.0}"#);
    let Configured { spec, notes, .. } = llama().configure(&config).expect("sound");
    assert_eq!(spec.ropes[0].scaling, RopeScaling::None);
    assert!(notes.len() == 1 && notes[0].contains("dynamic") && notes[0].contains("32768"), "{notes:?}");
}

#[test]
fn impossible_numbers_are_named() {
    let count = |key: &'static str, n: usize| fault_after(set(key, Value::U32(n as u32)));
    assert!(count("block_count", 0).contains("number of layers"));
    assert!(count("block_count", limits::MAX_LAYERS + 1).contains("number of layers"));
    assert!(count("vocab_size", limits::MAX_VOCAB + 1).contains("vocabulary size"));
    assert!(count("attention.head_count_kv", 3).contains("do not divide"));
    assert!(count("attention.head_count", limits::MAX_DIMENSION).contains("exceed"));
    assert!(count("rope.dimension_count", 15).contains("rotated elements"));
    assert!(count("rope.dimension_count", 130).contains("rotated elements"));
    assert!(count("rope.dimension_count", u32::MAX as usize).contains("rotated elements"));
    assert!(count("attention.key_length", limits::MAX_HEAD_DIM + 2).contains("key head"));
    assert!(count("expert_used_count", 1).contains("dense model"));
    assert!(count("expert_count", 4).contains("0 of 4 experts"));
    let number = |key: &'static str, x: f32| fault_after(set(key, Value::F32(x)));
    assert!(number("attention.layer_norm_rms_epsilon", f32::NAN).contains("epsilon"));
    assert!(number("rope.freq_base", -1.0).contains("rotary base"));
    assert!(number("rope.scaling.factor", -2.0).contains("scaling factor"));
    let yarn = fault_after(|pairs| {
        set("rope.scaling.type", Value::String("yarn".into()))(pairs);
        set("rope.freq_base", Value::F32(1.0))(pairs);
    });
    assert!(yarn.contains("rotary base of 1"), "{yarn}");
}

/// What a model is whose family has made keys of `text`, without `key`.
fn without(text: &str, name: &str, key: &str) -> ModelSpec {
    let config = Config::parse(Path::new("config.json"), text).expect("JSON");
    let family = by_gguf_name(name).expect("a family");
    let mut pairs = family.configure(&config).expect("a sound configuration").pairs;
    let full = format!("{name}.{key}");
    assert!(pairs.iter().any(|(key, _)| *key == full), "{full}");
    pairs.retain(|(key, _)| *key != full);
    family.spec_of_pairs((config.path(), &pairs), &|_| false).expect("a model without that key")
}

#[test]
fn keys_that_files_may_leave_out_have_a_meaning() {
    const EPS: &str = "attention.layer_norm_rms_epsilon";
    let eps = |model: &ModelSpec| model.layers[0].mixer_norm.expect("a norm").eps;
    assert_eq!(eps(&without(&format!("{{{MISTRAL}}}"), "qwen2vl", EPS)), 1e-6);

    let mpt = r#"{"d_model": 32, "n_heads": 4, "n_layers": 1, "max_seq_len": 64, "vocab_size": 8}"#;
    let model = without(mpt, "mpt", "attention.max_alibi_bias");
    assert_eq!(model.layers[0].mixer.attention().expect("attention").alibi, None);
    assert_eq!(model.embed.n_positions, None, "there is no such tensor");

    let nemotron = include_str!("../../../fixtures/families/nemotron_h_moe/config.json");
    let whole = Config::parse(Path::new("config.json"), nemotron).expect("JSON");
    let own = whole.required_f32("layer_norm_epsilon").expect("its epsilon");
    assert_eq!(eps(&without(nemotron, "nemotron_h_moe", EPS)), own, "that of the other norms");
    let model = without(nemotron, "nemotron_h_moe", "expert_weights_norm");
    let experts = model.layers.iter().find_map(|layer| match &layer.ffn {
        FfnSpec::Experts(experts) => Some(experts),
        _ => None,
    });
    assert!(!experts.expect("layers with experts").router.is_normalised);
}

/// What becomes of the configuration `text` of family `name`, with the values of `more` in it.
fn configured(name: &str, text: &str, more: &str) -> Result<Configured> {
    let mut json: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let more: serde_json::Value = serde_json::from_str(&format!("{{{more}}}")).expect("JSON");
    for (key, value) in more.as_object().expect("an object") {
        json[key] = value.clone();
    }
    let config = Config::parse(Path::new("config.json"), &json.to_string()).expect("JSON");
    by_gguf_name(name).expect("a family").configure(&config)
}

const MPNET: &str = include_str!("../../../fixtures/encoders/mpnet/config.json");
const T5: &str = include_str!("../../../fixtures/encoders/t5encoder/config.json");
const GTE: &str = include_str!("../../../fixtures/encoders/gte/config.json");

#[test]
fn what_files_of_encoders_cannot_express_is_refused_by_name() {
    for (name, text, more, named) in [
        ("mpnet", MPNET, r#""relative_attention_num_buckets": 64"#, "relative_attention_num_buckets 64"),
        ("mpnet", MPNET, r#""hidden_act": "relu""#, "hidden_act"),
        ("t5encoder", T5, r#""feed_forward_proj": "gated-relu""#, "gated-relu"),
        ("t5encoder", T5, r#""relative_attention_max_distance": 64"#, "relative_attention_max_distance 64"),
        ("gte", GTE, r#""position_embedding_type": "absolute""#, "position_embedding_type"),
        ("gte", GTE, r#""layer_norm_type": "rms_norm""#, "layer_norm_type"),
        ("gte", GTE, r#""logn_attention_scale": true"#, "logn_attention_clip1"),
        ("gte", GTE, r#""rope_scaling": {"type": "ntk", "factor": 2, "mixed_b": 0.6}"#, "mixed_b 0.6"),
        ("gte", GTE, r#""rope_scaling": {"type": "ntk", "factor": 0.5}"#, "factor 0.5"),
        ("gte", GTE, r#""rope_scaling": {"type": "other", "factor": 2}"#, "other"),
    ] {
        let error = configured(name, text, more).expect_err(more).to_string();
        assert!(error.contains(named), "{more}: {error}");
    }
}

#[test]
fn a_context_made_longer_without_training_is_a_base_and_linear_scaling() {
    let rope = |more: &str| configured("gte", GTE, more).expect("sound").spec.ropes[0].clone();
    let stretched = rope("");
    assert_eq!(stretched.freq_base, 400.0);
    // 4^(2 / 16): heads have 16 elements.
    assert_eq!(stretched.scaling, RopeScaling::Linear { factor: 1.189_207_1 });
    let plain = rope(r#""rope_scaling": null"#);
    assert_eq!((plain.freq_base, plain.scaling), (100.0, RopeScaling::None));
    let clipped = r#""logn_attention_scale": true, "logn_attention_clip1": true"#;
    let notes = configured("gte", GTE, clipped).expect("nothing changes").notes;
    assert!(notes.iter().any(|note| note.contains("logn_attention_scale")), "{notes:?}");
}

#[test]
fn impossible_buckets_of_relative_positions_are_named() {
    let fault = |changed: &[(&str, Value)]| {
        let mut pairs = configured("mpnet", MPNET, "").expect("sound").pairs;
        for (key, value) in changed {
            pairs.retain(|(name, _)| *name != format!("mpnet.{key}"));
            pairs.push((format!("mpnet.{key}"), value.clone()));
        }
        let made =
            by_gguf_name("mpnet").expect("a family").spec_of_pairs((Path::new("m.gguf"), &pairs), &|_| true);
        made.expect_err("no model").to_string()
    };
    const BUCKETS: &str = "attention.relative_buckets_count";
    for n in [0, 3, 257, u32::MAX] {
        let what = fault(&[(BUCKETS, Value::U32(n))]);
        assert!(what.contains(&format!("{n} buckets")), "{what}");
    }
    let heads = || Value::I32s(vec![4, 2]);
    let what = fault(&[("attention.head_count", heads()), ("attention.head_count_kv", heads())]);
    assert!(what.contains("relative positions of layer 0"), "{what}");
}
