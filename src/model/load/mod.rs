//! The weights of a model, found in a GGUF file by the slots of its spec.
//!
//! Everything is checked here, once: presence, shape and type of each tensor. Matrices stay in the
//! mapped file; norm weights and biases, a few kilobytes a layer, are decoded to `f32`.

mod altup;
mod checks;
mod ffn;
mod hyper;
mod left_out;
mod mla;
mod parts;
mod pooled;
mod recurrent;
mod rwkv;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use gguf_simd::Kernels;

pub(crate) use self::left_out::is_of_other_part;
use self::left_out::{is_expert_apart, is_left_out};
use super::adapter::{Adapter, Adapters};
use super::layer::pooled::Pooled;
use super::layer::{AltUpEnds, Hyper, Layer, Norm, PerLayerEmbedding};
use super::rope::FrequenciesByContext;
use super::spec::layer::NormSpec;
use super::spec::{ModelSpec, Presence, Promises, Role, Side, Slot, Suffix, TensorId, slots};
use super::weights::{Linear, LowRank, Matrix, NewBlocks, Stack, TensorSource};
use crate::error::{Error, Result};
use crate::gguf::{GgmlType, GgufFile, TensorInfo, floats_of_f64s};

/// The weights of a decoder.
#[derive(Debug)]
pub(super) struct Weights {
    /// `[n_vocab, n_embd]`.
    pub(super) token_embd: Matrix,
    /// What adapters add to its rows.
    pub(super) embedding_added: Vec<LowRank>,
    pub(super) embed_norm: Option<Norm>,
    /// `[n_positions, n_embd]`.
    pub(super) position_embd: Option<Matrix>,
    /// `[n_types, n_embd]`.
    pub(super) token_types: Option<Matrix>,
    pub(super) per_layer: Option<PerLayerEmbedding>,
    /// How several streams of a token begin and end.
    pub(super) altup: Option<AltUpEnds>,
    /// How those that hyper-connections mix become one.
    pub(super) hyper_end: Option<Hyper>,
    /// Of each rotary embedding.
    pub(super) frequencies: Vec<FrequenciesByContext>,
    pub(super) layers: Vec<Layer>,
    pub(super) output_norm: Option<Norm>,
    /// `[n_vocab, n_embd]`: the embedding itself where they are tied; `None` for an encoder.
    pub(super) output: Option<Linear>,
    pub(super) pooled: Pooled,
}

impl Weights {
    /// Finds and checks the weights of the model that `arch` calls `spec`, with `replaced` blocks in the place of
    /// some of the file's, and `adapters`.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming a tensor that is missing or has another shape than the
    /// hyperparameters or an adapter say, [`Error::Unsupported`] naming one that has a type without kernels or is no
    /// part of the architecture.
    pub(super) fn load(
        file: &GgufFile,
        arch: &str,
        spec: &ModelSpec,
        replaced: Option<&HashMap<String, NewBlocks>>,
        adapters: &[Adapter],
    ) -> Result<Self> {
        let adapters = Adapters::new(adapters, arch)?;
        let loader = Loader { replaced, adapters, ..Loader::new(file, arch, spec)? };
        let token_embd = loader.matrix(Role::TokenEmbd, None)?;
        let shape = [token_embd.n_out(), token_embd.n_in()];
        let name = TensorId::weight(Role::TokenEmbd, None).gguf_name();
        let embedding_added = loader.adapters.of_embedding(&name, &shape)?;
        let output = match loader.find(TensorId::weight(Role::Output, None)) {
            Some(_) => Some(loader.linear(Role::Output, None)?),
            None if spec.head.has_logits => {
                let name = TensorId::weight(Role::Output, None).gguf_name();
                let added = loader.adapters.of(&name, &shape)?;
                let bias = loader.bias(Role::Output, None)?;
                let scale = loader.scale(Role::Output, None)?;
                Some(Linear { added, bias, scale, ..Linear::plain(token_embd.clone()) })
            }
            None => None,
        };
        let embed = &spec.embed;
        let per_layer = embed.per_layer.map(|of| {
            Ok::<_, Error>(PerLayerEmbedding {
                table: loader.matrix(Role::PerLayerTokenEmbd, None)?,
                projection: loader.linear(Role::PerLayerModelProj, None)?,
                norm: loader.norm(Role::PerLayerProjNorm, None, (of.norm, of.n_embd))?,
            })
        });
        let norm = |role, norm| loader.norm(role, None, (norm, spec.n_embd));
        let weights = Self {
            token_embd,
            embedding_added,
            embed_norm: embed.norm.map(|of| norm(Role::TokenEmbdNorm, of)).transpose()?,
            position_embd: embed.n_positions.map(|_| loader.matrix(Role::PositionEmbd, None)).transpose()?,
            token_types: loader
                .has(Role::TokenTypes, None)
                .then(|| loader.matrix(Role::TokenTypes, None))
                .transpose()?,
            per_layer: per_layer.transpose()?,
            altup: embed.altup.map(|of| loader.altup_ends(of, spec.n_embd)).transpose()?,
            hyper_end: embed.hyper.map(|of| loader.hyper_end(&of)).transpose()?,
            frequencies: spec.ropes.iter().map(|rope| loader.frequencies(rope)).collect::<Result<_>>()?,
            layers: (0..spec.n_layer())
                .map(|i| loader.layer(i, &spec.layers[i], spec.n_embd))
                .collect::<Result<_>>()?,
            output_norm: spec.head.norm.map(|of| norm(spec.head.norm_role, of)).transpose()?,
            output,
            pooled: loader.pooled(spec)?,
        };
        loader.adapters.check_all_used()?;
        loader.check_all_asked_for()?;
        Ok(weights)
    }
}

