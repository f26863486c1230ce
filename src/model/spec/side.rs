//! Which of two stacks of layers a layer belongs to: T5's files name those of the encoder apart from the decoder's.

/// What the numbers of layers count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The layers of a model that has one stack of them.
    #[default]
    Alone,
    /// Those of an encoder, by the names that it has in files of T5.
    Encoder,
}

impl Side {
    /// Both.
    const ALL: [Self; 2] = [Self::Alone, Self::Encoder];

    /// What the names of tensors begin with in GGUF, before the number of their layer.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Alone => "blk.",
            Self::Encoder => "enc.blk.",
        }
    }

    /// The parts of the GGUF name of a layer's tensor: the side, the layer's number, and the rest; `None` for tensors
    /// beside the layers.
    pub fn split(name: &str) -> Option<(Self, usize, &str)> {
        let (side, rest) =
            Self::ALL.into_iter().find_map(|side| Some((side, name.strip_prefix(side.prefix())?)))?;
        let (layer, rest) = rest.split_once('.')?;
        Some((side, layer.parse().ok()?, rest))
    }
}
