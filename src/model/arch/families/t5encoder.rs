//! `t5encoder`: the encoder of T5, mT5 and UMT5 (sentence-t5, GTR, Instructor): RMS norms in front of both parts, scores that
//! nothing divides and that depend on buckets of distances, no biases.
//!
//! Files say by their tensors whether feed-forward parts have gates and whether layers have tables of their own.

use super::prelude::*;

/// All keys from this distance on have the same bucket: files do not say.
const MAX_DISTANCE: usize = 128;

/// The classes that are an encoder alone.
const CLASSES: [&str; 3] = ["T5EncoderModel", "MT5EncoderModel", "UMT5EncoderModel"];

/// The types of configurations that have such an encoder.
const TYPES: [&str; 3] = ["t5", "mt5", "umt5"];

/// The type whose layers have a table of distances each.
const WITH_TABLES: &str = "umt5";

/// What checkpoints call the attention of a layer, and its feed-forward part.
const ATTENTION: &str = "layer.0.SelfAttention";
const FFN: &str = "layer.1.DenseReluDense";

/// The `t5encoder` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "t5encoder",
    checkpoint_classes: &CLASSES,
    model_types: &TYPES,
    keys,
    spec,
    names: Names {
        base_prefix: "",
        layer_prefix: "encoder.block.",
        other: &[
            (Role::EncOutputNorm, "encoder.final_layer_norm"),
            (Role::AttnNorm, "layer.0.layer_norm"),
            (Role::AttnQ, "layer.0.SelfAttention.q"),
            (Role::AttnK, "layer.0.SelfAttention.k"),
            (Role::AttnV, "layer.0.SelfAttention.v"),
            (Role::AttnOutput, "layer.0.SelfAttention.o"),
            (Role::FfnNorm, "layer.1.layer_norm"),
            (Role::FfnGate, "layer.1.DenseReluDense.wi_0"),
            (Role::FfnDown, "layer.1.DenseReluDense.wo"),
        ],
        left_out: &["encoder.embed_tokens.", "decoder.", "lm_head."],
        ..Names::PLAIN
    },
    source,
    promises: |_| Ok(encoder::promises(false)),
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    let config = made.config;
    let model_type = config.string("model_type")?.unwrap_or(TYPES[0]);
    if !TYPES.contains(&model_type) {
        return Err(made.unsupported(format!("an encoder of T5 in a model of the type \"{model_type}\"")));
    }
    // Else the configuration means a decoder as well, or a classifier behind one.
    if !made.whole.strings("architectures")?.unwrap_or_default().iter().any(|class| CLASSES.contains(class)) {
        let what =
            "T5 with a decoder; its encoder alone is converted if \"architectures\" is [\"T5EncoderModel\"]";
        return Err(made.unsupported(what.to_owned()));
    }
    made.refuse("is_decoder", false, true)?;
    made.refuse_number("relative_attention_max_distance", MAX_DISTANCE as f32)?;
    let has_gates = match config.string("feed_forward_proj")?.unwrap_or("relu") {
        "relu" => false,
        "gated-gelu" => true,
        other => {
            let what = format!(
                "feed_forward_proj \"{other}\"; the {} architecture has relu or gated-gelu",
                made.arch
            );
            return Err(made.unsupported(what));
        }
    };
    made.base(&Defaults {
        eps_name: "layer_norm_epsilon",
        head_dim: Some(config.required_count("d_kv")?),
        n_ctx_name: "n_positions",
        n_ctx: 512,
        n_ff_name: "d_ff",
        n_layer_name: "num_layers",
        n_embd_name: "d_model",
        n_head_name: "num_heads",
        ..Defaults::RMS
    })?;
    made.put_count(BUCKETS, config.count("relative_attention_num_buckets")?.unwrap_or(32))?;
    if has_gates {
        made.will_have(gate());
    }
    if model_type == WITH_TABLES {
        (0..config.required_count("num_layers")?).for_each(|i| made.will_have(table(i)));
    }
    encoder::keys(made, 0)
}

/// The key of the number of buckets.
const BUCKETS: &str = "attention.relative_buckets_count";

/// The tensor whose presence says that feed-forward parts have gates.
fn gate() -> String {
    format!("{}0.ffn_gate.weight", Side::Encoder.prefix())
}

/// The tensor whose presence says that layer `i` has a table of its own.
fn table(i: usize) -> String {
    format!("{}{i}.attn_rel_b.weight", Side::Encoder.prefix())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Relu)?;
    let n_buckets = keys.required_count(BUCKETS)?;
    let has_gates = keys.has_tensor(&gate());
    let layer = |i: usize| {
        let own = if keys.has_tensor(&table(i)) { i } else { 0 };
        let attention = AttentionSpec {
            rope: None,
            relative: Some(RelativeSpec { n_buckets, max_distance: MAX_DISTANCE, layer: own }),
            scale: 1.0,
            has_qkv_bias: false,
            has_output_bias: false,
            ..base.attention(i)
        };
        let ffn = FfnShape { has_bias: false, ..base.ffn(i) };
        let ffn = match has_gates {
            true => FfnSpec::Gated(FfnShape { activation: Gate::GeluTanh, ..ffn }),
            false => FfnSpec::Dense(ffn),
        };
        base.layer_of(attention, ffn)
    };
    let mut model = encoder::model(&base, (0..base.n_layer).map(layer).collect())?;
    model.ropes.clear();
    model.head.norm_role = Role::EncOutputNorm;
    model.side = Side::Encoder;
    Ok(model)
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let in_layer = |name: String| sources.in_layer(slot, &format!("{name}.weight"));
    let names = match slot.id.role {
        Role::TokenEmbd => ["shared", "encoder.embed_tokens"].map(|name| format!("{name}.weight")).to_vec(),
        Role::AttnRelB => vec![in_layer(format!("{ATTENTION}.relative_attention_bias"))],
        Role::FfnUp => ["wi_1", "wi"].map(|name| in_layer(format!("{FFN}.{name}"))).to_vec(),
        _ => return plain(sources, slot),
    };
    Ok(Some(Source::whole(slot, names)))
}