impl Weights {
    /// Loads layer `i` again, with `replaced` blocks in the place of some of the file's.
    ///
    /// # Errors
    /// As [`Weights::load`].
    pub(super) fn reload_layer(
        &mut self,
        file: &GgufFile,
        (arch, spec): (&str, &ModelSpec),
        i: usize,
        replaced: &HashMap<String, NewBlocks>,
    ) -> Result<()> {
        let loader = Loader { replaced: Some(replaced), ..Loader::new(file, arch, spec)? };
        self.layers[i] = loader.layer(i, &spec.layers[i], spec.n_embd)?;
        Ok(())
    }
}

/// Checks that a file has the tensors of a model, in their shapes and of types that can be computed with, without a look
/// at what is in them.
///
/// # Errors
/// As loading the weights gives.
pub fn check_tensors(file: &GgufFile, arch: &str, spec: &ModelSpec) -> Result<()> {
    let loader = Loader::new(file, arch, spec)?;
    let required =
        slots(spec, &Promises::default()).into_iter().filter(|slot| slot.presence == Presence::Required);
    required.map(|slot| slot.id).try_for_each(|id| loader.required(id).map(drop))
}

/// The tensors of a file by the parts they play.
pub(super) struct Loader<'a> {
    file: &'a GgufFile,
    /// Blocks that take the place of those of the file.
    replaced: Option<&'a HashMap<String, NewBlocks>>,
    adapters: Adapters<'a>,
    found: HashMap<TensorId, &'a TensorInfo>,
    /// Which layers the model's are in the file.
    side: Side,
    /// Whether the table of the second embedding may have more rows than are looked up.
    has_spare_rows: bool,
    /// Those of `found` that a part was made of.
    asked_for: RefCell<HashSet<TensorId>>,
}

impl<'a> Loader<'a> {
    fn new(file: &'a GgufFile, arch: &str, spec: &ModelSpec) -> Result<Self> {
        let by_name: HashMap<&str, &TensorInfo> =
            file.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let (adapters, found) = (Adapters::default(), HashMap::new());
        let has_spare_rows = spec.layers.iter().any(|layer| layer.ngram.is_some());
        let asked_for = RefCell::default();
        let side = spec.side;
        let mut loader = Self { file, replaced: None, adapters, found, side, has_spare_rows, asked_for };
        loader.check_types()?;
        let mut known = HashSet::new();
        for slot in slots(spec, &Promises::default()) {
            loader.take(&slot, &by_name, &mut known)?;
        }
        let is_left =
            |tensor: &&TensorInfo| !known.contains(&tensor.name) && !is_left_out(&tensor.name, spec);
        match file.tensors().iter().find(is_left) {
            None => Ok(loader),
            Some(TensorInfo { name, .. }) if is_expert_apart(name) => Err(loader.unsupported(format!(
                "tensor {name} is that of one expert: files from before April 2024 keep experts apart; \
                 get a newer file of this model, or convert its checkpoint"
            ))),
            Some(TensorInfo { name, .. }) => Err(loader.unsupported(format!(
                "tensor {name} is not part of the {arch} architecture as this program knows it; if the model is complete \
                 without it, make a file that lacks it: gguf-convert {} --type KEEP --ignore-tensor REGEX",
                file.path().display()
            ))),
        }
    }

