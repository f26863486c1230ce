//! Layers left out: their tensors, their elements of the arrays that have one a layer, and the numbers of the layers
//! behind them.
//!
//! Some architectures derive from the number of a layer what it is (every fourth has another window, the first two have
//! no experts). What a pruned file would be read as is therefore compared with the layers that were to stay; where a
//! layer would become another, the request is refused.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use crate::error::{Error, Result};
use crate::gguf::Value;
use crate::model::arch::Family;
use crate::model::spec::layer::{LayerSpec, MixerSpec};
use crate::model::spec::{ModelSpec, Side, Slot};

/// Arrays of numbers that do not have one a layer, however many they have.
const NOT_OF_LAYERS: [&str; 5] = [
    "rope.dimension_sections",
    "ple.layers",
    "ple.layer_multipliers",
    "ple.head_offsets",
    "ple.head_vocab_sizes",
];

/// Keys without the prefix of the architecture that have a number for each layer.
const WITHOUT_PREFIX: &str = "xielu.";

/// The layers to leave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruning(BTreeSet<usize>);

impl Pruning {
    /// Leaves out these layers, counted from 0.
    pub fn new(layers: impl IntoIterator<Item = usize>) -> Self {
        Self(layers.into_iter().collect())
    }

    /// Whether every layer stays.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number that a layer gets; `None` if it is left out.
    pub(super) fn number_of(&self, layer: usize) -> Option<usize> {
        (!self.0.contains(&layer)).then(|| layer - self.0.range(..layer).count())
    }

    /// The name that a tensor gets; `None` if its layer is left out.
    pub(super) fn name_of(&self, name: &str) -> Option<String> {
        match Side::split(name) {
            Some((side, layer, rest)) if !self.is_empty() => {
                self.number_of(layer).map(|layer| format!("{}{layer}.{rest}", side.prefix()))
            }
            _ => Some(name.to_owned()),
        }
    }

    /// The name that a tensor has in the whole model.
    pub(super) fn former_name(&self, name: &str) -> String {
        match Side::split(name) {
            Some((side, layer, rest)) if !self.is_empty() => {
                format!("{}{}.{rest}", side.prefix(), self.former_number(layer))
            }
            _ => name.to_owned(),
        }
    }

    fn former_number(&self, layer: usize) -> usize {
        self.0.iter().fold(layer, |number, &pruned| number + usize::from(pruned <= number))
    }

    /// As [`Pruning::apply`]; what is found of layers that are left out goes, and the rest gets new numbers.
    ///
    /// # Errors
    /// As there.
    pub(super) fn apply_to_slots<T>(
        &self,
        family: &Family,
        keys: (&Path, &mut Vec<(String, Value)>),
        spec: ModelSpec,
        found: &mut Vec<(Slot, T)>,
    ) -> Result<ModelSpec> {
        let name = |(slot, _): &(Slot, T)| self.name_of(&slot.id.gguf_name());
        let names: HashSet<String> = found.iter().filter_map(name).collect();
        let spec = self.apply(family, keys, spec, &|name| names.contains(name))?;
        found.retain_mut(|(slot, _)| {
            let number = slot.id.layer.map(|layer| self.number_of(layer));
            slot.id.layer = number.flatten();
            number != Some(None)
        });
        Ok(spec)
    }

