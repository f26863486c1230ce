//! GGUF adapters: files of products of low rank that are added to those of a model's matrices as it runs.
//!
//! For a tensor NAME such a file has `NAME.lora_a: [rank, n_in]` and `NAME.lora_b: [n_out, rank]`, a third dimension in
//! front for stacks of experts; of the embedding, whose input is an id, `lora_a` is `[n_vocab, rank]`. The product is
//! multiplied with `adapter.lora.alpha / rank`, or not where there is no alpha.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use gguf_simd::{BlockType, Kernels};

use super::weights::{LowRank, MAX_RANK, Matrix, TensorSource, takes_floats};
use crate::error::{Error, Result};
use crate::gguf::{GgufFile, TensorInfo};

/// The key of what files of adapters are adapted by.
const ALPHA: &str = "adapter.lora.alpha";

/// An opened adapter.
#[derive(Debug)]
pub struct Adapter {
    file: GgufFile,
    scale: f32,
    alpha: f32,
    /// The two tensors of each tensor of the model.
    pairs: BTreeMap<String, (usize, usize)>,
}

/// The adapters of a model that is loaded, and which of their tensors were asked for.
#[derive(Debug, Default)]
pub(super) struct Adapters<'a> {
    adapters: &'a [Adapter],
    asked_for: RefCell<BTreeSet<String>>,
}

impl Adapter {
    /// Opens the file at `path`, to be applied `scale` times.
    ///
    /// # Errors
    /// [`Error::Usage`] for a file that is not an adapter, [`Error::Unsupported`] for one of another kind than LoRA,
    /// [`Error::Malformed`] if its tensors do not come in pairs; as [`GgufFile::open`].
    pub fn open(path: &Path, scale: f32) -> Result<Self> {
        if path.is_dir() {
            let dir = path.display();
            return Err(Error::usage(format!(
                "{dir} is a folder, and an adapter to run is a GGUF file; to make one of a PEFT adapter: gguf-convert \
                 BASE --lora {dir} --adapter-only"
            )));
        }
        let file = GgufFile::open(path)?;
        let metadata = file.metadata();
        if metadata.string("general.type")? != Some("adapter") {
            let what = format!("{} is not an adapter: its general.type is not \"adapter\"", path.display());
            return Err(Error::usage(what));
        }
        let kind = metadata.string("adapter.type")?.unwrap_or_default();
        if kind != "lora" || metadata.contains("adapter.alora.invocation_tokens") {
            let kind = if kind == "lora" { "activated lora" } else { kind };
            let what = format!("an adapter of the kind \"{}\"; \"lora\" can be applied", kind.escape_debug());
            return Err(Error::unsupported(path, what));
        }
        let alpha = metadata.f32(ALPHA)?.unwrap_or(0.0);
        if !alpha.is_finite() {
            return Err(Error::malformed(path, format!("{ALPHA} is {alpha}; it must be a number")));
        }
        let pairs = pairs_of(&file)?;
        Ok(Self { alpha, pairs, scale, file })
    }

    /// The file.
    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    /// How many times it is applied.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    fn wrong(&self, what: String) -> Error {
        Error::malformed(self.file.path(), what)
    }

    /// What it adds to the tensor `name` of `shape`, `[n_out, n_in]` or `[n_expert, n_out, n_in]`; `None` if nothing.
    fn low_rank(&self, name: &str, shape: &[usize], is_embedding: bool) -> Result<Option<LowRank>> {
        let Some(&(a, b)) = self.pairs.get(name) else { return Ok(None) };
        let (a, b) = (&self.file.tensors()[a], &self.file.tensors()[b]);
        let rank = b.shape.last().copied().unwrap_or(0);
        let (outer, &[n_out, n_in]) = shape.split_at(shape.len() - 2) else {
            return Err(self.wrong(format!("{name} is not a matrix, and cannot be adapted")));
        };
        let expected = match is_embedding {
            false => [[outer, &[rank, n_in]].concat(), [outer, &[n_out, rank]].concat()],
            true => [vec![n_out, rank], vec![n_in, rank]],
        };
        if a.shape != expected[0] || b.shape != expected[1] {
            return Err(self.wrong(format!(
                "{name} has shape {shape:?} in the model, and the adapter matrices of shapes {:?} and {:?}: it was made for \
                 another model",
                a.shape, b.shape
            )));
        }
        if !(1..=MAX_RANK).contains(&rank) {
            return Err(Error::limit(format!(
                "{}: {name} is adapted with rank {rank}; ranks from 1 to {MAX_RANK} can be applied",
                self.file.path().display()
            )));
        }
        let scale = if self.alpha == 0.0 { self.scale } else { self.scale * self.alpha / rank as f32 };
        let (a, b) = (self.matrix(a)?, self.matrix(b)?);
        Ok(Some(LowRank { a, b, rank, scale, stride: n_out, first: 0 }))
    }

    /// A tensor as a matrix: in place in the file where products take floats, else decoded.
    fn matrix(&self, tensor: &TensorInfo) -> Result<Matrix> {
        let wrong = || self.wrong(format!("tensor {} is not a matrix of whole blocks", tensor.name));
        let [ref outer @ .., n_in] = tensor.shape[..] else { return Err(wrong()) };
        let shape = [outer.iter().product(), n_in];
        let ty = tensor.ty.block_type().ok_or_else(wrong)?;
        if takes_floats(ty) {
            let source = TensorSource::Mapped(Arc::clone(self.file.mapped_file()));
            return Matrix::new(source, tensor.offset, ty, shape).ok_or_else(wrong);
        }
        let bytes = self.file.bytes(tensor);
        if ty.row_bytes(n_in).and_then(|n| n.checked_mul(shape[0])) != Some(bytes.len()) {
            return Err(wrong());
        }
        let mut values = vec![0.0; shape[0] * n_in];
        Kernels::best().decode(ty, bytes, &mut values);
        let floats: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Matrix::new(TensorSource::Owned(Arc::new(floats)), 0, BlockType::F32, shape).ok_or_else(wrong)
    }
}