    /// Takes the tensor of a slot, if it is there, with the scale it may have.
    fn take(
        &mut self,
        slot: &Slot,
        by_name: &HashMap<&str, &'a TensorInfo>,
        known: &mut HashSet<String>,
    ) -> Result<()> {
        let name = slot.id.gguf_name();
        if let Some(&tensor) = by_name.get(name.as_str()) {
            self.check_shape(slot, tensor)?;
            self.found.insert(slot.id, tensor);
        }
        known.insert(name);
        // The scale of a router is one of its input, and a slot of its own.
        if slot.id.suffix != Suffix::Weight || slot.shape.len() < 2 || slot.id.role == Role::FfnGateInp {
            return Ok(());
        }
        let id = TensorId { suffix: Suffix::Scale, ..slot.id };
        let name = id.gguf_name();
        if let Some(&tensor) = by_name.get(name.as_str()) {
            let n = if slot.id.role.is_expert_stack() { slot.shape[0] } else { 1 };
            self.check_shape(&Slot { id, shape: vec![n], presence: slot.presence }, tensor)?;
            self.found.insert(id, tensor);
        }
        known.insert(name);
        // Scales of activations, of computing with fewer bits than here.
        known.insert(format!("{}.input_scale", id.gguf_name().trim_end_matches(".scale")));
        Ok(())
    }

