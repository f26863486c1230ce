//! Where the rows of each layer lie in the chunks of a cache.

use std::fmt;

use gguf_simd::attention::{CacheRows, CacheType};

use crate::error::{Error, Result};
use crate::model::spec::kv::{KvLayer, KvSpec};

/// The types of cached keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvTypes {
    /// Of the keys.
    pub keys: CacheType,
    /// Of the values.
    pub values: CacheType,
}

impl KvTypes {
    /// The same type for keys and values.
    pub fn both(cache_type: CacheType) -> Self {
        Self { keys: cache_type, values: cache_type }
    }

    /// The rows of a layer's heads in these types.
    ///
    /// # Errors
    /// [`Error::Usage`] if the heads do not divide into the blocks of a type.
    fn rows(self, layer: &KvLayer) -> Result<KvRows> {
        let rows = |what, cache_type, head_dim| {
            CacheRows::new(cache_type, head_dim).map_err(|uneven| {
                Error::usage(format!(
                    "this model's {what} cannot be cached as {cache_type}: {uneven} (--kv-type f16)"
                ))
            })
        };
        Ok(KvRows {
            keys: rows("keys", self.keys, layer.head_dim_k)?,
            values: rows("values", self.values, layer.head_dim_v)?,
        })
    }
}

/// One name if both are the same, else both, the keys' first.
impl fmt::Display for KvTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.keys == self.values {
            return self.keys.fmt(f);
        }
        f.pad(&format!("{},{}", self.keys, self.values))
    }
}

/// The rows of one head, by position.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct KvRows {
    pub(in crate::model) keys: CacheRows,
    pub(in crate::model) values: CacheRows,
}

/// The rows of a layer in a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerRows {
    /// Bytes of a position in the layers before it.
    pub(super) offset: usize,
    pub(super) n_head_kv: usize,
    pub(super) rows: KvRows,
}

impl LayerRows {
    /// Bytes of a position, [`usize::MAX`] if they cannot be counted.
    fn position_bytes(&self) -> usize {
        // Each factor is within `limits`; only their product can be too large, and then nothing fits.
        self.n_head_kv.saturating_mul(self.rows.keys.row_bytes() + self.rows.values.row_bytes())
    }
}

/// What the chunks of a cache look like.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) spec: KvSpec,
    pub(super) types: KvTypes,
    /// `[n_layer]`: `None` for a layer that keeps nothing of its own.
    layers: Vec<Option<LayerRows>>,
    /// Bytes of one position in all layers together, [`usize::MAX`] if they cannot be counted.
    pub(super) position_bytes: usize,
}

impl Layout {
    /// The layout for the layers of `spec`.
    ///
    /// # Errors
    /// [`Error::Usage`] if their heads do not divide into the blocks of a type.
    pub(super) fn new(spec: &KvSpec, types: KvTypes) -> Result<Self> {
        let mut layers = Vec::with_capacity(spec.layers.len());
        let mut position_bytes = 0usize;
        for layer in &spec.layers {
            let Some(layer) = layer else {
                layers.push(None);
                continue;
            };
            let rows = types.rows(layer)?;
            let layer = LayerRows { offset: position_bytes, n_head_kv: layer.n_head_kv, rows };
            position_bytes = position_bytes.saturating_add(layer.position_bytes());
            layers.push(Some(layer));
        }
        Ok(Self { spec: spec.clone(), types, layers, position_bytes })
    }

    /// The rows of layer `layer`.
    ///
    /// # Panics
    /// If it keeps none.
    pub(super) fn layer(&self, layer: usize) -> &LayerRows {
        self.layers[layer].as_ref().unwrap_or_else(|| panic!("layer {layer} keeps no keys and values"))
    }

    /// The layers that keep keys and values, in order.
    pub(super) fn layers(&self) -> impl Iterator<Item = &LayerRows> {
        self.layers.iter().flatten()
    }

    /// The heads of these layers, in order.
    pub(super) fn heads(&self) -> impl Iterator<Item = (&LayerRows, usize)> {
        self.layers().flat_map(|layer| (0..layer.n_head_kv).map(move |head| (layer, head)))
    }
}
