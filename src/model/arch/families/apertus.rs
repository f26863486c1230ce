//! `apertus`: Apertus: plain feed-forward parts with xIELU, whose numbers each layer has of its own; norms of query and
//! key heads.

use gguf_simd::ops::Xielu;

use super::prelude::*;

/// The `apertus` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "apertus",
    checkpoint_classes: &["ApertusForCausalLM"],
    model_types: &["apertus"],
    keys,
    spec,
    names: Names {
        other: &[(Role::AttnNorm, "attention_layernorm"), (Role::FfnNorm, "feedforward_layernorm")],
        in_keys: &[".act_fn.alpha_n", ".act_fn.alpha_p", ".act_fn.beta", ".act_fn.eps"],
        ..Names::PLAIN
    },
    source: plain,
    promises,
};

/// The keys of the activation, which have no prefix, and what layers call their numbers.
const XIELU: [(&str, &str); 4] = [
    ("xielu.alpha_n", "mlp.act_fn.alpha_n"),
    ("xielu.alpha_p", "mlp.act_fn.alpha_p"),
    ("xielu.beta", "mlp.act_fn.beta"),
    ("xielu.eps", "mlp.act_fn.eps"),
];

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "xielu", &["xielu"])?;
    made.base(&Defaults { eps: 1e-5, freq_base: 1.2e7, ..Defaults::RMS })?;
    for (key, name) in XIELU {
        made.put_scalars(key, name)?;
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let of = |(key, _): (&str, &str)| keys.numbers_without_prefix(key, base.n_layer);
    let [alpha_n, alpha_p, beta, eps] = XIELU.map(of);
    let (alpha_n, alpha_p, beta, eps) = (alpha_n?, alpha_p?, beta?, eps?);
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        attention.qk_norm = Some(base.qk_norm());
        let activation = Gate::Xielu(Xielu {
            positive: softplus(alpha_p[i]),
            negative: beta[i] + softplus(alpha_n[i]),
            beta: beta[i],
            eps: eps[i],
        });
        base.layer_of(attention, FfnSpec::Dense(FfnShape { activation, ..base.ffn(i) }))
    };
    base.model((0..base.n_layer).map(layer).collect())
}

fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { libm::log1pf(libm::expf(x)) }
}
