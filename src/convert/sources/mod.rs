//! Finds in the checkpoint what the family asks for, and says what is missing or left over.
//!
//! The numbers of config.json are held against the weights here, before anything is built from them:
//! the embedding comes first, so that a wrong `vocab_size` is told before a vocabulary of that size is
//! made, and no more names are made than the checkpoint can have.

mod alternatives;
mod tied_head;

use std::collections::HashSet;

use regex::Regex;

use crate::checkpoint::{Checkpoint, SourceType};
use crate::convert::names::Names;
use crate::convert::other_parts;
use crate::convert::stored::{Stored, Tensors};
use crate::convert::transform::{Packed, Part, SourceRows};
use crate::error::{Error, Result};
use crate::limits;
use crate::model::arch::{Configured, Dialect, Family, Piece, RowMap, Source, ranking, rows_and_columns};
use crate::model::spec::{ModelSpec, Presence, Role, Slot, Suffix, slots};
use crate::printable;
use crate::quantize::decode_source;
use tied_head::drop_tied_head;

/// Names listed in a message before it says "and more".
const MAX_LISTED: usize = 8;

/// A tensor to be written, and where its rows come from.
pub(super) type Found<'a> = (Slot, SourceRows<'a>);

/// Finds the rows of every tensor that a model has. Whatever of the checkpoint `ignored` matches counts as
/// absent. `warnings` gets what the user should know.
///
/// # Errors
/// [`Error::Malformed`] for tensors that are missing or of another shape than config.json makes them,
/// [`Error::Unsupported`] for those that the family has no place for or whose elements cannot be read.
pub(super) fn find<'a>(
    (checkpoint, tensors): (&'a Checkpoint, &Tensors<'a>),
    family: &Family,
    configured: &Configured,
    ignored: &[Regex],
    warnings: &mut Vec<String>,
) -> Result<Vec<Found<'a>>> {
    let names = Names::of((tensors, checkpoint.dir()), family.names.base_prefix, ignored, warnings)?;
    let (dialect, config) = (tensors.dialect(), checkpoint.config());
    let finder = Finder { checkpoint, tensors, names, spec: &configured.spec, dialect };
    let source_of = |slot: &Slot| configured.source_in(dialect, (family, config), slot);
    let mut used = HashSet::new();
    let mut found = Vec::new();
    let mut promises = configured.promises;
    let mut without_bias = None;
    // Whether a tied head is there all the same is for the weights to say.
    promises.is_tied = promises.is_tied.or(Some(false));
    for mut slot in slots(&finder.as_far_as_told(), &promises) {
        if ranking::is_of_decoder(&configured.spec, &slot) {
            slot.presence = Presence::Required;
        } else if slot.id.role == Role::Output && ranking::is_instead_of_logits(&configured.spec) {
            continue;
        }
        let Some(mut source) = source_of(&slot)? else {
            // A bias whose matrix the family calls otherwise, as that of q, k and v together.
            if slot.presence == Presence::Required && slot.id.suffix == Suffix::Weight {
                return Err(finder.missing(&slot.id.gguf_name(), &slot));
            }
            continue;
        };
        if slot.id.role == Role::TokenEmbd && promises.is_tied == Some(true) {
            // A tied matrix may be saved under either name.
            let head =
                slots(&configured.spec, &promises).into_iter().find(|slot| slot.id.role == Role::Output);
            source = with_names_of(source, head.map(|head| source_of(&head)).transpose()?.flatten());
        }
        if slot.id.role == Role::Output && slot.presence == Presence::Required && finder.is_headless(&source)
        {
            warnings.push(
                "the checkpoint has no output matrix, as models for vectors have none (gguf-run embed): text that is generated \
                 with the embedding in its place means nothing"
                    .to_owned(),
            );
            continue;
        }
        if let Some(rows) = finder.rows(&slot, &source, &mut used)? {
            found.push((slot, rows));
        } else if dialect == Dialect::Mlx && slot.id.role == Role::ExpProbs {
            without_bias.get_or_insert(slot.id);
        }
    }
    warnings.extend(without_bias.map(|id| {
        format!("MLX left out the biases for the choice of experts ({id} in GGUF): experts are chosen as MLX does, without them")
    }));
    drop_tied_head(&mut found, warnings)?;
    finder.refuse_leftovers(family, &used, warnings)?;
    warnings.extend(unused_patterns(tensors, ignored));
    Ok(found)
}