    /// What the model is without these layers, whose tensors are called `names` then; `pairs` are changed accordingly.
    ///
    /// # Errors
    /// [`Error::Usage`] for layers that the model does not have, for all of them, or if one that stays would become
    /// another by its new number; [`Error::Unsupported`] for models whose layers have parts outside of them.
    pub(super) fn apply(
        &self,
        family: &Family,
        (path, pairs): (&Path, &mut Vec<(String, Value)>),
        spec: ModelSpec,
        has_tensor: &dyn Fn(&str) -> bool,
    ) -> Result<ModelSpec> {
        if self.is_empty() {
            return Ok(spec);
        }
        let n_layer = spec.n_layer();
        let last = self.0.last().copied().unwrap_or(0);
        if last >= n_layer {
            return Err(Error::usage(format!(
                "--prune-layers names layer {last}, and the model has {n_layer}, from 0 to {}",
                n_layer - 1
            )));
        }
        if self.0.len() == n_layer {
            return Err(Error::usage("--prune-layers leaves no layer; leave out fewer"));
        }
        if spec.embed.per_layer.is_some() || spec.layers.iter().any(|layer| layer.repeats.is_some()) {
            let what =
                "--prune-layers: layers of this model share matrices that have a part for each of them";
            return Err(Error::unsupported(path, what));
        }
        self.change_keys(family.gguf_name, pairs, &spec);
        let mut made: Vec<_> = pairs.iter().map(|(key, value)| (key.clone(), value.as_made())).collect();
        // Files need not say it: their vocabularies do.
        let n_vocab = format!("{}.vocab_size", family.gguf_name);
        if !made.iter().any(|(key, _)| *key == n_vocab) {
            made.push((n_vocab, Value::U32(u32::try_from(spec.n_vocab).unwrap_or(u32::MAX))));
        }
        let pruned = family.spec_of_pairs((path, &made), has_tensor)?;
        let expected = self.layers_of(&spec)?;
        let same = |(a, b): (&LayerSpec, &LayerSpec)| a == b;
        match pruned.layers.iter().zip(&expected).position(|pair| !same(pair)) {
            None if pruned.layers.len() == expected.len() => Ok(pruned),
            at => {
                let now = at.unwrap_or(0);
                Err(Error::usage(format!(
                    "--prune-layers: layer {} would be layer {now}, and files of the architecture {} say by its number what a \
                     layer is: it would become another kind; leave out whole periods of layers, or others",
                    self.former_number(now),
                    family.gguf_name
                )))
            }
        }
    }

    fn change_keys(&self, arch: &str, pairs: &mut [(String, Value)], spec: &ModelSpec) {
        let n_layer = spec.n_layer();
        let n_block = n_layer + spec.n_left_out;
        let below = |n: usize| n - self.0.range(..n).count();
        for (key, value) in pairs {
            let Some(own) = key.strip_prefix(arch).and_then(|key| key.strip_prefix('.')) else {
                if key.starts_with(WITHOUT_PREFIX) && value.n_numbers() == Some(n_layer) {
                    value.retain_numbers(|i| !self.0.contains(&i));
                }
                continue;
            };
            let count = value.integer().and_then(|n| usize::try_from(n).ok());
            let changed = match (own, count) {
                ("block_count", Some(n)) => Some(below(n)),
                ("leading_dense_block_count", Some(n)) => Some(below(n)),
                // Of the last layers.
                ("attention.shared_kv_layers", Some(n)) => {
                    Some(below(n_layer) - below(n_layer.saturating_sub(n)))
                }
                _ => None,
            };
            if let Some(n) = changed {
                *value = Value::U32(u32::try_from(n).unwrap_or(u32::MAX));
            }
            let n_numbers = value.n_numbers();
            if (n_numbers == Some(n_layer) || n_numbers == Some(n_block)) && !NOT_OF_LAYERS.contains(&own) {
                value.retain_numbers(|i| !self.0.contains(&i));
            }
        }
    }

    /// The layers that stay, as they are in the whole model.
    fn layers_of(&self, spec: &ModelSpec) -> Result<Vec<LayerSpec>> {
        let stay = spec.layers.iter().enumerate().filter(|(i, _)| !self.0.contains(i));
        stay.map(|(i, layer)| {
            let mut layer = layer.clone();
            let shared = match &mut layer.mixer {
                MixerSpec::Attention(attention) | MixerSpec::AttentionAndMamba2(attention, _) => {
                    attention.shares_kv_with.as_mut()
                }
                _ => None,
            };
            if let Some(other) = shared {
                *other = self.number_of(*other).ok_or_else(|| {
                    Error::usage(format!(
                        "--prune-layers: layer {i} uses the keys and values of layer {other}, which would be left out; \
                         leave out {i} as well, or keep {other}"
                    ))
                })?;
            }
            Ok(layer)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_behind_those_left_out_move_up_and_are_found_again() {
        let pruning = Pruning::new([1, 2, 5]);
        let numbers: Vec<_> = (0..8).map(|layer| pruning.number_of(layer)).collect();
        assert_eq!(numbers, [Some(0), None, None, Some(1), Some(2), None, Some(3), Some(4)]);
        for layer in [0, 3, 4, 6, 7] {
            let name = format!("blk.{layer}.attn_q.weight");
            assert_eq!(pruning.former_name(&pruning.name_of(&name).expect("it stays")), name);
        }
        assert_eq!(pruning.name_of("output.weight").as_deref(), Some("output.weight"));
        assert_eq!(pruning.name_of("blk.2.ffn_up.weight"), None);
    }
}
