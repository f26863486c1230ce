//! Everything a conversion decides before it writes a byte.

mod adapter;
mod files;
mod gguf;
mod notes;
mod options;

use std::path::{Path, PathBuf};

use gguf_simd::BlockType;
use regex::Regex;

use crate::checkpoint::{Adapter, Checkpoint, Config};
use crate::convert::gguf_input::GgufInput;
use crate::convert::importance::Importance;
use crate::convert::metadata::{self, General};
use crate::convert::naming::model_stem;
use crate::convert::recipe::{self, Candidate};
use crate::convert::stored::Tensors;
use crate::convert::transform::{Factors, SourceRows};
use crate::convert::{FileType, adapters, proof, sources, target, tokenizer_check};
use crate::error::{Error, Result};
use crate::gguf::{DEFAULT_ALIGNMENT, GgmlType, GgufWriter, PlannedTensor};
use crate::model::arch::{self, Configured, Family, Scalars};
use crate::model::spec::{ModelSpec, Slot};
use crate::quantize::{ErrorStats, ScaleSearch};
use crate::tokenizer::Vocabulary;
use files::Files;
use notes::{notes_on_weights, unused_overrides};

pub use options::{PlanOptions, TokenizerDifferences};

/// A conversion, decided: tensors with their sources, types and places.
#[derive(Debug)]
pub struct Plan<'a> {
    file_type: FileType,
    name: String,
    /// The file's name but for its ending.
    file_stem: String,
    spec: ModelSpec,
    files: Files,
    sources: Vec<Planned<'a>>,
    warnings: Vec<String>,
    is_requantised: bool,
    is_packed: bool,
    scale_search: ScaleSearch,
    input: Input<'a>,
}

/// What is converted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input<'a> {
    Checkpoint(&'a Checkpoint),
    Gguf(&'a GgufInput),
}

/// How one tensor is made.
#[derive(Debug)]
pub(super) struct Planned<'a> {
    pub(super) rows: SourceRows<'a>,
    /// The type that was meant, where the rows do not divide into its blocks.
    pub(super) instead_of: Option<BlockType>,
    pub(super) importance: Option<Importance>,
    /// What encoding lost, where it is done already.
    pub(super) error: Option<ErrorStats>,
}

/// One tensor of a plan, for people.
#[derive(Clone, Debug)]
pub struct PlannedRow<'p> {
    /// Its name in the GGUF file.
    pub name: &'p str,
    /// Outermost dimension first.
    pub shape: &'p [usize],
    /// The type in the checkpoint; F32 where values are computed.
    pub source_type: &'static str,
    /// The type in the GGUF file.
    pub ty: GgmlType,
    /// The type that was meant, where the rows do not divide into its blocks.
    pub instead_of: Option<BlockType>,
    /// Bytes in the GGUF file.
    pub n_bytes: u64,
}

impl<'a> Plan<'a> {
    /// Decides a conversion of `checkpoint`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an architecture, tokenizer, element type or kind of quantisation
    /// this program does not have, or tensors without a place in the architecture;
    /// [`Error::Malformed`] for tensors that are missing or of another shape than config.json makes
    /// them; [`Error::Usage`] for types that do not fit.
    pub fn new(checkpoint: &'a Checkpoint, options: &PlanOptions) -> Result<Self> {
        let config = checkpoint.config();
        let mut warnings = checkpoint.notes().to_vec();
        let (family, configured, mut stored) = read_config(checkpoint, &options.ignored, &mut warnings)?;
        adapters::merge((checkpoint, &mut stored), family, &configured)?;
        // Before the vocabulary is made: it has as many tokens as config.json says.
        let mut found =
            sources::find((checkpoint, &stored), family, &configured, &options.ignored, &mut warnings)?;
        let Configured { pairs: mut keys, spec, notes, .. } = configured;
        let spec = options.pruned.apply_to_slots(family, (config.path(), &mut keys), spec, &mut found)?;
        let vocabulary = Vocabulary::from_checkpoint(checkpoint.folder(), config, spec.n_vocab)?;
        warnings.extend_from_slice(vocabulary.notes());
        warnings.extend(notes);

        for (_, rows) in &mut found {
            rows.look_for_grids()?;
        }
        let is_kept = options.file_type == FileType::KEEP;
        let candidate = |slot: &Slot, rows: &SourceRows<'_>| {
            Ok(Candidate {
                name: slot.id.gguf_name(),
                id: slot.id,
                shape: slot.shape.clone(),
                kept: rows.packed_type(),
                held: if is_kept { rows.held_type()? } else { None },
                block_type: None,
            })
        };
        let candidates: Vec<Candidate> =
            found.iter().map(|(slot, rows)| candidate(slot, rows)).collect::<Result<_>>()?;
        let rows: Vec<_> = found.into_iter().map(|(_, rows)| rows).collect();
        let choices = recipe::choose(options, (&spec, family.gguf_name), &candidates)?;
        let importance = options.importances(&candidates, &choices, &mut warnings)?;
        warnings.extend(unused_overrides(&options.overrides, &candidates));
        warnings.extend(notes_on_weights(&rows, &choices, options.file_type));