impl<'a> Adapters<'a> {
    /// Those that change anything of a model that is called `arch`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if one was made for another architecture.
    pub(super) fn new(adapters: &'a [Adapter], arch: &str) -> Result<Self> {
        for adapter in adapters {
            let of = adapter.file.metadata().required_string("general.architecture")?;
            if of != arch {
                let what = format!(
                    "the adapter is for the {} architecture, and the model is {arch}",
                    of.escape_debug()
                );
                return Err(Error::unsupported(adapter.file.path(), what));
            }
        }
        Ok(Self { adapters, asked_for: RefCell::default() })
    }

    /// What is added to the products of the tensor `name` of `shape`, `[n_out, n_in]` or `[n_expert, n_out, n_in]`.
    ///
    /// # Errors
    /// [`Error::Malformed`] for matrices that do not fit it.
    pub(super) fn of(&self, name: &str, shape: &[usize]) -> Result<Vec<LowRank>> {
        self.find(name, shape, false)
    }

    /// What is added to the rows of the embedding `name` of `shape`, `[n_vocab, n_embd]`.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(super) fn of_embedding(&self, name: &str, shape: &[usize]) -> Result<Vec<LowRank>> {
        self.find(name, shape, true)
    }

    fn find(&self, name: &str, shape: &[usize], is_embedding: bool) -> Result<Vec<LowRank>> {
        if self.adapters.is_empty() {
            return Ok(Vec::new());
        }
        self.asked_for.borrow_mut().insert(name.to_owned());
        let found = self.adapters.iter().map(|adapter| adapter.low_rank(name, shape, is_embedding));
        let found = found.filter_map(Result::transpose).collect::<Result<Vec<_>>>()?;
        // Adding zeros could turn a negative zero into a positive one.
        Ok(found.into_iter().filter(|part| part.scale != 0.0).collect())
    }

    /// Checks that nothing is left of the adapters.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming a tensor that the model does not have, or does not take products of.
    pub(super) fn check_all_used(&self) -> Result<()> {
        let asked_for = self.asked_for.borrow();
        for adapter in self.adapters {
            if let Some(name) = adapter.pairs.keys().find(|name| !asked_for.contains(*name)) {
                return Err(adapter.wrong(format!(
                    "the adapter changes {}, which this model does not have or which cannot be adapted as it runs; it may \
                     have been made for another model",
                    name.escape_debug()
                )));
            }
        }
        Ok(())
    }
}

/// The tensors of a file by the names that they adapt.
fn pairs_of(file: &GgufFile) -> Result<BTreeMap<String, (usize, usize)>> {
    let mut halves: BTreeMap<&str, [Option<usize>; 2]> = BTreeMap::new();
    for (i, tensor) in file.tensors().iter().enumerate() {
        let half = [".lora_a", ".lora_b"].iter().enumerate();
        let Some((half, name)) = half.filter_map(|(i, end)| Some((i, tensor.name.strip_suffix(end)?))).next()
        else {
            let what = format!(
                "tensor {} is not one of a LoRA, which cannot be applied",
                tensor.name.escape_debug()
            );
            return Err(Error::unsupported(file.path(), what));
        };
        halves.entry(name).or_default()[half] = Some(i);
    }
    halves
        .into_iter()
        .map(|(name, halves)| match halves {
            [Some(a), Some(b)] => Ok((name.to_owned(), (a, b))),
            _ => {
                let what = format!("{} has only one of lora_a and lora_b", name.escape_debug());
                Err(Error::malformed(file.path(), what))
            }
        })
        .collect()
}
