//! Attention over latent vectors. Files hold keys and values of heads as two stacks, those of keys turned;
//! files from before April 2025 hold one matrix, head by head the rows of keys and then those of values.

use std::sync::Arc;

use gguf_simd::{BlockType, Kernels};

use super::Loader;
use crate::error::{Error, Result};
use crate::model::layer::attention::Mla;
use crate::model::memory::reserved;
use crate::model::spec::Role;
use crate::model::spec::layer::MlaSpec;
use crate::model::weights::{Matrix, Stack, TensorSource};

impl Loader<'_> {
    /// Attention over latent vectors of a layer.
    pub(super) fn mla(&self, layer: Option<usize>, spec: MlaSpec) -> Result<Mla> {
        let q_a = spec.q_lora_rank.map(|rank| {
            let norm = self.norm(Role::AttnQANorm, layer, (spec.norm, rank))?;
            Ok::<_, Error>((self.linear(Role::AttnQA, layer)?, norm))
        });
        let q = if spec.q_lora_rank.is_some() { Role::AttnQB } else { Role::AttnQ };
        let (k_b, v_b) = if self.has(Role::AttnKvB, layer) && !self.has(Role::AttnKB, layer) {
            let both = self.matrix(Role::AttnKvB, layer)?;
            let (first, stride) = (spec.head_dim_nope, spec.head_dim_nope + spec.head_dim_v);
            let k_b = turned_keys(&both, spec, stride)?;
            (k_b, Stack { n_out: spec.head_dim_v, first, ..Stack::plain(both, stride) })
        } else {
            let k_b = self.stack(Role::AttnKB, layer, spec.kv_lora_rank)?;
            (k_b, self.stack(Role::AttnVB, layer, spec.head_dim_v)?)
        };
        Ok(Mla {
            core: spec.core(),
            q_a: q_a.transpose()?,
            q: self.linear(q, layer)?,
            kv_a: self.linear(Role::AttnKvAMqa, layer)?,
            kv_norm: self.norm(Role::AttnKvANorm, layer, (spec.norm, spec.kv_lora_rank))?,
            key_norm: spec
                .key_norm
                .map(|norm| self.norm(Role::AttnKNorm, layer, (norm, spec.n_rot)))
                .transpose()?,
            k_b,
            v_b,
            sinks: spec.has_sinks.then(|| self.vector(Role::AttnSinks, layer)).transpose()?,
            gate: spec.gate.map(|_| self.linear(Role::AttnGate, layer)).transpose()?,
            output: self.linear(Role::AttnOutput, layer)?,
            spec,
        })
    }
}

/// The rows of keys in `both: [n_head * stride, kv_lora_rank]`, each head's turned:
/// `[n_head, kv_lora_rank, head_dim_nope]`. Blocks lie along rows and cannot be turned, so these are floats.
fn turned_keys(both: &Matrix, spec: MlaSpec, stride: usize) -> Result<Stack> {
    let MlaSpec { n_head, kv_lora_rank: rank, head_dim_nope: nope, .. } = spec;
    let mut bytes: Vec<u8> = reserved(n_head * rank, nope * size_of::<f32>())?;
    let mut keys = vec![0.0; nope * rank];
    for head in 0..n_head {
        let rows = both.rows(head * stride..head * stride + nope);
        Kernels::best().decode(rows.block_type, rows.bytes, &mut keys);
        let turned = (0..rank).flat_map(|i| (0..nope).map(move |j| j * rank + i));
        bytes.extend(turned.flat_map(|at| keys[at].to_le_bytes()));
    }
    let shape = [n_head * rank, nope];
    let matrix = Matrix::new(TensorSource::Owned(Arc::new(bytes)), 0, BlockType::F32, shape);
    Ok(Stack::plain(matrix.expect("as many floats as the shape says"), rank))
}
