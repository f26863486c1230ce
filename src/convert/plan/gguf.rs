//! Plans of conversions from GGUF files: the same recipes, and metadata carried over.

use std::collections::BTreeMap;

use regex::Regex;

use super::{Files, Input, Plan, PlanOptions, Planned, unused_overrides};
use crate::convert::blocks::Blocks;
use crate::convert::gguf_input::GgufInput;
use crate::convert::importance::Importance;
use crate::convert::naming::file_stem;
use crate::convert::recipe::{self, Candidate, Choice};
use crate::convert::transform::SourceRows;
use crate::convert::{FileType, metadata};
use crate::error::{Error, Result};
use crate::gguf::parts::SPLIT_KEYS;
use crate::gguf::{DEFAULT_ALIGNMENT, PlannedTensor, TensorInfo, Value};
use crate::limits;
use crate::model::arch;
use crate::model::spec::TensorId;
use crate::printable;
use crate::read_file::ReadFile;

/// How keys begin that say how a file was quantised.
const QUANTIZE_KEYS: &str = "quantize.";

/// Tensors named in a note before it says "and more".
const MAX_LISTED: usize = 4;

/// A tensor of the input, where it is, and what it is to become; `None` for one of no known part or without weights,
/// which stays as it is.
struct Found<'a> {
    tensor: &'a TensorInfo,
    /// Its name in the new file.
    name: String,
    file: &'a ReadFile,
    candidate: Option<Candidate>,
}

impl<'a> Plan<'a> {
    /// Decides a conversion of a GGUF file.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an architecture or a type of tensors that this program does not have;
    /// [`Error::Malformed`] for metadata that no model has; [`Error::Usage`] for types or keys that do not fit.
    pub fn of_gguf(input: &'a GgufInput, options: &PlanOptions) -> Result<Self> {
        refuse_answers(input, options)?;
        let architecture = input.metadata().architecture()?;
        let Some(family) = arch::by_gguf_name(architecture) else {
            return Err(Error::unsupported(input.path(), arch::missing::architecture(architecture)));
        };
        let find_shape =
            |name: &str| Some(&*input.tensors().find(|(tensor, _)| tensor.name == name)?.0.shape);
        let spec = family.spec_of_file(input.metadata(), &find_shape)?;
        let mut warnings = Vec::new();
        let found = find(input, options, &mut warnings)?;
        let mut kept_pairs = input.metadata().to_pairs();
        let spec = options.pruned.apply(family, (input.path(), &mut kept_pairs), spec, &|name| {
            found.iter().any(|found| found.name == name)
        })?;
        let candidates: Vec<Candidate> = found.iter().filter_map(|found| found.candidate.clone()).collect();
        let chosen = recipe::choose(options, (&spec, architecture), &candidates)?;
        let mut importance = options.importances(&candidates, &chosen, &mut warnings)?.into_iter();
        let chosen_types = chosen.clone();
        let mut chosen = chosen.into_iter();
        let choices: Vec<Option<Choice>> =
            found.iter().map(|found| found.candidate.as_ref().and_then(|_| chosen.next())).collect();
        let importance: Vec<_> = found
            .iter()
            .map(|found| found.candidate.as_ref().and_then(|_| importance.next()).flatten())
            .collect();
        warnings.extend(unused_overrides(&options.overrides, &candidates));
        warnings.extend(kept_note(&found));
        warnings.extend(copied_note(&found));
        let requantised = requantised(&found, &choices);
        warnings.extend(requantised_note(&requantised));

        let mut pairs =
            pairs(kept_pairs, (options, metadata::file(options, &candidates, &chosen_types)), &mut warnings)?;
        let name = pairs.iter().find_map(|(key, value)| match value {
            Value::String(name) if key == "general.name" => Some(name.clone()),
            _ => None,
        });
        let name = name.or(input.metadata().string("general.name").ok().flatten().map(str::to_owned));
        if !options.pruned.is_empty() {
            put(&mut pairs, "general.size_label", Value::String(metadata::counted_size(&spec, &candidates)));
        }
        options.add_proof(&mut pairs, found.len());
        let tensors = found.iter().zip(&choices).map(|(found, choice)| PlannedTensor {
            name: found.name.clone(),
            shape: shape_of(found.tensor),
            ty: choice.as_ref().map_or(found.tensor.ty, |choice| choice.block_type.into()),
        });
        let files = Files::new(pairs, tensors.collect(), alignment(input), options.max_file_bytes)?;
        let sources = found.iter().zip(choices).zip(importance);
        let sources =
            sources.map(|((found, choice), importance)| found.planned(choice.as_ref(), importance)).collect();
        Ok(Self {
            file_type: options.file_type,
            name: name.unwrap_or_else(|| input.stem()),
            file_stem: options.named(&file_stem(without_type(&input.stem()))),
            spec,
            files,
            sources,
            warnings,
            is_requantised: !requantised.is_empty(),
            is_packed: found.iter().any(Found::is_quantised),
            scale_search: options.scale_search,
            input: Input::Gguf(input),
        })
    }
}

