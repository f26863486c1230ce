//! The checkpoint's tensors under the names that families use.
//!
//! Families name tensors as transformers' classes with a language head do. Files may name them
//! otherwise and mean the same:
//!
//! - A base model saved alone lacks the base's own prefix (`layers.0...` for `model.layers.0...`), which
//!   transformers adds when it loads one into a class with a head. So does [`Names::find`].
//! - Wrappers of training programs leave their attribute in the name (`module.` of data parallelism at
//!   the start, `_orig_mod.` of `torch.compile` and the like anywhere). They say nothing of the model,
//!   and are taken off.
//! - Multimodal classes hold the language model as `language_model`, `text_model` or, where they speak, `thinker`, before
//!   `model.`, behind it or in its place; their other parts are left out ([`super::other_parts`]).
//! - Lightning's modules hold the whole model as `model.` (`model.model.layers.0...`).
//!
//! Other prefixes mean a larger model of which this would be a part; they are not accepted.

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;

use crate::convert::other_parts;
use crate::convert::stored::Tensors;
use crate::error::{Error, Result};

/// What wrappers call the module that they wrap.
const WRAPPERS: [&str; 3] = ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."];

/// What data parallelism calls it, at the start of a name.
const PARALLEL_WRAPPER: &str = "module.";

/// What multimodal classes call the language model, and programs that train a whole one.
const INNER_PREFIXES: [&str; 7] =
    ["language_model.", "text_model.", "text_decoder.", "thinker.", "llm.", "lfm.", "model."];

/// What today's classes call the model under a head, also where files have another word for it (`backbone.`).
const CLASS_PREFIX: &str = "model.";

/// Checkpoint tensors by name.
#[derive(Debug)]
pub(super) struct Names<'a> {
    /// From names without wrappers to those in the file.
    in_file: BTreeMap<String, &'a str>,
    base_prefix: &'static str,
}

impl<'a> Names<'a> {
    /// The names of `tensors` in the folder `dir`, except what `ignored` matches; `warnings` gets what was changed.
    ///
    /// # Errors
    /// [`Error::Malformed`] if two tensors have one name without their wrappers.
    pub(super) fn of(
        (tensors, dir): (&'a Tensors<'_>, &Path),
        base_prefix: &'static str,
        ignored: &[Regex],
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let mut in_file: BTreeMap<String, &str> = BTreeMap::new();
        let mut n_unwrapped = 0;
        // Phi-4-multimodal has adapters for what it sees and hears: without one of them, text meets the base alone.
        let is_multimodal = tensors.names().any(other_parts::is_modal_adapter);
        for name in tensors.names() {
            if ignored.iter().any(|pattern| pattern.is_match(name)) {
                continue;
            }
            let plain = without_wrappers(name);
            n_unwrapped += usize::from(plain != name);
            let plain = if is_multimodal { plain.replace(".base_layer.", ".") } else { plain };
            if let Some(other) = in_file.insert(plain, name) {
                let what = format!(
                    "tensors {} and {} are the same but for the wrappers in their names",
                    other.escape_debug(),
                    name.escape_debug()
                );
                return Err(Error::malformed(dir, what));
            }
        }
        if n_unwrapped > 0 {
            warnings.push(format!(
                "{n_unwrapped} tensors have the names of training wrappers (module., _orig_mod. or the like) \
                 in theirs; they are taken without"
            ));
        }
        Ok(Self { in_file, base_prefix })
    }

