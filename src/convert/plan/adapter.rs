//! Plans of GGUF adapters: the matrices of PEFT adapters in the order that the model's rows have there.

use std::collections::{BTreeMap, BTreeSet};

use gguf_simd::BlockType;

use super::config::{self, Read};
use super::{Files, Input, Plan, PlanOptions, Planned};
use crate::checkpoint::{Adapter, Change, Checkpoint, LowRank, TensorView};
use crate::convert::FileType;
use crate::convert::names::Names;
use crate::convert::naming::{ModelName, file_stem, folder_identifier};
use crate::convert::stored::{Scratch, Stored, Tensors};
use crate::convert::transform::{Part, SourceRows};
use crate::error::{Error, Result};
use crate::gguf::{DEFAULT_ALIGNMENT, PlannedTensor, Value};
use crate::model::arch::{Piece, RowMap, Source, ValueMap, rows_and_columns};
use crate::model::spec::{Role, Slot, slots};

/// Elements compared at a time.
const COMPARED_ELEMENTS: usize = 1 << 18;

/// The two matrices of one tensor, each with its shape.
struct Pair<'a> {
    name: String,
    a: (Vec<usize>, SourceRows<'a>),
    b: (Vec<usize>, SourceRows<'a>),
}

/// An adapter and what it changes, by the base's names.
struct Changes<'a> {
    adapter: &'a Adapter,
    of: BTreeMap<String, LowRank<'a>>,
    /// Those of them that have a place in the file.
    placed: BTreeSet<String>,
    /// What all products are multiplied with, times their rank.
    alpha: f32,
}

impl<'a> Plan<'a> {
    /// Decides the writing of `checkpoint`'s adapter alone, without the model.
    ///
    /// # Errors
    /// As [`Plan::new`]; [`Error::Usage`] if there is not one adapter, or the type is not one of floats;
    /// [`Error::Unsupported`] for an adapter that is more than products of low rank.
    pub fn of_adapter(checkpoint: &'a Checkpoint, options: &PlanOptions) -> Result<Self> {
        let [adapter] = checkpoint.adapters() else {
            return Err(Error::usage("an adapter alone is made of one --lora; give the folder of one"));
        };
        let ty = match options.file_type {
            FileType::F32 => BlockType::F32,
            FileType::F16 => BlockType::F16,
            FileType::BF16 => BlockType::BF16,
            other => {
                let what = format!("an adapter is written as F32, F16 or BF16, and not as {other}");
                return Err(Error::usage(what));
            }
        };
        let mut warnings = checkpoint.notes().to_vec();
        let read = config::read(checkpoint, &options.ignored, None, &mut warnings)?;
        let Read { family, configured, stored: tensors, .. } = read;
        let (ignored, place) = (&options.ignored, (&tensors, checkpoint.dir()));
        let names = Names::of(place, family.names.base_prefix, ignored, &mut Vec::new())?;
        if adapter.scale() == 0.0 {
            return Err(Error::usage(
                "an adapter alone that is applied 0 times adds nothing; give it another scale",
            ));
        }
        let mut changes = Changes::of(adapter, (&tensors, &names))?;
        let mut promises = configured.promises;
        promises.is_tied = Some(false);
        let mut pairs = Vec::new();
        for slot in slots(&configured.spec, &promises) {
            let Some(source) = family.source_of(&configured.spec, checkpoint.config(), &slot)? else {
                continue;
            };
            let find = |name: &str| names.find(name).unwrap_or(name).to_owned();
            pairs.extend(changes.pair(&slot, &source, &find)?);
        }
        if let Some(name) = changes.of.keys().find(|name| !changes.placed.contains(*name)) {
            let what = format!(
                "the adapter changes {}, which the base in {} does not have, or which a GGUF adapter cannot change; merge it \
                 instead (without --adapter-only)",
                name.escape_debug(),
                checkpoint.dir().display()
            );
            return Err(Error::unsupported(adapter.shard().path(), what));
        }
        let (tensors, rows): (Vec<_>, Vec<_>) = pairs.into_iter().flat_map(|pair| pair.planned(ty)).unzip();
        let identifier = folder_identifier(adapter.dir());
        let name = options.name.clone().unwrap_or_else(|| ModelName::parse(&identifier).name);
        let metadata = metadata(family.gguf_name, &name, options.file_type, changes.alpha);
        let files = Files::new(metadata, tensors, DEFAULT_ALIGNMENT, options.max_file_bytes)?;
        let planned = |rows| Planned { rows, instead_of: None, importance: None, error: None };
        Ok(Self {
            file_type: options.file_type,
            name,
            file_stem: options.named(&file_stem(&identifier)),
            spec: configured.spec,
            files,
            sources: rows.into_iter().map(planned).collect(),
            warnings,
            is_requantised: false,
            is_packed: false,
            scale_search: options.scale_search,
            input: Input::Checkpoint(checkpoint),
        })
    }
}