/// Refuses to make a rerank model: the file may lack the rows that it takes.
fn refuse_answers(input: &GgufInput, options: &PlanOptions) -> Result<()> {
    match options.answers {
        None => Ok(()),
        Some(_) => Err(Error::usage(format!(
            "--reranker makes a rerank model of a checkpoint, and {} is a GGUF file; convert the checkpoint",
            input.path().display()
        ))),
    }
}

impl<'a> Found<'a> {
    /// Whether it is copied as it is: nothing computes with its type, and no recipe knows it.
    fn is_copied(&self) -> bool {
        self.candidate.is_none() && self.tensor.ty.block_type().is_none()
    }

    /// Whether it is one that quantising quantises, and is quantised.
    fn is_quantised(&self) -> bool {
        self.candidate.is_some() && self.tensor.ty.block_type().is_some_and(|ty| !ty.is_float())
    }

    fn planned(&self, choice: Option<&Choice>, importance: Option<Importance>) -> Planned<'a> {
        let shape = shape_of(self.tensor);
        let n_in = shape[shape.len() - 1];
        let blocks = Blocks {
            file: self.file,
            name: &self.tensor.name,
            offset: self.tensor.offset,
            ty: self.tensor.ty,
            is_copied: self.is_copied(),
        };
        Planned {
            rows: SourceRows::blocks(blocks, (self.tensor.n_elements() / n_in, n_in)),
            instead_of: choice.and_then(|choice| choice.instead_of),
            importance,
            error: None,
        }
    }
}

/// The tensors that are to stay, in the order of the file.
fn find<'a>(
    input: &'a GgufInput,
    options: &PlanOptions,
    warnings: &mut Vec<String>,
) -> Result<Vec<Found<'a>>> {
    let ignored: &[Regex] = &options.ignored;
    let unused =
        ignored.iter().filter(|&name| !input.tensors().any(|(tensor, _)| name.is_match(&tensor.name)));
    warnings.extend(unused.map(|name| format!("--ignore-tensor {name} matches no tensor of the file")));
    let is_kept = |tensor: &TensorInfo| !ignored.iter().any(|name| name.is_match(&tensor.name));
    let mut found = Vec::new();
    for (tensor, file) in input.tensors().filter(|(tensor, _)| is_kept(tensor)) {
        let Some(name) = options.pruned.name_of(&tensor.name) else { continue };
        let unsupported = |what: String| Err(Error::unsupported(file.path(), what));
        let shown = tensor.name.escape_debug();
        if tensor.ty.block().is_none() {
            return unsupported(format!(
                "tensor {shown} has elements of {}, whose size is not known; leave it out by --ignore-tensor, if \
                 the model is complete without it",
                tensor.ty
            ));
        }
        if tensor.n_elements() == 0 {
            return unsupported(format!("tensor {shown} has no elements; leave it out by --ignore-tensor"));
        }
        let weights = TensorId::from_gguf_name(&name).zip(tensor.ty.weights());
        let candidate = weights.map(|(id, block_type)| Candidate {
            name: name.clone(),
            id,
            shape: shape_of(tensor),
            kept: None,
            held: Some(block_type),
            block_type: Some(block_type),
        });
        found.push(Found { tensor, name, file, candidate });
    }
    if found.is_empty() {
        return Err(Error::unsupported(input.path(), "it has no weights; there is nothing to convert"));
    }
    Ok(found)
}

/// A scalar is a row of one element.
fn shape_of(tensor: &TensorInfo) -> Vec<usize> {
    if tensor.shape.is_empty() { vec![1] } else { tensor.shape.clone() }
}

/// What a file of this alignment is written with: other programs read powers of two only.
fn alignment(input: &GgufInput) -> usize {
    let n = input.alignment();
    if n.is_power_of_two() && (8..=limits::MAX_ALIGNMENT).contains(&n) { n } else { DEFAULT_ALIGNMENT }
}