    /// The name in the file of the tensor that a family calls `name`.
    pub(super) fn find(&self, name: &str) -> Option<&'a str> {
        let base = name.strip_prefix(self.base_prefix);
        let alone = || self.in_file.get(base?);
        let inside = || {
            INNER_PREFIXES.iter().find_map(|inner| {
                let in_front = self.in_file.get(&format!("{inner}{name}"));
                let behind = || self.in_file.get(&format!("{}{inner}{}", self.base_prefix, base?));
                in_front.or_else(behind).or_else(|| self.in_file.get(&format!("{inner}{}", base?)))
            })
        };
        // Other parts may have tensors of such names in front of everything: Sarashina's part for images has a `norm`.
        self.in_file.get(name).or_else(inside).or_else(alone).copied()
    }

    /// The name in the file of the tensor that an adapter changes as `name`: adapters name modules as the class of
    /// the day does, which may hold the model under other names than the file.
    pub(super) fn find_changed(&self, name: &str) -> Option<&'a str> {
        let bare = name.replacen("language_model.", "", 1);
        let with_prefix = || Some(format!("{}{}", self.base_prefix, bare.strip_prefix(CLASS_PREFIX)?));
        // One that was trained on the model without its head.
        let of_base = format!("{}{name}", self.base_prefix);
        let others = [Some(bare.clone()), with_prefix(), Some(of_base)];
        self.find(name).or_else(|| others.iter().flatten().find_map(|other| self.find(other)))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.in_file.len()
    }

    /// All names in the file, in the order of those without wrappers.
    pub(super) fn in_file(&self) -> impl Iterator<Item = &'a str> {
        self.in_file.values().copied()
    }

    /// What the file may have instead of the absent tensor `name`, as a clause of a message.
    pub(super) fn instead_of(&self, name: &str) -> Option<String> {
        let stem = format!("{}.", name.rsplit_once('.').map_or(name, |(stem, _)| stem));
        let is_packed = |found: &str| found.starts_with(&stem) && !found.ends_with(".bias");
        let ending = format!(".{}", name.strip_prefix(self.base_prefix).unwrap_or(name));
        let first = |wanted: &dyn Fn(&str) -> bool| self.in_file.iter().find(|(plain, _)| wanted(plain));
        let of_adapter = format!("{stem}base_layer.");
        if let Some((_, inner)) =
            first(&|found| found.starts_with(&of_adapter) || found.ends_with(&of_base(name)))
        {
            return Some(format!(
                "there is {}, of a model with an adapter that is not merged: save it anew after merge_and_unload()",
                inner.escape_debug()
            ));
        }
        if let Some((_, packed)) = first(&is_packed) {
            return Some(format!(
                "there is {}, of weights that are quantised already",
                packed.escape_debug()
            ));
        }
        let (_, longer) = first(&|found| found.ends_with(&ending))?;
        if longer.starts_with(OF_PEFT) {
            return Some(format!(
                "there is {}, as PEFT calls it: save the model anew after merge_and_unload()",
                longer.escape_debug()
            ));
        }
        Some(format!("there is {}, as in a larger model that holds this one", longer.escape_debug()))
    }
}

/// How names of a model begin that PEFT has wrapped.
const OF_PEFT: &str = "base_model.model.";

/// How PEFT ends the name of the tensor `name` of a model that it has wrapped.
fn of_base(name: &str) -> String {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    format!(".{stem}.base_layer.{ending}")
}

/// `name` without what wrappers added.
fn without_wrappers(name: &str) -> String {
    let mut name = name;
    let at_start = || WRAPPERS.into_iter().chain([PARALLEL_WRAPPER]);
    while let Some(rest) = at_start().find_map(|wrapper| name.strip_prefix(wrapper)) {
        name = rest;
    }
    // Inside a name they count only as whole parts.
    WRAPPERS.iter().fold(name.to_owned(), |name, wrapper| name.replace(&format!(".{wrapper}"), "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_taken_off_and_nothing_else() {
        for (name, plain) in [
            ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
            ("module.model.norm.weight", "model.norm.weight"),
            ("_orig_mod.model.norm.weight", "model.norm.weight"),
            ("module._orig_mod.model.norm.weight", "model.norm.weight"),
            ("model._orig_mod.layers.0._orig_mod.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
            ("model.layers.0._fsdp_wrapped_module.mlp.weight", "model.layers.0.mlp.weight"),
            ("model.module.weight", "model.module.weight"),
            ("model.my_orig_mod.weight", "model.my_orig_mod.weight"),
        ] {
            assert_eq!(without_wrappers(name), plain);
        }
    }

    #[test]
    fn a_language_model_is_found_inside_a_larger_one_before_what_stands_beside_it() {
        for (in_file, name) in [
            (["llm.model.norm.weight", "norm.weight"], "model.norm.weight"),
            (["lfm.norm.weight", "conformer.norm.weight"], "model.norm.weight"),
            (["text_decoder.model.norm.weight", "ln_speech.weight"], "model.norm.weight"),
            (["norm.weight", "visual.norm.weight"], "model.norm.weight"),
        ] {
            let names = in_file.map(|name| (name.to_owned(), name));
            let names = Names { in_file: BTreeMap::from(names), base_prefix: "model." };
            assert_eq!(names.find(name), Some(in_file[0]));
        }
    }
}
