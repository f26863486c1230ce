//! Finds in the checkpoint what the family asks for, and says what is missing or left over.
//!
//! The numbers of config.json are held against the weights here, before anything is built from them:
//! the embedding comes first, so that a wrong `vocab_size` is told before a vocabulary of that size is
//! made, and no more names are made than the checkpoint can have.

use std::collections::HashSet;

use regex::Regex;

use crate::checkpoint::{Checkpoint, TensorView};
use crate::convert::names::Names;
use crate::convert::transform::{Part, Reading, SourceRows};
use crate::error::{Error, Result};
use crate::model::arch::Family;
use crate::model::{Hparams, Presence, Role, Source, TensorSpec, Transform};

/// Names listed in a message before it says "and more".
const MAX_LISTED: usize = 8;

/// Endings of buffers that versions of transformers saved and that are computed anew.
const COMPUTED_BUFFERS: [&str; 4] =
    [".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached", ".masked_bias"];

/// Elements of the head and of the embedding compared at a time.
const COMPARED_ELEMENTS: usize = 1 << 20;

/// A tensor to be written, and where its rows come from.
pub(super) type Found<'a> = (TensorSpec, SourceRows<'a>);

/// Finds the rows of every tensor that a model with `hparams` has. Whatever of the checkpoint
/// `ignored` matches counts as absent. `warnings` gets what the user should know.
///
/// # Errors
/// [`Error::Malformed`] for tensors that are missing or of another shape than config.json makes them,
/// [`Error::Unsupported`] for those that the family has no place for or whose elements cannot be read.
pub(super) fn find<'a>(
    checkpoint: &'a Checkpoint,
    family: &Family,
    hparams: &Hparams,
    ignored: &[Regex],
    warnings: &mut Vec<String>,
) -> Result<Vec<Found<'a>>> {
    let names = Names::of(checkpoint, family.base_prefix, ignored, warnings)?;
    let finder = Finder { checkpoint, names, hparams };
    let mut used = HashSet::new();
    let mut found = Vec::new();
    for spec in (family.tensors)(&finder.as_far_as_told(), Some(checkpoint.config()))? {
        if let Some(rows) = finder.rows(&spec, &mut used)? {
            found.push((spec, rows));
        }
    }
    drop_tied_head(&mut found, warnings)?;
    finder.refuse_leftovers(family, &used)?;
    warnings.extend(unused_patterns(checkpoint, ignored));
    Ok(found)
}

struct Finder<'a, 'h> {
    checkpoint: &'a Checkpoint,
    names: Names<'a>,
    hparams: &'h Hparams,
}

impl<'a> Finder<'a, '_> {
    /// The numbers with no more layers than the checkpoint has tensors for, and one: if that cuts any
    /// off, the first that is missing is among the rest.
    fn as_far_as_told(&self) -> Hparams {
        let per_layer = self.hparams.n_expert.max(1);
        let n_layer = self.hparams.n_layer.min(self.names.len() / per_layer + 1);
        Hparams { n_layer, ..self.hparams.clone() }
    }

    /// Finds the rows of a tensor; `None` for an optional tensor that is not there.
    fn rows(&self, spec: &TensorSpec, used: &mut HashSet<&'a str>) -> Result<Option<SourceRows<'a>>> {
        let (names, shape) = match &spec.source {
            Source::Computed(values) => return Ok(Some(SourceRows::computed(values.clone()))),
            Source::Checkpoint(name) => (std::slice::from_ref(name), &spec.shape[..]),
            Source::FirstOf(names) => (self.first_there(names), &spec.shape[..]),
            Source::Stacked(names) => (&names[..], &spec.shape[1..]),
        };
        let mut parts = Vec::with_capacity(names.len().min(self.names.len()));
        for name in names {
            let in_file = match self.names.find(name) {
                Some(in_file) => in_file,
                None if spec.presence == Presence::Optional => return Ok(None),
                None => return Err(self.missing(name, spec)),
            };
            let view = self.checkpoint.tensor(in_file)?.ok_or_else(|| self.missing(name, spec))?;
            self.check_shape(&view, in_file, shape, spec)?;
            used.insert(in_file);
            parts.push(Part { name: in_file.to_owned(), view });
        }
        let (n_rows, n_in) = match (&spec.shape[..], spec.transform) {
            (&[n], Transform::None) => (1, n),
            (&[n], Transform::RotaryPairs { .. }) => (n, 1),
            // No overflow: the parts were checked to have this shape, and they are in files.
            ([outer @ .., n_in], _) => (outer.iter().product(), *n_in),
            ([], _) => unreachable!("families give every tensor a shape"),
        };
        Ok(Some(SourceRows::from_checkpoint(parts, spec.transform, n_rows, n_in)))
    }

    /// The first of `names` that the checkpoint has; the first of all where it has none.
    fn first_there<'n>(&self, names: &'n [String]) -> &'n [String] {
        let at = names.iter().position(|name| self.names.find(name).is_some()).unwrap_or(0);
        &names[at..=at]
    }

    fn check_shape(
        &self,
        view: &TensorView<'_>,
        name: &str,
        shape: &[usize],
        spec: &TensorSpec,
    ) -> Result<()> {
        if view.shape == shape {
            return Ok(());
        }
        if let (Role::TokenEmbd, &[n_rows, n_embd]) = (spec.role, view.shape)
            && n_embd == self.hparams.n_embd
        {
            let what = format!(
                "vocab_size is {}, but the embedding ({name} in {}) has {n_rows} rows; both must be the same",
                self.hparams.n_vocab,
                view.path().display()
            );
            return Err(Error::malformed(self.checkpoint.config().path(), what));
        }
        let what = format!(
            "tensor {name} has shape {:?}, but config.json makes it {shape:?} ({} in GGUF)",
            view.shape,
            spec.gguf_name()
        );
        Err(Error::malformed(view.path(), what))
    }

    fn missing(&self, name: &str, spec: &TensorSpec) -> Error {
        let is_bias = name.ends_with(".bias");
        let hint = match spec.role {
            Role::Output => {
                "if the output shares the embedding, config.json must say \"tie_word_embeddings\": true"
                    .into()
            }
            _ if is_bias => "if the model has no such biases, config.json must not say that it has".into(),
            _ => {
                self.names.instead_of(name).unwrap_or_else(|| "a part of the download may be missing".into())
            }
        };
        let what = format!("tensor {name} is missing ({} in GGUF); {hint}", spec.gguf_name());
        Error::malformed(self.checkpoint.dir(), what)
    }

    /// Refuses what the checkpoint has and the family does not use: a model without it would be
    /// another one.
    fn refuse_leftovers(&self, family: &Family, used: &HashSet<&str>) -> Result<()> {
        let is_computed = |name: &str| COMPUTED_BUFFERS.iter().any(|ending| name.ends_with(ending));
        let leftover: Vec<&str> =
            self.names.in_file().filter(|&name| !used.contains(name) && !is_computed(name)).collect();
        let Some(first) = leftover.first() else { return Ok(()) };
        if let Some(method) = self.checkpoint.quantization_method() {
            return Err(quantised(self.checkpoint, &method, first));
        }
        let n = leftover.len();
        let listed: Vec<String> =
            leftover.iter().take(MAX_LISTED).map(|name| name.escape_debug().to_string()).collect();
        let more = if n > MAX_LISTED { format!(" and {} more", n - MAX_LISTED) } else { String::new() };
        let biases = if leftover.iter().any(|name| name.ends_with(".bias")) {
            ". Biases count if config.json says \"attention_bias\": true, or \"mlp_bias\": true"
        } else {
            ""
        };
        let what = format!(
            "{} no place in the {} architecture as config.json describes the model: {}{more}{biases}. To \
             leave tensors out, name them: gguf-convert --ignore-tensor REGEX",
            if n == 1 { "1 tensor has".to_owned() } else { format!("{n} tensors have") },
            family.gguf_name,
            listed.join(", "),
        );
        Err(Error::unsupported(self.checkpoint.dir(), what))
    }
}