/// The metadata of the new file: that of the input, but for what says how the file is made.
fn pairs(
    mut pairs: Vec<(String, Value)>,
    (options, of_file): (&PlanOptions, Vec<(String, Value)>),
    notes: &mut Vec<String>,
) -> Result<Vec<(String, Value)>> {
    let keeps_all = options.keys.keeps_all;
    // The layout notes the alignment where it is not the usual one.
    let is_renewed = |key: &str| {
        SPLIT_KEYS.contains(&key)
            || key == "general.alignment"
            || !keeps_all && key.starts_with(QUANTIZE_KEYS)
    };
    pairs.retain(|(key, _)| !is_renewed(key));
    if !keeps_all {
        for (key, value) in of_file {
            put(&mut pairs, &key, value);
        }
    }
    if let Some(name) = &options.name {
        put(&mut pairs, "general.name", Value::String(name.clone()));
    }
    options.keys.apply(&mut pairs, notes)?;
    Ok(pairs)
}

fn put(pairs: &mut Vec<(String, Value)>, key: &str, value: Value) {
    match pairs.iter_mut().find(|(other, _)| other == key) {
        Some((_, old)) => *old = value,
        None => pairs.push((key.to_owned(), value)),
    }
}

/// How many tensors of each quantised type become another.
fn requantised(found: &[Found<'_>], choices: &[Option<Choice>]) -> BTreeMap<&'static str, usize> {
    let mut types = BTreeMap::new();
    for (found, choice) in found.iter().zip(choices) {
        let (Some(before), Some(choice)) = (found.tensor.ty.block_type(), choice) else { continue };
        if !before.is_float() && choice.block_type != before {
            *types.entry(before.name()).or_default() += 1;
        }
    }
    types
}

fn requantised_note(types: &BTreeMap<&str, usize>) -> Option<String> {
    let list: Vec<String> = types.iter().map(|(name, n)| format!("{n} of {name}")).collect();
    (!list.is_empty()).then(|| {
        format!(
            "tensors are quantised already and are quantised again ({}): what that lost stays lost, and errors are \
             against this file as it is; the original model, or its F16 or BF16 file, gives a better one",
            list.join(", ")
        )
    })
}

/// Names the tensors that no recipe knows.
fn kept_note(found: &[Found<'_>]) -> Option<String> {
    let is_kept = |found: &&Found<'_>| {
        found.candidate.is_none() && found.tensor.shape.len() > 1 && found.tensor.ty.block_type().is_some()
    };
    let names = listed(found.iter().filter(is_kept), |tensor| tensor.name.clone())?;
    Some(format!("no recipe knows {names}: they keep their types"))
}

/// Names the tensors that hold no weights.
fn copied_note(found: &[Found<'_>]) -> Option<String> {
    let names = listed(found.iter().filter(|found| found.is_copied()), |tensor| {
        format!("{} ({})", tensor.name, tensor.ty)
    })?;
    Some(format!("elements of {names} are of types without weights: they are copied as they are"))
}

/// The first of some tensors, each as `show` has it, and how many more there are.
fn listed<'f>(
    found: impl Iterator<Item = &'f Found<'f>>,
    show: impl Fn(&TensorInfo) -> String,
) -> Option<String> {
    let mut all = found.map(|found| show(found.tensor)).peekable();
    all.peek()?;
    Some(printable::first_few(all, MAX_LISTED))
}

/// A file's name without the type at its end.
fn without_type(stem: &str) -> &str {
    let ends_with = |name: &str| {
        let start = stem.len().checked_sub(name.len() + 1)?;
        let (model, end) = stem.split_at_checked(start)?;
        (end.starts_with(['-', '.']) && end[1..].eq_ignore_ascii_case(name) && !model.is_empty())
            .then_some(model)
    };
    FileType::ALL
        .iter()
        .flat_map(|ty| [Some(ty.name()), ty.alias()])
        .flatten()
        .find_map(ends_with)
        .unwrap_or(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_at_the_end_of_a_name_is_left_out() {
        for (stem, expected) in [
            ("model-F16", "model"),
            ("Llama-3.2-1B.q4_k_m", "Llama-3.2-1B"),
            ("F16", "F16"),
            ("model", "model"),
            ("x-Q4_K", "x"),
            ("модель-BF16", "модель"),
        ] {
            assert_eq!(without_type(stem), expected);
        }
    }
}
