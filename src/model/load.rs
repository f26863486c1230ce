//! The weights of a model, found in a GGUF file by the specs of its family.
//!
//! Everything is checked here, once: presence, shape and type of each tensor. Matrices stay in the
//! mapped file; norm weights and biases, a few kilobytes a layer, are decoded to `f32`.

use std::collections::{HashMap, HashSet};

use gguf_simd::{BlockType, Kernels};

use super::arch::Family;
use super::hparams::Hparams;
use super::layer::ffn::{Experts, Gated};
use super::layer::{Attention, Ffn, Layer, Norm};
use super::spec::layer::{FfnSpec, GatedSpec, LayerSpec, NormSpec};
use super::spec::{Presence, Role, TensorSpec};
use super::weights::{Linear, Matrix};
use crate::error::{Error, Result};
use crate::gguf::{GgufFile, TensorInfo};

/// The weights of a decoder.
#[derive(Debug)]
pub(super) struct Weights {
    /// What every layer is.
    pub(super) spec: LayerSpec,
    /// `[n_vocab, n_embd]`.
    pub(super) token_embd: Matrix,
    /// `[n_dims / 2]`: divisors of the rotary frequencies.
    pub(super) rope_freqs: Option<Vec<f32>>,
    pub(super) layers: Vec<Layer>,
    pub(super) output_norm: Norm,
    /// `[n_vocab, n_embd]`: the embedding itself where they are tied.
    pub(super) output: Matrix,
}

impl Weights {
    /// Finds and checks the weights of a model of `family`.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming a tensor that is missing or has another shape than the
    /// hyperparameters say, [`Error::Unsupported`] naming one that has a type without kernels or is no
    /// part of the family.
    pub(super) fn load(file: &GgufFile, family: &Family, hparams: &Hparams) -> Result<Self> {
        let loader = Loader::new(file, family, hparams)?;
        let token_embd = loader.matrix(Role::TokenEmbd, None)?;
        let output = match loader.find(Role::Output, None) {
            Some(_) => loader.matrix(Role::Output, None)?,
            None => token_embd.clone(),
        };
        let spec = LayerSpec::new(hparams, family.wiring.rope, family.wiring.gate);
        let layers = (0..hparams.n_layer).map(|layer| loader.layer(layer, &spec)).collect::<Result<_>>()?;
        Ok(Self {
            token_embd,
            rope_freqs: loader.rope_freqs()?,
            layers,
            output_norm: loader.norm(Role::OutputNorm, None, spec.norm)?,
            output,
            spec,
        })
    }
}

/// The tensors of a file by the parts they play.
struct Loader<'a> {
    file: &'a GgufFile,
    found: HashMap<(Role, Option<usize>), &'a TensorInfo>,
}

impl<'a> Loader<'a> {
    fn new(file: &'a GgufFile, family: &Family, hparams: &Hparams) -> Result<Self> {
        let mut loader = Self { file, found: HashMap::new() };
        loader.check_types()?;
        let mut known = HashSet::new();
        for spec in (family.tensors)(hparams, None)? {
            let name = spec.gguf_name();
            if let Some(tensor) = file.tensor(&name) {
                loader.check(&spec, tensor)?;
                loader.found.insert((spec.role, spec.layer), tensor);
            } else if spec.presence == Presence::Required {
                return Err(loader.malformed(format!("tensor {name} is missing")));
            }
            known.insert(name);
        }
        match file.tensors().iter().find(|tensor| !known.contains(&tensor.name)) {
            None => Ok(loader),
            Some(tensor) => Err(loader.unsupported(format!(
                "tensor {} is not part of the {} architecture as this program knows it",
                tensor.name, family.gguf_name
            ))),
        }
    }

    /// Whether there are kernels for the type of each tensor.
    fn check_types(&self) -> Result<()> {
        let Some(tensor) = self.file.tensors().iter().find(|tensor| tensor.ty.block_type().is_none()) else {
            return Ok(());
        };
        let names: Vec<_> = BlockType::all().map(BlockType::name).collect();
        Err(self.unsupported(format!(
            "tensor {} has blocks of {}, which this program does not compute with (supported: {})",
            tensor.name,
            tensor.ty.name(),
            names.join(", ")
        )))
    }

    /// Whether a tensor is what its spec says.
    fn check(&self, spec: &TensorSpec, tensor: &TensorInfo) -> Result<()> {
        if tensor.shape != spec.shape {
            return Err(self.malformed(format!(
                "tensor {} has shape {:?}, but the hyperparameters ask for {:?}",
                tensor.name, tensor.shape, spec.shape
            )));
        }
        Ok(())
    }

