//! `nanbeige`: Nanbeige 4.2: Llama whose layers run several times, each time with keys and values of their own; the last
//! norm is also between the times.

use super::prelude::*;
use crate::limits;

/// The `nanbeige` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "nanbeige",
    checkpoint_classes: &["NanbeigeForCausalLM"],
    model_types: &["nanbeige"],
    keys,
    spec,
    names: Names { is_permuted: true, ..Names::PLAIN },
    source: plain,
    promises,
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults::RMS)?;
    made.put_count("num_loops", made.config.count("num_loops")?.unwrap_or(1).max(1))?;
    let skips = made.config.bool("skip_loop_final_norm")?.unwrap_or(false);
    made.put("skip_loop_final_norm", Value::Bool(skips));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    let n_loop = keys.count("num_loops")?.unwrap_or(1);
    let n_layer = base.n_layer.saturating_mul(n_loop);
    if n_loop == 0 || n_layer > limits::MAX_LAYERS {
        let (n, max) = (base.n_layer, limits::MAX_LAYERS);
        return Err(
            keys.unsupported(format!("{n_loop} loops over {n} layers; they must make 1 to {max} layers"))
        );
    }
    let skips = keys.bool("skip_loop_final_norm")?.unwrap_or(false);
    let layer = |i: usize| {
        let is_end = (i + 1).is_multiple_of(base.n_layer) && i + 1 < n_layer;
        LayerSpec {
            repeats: (i >= base.n_layer).then_some(i % base.n_layer),
            last_norm: Some(base.norm).filter(|_| is_end && !skips),
            ..base.layer(i % base.n_layer, |_| {})
        }
    };
    base.model((0..n_layer).map(layer).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn layers(n_loop: u32) -> Result<Vec<LayerSpec>> {
        let config = format!(
            r#"{{"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_hidden_layers": 3,
                "max_position_embeddings": 64, "vocab_size": 100, "rope_theta": 1e4, "num_loops": {n_loop}}}"#
        );
        let config = Config::parse(Path::new("config.json"), &config).unwrap();
        Ok(FAMILY.configure(&config)?.spec.layers)
    }

    #[test]
    fn layers_repeat_and_the_last_norm_is_between_the_loops() {
        let layers = layers(2).unwrap();
        let repeats: Vec<_> = layers.iter().map(|layer| layer.repeats).collect();
        assert_eq!(repeats, [None, None, None, Some(0), Some(1), Some(2)]);
        let normed: Vec<_> = layers.iter().map(|layer| layer.last_norm.is_some()).collect();
        assert_eq!(normed, [false, false, true, false, false, false]);
    }

    #[test]
    fn loops_that_make_more_layers_than_any_model_has_are_refused() {
        let error = layers(u32::MAX).unwrap_err().to_string();
        assert!(error.contains("4294967295 loops over 3 layers"), "{error}");
    }
}