impl<'a> Changes<'a> {
    fn of(adapter: &'a Adapter, (tensors, names): (&Tensors<'_>, &Names<'_>)) -> Result<Self> {
        let (mut of, mut alpha) = (BTreeMap::new(), None);
        for (name, change) in adapter.changes()? {
            let whole = |what: &str| {
                let what = format!(
                    "the adapter {what} of {}, which a GGUF adapter cannot hold; merge it instead (without --adapter-only)",
                    name.escape_debug()
                );
                Err(Error::unsupported(adapter.shard().path(), what))
            };
            let low_rank = match change {
                // PEFT saves embeddings that it adapts with their base.
                Change::Replaced(view) if is_in_base(&view, (tensors, names), &name)? => continue,
                Change::Replaced(_) => return whole("has another tensor in the place"),
                Change::Rows(_) => return whole("has rows in the place of some"),
                Change::Experts(_) => return whole("changes all experts"),
                Change::Added(low_rank) if low_rank.magnitude.is_some() => {
                    return whole("is a DoRA, with lengths for the rows");
                }
                Change::Added(low_rank) => low_rank,
            };
            let own = low_rank.scale * low_rank.b.shape[1] as f32;
            alpha = alpha.or(Some(own).filter(|&alpha| alpha != 0.0));
            of.insert(names.find_changed(&name).unwrap_or(&name).to_owned(), low_rank);
        }
        // Of an adapter that changes nothing the matrices become zeros.
        Ok(Self { adapter, of, placed: BTreeSet::new(), alpha: alpha.unwrap_or(1.0) })
    }

    fn unsupported(&self, slot: &Slot, why: &str) -> Error {
        let what = format!("the adapter of {} {why}; merge it instead (without --adapter-only)", slot.id);
        Error::unsupported(self.adapter.shard().path(), what)
    }

    /// The matrices of the tensor that `slot` is for, if it is adapted.
    fn pair(
        &mut self,
        slot: &Slot,
        source: &Source,
        find: &dyn Fn(&str) -> String,
    ) -> Result<Option<Pair<'a>>> {
        let (pieces, values) = match source {
            Source::Pieces(pieces, values) if slot.shape.len() > 1 => (pieces, *values),
            Source::Either(first, second) => {
                return Ok(match self.pair(slot, first, find)? {
                    Some(pair) => Some(pair),
                    None => self.pair(slot, second, find)?,
                });
            }
            _ => return Ok(None),
        };
        let Some(low_ranks) = self.place(slot, pieces, find)? else { return Ok(None) };
        let (rank, is_turned) = (low_ranks[0].b.shape[1], low_ranks[0].is_turned);
        let factor = low_ranks[0].scale * rank as f32 / self.alpha;
        let factor = match values {
            ValueMap::Same => factor,
            ValueMap::Times(times) => factor * times,
            _ => return Err(self.unsupported(slot, "is of rows that are changed otherwise there")),
        };
        let (n_out, n_in) = rows_and_columns(&slot.shape[slot.shape.len() - 2..]);
        let outer = &slot.shape[..slot.shape.len() - 2];
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for (low_rank, piece) in low_ranks.iter().zip(pieces) {
            if low_rank.shape() != *piece.shape {
                return Err(self.other_model(slot, low_rank, piece));
            }
            let rows = rows_of(piece.rows, is_turned).ok_or_else(|| {
                self.unsupported(
                    slot,
                    "is of a matrix whose rows are arranged in a way that it cannot follow",
                )
            })?;
            let is_embedding = slot.id.role == Role::TokenEmbd;
            // An embedding's input is an id: its columns are what is looked up.
            let rows_of_a = if is_embedding { columns(n_out) } else { rows.0 };
            let name = slot.id.gguf_name();
            let part = |stored, n_rows, rows| Part {
                name: name.clone(),
                stored: Stored::Plain(stored),
                n_rows,
                rows,
            };
            a.push(part(low_rank.a, if is_embedding { n_out } else { rank }, rows_of_a));
            b.push(part(low_rank.b, if is_embedding { n_in } else { n_out }, rows.1));
        }
        let [shape_of_a, shape_of_b] = match slot.id.role {
            Role::TokenEmbd => [vec![n_out, rank], vec![n_in, rank]],
            _ => [[outer, &[rank, n_in]].concat(), [outer, &[n_out, rank]].concat()],
        };
        // The rank decides what alpha comes to: what differs from it is put into one of the two.
        let times = if (factor - 1.0).abs() < 1e-6 { ValueMap::Same } else { ValueMap::Times(factor) };
        let n_in_of_a = shape_of_a[shape_of_a.len() - 1];
        Ok(Some(Pair {
            name: slot.id.gguf_name(),
            a: (shape_of_a, SourceRows::from_checkpoint(a, ValueMap::Same, n_in_of_a)),
            b: (shape_of_b, SourceRows::from_checkpoint(b, times, rank)),
        }))
    }

    /// What is added to the pieces of a tensor; `None` if nothing is. A module may be cut into several tensors.
    fn place(
        &mut self,
        slot: &Slot,
        pieces: &[Piece],
        find: &dyn Fn(&str) -> String,
    ) -> Result<Option<Vec<LowRank<'a>>>> {
        let key_of =
            |piece: &Piece| piece.names.iter().map(|name| find(name)).find(|name| self.of.contains_key(name));
        let keys: Vec<Option<String>> = pieces.iter().map(key_of).collect();
        if keys.iter().all(Option::is_none) {
            return Ok(None);
        }
        let is_stack = slot.shape.len() == 3 && pieces.len() == slot.shape[0];
        if pieces.len() > 1 && !is_stack {
            return Err(self.unsupported(slot, "is of one of several matrices that are joined there"));
        }
        let Some(keys) = keys.into_iter().collect::<Option<Vec<String>>>() else {
            return Err(self.unsupported(slot, "is of some experts only"));
        };
        let low_ranks: Vec<LowRank<'a>> = keys.iter().map(|key| self.of[key]).collect();
        self.placed.extend(keys);
        let first = &low_ranks[0];
        let is_alike =
            |other: &LowRank<'_>| other.b.shape[1] == first.b.shape[1] && other.scale == first.scale;
        if !low_ranks.iter().all(is_alike) {
            return Err(self.unsupported(slot, "is of several ranks or scales"));
        }
        Ok(Some(low_ranks))
    }

    fn other_model(&self, slot: &Slot, low_rank: &LowRank<'_>, piece: &Piece) -> Error {
        let what = format!(
            "the adapter changes a matrix of shape {:?}, but {} in the base has shape {:?}: it was trained on another model",
            low_rank.shape(),
            slot.id,
            piece.shape
        );
        Error::malformed(self.adapter.shard().path(), what)
    }
}