/// A source that may have the names of another as well.
fn with_names_of(source: Source, other: Option<Source>) -> Source {
    match (source, other) {
        (Source::Pieces(mut pieces, values), Some(Source::Pieces(others, _))) => {
            for (piece, other) in pieces.iter_mut().zip(others) {
                piece.names.extend(other.names);
            }
            Source::Pieces(pieces, values)
        }
        (source, _) => source,
    }
}

struct Finder<'a, 's> {
    checkpoint: &'a Checkpoint,
    tensors: &'s Tensors<'a>,
    names: Names<'s>,
    spec: &'s ModelSpec,
    dialect: Dialect,
}

impl<'a, 's> Finder<'a, 's> {
    /// The model with no more layers than the checkpoint has tensors for, and one: if that cuts any
    /// off, the first that is missing is among the rest.
    fn as_far_as_told(&self) -> ModelSpec {
        let per_layer = self.spec.experts().0.max(1);
        let mut spec = self.spec.clone();
        // Experts may be stacked already.
        spec.layers.truncate((self.names.len() / per_layer + 1).max(self.names.len() / 4));
        spec
    }

    /// Finds the rows of a tensor; `None` for an optional tensor that is not there.
    fn rows(
        &self,
        slot: &Slot,
        source: &Source,
        used: &mut HashSet<&'s str>,
    ) -> Result<Option<SourceRows<'a>>> {
        let (pieces, values) = match source {
            Source::Either(first, second) => {
                let is_first = self.is_first(first, second)?;
                return self.rows(slot, if is_first { first } else { second }, used);
            }
            Source::Computed(values) => return Ok(Some(SourceRows::computed(values.clone()))),
            Source::Mxfp4 { codes, exponents, first, step } => {
                return self.packed_rows(slot, (codes, exponents), (*first, *step), used).map(Some);
            }
            Source::Pieces(pieces, values) => (pieces, *values),
        };
        let (_, mut n_in) = rows_and_columns(&slot.shape);
        let mut parts = Vec::with_capacity(pieces.len().min(self.names.len()));
        for piece in pieces {
            let Some(in_file) = piece.names.iter().find_map(|name| self.names.find(name)) else {
                if slot.presence == Presence::Optional {
                    return Ok(None);
                }
                return Err(self.missing(&piece.names[0], slot));
            };
            let stored = self.tensors.get(in_file)?.ok_or_else(|| self.missing(in_file, slot))?;
            let stored = stored.clone().in_shape(&piece.shape);
            self.check_shape(&stored, in_file, piece, slot)?;
            check_elements(&stored, in_file)?;
            used.insert(in_file);
            let Piece { mut n_rows, rows, .. } = *piece;
            // The elements of a vector move as rows of one.
            if slot.shape.len() == 1 && rows != RowMap::Same {
                let are_counted = pieces.iter().map(|piece| piece.n_rows).sum::<usize>() == slot.shape[0];
                n_rows = if are_counted { n_rows } else { slot.shape[0] / pieces.len() };
                n_in = 1;
            }
            parts.push(Part { name: in_file.to_owned(), stored, n_rows, rows });
        }
        Ok(Some(SourceRows::from_checkpoint(parts, values, n_in)))
    }

    /// Finds rows of codes and exponents.
    fn packed_rows(
        &self,
        slot: &Slot,
        names: (&str, &str),
        (first, step): (usize, usize),
        used: &mut HashSet<&'s str>,
    ) -> Result<SourceRows<'a>> {
        let [n_expert, n_out, n_in] = slot.shape[..] else { return Err(self.missing(names.0, slot)) };
        let mut find = |name: &str, shape: &[usize]| {
            let in_file = self.names.find(name).ok_or_else(|| self.missing(name, slot))?;
            let tensor = self.checkpoint.tensor(in_file)?.ok_or_else(|| self.missing(name, slot))?;
            if tensor.shape != shape || tensor.dtype != SourceType::U8 {
                let (ty, found) = (tensor.dtype, tensor.shape);
                let what = format!(
                    "tensor {name} is {ty} of shape {found:?}, but config.json makes it U8 of {shape:?}"
                );
                return Err(Error::malformed(tensor.path(), what));
            }
            used.insert(in_file);
            Ok(Packed { name: in_file.to_owned(), tensor })
        };
        let codes = find(names.0, &[n_expert, n_out * step, n_in / 32, 16])?;
        let exponents = find(names.1, &[n_expert, n_out * step, n_in / 32])?;
        Ok(SourceRows::mxfp4([codes, exponents], (first, step), (n_expert * n_out, n_in)))
    }

    fn is_shaped(&self, stored: &Stored<'_>, shape: &[usize]) -> bool {
        stored.shape() == shape || self.dialect.is_same(stored.shape(), shape)
    }

    fn check_shape(&self, stored: &Stored<'_>, name: &str, piece: &Piece, slot: &Slot) -> Result<()> {
        let shape = &piece.shape;
        if self.is_shaped(stored, shape) {
            return Ok(());
        }
        if let (Role::TokenEmbd, &[n_rows, n_embd]) = (slot.id.role, stored.shape())
            && n_embd == self.spec.n_embd
        {
            let what = format!(
                "vocab_size is {}, but the embedding ({name} in {}) has {n_rows} rows; both must be the same",
                self.spec.n_vocab,
                stored.path().display()
            );
            return Err(Error::malformed(self.checkpoint.config().path(), what));
        }
        let what = format!(
            "tensor {name} has shape {:?}, but config.json makes it {shape:?} ({} in GGUF)",
            stored.shape(),
            slot.id
        );
        Err(Error::malformed(stored.path(), what))
    }

    /// Whether this is a model without its head, as its class says, or what stands behind it: the tensors of `source`,
    /// which would be the head's, are not there.
    fn is_headless(&self, source: &Source) -> bool {
        let Source::Pieces(pieces, _) = source else { return false };
        let is_there =
            pieces.iter().flat_map(|piece| &piece.names).any(|name| self.names.find(name).is_some());
        let classes = self.checkpoint.config().strings("architectures").ok().flatten().unwrap_or_default();
        let is_base = |class: &&str| class.ends_with("Model") && !class.ends_with("LMHeadModel");
        !is_there && (classes.iter().any(is_base) || self.checkpoint.modules().pooling.is_some())
    }

    fn missing(&self, name: &str, slot: &Slot) -> Error {
        let is_bias = name.ends_with(".bias");
        let hint = match slot.id.role {
            Role::Output => {
                "if the output shares the embedding, config.json must say \"tie_word_embeddings\": true"
                    .into()
            }
            _ if is_bias => "if the model has no such biases, config.json must not say that it has".into(),
            _ => {
                self.names.instead_of(name).unwrap_or_else(|| "a part of the download may be missing".into())
            }
        };
        let what = format!("tensor {name} is missing ({} in GGUF); {hint}", slot.id);
        Error::malformed(self.checkpoint.dir(), what)
    }

    /// Refuses what the checkpoint has and the family does not use: a model without it would be
    /// another one.
    fn refuse_leftovers(
        &self,
        family: &Family,
        used: &HashSet<&str>,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let is_computed = |name: &str| other_parts::is_computed(name, self.checkpoint);
        let is_key = |name: &str| family.names.in_keys.iter().any(|ending| name.ends_with(ending));
        let is_used = |name: &str| used.contains(name) || is_computed(name) || is_key(name);
        let leftover = self.names.in_file().filter(|&name| !is_used(name));
        let is_left_out = |name: &&str| {
            other_parts::is_left_out(name, self.spec, &family.names)
                || other_parts::is_image_norm(name, self.names.in_file())
        };
        let (left_out, leftover): (Vec<&str>, Vec<&str>) = leftover.partition(is_left_out);
        warnings.extend(other_parts::note(&left_out));
        let Some(first) = leftover.first() else { return Ok(()) };
        if let Some(method) = self.checkpoint.quantization_method() {
            return Err(quantised(self.checkpoint, &method, first));
        }
        let n = leftover.len();
        let biases = if leftover.iter().any(|name| name.ends_with(".bias")) {
            ". Biases count if config.json says \"attention_bias\": true, or \"mlp_bias\": true"
        } else {
            ""
        };
        let what = format!(
            "{} no place in the {} architecture as config.json describes the model: {}{biases}. To \
             leave tensors out, name them: gguf-convert --ignore-tensor REGEX",
            if n == 1 { "1 tensor has".to_owned() } else { format!("{n} tensors have") },
            family.gguf_name,
            printable::first_few(leftover, MAX_LISTED),
        );
        Err(Error::unsupported(self.checkpoint.dir(), what))
    }
}