        let general = General::of(checkpoint, options, &spec, &candidates);
        let mut pairs = metadata::general(family, &general, checkpoint, &mut warnings);
        pairs.extend(keys);
        pairs.extend(metadata::file(options, &candidates, &choices));
        pairs.extend(vocabulary.to_metadata());
        warnings.extend(tokenizer_check::prove(checkpoint, &pairs, options.tokenizer_differences)?);
        options.keys.apply(&mut pairs, &mut warnings)?;
        options.add_proof(&mut pairs, candidates.len());
        let planned = candidates.into_iter().zip(&choices);
        let tensors = planned.map(|(tensor, choice)| PlannedTensor {
            name: tensor.name,
            shape: tensor.shape,
            ty: choice.block_type.into(),
        });
        let files = Files::new(pairs, tensors.collect(), DEFAULT_ALIGNMENT, options.max_file_bytes)?;
        let meant = choices.into_iter().map(|choice| choice.instead_of);
        let planned =
            |((rows, instead_of), importance)| Planned { rows, instead_of, importance, error: None };
        let sources = rows.into_iter().zip(meant).zip(importance).map(planned).collect();
        Ok(Self {
            file_type: options.file_type,
            name: general.name().to_owned(),
            file_stem: options.named(&model_stem(checkpoint)),
            spec,
            files,
            sources,
            warnings,
            is_requantised: stored.has_quantised() && !is_kept,
            is_packed: stored.has_quantised(),
            scale_search: options.scale_search,
            input: Input::Checkpoint(checkpoint),
        })
    }

    /// The type of the file.
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    /// The model's name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file name to use where the user gives none: the checkpoint's folder and the type.
    pub fn default_file_name(&self) -> String {
        format!("{}.gguf", self.file_stem)
    }

    /// What the model is.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// What the user should know before the conversion, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether a checkpoint has weights that are quantised already.
    pub fn is_packed(&self) -> bool {
        self.is_packed
    }

    /// Whether some weights are quantised in the input already and are quantised to another type.
    pub fn is_requantised(&self) -> bool {
        self.is_requantised
    }

    /// Whether the input is a GGUF file.
    pub fn is_of_gguf(&self) -> bool {
        matches!(self.input, Input::Gguf(_))
    }

    /// Bytes of the finished file, or of all its parts.
    pub fn file_bytes(&self) -> u64 {
        self.files.n_bytes()
    }

    /// Every tensor, in file order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = PlannedRow<'_>> {
        self.files.tensors().zip(&self.sources).map(|(placed, planned)| PlannedRow {
            name: &placed.name,
            shape: &placed.shape,
            source_type: planned.rows.source_name(),
            ty: placed.ty,
            instead_of: planned.instead_of,
            n_bytes: placed.n_bytes,
        })
    }

    /// Weights in all tensors.
    pub fn n_parameters(&self) -> u64 {
        let weights = self.sources.iter().filter(|planned| planned.rows.are_weights());
        weights.map(|planned| planned.rows.n_elements()).sum()
    }

    /// Bits that a weight takes on average, in tensor data alone.
    pub fn bits_per_weight(&self) -> f64 {
        let weights = self.files.tensors().filter(|placed| placed.block_type().is_some());
        let n_bytes: u64 = weights.map(|placed| placed.n_bytes).sum();
        n_bytes as f64 * 8.0 / self.n_parameters() as f64
    }

    /// Where the model is written if it is to be at `path`: there, or beside it in several parts.
    pub fn paths(&self, path: &Path) -> Vec<PathBuf> {
        self.files.paths(path)
    }

    /// Whether the file may be written to `path`, or its parts beside it.
    ///
    /// # Errors
    /// [`Error::Usage`] if a path is one of the files being read, under whatever name, or would become one
    /// of a checkpoint's; if it exists and `overwrite` is false; or if no file can be there.
    pub fn check_target(&self, path: &Path, overwrite: bool) -> Result<()> {
        self.paths(path).iter().try_for_each(|path| match self.input {
            Input::Checkpoint(checkpoint) => target::check(checkpoint, path, overwrite),
            Input::Gguf(input) => {
                input.check_target(path)?;
                GgufWriter::check(path, overwrite).map(drop)
            }
        })
    }

    /// Checks that the weights have not changed since they were opened.
    ///
    /// # Errors
    /// As [`ReadFile::check_unchanged`](crate::read_file::ReadFile::check_unchanged).
    pub(super) fn check_unchanged(&self) -> Result<()> {
        match self.input {
            Input::Checkpoint(checkpoint) => {
                let of_adapters = checkpoint.adapters().iter().map(Adapter::shard);
                let mut shards = checkpoint.shards().iter().chain(of_adapters);
                shards.try_for_each(|shard| shard.file().check_unchanged())
            }
            Input::Gguf(input) => input.check_unchanged(),
        }
    }

    /// Whether another plan takes the same rows from the same places.
    pub(super) fn has_rows_of(&self, other: &Self) -> bool {
        let same_input = match (self.input, other.input) {
            (Input::Checkpoint(a), Input::Checkpoint(b)) => std::ptr::eq(a, b),
            (Input::Gguf(a), Input::Gguf(b)) => std::ptr::eq(a, b),
            _ => false,
        };
        let names = |plan: &Self| plan.files.tensors().map(|placed| placed.name.clone()).collect::<Vec<_>>();
        same_input && names(self) == names(other)
    }

    /// Whether the file has room for a proof.
    pub(super) fn is_proved(&self) -> bool {
        self.files.layouts()[0].keys().iter().any(|key| key.starts_with(proof::PREFIX))
    }

    pub(super) fn scale_search(&self) -> ScaleSearch {
        self.scale_search
    }

    pub(super) fn input(&self) -> Input<'a> {
        self.input
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn sources(&self) -> &[Planned<'a>] {
        &self.sources
    }

    /// Multiplies the rows of tensor `index`.
    pub(super) fn multiply(&mut self, index: usize, factors: &Factors) {
        self.sources[index].rows.multiply(factors);
    }

    /// Takes the rows of tensor `index` from elsewhere; what encoding them lost is known.
    pub(super) fn replace_source(&mut self, index: usize, rows: SourceRows<'a>, error: ErrorStats) {
        let planned = &mut self.sources[index];
        (planned.rows, planned.error) = (rows, Some(error));
    }
}

