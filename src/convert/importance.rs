//! Which importance each tensor of a plan is encoded with.

use std::path::PathBuf;
use std::sync::Arc;

use gguf_simd::BlockType;

use crate::convert::Pruning;
use crate::convert::recipe::{Candidate, Choice, needs_importance};
use crate::error::{Error, Result};
use crate::gguf::Value;
use crate::model::spec::{Role, Suffix};
use crate::printable;
use crate::quantize::ImportanceMatrix;

/// Tensors named in a message before it says "and more".
const MAX_LISTED: usize = 4;

/// An importance matrix, and the file it is from.
#[derive(Clone, Debug)]
pub struct ImportanceFile {
    /// As the user named it.
    pub path: PathBuf,
    /// What it holds.
    pub matrix: Arc<ImportanceMatrix>,
}

/// How much each column of a tensor counts.
#[derive(Debug)]
pub(super) struct Importance {
    /// `[n_matrices, n_in]`.
    weights: Vec<f32>,
    n_in: usize,
    /// Rows of each of its matrices.
    n_rows: usize,
}

impl Importance {
    /// All weights.
    pub(super) fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The weights of the columns for row `row`, and how many rows from it on have the same.
    pub(super) fn at_row(&self, row: usize) -> (&[f32], usize) {
        let matrix = row / self.n_rows;
        (&self.weights[matrix * self.n_in..][..self.n_in], (matrix + 1) * self.n_rows - row)
    }
}

impl ImportanceFile {
    /// The importance of each tensor; the matrix is of the model before it was `pruned`. `warnings` gets what the user
    /// should know.
    ///
    /// # Errors
    /// [`Error::Usage`] if the matrix is of another model, as its tensors tell.
    pub(super) fn of(
        &self,
        tensors: &[Candidate],
        choices: &[Choice],
        pruned: &Pruning,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Option<Importance>>> {
        let (mut found, mut missing, mut empty, mut n_found) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for (tensor, choice) in tensors.iter().zip(choices) {
            if !is_weighed(tensor, choice.block_type) {
                found.push(None);
                continue;
            }
            let former_name = pruned.former_name(&tensor.name);
            let importance = self.find(tensor, &former_name)?;
            let is_empty = importance.is_none() && self.matrix.entries.contains_key(&*former_name);
            match &importance {
                Some(_) => n_found += 1,
                None if needs_importance(tensor.id.role, choice.block_type) => {
                    let (path, name, ty) = (self.path.display(), &tensor.name, choice.block_type);
                    let fault = if is_empty { "has nothing but zeros for" } else { "does not know" };
                    return Err(Error::usage(format!(
                        "{path} {fault} {name}, which would be {ty}, of no use without importance: collect the matrix with this model (gguf-run imatrix), \
                         or choose a larger --type"
                    )));
                }
                None if is_empty => empty.push(tensor.name.as_str()),
                // Only what is asked for is known of these.
                None if is_table(tensor) => {}
                None => missing.push(tensor.name.as_str()),
            }
            found.push(importance);
        }
        if n_found == 0 && !missing.is_empty() {
            return Err(Error::usage(format!(
                "{} knows none of the tensors (no {}): it is of another model; collect one with this model (gguf-run imatrix)",
                self.path.display(),
                missing[0]
            )));
        }
        for (names, fault) in [(missing, "does not know"), (empty, "has nothing but zeros for")] {
            if names.is_empty() {
                continue;
            }
            let listed = printable::first_few(names, MAX_LISTED);
            warnings.push(format!("{} {fault} {listed}: their columns count alike", self.path.display()));
        }
        Ok(found)
    }

    /// Of `tensor`, which the matrix calls `name`; `None` if it tells nothing of it.
    fn find(&self, tensor: &Candidate, name: &str) -> Result<Option<Importance>> {
        let Some(entry) = self.matrix.entries.get(name) else { return Ok(None) };
        let [ref outer @ .., n_rows, n_in] = tensor.shape[..] else { return Ok(None) };
        let (n, n_found) = (outer.iter().product::<usize>() * n_in, entry.squares.len());
        if n == n_found {
            if entry.is_empty() {
                return Ok(None);
            }
            return Ok(Some(Importance { weights: entry.weights(), n_in, n_rows }));
        }
        Err(Error::usage(format!(
            "{}: {} has {n_found} columns there and {n} here: the importance matrix is of another model; collect one with this model \
             (gguf-run imatrix)",
            self.path.display(),
            name
        )))
    }

    /// The keys that tell of it in a file, as llama-quantize writes them.
    pub(super) fn pairs(&self) -> Vec<(String, Value)> {
        let number = |n: u64| Value::U32(u32::try_from(n).unwrap_or(u32::MAX));
        let mut pairs = vec![("file", Value::String(self.path.to_string_lossy().into_owned()))];
        pairs.extend(self.matrix.datasets.first().map(|name| ("dataset", Value::String(name.clone()))));
        pairs.push(("entries_count", number(self.matrix.entries.len() as u64)));
        let n_chunks = Some(self.matrix.n_chunks()).filter(|&n| n > 0);
        pairs.extend(n_chunks.map(|n| ("chunks_count", number(n))));
        pairs.into_iter().map(|(key, value)| (format!("quantize.imatrix.{key}"), value)).collect()
    }
}

/// Whether the encoder of a tensor weighs columns.
fn is_weighed(tensor: &Candidate, block_type: BlockType) -> bool {
    tensor.shape.len() > 1 && tensor.id.suffix == Suffix::Weight && !block_type.is_float()
}

/// Whether rows of a tensor are looked up, or it is the output matrix.
pub(super) fn is_table(tensor: &Candidate) -> bool {
    matches!(tensor.id.role, Role::TokenEmbd | Role::PerLayerTokenEmbd | Role::Output)
}