impl<'a> Pair<'a> {
    fn planned(self, ty: BlockType) -> [(PlannedTensor, SourceRows<'a>); 2] {
        let of = |end: &str, (shape, rows)| {
            (PlannedTensor { name: format!("{}.{end}", self.name), shape, ty: ty.into() }, rows)
        };
        [of("lora_a", self.a), of("lora_b", self.b)]
    }
}

/// Whether the base has the same values as the tensor `name`.
fn is_in_base(
    view: &TensorView<'_>,
    (tensors, names): (&Tensors<'_>, &Names<'_>),
    name: &str,
) -> Result<bool> {
    let base = names.find_changed(name).map(|name| tensors.get(name)).transpose()?.flatten();
    let Some(base) = base.filter(|base| base.shape() == view.shape) else { return Ok(false) };
    let own = Stored::Plain(*view);
    let mut values = [vec![0.0; COMPARED_ELEMENTS], vec![0.0; COMPARED_ELEMENTS]];
    let (mut scratch, mut steps) = (Scratch::default(), Vec::new());
    for first in (0..view.n_elements()).step_by(COMPARED_ELEMENTS) {
        let n = COMPARED_ELEMENTS.min(view.n_elements() - first);
        let [of_base, of_own] = &mut values;
        base.read(first, &mut of_base[..n], &mut steps, &mut scratch)?;
        own.read(first, &mut of_own[..n], &mut steps, &mut scratch)?;
        if of_base[..n] != of_own[..n] {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where the rows of the two matrices lie if those of the base's matrix are moved so; `None` where they cannot
/// follow.
fn rows_of(rows: RowMap, is_turned: bool) -> Option<(RowMap, RowMap)> {
    match rows {
        RowMap::Same | RowMap::Pairs { .. } | RowMap::Strided { .. } | RowMap::Tiled { .. } => {
            Some((RowMap::Same, rows))
        }
        RowMap::TiledColumns { .. } if !is_turned => Some((rows, RowMap::Same)),
        // The columns of a turned matrix are rows of the second.
        RowMap::Columns { first, step, skipped: 0, .. } if is_turned => {
            Some((RowMap::Same, RowMap::Strided { first, run: 1, stride: step, pairs: None }))
        }
        _ => None,
    }
}

/// The columns of a matrix of `n` columns, as rows.
fn columns(n: usize) -> RowMap {
    RowMap::Columns { n_out: n, n_cols: n, first: 0, step: 1, skipped: 0 }
}

/// What a file of an adapter says of itself.
fn metadata(arch: &str, name: &str, file_type: FileType, alpha: f32) -> Vec<(String, Value)> {
    let text = |key: &str, value: &str| (key.to_owned(), Value::String(value.to_owned()));
    vec![
        text("general.architecture", arch),
        text("general.type", "adapter"),
        text("general.name", name),
        ("general.file_type".to_owned(), Value::U32(file_type.number())),
        text("adapter.type", "lora"),
        ("adapter.lora.alpha".to_owned(), Value::F32(alpha)),
    ]
}
