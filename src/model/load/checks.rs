//! What is checked of a file before parts are made of it.

use gguf_simd::BlockType;

use super::Loader;
use crate::error::Result;
use crate::gguf::TensorInfo;
use crate::model::spec::{Role, Slot, TensorId};

impl Loader<'_> {
    /// Whether there are kernels for the type of each tensor.
    pub(super) fn check_types(&self) -> Result<()> {
        let Some(tensor) = self.file.tensors().iter().find(|tensor| tensor.ty.weights().is_none()) else {
            return Ok(());
        };
        let names: Vec<_> = BlockType::all().map(BlockType::name).collect();
        Err(self.unsupported(format!(
            "tensor {} has blocks of {}, which this program does not compute with (supported: {}); get a file of the model \
             with other types, or convert its checkpoint by gguf-convert",
            tensor.name,
            tensor.ty.name(),
            names.join(", ")
        )))
    }

    /// Whether a tensor is what its slot says. Outermost dimensions of one say nothing: files of other programs have
    /// some, and lack others.
    pub(super) fn check_shape(&self, slot: &Slot, tensor: &TensorInfo) -> Result<()> {
        let says = |shape: &[usize]| shape.iter().position(|&n| n != 1).unwrap_or(shape.len());
        // Tables of n-grams are filled up to round numbers of rows.
        if self.has_spare_rows && slot.id.role == Role::PerLayerTokenEmbd {
            let has = |tensor: &TensorInfo| tensor.shape.len() == 2 && tensor.shape[0] >= slot.shape[0];
            if has(tensor) && tensor.shape[1] == slot.shape[1] {
                return Ok(());
            }
        }
        if tensor.shape[says(&tensor.shape)..] != slot.shape[says(&slot.shape)..] {
            return Err(self.malformed(format!(
                "tensor {} has shape {:?}, but the hyperparameters ask for {:?}",
                tensor.name, tensor.shape, slot.shape
            )));
        }
        Ok(())
    }

    /// Refuses tensors beside the layers that have a place in the model and that no part was made of: without them it
    /// would be another model. Layers may hold more: those that share keys and values have some of their own.
    pub(super) fn check_all_asked_for(&self) -> Result<()> {
        let asked_for = self.asked_for.borrow();
        let is_left = |id: &TensorId| id.layer.is_none() && !asked_for.contains(id);
        let left = self.found.iter().filter(|(id, _)| is_left(id)).map(|(_, tensor)| &tensor.name);
        left.min().map_or(Ok(()), |name| {
            let what =
                format!("tensor {name} is one that this program does not compute with in such a model");
            Err(self.unsupported(what))
        })
    }
}
