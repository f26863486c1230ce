//! What layers keep of a text.

/// What a layer keeps of every position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayer {
    /// Key and value heads.
    pub n_head_kv: usize,
    /// Elements of a key head.
    pub head_dim_k: usize,
    /// Elements of a value head; 0 if values are the first elements of the keys, and are not kept again.
    pub head_dim_v: usize,
    /// Positions that a query sees at most, its own among them, so at least 1; `None`: all of them.
    pub window: Option<usize>,
}

/// What the layers of a model keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvSpec {
    /// `[n_layer]`: `None` for a layer that keeps nothing of its own of every position.
    pub layers: Vec<Option<KvLayer>>,
    /// `[n_layer]`: floats that it keeps of the text as a whole; 0 for a layer without a recurrent mixer.
    pub states: Vec<usize>,
}

impl KvSpec {
    /// Layers without recurrent mixers.
    pub fn without_states(layers: Vec<Option<KvLayer>>) -> Self {
        Self { states: vec![0; layers.len()], layers }
    }

    /// Whether any layer has a recurrent mixer.
    pub fn has_states(&self) -> bool {
        self.states.iter().any(|&len| len > 0)
    }

    /// The windows that layers have, `None` among them if some see all positions: each once, in the order of
    /// the first layer that has it.
    pub fn windows(&self) -> Vec<Option<usize>> {
        let mut windows = Vec::new();
        for layer in self.layers.iter().flatten() {
            if !windows.contains(&layer.window) {
                windows.push(layer.window);
            }
        }
        windows
    }
}
