//! `exaone-moe`: K-EXAONE: dense layers first, then experts chosen by sigmoids beside shared ones; windows, and
//! no positions where there is none; norms of heads.

use super::prelude::*;

/// The `exaone-moe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "exaone-moe",
    checkpoint_classes: &["ExaoneMoeForCausalLM", "ExaoneMoEForCausalLM"],
    model_types: &["exaone_moe"],
    keys,
    spec,
    names: Names::PLAIN,
    source,
    promises,
};

/// Layers to one without a window.
const PERIOD: usize = 4;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults { eps: 1e-5, ..Defaults::RMS })?;
    made.count("attention.sliding_window", "sliding_window")?;
    super::gemma::windows(made, PERIOD)?;
    super::deepseek2::experts(made)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let (window, windowed) = (base.window()?, base.windowed(PERIOD)?);
    super::dots1::spec_with(&base, Scoring::Sigmoid, |i, attention| {
        attention.qk_norm = Some(base.qk_norm());
        attention.window = window.filter(|_| windowed[i]);
        attention.rope = attention.rope.filter(|_| windowed[i]);
    })
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    if slot.id.role == Role::ExpProbs {
        let name = sources.in_layer(slot, "mlp.e_score_correction_bias");
        return Ok(Some(Source::whole(slot, vec![name])));
    }
    plain(sources, slot)
}