/// Refuses codes: without the scales that a packed tensor brings along, they stand for no weights.
fn check_elements(stored: &Stored<'_>, name: &str) -> Result<()> {
    let Stored::Plain(view) = stored else { return Ok(()) };
    if view.dtype.is_float() {
        return Ok(());
    }
    let what = format!(
        "tensor {} has elements of {}, and no scales beside it that say what weights they stand for: it was \
         quantised in a way that is not known, or saved without its scales; use the original F32, F16 or BF16 \
         checkpoint",
        name.escape_debug(),
        view.dtype
    );
    Err(Error::unsupported(view.path(), what))
}

/// The number that a checkpoint keeps as the tensor `name`; a base model's have no prefix.
///
/// # Errors
/// [`Error::Malformed`] for a tensor of several elements, [`Error::Io`] if it cannot be read.
pub(super) fn scalar(checkpoint: &Checkpoint, name: &str) -> Result<Option<f32>> {
    let bare = name.strip_prefix("model.").unwrap_or(name);
    let view = match checkpoint.tensor(name)? {
        Some(view) => view,
        None => match checkpoint.tensor(bare)? {
            Some(view) => view,
            None => return Ok(None),
        },
    };
    if view.shape.iter().product::<usize>() != 1 || !view.dtype.is_plain_float() {
        let (shape, dtype) = (view.shape, view.dtype);
        let what = format!("tensor {name} has shape {shape:?} and elements of {dtype}; it must be one float");
        return Err(Error::malformed(view.path(), what));
    }
    let (mut bytes, mut number) = (vec![0; view.dtype.bytes_of(1)], [0.0]);
    view.read_at(0, &mut bytes)?;
    decode_source(view.dtype, &bytes, &mut number);
    Ok(Some(number[0]))
}

