//! What layers keep of every position.

/// What a layer keeps of every position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayer {
    /// Key and value heads.
    pub n_head_kv: usize,
    /// Elements of a key head.
    pub head_dim_k: usize,
    /// Elements of a value head.
    pub head_dim_v: usize,
    /// Positions that a query sees at most, its own among them; `None`: all of them.
    pub window: Option<usize>,
}

/// What the layers of a model keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvSpec {
    /// `[n_layer]`: `None` for a layer that keeps nothing of its own.
    pub layers: Vec<Option<KvLayer>>,
}
