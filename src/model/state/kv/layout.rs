//! Which layers share chunks, and where the rows of each lie in them.

use std::fmt;
use std::sync::Arc;

use gguf_simd::attention::{CHUNK, CacheRows, CacheType};

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
            values: match layer.head_dim_v {
                0 => None,
                head_dim => Some(rows("values", self.values, head_dim)?),
            },
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
    /// `None` if values are the first elements of the keys.
    pub(in crate::model) values: Option<CacheRows>,
}

impl KvRows {
    /// The rows that hold the values, and perhaps more behind them.
    pub(in crate::model) fn holding_values(self) -> CacheRows {
        self.values.unwrap_or(self.keys)
    }

    /// Bytes of the values of a position.
    pub(super) fn value_bytes(self) -> usize {
        self.values.map_or(0, |rows| rows.row_bytes())
    }
}

/// The room of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvOptions {
    /// Positions there is room for.
    pub n_ctx: usize,
    /// Positions that are appended together, at most: layers with a window hold these beside the window.
    pub n_batch: usize,
    /// The types of keys and values.
    pub types: KvTypes,
}

/// The rows of a layer in the chunks of its group.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerRows {
    /// The number of its group.
    pub(super) group: usize,
    /// Bytes of a position in the group's layers before it.
    pub(super) offset: usize,
    pub(super) n_head_kv: usize,
    pub(super) rows: KvRows,
}

impl LayerRows {
    /// Bytes of a position, [`usize::MAX`] if they cannot be counted.
    fn position_bytes(&self) -> usize {
        // Each factor is within `limits`; only their product can be too large, and then nothing fits.
        self.n_head_kv.saturating_mul(self.rows.keys.row_bytes() + self.rows.value_bytes())
    }
}

/// What the chunks of a group look like: of the layers that have one window, or of those that have none.
#[derive(Debug)]
pub(super) struct GroupLayout {
    /// Positions that a query sees at most, its own among them.
    pub(super) window: Option<usize>,
    pub(super) layers: Vec<LayerRows>,
    /// Bytes of one position in all of its layers, [`usize::MAX`] if they cannot be counted.
    pub(super) position_bytes: usize,
}

impl GroupLayout {
    /// The first position that a query at `position` sees.
    pub(super) fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// Chunks that it needs at a time: those that a batch sees or writes. These are `window - 1 + n_batch`
    /// consecutive positions at most, wherever in a chunk they start.
    pub(super) fn n_chunks(&self, options: KvOptions) -> usize {
        let n_all = options.n_ctx.div_ceil(CHUNK);
        let n_batch = options.n_batch.min(options.n_ctx);
        let of = |window: usize| (window - 1).saturating_add(n_batch).div_ceil(CHUNK) + 1;
        self.window.map_or(n_all, |window| of(window).min(n_all))
    }

    /// Bytes of these chunks, [`u64::MAX`] if they cannot be counted.
    fn n_bytes(&self, options: KvOptions) -> u64 {
        let n_positions = options.n_ctx.min(self.n_chunks(options).saturating_mul(CHUNK));
        (self.position_bytes as u64).saturating_mul(n_positions as u64)
    }
}

/// How a cache is laid out.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) spec: KvSpec,
    /// `[n_layer]`: `None` for a layer that keeps nothing of its own.
    layers: Vec<Option<LayerRows>>,
    /// In the order of [`KvSpec::windows`].
    pub(super) groups: Vec<Arc<GroupLayout>>,
}

impl Layout {
    /// The layout for the layers of `spec`.
    ///
    /// # Errors
    /// [`Error::Usage`] if their heads do not divide into the blocks of a type.
    ///
    /// # Panics
    /// If a window is of no position.
    pub(super) fn new(spec: &KvSpec, types: KvTypes) -> Result<Self> {
        let windows = spec.windows();
        let group = |&window: &Option<usize>| {
            assert_ne!(window, Some(0), "a query sees its own position");
            GroupLayout { window, layers: Vec::new(), position_bytes: 0 }
        };
        let mut groups: Vec<GroupLayout> = windows.iter().map(group).collect();
        let mut place = |layer: &KvLayer| {
            let is_its = |(_, group): &(usize, &mut GroupLayout)| group.window == layer.window;
            let (number, group) = groups.iter_mut().enumerate().find(is_its).expect("one for each window");
            let (offset, n_head_kv) = (group.position_bytes, layer.n_head_kv);
            let layer = LayerRows { group: number, offset, n_head_kv, rows: types.rows(layer)? };
            group.position_bytes = offset.saturating_add(layer.position_bytes());
            group.layers.push(layer);
            Ok(layer)
        };
        let layers = spec.layers.iter().map(|layer| layer.as_ref().map(&mut place).transpose());
        let layers = layers.collect::<Result<_>>()?;
        Ok(Self { spec: spec.clone(), layers, groups: groups.into_iter().map(Arc::new).collect() })
    }

    /// Bytes of a cache with the room of `options`, [`u64::MAX`] if they cannot be counted.
    pub(super) fn n_bytes(&self, options: KvOptions) -> u64 {
        self.groups.iter().fold(0, |sum: u64, group| sum.saturating_add(group.n_bytes(options)))
    }

    /// The rows of layer `layer`.
    ///
    /// # Panics
    /// If it keeps none.
    pub(super) fn layer(&self, layer: usize) -> &LayerRows {
        self.layers[layer].as_ref().unwrap_or_else(|| panic!("layer {layer} keeps no keys and values"))
    }

    /// The heads of the layers that keep keys and values, in order.
    pub(super) fn heads(&self) -> impl Iterator<Item = (&LayerRows, usize)> {
        let layers = self.layers.iter().flatten();
        layers.flat_map(|layer| (0..layer.n_head_kv).map(move |head| (layer, head)))
    }
}
