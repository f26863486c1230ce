//! Everything a conversion decides before it writes a byte.

mod adapter;
mod config;
mod files;
mod gguf;
mod notes;
mod options;

use std::path::{Path, PathBuf};

use gguf_simd::BlockType;

use crate::checkpoint::{Adapter, Checkpoint};
use crate::convert::gguf_input::GgufInput;
use crate::convert::importance::Importance;
use crate::convert::metadata::{self, General};
use crate::convert::naming::model_stem;
use crate::convert::recipe::{self, Candidate};
use crate::convert::transform::{Factors, SourceRows, nvfp4};
use crate::convert::{FileType, adapters, proof, sources, target, tokenizer_check};
use crate::error::Result;
use crate::gguf::{DEFAULT_ALIGNMENT, GgmlType, GgufWriter, PlannedTensor};
use crate::model::arch::Configured;
use crate::model::spec::{ModelSpec, Slot};
use crate::quantize::{ErrorStats, ScaleSearch};
use crate::tokenizer::Vocabulary;
use config::Read;
use files::Files;
use notes::{notes_on_weights, unused_overrides};

pub use config::check_config;
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
    /// [`crate::Error::Unsupported`] for an architecture, tokenizer, element type or kind of quantisation
    /// this program does not have, or tensors without a place in the architecture;
    /// [`crate::Error::Malformed`] for tensors that are missing or of another shape than config.json makes
    /// them; [`crate::Error::Usage`] for types that do not fit.
    pub fn new(checkpoint: &'a Checkpoint, options: &PlanOptions) -> Result<Self> {
        let config = checkpoint.config();
        let mut warnings = checkpoint.notes().to_vec();
        let Read { family, mut configured, mut stored, ranker } =
            config::read(checkpoint, &options.ignored, options.answers.as_ref(), &mut warnings)?;
        let early = ranker.find_words(checkpoint, family, &mut configured)?;
        adapters::merge((checkpoint, &mut stored), family, &configured)?;
        // Before the vocabulary is made: it has as many tokens as config.json says.
        let mut found =
            sources::find((checkpoint, &stored), family, &configured, &options.ignored, &mut warnings)?;
        let Configured { pairs: mut keys, spec, notes, .. } = configured;
        let spec = options.pruned.apply_to_slots(family, (config.path(), &mut keys), spec, &mut found)?;
        let mut vocabulary = match early {
            Some(vocabulary) => vocabulary,
            None => Vocabulary::from_checkpoint(checkpoint.folder(), config, spec.n_vocab)?,
        };
        ranker.add_prompt(&mut vocabulary, &options.keys, &mut warnings);
        warnings.extend_from_slice(vocabulary.notes());
        warnings.extend(notes);

        for (_, rows) in &mut found {
            rows.look_for_grids()?;
        }
        let is_kept = options.file_type == FileType::KEEP;
        nvfp4::keep(&mut found, is_kept);
        let candidates: Vec<Candidate> =
            found.iter().map(|(slot, rows)| candidate(slot, rows, is_kept)).collect::<Result<_>>()?;
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

    /// Whether the input has weights that are quantised already.
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
    /// [`crate::Error::Usage`] if a path is one of the files being read, under whatever name, or would become one
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

/// A tensor that is to get a type; `is_kept` if that is to hold it as it is.
fn candidate(slot: &Slot, rows: &SourceRows<'_>, is_kept: bool) -> Result<Candidate> {
    Ok(Candidate {
        name: slot.id.gguf_name(),
        id: slot.id,
        shape: slot.shape.clone(),
        kept: rows.packed_type(),
        held: if is_kept { rows.held_type()? } else { None },
        block_type: None,
    })
}
