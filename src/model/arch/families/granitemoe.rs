//! `granitemoe`: Granite with experts, with or without one that every token goes through.

use super::prelude::*;

/// The `granitemoe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "granitemoe",
    checkpoint_classes: &["GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"],
    model_types: &["granitemoe", "granitemoeshared"],
    keys,
    spec,
    names: Names {
        is_permuted: true,
        other: &[(Role::FfnGateInp, "block_sparse_moe.router.layer")],
        ..Names::PLAIN
    },
    source,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    super::granite::keys(made)?;
    made.experts(&["num_local_experts"])?;
    made.optional_count("expert_shared_feed_forward_length", "shared_intermediate_size")?;
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let mut experts = base.experts()?.ok_or_else(|| keys.missing("expert_count"))?;
    experts.shared = base.shared(keys.count("expert_shared_feed_forward_length")?.unwrap_or(0), false);
    let layer = |i| base.layer_of(base.attention(i), FfnSpec::Experts(experts.clone()));
    super::granite::multiply(&keys, base.model((0..base.n_layer).map(layer).collect())?)
}

/// Gate and up lie in one tensor, one below the other, of all experts and of the shared one, which is the only part of
/// models without experts.
pub(super) fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let (name, is_up) = match slot.id.role {
        Role::FfnGateExps => ("block_sparse_moe.input_linear", false),
        Role::FfnUpExps => ("block_sparse_moe.input_linear", true),
        Role::FfnDownExps => ("block_sparse_moe.output_linear", false),
        Role::FfnGateShexp | Role::FfnGate => ("shared_mlp.input_linear", false),
        Role::FfnUpShexp | Role::FfnUp => ("shared_mlp.input_linear", true),
        Role::FfnDownShexp | Role::FfnDown => ("shared_mlp.output_linear", false),
        _ => return plain(sources, slot),
    };
    let whole = Source::whole(slot, vec![sources.in_layer(slot, &format!("{name}.weight"))]);
    if name.ends_with("output_linear") {
        return Ok(Some(whole));
    }
    let mut shape = slot.shape.clone();
    let at = shape.len() - 2;
    let n_ff = shape[at];
    shape[at] *= 2;
    let first = if is_up { n_ff } else { 0 };
    let rows = RowMap::Strided { first, run: n_ff, stride: 2 * n_ff, pairs: None };
    Ok(Some(whole.with_shape(&shape).with_rows(rows)))
}
