//! Adapters of parameters that hold all experts of a layer: PEFT's `target_parameters`.
//!
//! Of `E` experts with matrices of rank `r` each, `A: [E r, n_in]` has those of an expert as rows that follow each other,
//! and `B: [n_out, r E]` as every `E`-th column. The parameters of one module lie inside each other as wrappers do, the
//! first innermost, and the names of their tensors say no more than how deep.

use std::collections::BTreeMap;
use std::path::Path;

use super::adapter_settings::{AdapterSettings, TARGETS};
use super::change::{Change, ExpertsLowRank, Parts};
use crate::error::{Error, Result};

/// What a wrapper adds to the names of what it is around.
const INNER: &str = ".base_layer.";

/// The parts of adapted parameters: by module, and by how many wrappers are around each.
#[derive(Debug, Default)]
pub(super) struct AdaptedExperts<'a>(BTreeMap<String, BTreeMap<usize, Parts<'a>>>);

impl<'a> AdaptedExperts<'a> {
    /// The place for the parts of the tensor `name` of `module`.
    pub(super) fn parts(&mut self, module: &str, name: &str) -> &mut Parts<'a> {
        let depth = name.matches(INNER).count();
        self.0.entry(module.to_owned()).or_default().entry(depth).or_default()
    }

    /// What they change, each with the parameter's name.
    ///
    /// # Errors
    /// [`Error::Malformed`] for tensors that do not fit each other or adapter_config.json.
    pub(super) fn changes(
        self,
        settings: &AdapterSettings,
        path: &Path,
    ) -> Result<Vec<(String, Change<'a>)>> {
        let mut changes = Vec::new();
        for (module, by_depth) in self.0 {
            let names = settings.parameters_of(&module)?;
            if names.len() != by_depth.len() {
                let what = format!(
                    "{} parameters of module {} have matrices, and {TARGETS} in adapter_config.json names {}",
                    by_depth.len(),
                    module.escape_debug(),
                    names.len()
                );
                return Err(Error::malformed(path, what));
            }
            for (name, parts) in names.iter().zip(by_depth.into_values().rev()) {
                let name = format!("{module}.{name}");
                let change = Change::Experts(low_rank((settings, path), &name, parts)?);
                changes.push((name, change));
            }
        }
        Ok(changes)
    }
}

/// The matrices of all experts of the parameter `name`.
fn low_rank<'a>(
    (settings, path): (&AdapterSettings, &Path),
    name: &str,
    parts: Parts<'a>,
) -> Result<ExpertsLowRank<'a>> {
    let wrong = |what: String| Error::malformed(path, what);
    let (Some(a), Some(b), None) = (parts.a, parts.b, parts.magnitude) else {
        return Err(wrong(format!("parameter {} has not just lora_A and lora_B", name.escape_debug())));
    };
    let rank = settings.rank_of(name)?.unwrap_or(8.0) as usize;
    let n_experts = match (a.shape, b.shape) {
        (&[n_a, n_in], &[n_out, n_b])
            if n_a == n_b && n_a > 0 && rank > 0 && n_a.is_multiple_of(rank) && n_in > 0 && n_out > 0 =>
        {
            n_a / rank
        }
        _ => {
            let what = format!(
                "the matrices of parameter {} do not fit each other or rank {rank}: lora_A has shape {:?}, lora_B {:?}",
                name.escape_debug(),
                a.shape,
                b.shape
            );
            return Err(wrong(what));
        }
    };
    parts.check_floats(path, name)?;
    Ok(ExpertsLowRank { a, b, n_experts, scale: settings.scale_of(name, rank)? })
}
