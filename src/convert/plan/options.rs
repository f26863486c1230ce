//! What a conversion is asked for.

use regex::Regex;

use crate::convert::importance::{Importance, ImportanceFile};
use crate::convert::keys::KeyChanges;
use crate::convert::ranker::Answers;
use crate::convert::recipe::{Candidate, Choice, Overrides};
use crate::convert::{FileType, Pruning, proof};
use crate::error::{Error, Result};
use crate::gguf::Value;
use crate::quantize::ScaleSearch;

/// What a plan does about a tokenizer that reads texts otherwise than the checkpoint's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenizerDifferences {
    /// Refuses it, with the texts.
    #[default]
    Refused,
    /// Notes them.
    Accepted,
    /// Does not compare; only for a plan that is not carried out.
    Unchecked,
}

/// What a conversion is asked for.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// The type of the file.
    pub file_type: FileType,
    /// Types of single tensors.
    pub overrides: Overrides,
    /// `general.name`, if it is not to come from the model card or the folder.
    pub name: Option<String>,
    /// Tensors of the checkpoint whose name one of these matches count as absent.
    pub ignored: Vec<Regex>,
    /// What becomes of a tokenizer that differs from the checkpoint's own.
    pub tokenizer_differences: TokenizerDifferences,
    /// Changes of the metadata.
    pub keys: KeyChanges,
    /// How much columns count.
    pub importance: Option<ImportanceFile>,
    /// Whether calibration is going to find out what columns count.
    pub is_calibrated: bool,
    /// How the scales of blocks are found.
    pub scale_search: ScaleSearch,
    /// What stands in the default file name instead of the type.
    pub label: Option<String>,
    /// Bytes of a file at most: a model that takes more is split into parts.
    pub max_file_bytes: Option<u64>,
    /// Whether the file is measured when it is written, and says what was found.
    pub is_proved: bool,
    /// Layers to leave out.
    pub pruned: Pruning,
    /// The words by which a decoder scores pairs of texts, if it is to become a rerank model and its folder does not
    /// say so.
    pub answers: Option<Answers>,
}

impl PlanOptions {
    /// A plain conversion to `file_type`.
    pub fn new(file_type: FileType) -> Self {
        Self {
            file_type,
            overrides: Overrides::default(),
            name: None,
            ignored: Vec::new(),
            tokenizer_differences: TokenizerDifferences::default(),
            keys: KeyChanges::default(),
            importance: None,
            is_calibrated: false,
            scale_search: ScaleSearch::default(),
            label: None,
            max_file_bytes: None,
            is_proved: false,
            pruned: Pruning::default(),
            answers: None,
        }
    }

    /// Whether it is known, or going to be, how much columns count.
    pub(in crate::convert) fn has_importance(&self) -> bool {
        self.importance.is_some() || self.is_calibrated
    }

    /// The name of a file of `model` in this type, but for its ending.
    pub(super) fn named(&self, model: &str) -> String {
        match &self.label {
            Some(label) => format!("{model}-{label}"),
            None => format!("{model}-{}", self.file_type),
        }
    }

    /// Adds the keys of the proof of a file of so many tensors, if there is to be one. Those of an input are gone.
    pub(super) fn add_proof(&self, pairs: &mut Vec<(String, Value)>, n_tensors: usize) {
        pairs.retain(|(key, _)| !key.starts_with(proof::PREFIX));
        if self.is_proved {
            pairs.extend(proof::placeholders(n_tensors));
        }
    }

    /// Whether all types that were chosen have what the search for scales searches.
    ///
    /// # Errors
    /// [`Error::Usage`] if not.
    fn check_ranges(&self, tensors: &[Candidate], choices: &[Choice]) -> Result<()> {
        let search = self.scale_search;
        let has_none = |(tensor, choice): &(&Candidate, &Choice)| {
            let ty = choice.block_type;
            tensor.shape.len() > 1 && !ty.is_float() && !ScaleSearch::has_range(ty)
        };
        match tensors.iter().zip(choices).find(has_none).filter(|_| search != ScaleSearch::Mse) {
            None => Ok(()),
            Some((tensor, Choice { block_type, .. })) => Err(Error::usage(format!(
                "--scale-search {search}: tensor {} would be {block_type}, whose codes have no range of their own to search \
                 (they stand for several weights, or for two or three values); choose another --type, or leave the option out",
                tensor.name
            ))),
        }
    }

    /// The importance of each tensor, if there is an importance matrix.
    ///
    /// # Errors
    /// [`Error::Usage`] for a matrix of another model, and for types whose scales cannot be found as asked for.
    pub(super) fn importances(
        &self,
        tensors: &[Candidate],
        choices: &[Choice],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Option<Importance>>> {
        self.check_ranges(tensors, choices)?;
        match &self.importance {
            Some(file) => file.of(tensors, choices, &self.pruned, warnings),
            None => Ok(tensors.iter().map(|_| None).collect()),
        }
    }
}