/// The error for weights that `method` quantised, as the tensor `name` shows.
pub(super) fn quantised(checkpoint: &Checkpoint, method: &str, name: &str) -> Error {
    let what = format!(
        "weights that are already quantised ({method}), as tensor {} shows; use the original F32, F16 or BF16 \
         checkpoint",
        name.escape_debug()
    );
    Error::unsupported(checkpoint.config().path(), what)
}

/// Removes the head of a tied model if it is the embedding once more. One that differs is kept: then
/// config.json is wrong and not the weights, as transformers 5 has it.
///
/// # Errors
/// [`Error::Io`] if the two cannot be read.
fn drop_tied_head(found: &mut Vec<Found<'_>>, warnings: &mut Vec<String>) -> Result<()> {
    let position = |role| found.iter().position(|(spec, _)| spec.role == role);
    let (Some(head), Some(embedding)) = (position(Role::Output), position(Role::TokenEmbd)) else {
        return Ok(());
    };
    // A head that must be there is none that config.json ties.
    if found[head].0.presence == Presence::Required {
        return Ok(());
    }
    if found[embedding].1.is_of_the_same_tensor(&found[head].1) {
        warnings.push(format!(
            "the embedding is not in the checkpoint; it is taken from {}, to which config.json ties it",
            found[head].1.name()
        ));
        found.remove(head);
    } else if are_equal(&found[embedding].1, &found[head].1)? {
        found.remove(head);
    } else {
        warnings.push(format!(
            "{} differs from the embedding, though config.json ties them: it is kept, as transformers 5 does",
            found[head].1.name()
        ));
    }
    Ok(())
}

/// Whether two tensors of one shape hold the same values.
///
/// # Errors
/// [`Error::Io`] if they cannot be read.
fn are_equal(a: &SourceRows<'_>, b: &SourceRows<'_>) -> Result<bool> {
    let (n_rows, n_in) = (a.n_rows(), a.n_in());
    let together = (COMPARED_ELEMENTS / n_in).clamp(1, n_rows);
    let mut values = [vec![0.0; together * n_in], vec![0.0; together * n_in]];
    let mut reading = Reading::default();
    for first in (0..n_rows).step_by(together) {
        let n = together.min(n_rows - first) * n_in;
        let [of_a, of_b] = &mut values;
        a.read(first, &mut of_a[..n], &mut reading)?;
        b.read(first, &mut of_b[..n], &mut reading)?;
        if of_a[..n] != of_b[..n] {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Names the patterns that no tensor matched: most likely a slip.
fn unused_patterns(checkpoint: &Checkpoint, ignored: &[Regex]) -> Vec<String> {
    let is_unused = |pattern: &&Regex| !checkpoint.tensor_names().any(|name| pattern.is_match(name));
    let warning = |pattern: &Regex| format!("--ignore-tensor {pattern} matches no tensor of the checkpoint");
    ignored.iter().filter(is_unused).map(warning).collect()
}