/// The whole numbers that a checkpoint keeps as the row `name`; a base model's have no prefix, and those of a model that
/// sees another.
///
/// # Errors
/// [`Error::Malformed`] for a tensor of other elements or of more than a row, [`Error::Io`] if it cannot be read.
pub(super) fn integers(checkpoint: &Checkpoint, name: &str) -> Result<Option<Vec<i64>>> {
    let bare = name.strip_prefix("model.").unwrap_or(name);
    let names = [name.to_owned(), bare.to_owned(), format!("model.language_model.{bare}")];
    let mut found = None;
    for name in &names {
        found = found.or(checkpoint.tensor(name)?);
    }
    let Some(view) = found else { return Ok(None) };
    let n = view.n_elements();
    if n > limits::MAX_NGRAM_HASHES || view.dtype != SourceType::I64 {
        let (shape, dtype) = (view.shape, view.dtype);
        let what = format!(
            "tensor {name} has shape {shape:?} and elements of {dtype}, and a row of I64 is needed; download it again"
        );
        return Err(Error::malformed(view.path(), what));
    }
    let mut bytes = vec![0; view.dtype.bytes_of(n)];
    view.read_at(0, &mut bytes)?;
    Ok(Some(bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()))
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

/// Names the patterns that no tensor matched: most likely a slip.
fn unused_patterns(tensors: &Tensors<'_>, ignored: &[Regex]) -> Vec<String> {
    let is_unused = |pattern: &&Regex| !tensors.names().any(|name| pattern.is_match(name));
    let warning = |pattern: &Regex| format!("--ignore-tensor {pattern} matches no tensor of the checkpoint");
    ignored.iter().filter(is_unused).map(warning).collect()
}