    pub(super) fn find(&self, id: TensorId) -> Option<&'a TensorInfo> {
        let id = id.on(self.side);
        let found = self.found.get(&id).copied();
        self.asked_for.borrow_mut().extend(found.map(|_| id));
        found
    }

    /// Whether the weights in a role are there.
    pub(super) fn has(&self, role: Role, layer: Option<usize>) -> bool {
        self.find(TensorId::weight(role, layer)).is_some()
    }

    fn required(&self, id: TensorId) -> Result<&'a TensorInfo> {
        self.find(id).ok_or_else(|| self.malformed(format!("tensor {} is missing", id.on(self.side))))
    }

    /// A norm of rows of `n` elements.
    pub(super) fn norm(
        &self,
        role: Role,
        layer: Option<usize>,
        (spec, n): (NormSpec, usize),
    ) -> Result<Norm> {
        if !spec.has_weight {
            return Ok(Norm { spec, weight: vec![1.0; n], bias: None });
        }
        let bias = self.find(TensorId::bias(role, layer)).map(|tensor| self.decode(tensor)).transpose()?;
        Ok(Norm { spec, weight: self.values(spec.weights(role, layer))?, bias })
    }

    pub(super) fn linear(&self, role: Role, layer: Option<usize>) -> Result<Linear> {
        let bias = self.find(TensorId::bias(role, layer)).map(|tensor| self.decode(tensor)).transpose()?;
        let scale = self.scale(role, layer)?;
        let added = self.added(role, layer)?;
        Ok(Linear { matrix: self.matrix(role, layer)?, bias, scale, added })
    }

    /// What the products of the matrix in `role` are multiplied by, if there is such a number.
    fn scale(&self, role: Role, layer: Option<usize>) -> Result<Option<f32>> {
        if role == Role::FfnGateInp {
            return Ok(None);
        }
        let id = TensorId { suffix: Suffix::Scale, ..TensorId::weight(role, layer) };
        let scale = self.find(id).map(|tensor| self.decode(tensor)).transpose()?;
        Ok(scale.map(|scale| scale[0]))
    }

    /// A stack of experts whose matrices have `n_out` rows.
    pub(super) fn stack(&self, role: Role, layer: Option<usize>, n_out: usize) -> Result<Stack> {
        let matrix = self.matrix(role, layer)?;
        let of = |suffix| {
            let id = TensorId { suffix, ..TensorId::weight(role, layer) };
            self.find(id).map(|tensor| self.decode(tensor)).transpose()
        };
        let (bias, scale) = (of(Suffix::Bias)?, of(Suffix::Scale)?);
        let added = if role.is_expert_stack() { self.added(role, layer)? } else { Vec::new() };
        Ok(Stack { bias, scale, added, ..Stack::plain(matrix, n_out) })
    }

    /// What adapters add to the products of the matrix in `role`.
    fn added(&self, role: Role, layer: Option<usize>) -> Result<Vec<LowRank>> {
        let tensor = self.required(TensorId::weight(role, layer))?;
        if tensor.shape.len() < 2 { Ok(Vec::new()) } else { self.adapters.of(&tensor.name, &tensor.shape) }
    }

    /// The matrix in `role`; the experts of a stack follow one another as rows.
    pub(super) fn matrix(&self, role: Role, layer: Option<usize>) -> Result<Matrix> {
        let tensor = self.required(TensorId::weight(role, layer))?;
        let new = self.replaced.and_then(|replaced| replaced.get(&tensor.name));
        if tensor.ty == GgmlType::F64 && new.is_none() {
            return Err(self.unsupported(format!(
                "tensor {} is a matrix of F64, which this program does not compute with; convert the file: gguf-convert {} \
                 --type F32, or another type",
                tensor.name,
                self.file.path().display()
            )));
        }
        let matrix = match (tensor.shape.as_slice(), tensor.ty.block_type(), new) {
            (&[ref outer @ .., n_in], _, Some(new)) => {
                let source = TensorSource::Owned(Arc::clone(&new.bytes));
                Matrix::new(source, 0, new.block_type, [outer.iter().product(), n_in])
            }
            (&[ref outer @ .., n_in], Some(block_type), None) => {
                let n_out = outer.iter().product();
                Matrix::new(self.mapped(), tensor.offset, block_type, [n_out, n_in])
            }
            _ => None,
        };
        matrix
            .ok_or_else(|| self.malformed(format!("tensor {} is not a matrix of whole blocks", tensor.name)))
    }

    fn mapped(&self) -> TensorSource {
        TensorSource::Mapped(Arc::clone(self.file.mapped_file()))
    }

    /// The values of a tensor, as floats.
    pub(super) fn values(&self, id: TensorId) -> Result<Vec<f32>> {
        self.decode(self.required(id)?)
    }

    /// The vector in `role`, as floats.
    pub(super) fn vector(&self, role: Role, layer: Option<usize>) -> Result<Vec<f32>> {
        self.decode(self.required(TensorId::weight(role, layer))?)
    }

    /// The bias in `role`, if there is one.
    pub(super) fn bias(&self, role: Role, layer: Option<usize>) -> Result<Option<Vec<f32>>> {
        self.find(TensorId::bias(role, layer)).map(|tensor| self.decode(tensor)).transpose()
    }

    fn decode(&self, tensor: &TensorInfo) -> Result<Vec<f32>> {
        let n = tensor.n_elements();
        let bytes = self.file.bytes(tensor);
        match tensor.ty.block_type() {
            None if tensor.ty == GgmlType::F64 && bytes.len() == 8 * n => {
                let mut values = vec![0.0; n];
                floats_of_f64s(bytes, &mut values);
                Ok(values)
            }
            Some(block_type) if block_type.row_bytes(n) == Some(bytes.len()) => {
                let mut values = vec![0.0; n];
                Kernels::best().decode(block_type, bytes, &mut values);
                Ok(values)
            }
            _ => Err(self.malformed(format!("tensor {} is not a row of whole blocks", tensor.name))),
        }
    }

    pub(super) fn malformed(&self, what: String) -> Error {
        Error::malformed(self.file.path(), what)
    }

    fn unsupported(&self, what: String) -> Error {
        Error::unsupported(self.file.path(), what)
    }
}