/// The family of the checkpoint's class; where config.json names none, of its `model_type`, by which
/// transformers chooses a class.
fn family_of(config: &Config, warnings: &mut Vec<String>) -> Result<&'static Family> {
    let path = config.path().display();
    let classes = config.strings("architectures")?.unwrap_or_default();
    let model_type = config.string("model_type")?;
    let by_type = model_type.and_then(arch::by_model_type);
    if classes.is_empty() {
        let Some(family) = by_type else {
            let what = match model_type {
                None => "it names neither \"architectures\" nor a \"model_type\"".into(),
                Some(model_type) => {
                    format!("it names no \"architectures\"; {}", arch::missing::model_type(model_type))
                }
            };
            return Err(Error::unsupported(config.path(), what));
        };
        warnings.push(format!("{path} names no \"architectures\"; its model_type says what the model is"));
        return Ok(family);
    }
    let Some((class, family)) = arch::by_classes(&classes, config)? else {
        return Err(Error::unsupported(config.path(), arch::missing::classes(&classes)));
    };
    if classes.len() > 1 {
        warnings.push(format!("{path} names several \"architectures\"; {class} is taken"));
    }
    let is_wrapped = !family.checkpoint_classes.contains(&class);
    if let Some(model_type) = model_type.filter(|_| by_type.is_none() && !is_wrapped) {
        warnings.push(format!(
            "{path} names the model_type \"{model_type}\" beside the class {class}; the class is taken"
        ));
    }
    Ok(family)
}

/// Refuses quantised weights by their method. An entry that says so beside plain weights, as merging
/// adapters into a model leaves it behind, is a warning.
fn check_quantization(
    (checkpoint, tensors): (&Checkpoint, &Tensors<'_>),
    family: &Family,
    ignored: &[Regex],
    warnings: &mut Vec<String>,
) -> Result<()> {
    let Some(method) = checkpoint.quantization_method() else { return Ok(()) };
    if family.names.packing == Some(method.as_str()) {
        return Ok(());
    }
    let is_kept = |name: &str| !ignored.iter().any(|pattern| pattern.is_match(name));
    if let Some(name) = tensors.first_unknown(is_kept) {
        return Err(sources::quantised(checkpoint, &method, name));
    }
    if tensors.has_quantised() {
        return Ok(());
    }
    let path = checkpoint.config().path().display();
    warnings.push(format!("{path} says that {method} quantised the weights; they are plain, and taken so"));
    Ok(())
}

/// The family of a checkpoint, and what its configuration becomes.
fn read_config<'a>(
    checkpoint: &'a Checkpoint,
    ignored: &[Regex],
    warnings: &mut Vec<String>,
) -> Result<(&'static Family, Configured, Tensors<'a>)> {
    let config = checkpoint.config();
    let family = arch::variant(family_of(config, warnings)?, config)?;
    let tensors = Tensors::of(checkpoint)?;
    check_quantization((checkpoint, &tensors), family, ignored, warnings)?;
    let scalars = |name: &str| sources::scalar(checkpoint, name);
    Ok((family, family.configure_with(config, Scalars(&scalars), checkpoint.modules())?, tensors))
}

/// Checks whether a checkpoint can be converted, as far as its configuration says.
///
/// # Errors
/// As [`Plan::new`].
pub fn check_config(checkpoint: &Checkpoint) -> Result<()> {
    read_config(checkpoint, &[], &mut Vec::new()).map(drop)
}