    fn layer(&self, layer: usize, spec: &LayerSpec) -> Result<Layer> {
        let layer = Some(layer);
        Ok(Layer {
            attn_norm: self.norm(Role::AttnNorm, layer, spec.norm)?,
            attention: Attention {
                spec: spec.attention,
                q: self.linear(Role::AttnQ, Role::AttnQBias, layer)?,
                k: self.linear(Role::AttnK, Role::AttnKBias, layer)?,
                v: self.linear(Role::AttnV, Role::AttnVBias, layer)?,
                output: self.linear(Role::AttnOutput, Role::AttnOutputBias, layer)?,
            },
            ffn_norm: self.norm(Role::FfnNorm, layer, spec.norm)?,
            ffn: match spec.ffn {
                FfnSpec::Gated(spec) => Ffn::Gated(self.gated(layer, spec)?),
                FfnSpec::Experts { n_used, expert, .. } => Ffn::Experts(Experts {
                    n_used,
                    spec: expert,
                    router: self.matrix(Role::FfnGateInp, layer)?,
                    gate: self.matrix(Role::FfnGateExps, layer)?,
                    up: self.matrix(Role::FfnUpExps, layer)?,
                    down: self.matrix(Role::FfnDownExps, layer)?,
                }),
            },
        })
    }

    fn gated(&self, layer: Option<usize>, spec: GatedSpec) -> Result<Gated> {
        Ok(Gated {
            spec,
            gate: self.linear(Role::FfnGate, Role::FfnGateBias, layer)?,
            up: self.linear(Role::FfnUp, Role::FfnUpBias, layer)?,
            down: self.linear(Role::FfnDown, Role::FfnDownBias, layer)?,
        })
    }

    fn norm(&self, role: Role, layer: Option<usize>, spec: NormSpec) -> Result<Norm> {
        Ok(Norm { spec, weight: self.vector(role, layer)? })
    }

    fn find(&self, role: Role, layer: Option<usize>) -> Option<&'a TensorInfo> {
        self.found.get(&(role, layer)).copied()
    }

    fn required(&self, role: Role, layer: Option<usize>) -> Result<&'a TensorInfo> {
        self.find(role, layer)
            .ok_or_else(|| self.malformed(format!("tensor {} is missing", role.gguf_name(layer))))
    }

    fn linear(&self, weight: Role, bias: Role, layer: Option<usize>) -> Result<Linear> {
        let bias = self.find(bias, layer).map(|tensor| self.decode(tensor)).transpose()?;
        Ok(Linear { matrix: self.matrix(weight, layer)?, bias })
    }

    /// The matrix in `role`; the experts of a stack follow one another as rows.
    fn matrix(&self, role: Role, layer: Option<usize>) -> Result<Matrix> {
        let tensor = self.required(role, layer)?;
        let matrix = match (tensor.shape.as_slice(), tensor.ty.block_type()) {
            (&[ref outer @ .., n_in], Some(block_type)) => {
                let n_out = outer.iter().product();
                Matrix::new(self.file.mapped_file(), tensor.offset, block_type, [n_out, n_in])
            }
            _ => None,
        };
        matrix
            .ok_or_else(|| self.malformed(format!("tensor {} is not a matrix of whole blocks", tensor.name)))
    }

    /// The vector in `role`, as floats.
    fn vector(&self, role: Role, layer: Option<usize>) -> Result<Vec<f32>> {
        self.decode(self.required(role, layer)?)
    }

    fn decode(&self, tensor: &TensorInfo) -> Result<Vec<f32>> {
        let n = tensor.n_elements();
        let bytes = self.file.bytes(tensor);
        match tensor.ty.block_type() {
            Some(block_type) if block_type.row_bytes(n) == Some(bytes.len()) => {
                let mut values = vec![0.0; n];
                Kernels::best().decode(block_type, bytes, &mut values);
                Ok(values)
            }
            _ => Err(self.malformed(format!("tensor {} is not a row of whole blocks", tensor.name))),
        }
    }

    fn rope_freqs(&self) -> Result<Option<Vec<f32>>> {
        let Some(tensor) = self.find(Role::RopeFreqs, None) else {
            return Ok(None);
        };
        let divisors = self.decode(tensor)?;
        if let Some(bad) = divisors.iter().find(|divisor| !(divisor.is_finite() && **divisor > 0.0)) {
            return Err(self.malformed(format!("tensor {} divides by {bad}", tensor.name)));
        }
        Ok(Some(divisors))
    }

    fn malformed(&self, what: String) -> Error {
        Error::malformed(self.file.path(), what)
    }

    fn unsupported(&self, what: String) -> Error {
        Error::unsupported(self.file.path(), what)
    }
}
