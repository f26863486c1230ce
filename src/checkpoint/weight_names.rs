//! What weight files are called.

use super::index;

/// Names of weight files, as transformers has them for one format.
#[derive(Debug)]
pub(super) struct Format {
    /// The file that holds all weights.
    pub(super) single: &'static str,
    /// The index of several.
    pub(super) index: &'static str,
    /// What shards are called before their number.
    pub(super) stem: &'static str,
    /// How weight files end.
    pub(super) extensions: &'static [&'static str],
}

pub(super) const SAFETENSORS: Format = Format {
    single: "model.safetensors",
    index: index::FILE_NAME,
    stem: "model",
    extensions: &[".safetensors"],
};

pub(super) const PYTORCH: Format = Format {
    single: "pytorch_model.bin",
    index: index::PYTORCH_FILE_NAME,
    stem: "pytorch_model",
    extensions: &[".bin", ".pth", ".pt", ".ckpt"],
};

/// What trainers and other programs leave beside a model's weights, and never holds them.
const OF_OTHERS: [&str; 7] =
    ["training_args", "optimizer", "scheduler", "rng_state", "scaler", "trainer_state", "openvino_"];

impl Format {
    /// The format of a file of this name.
    pub(super) fn of(name: &str) -> Option<&'static Self> {
        [&SAFETENSORS, &PYTORCH].into_iter().find(|format| format.extension_of(name).is_some())
    }

    pub(super) fn extension_of(&self, name: &str) -> Option<&'static str> {
        self.extensions.iter().copied().find(|extension| name.ends_with(extension))
    }

    /// Whether a file of this name may hold weights in this format.
    pub(super) fn may_hold_weights(&self, name: &str) -> bool {
        self.extension_of(name).is_some() && !OF_OTHERS.iter().any(|start| name.starts_with(start))
    }
}

/// A file name such as `model-00001-of-00002.safetensors`, in parts.
pub(super) struct ShardName<'a> {
    /// `model`
    pub(super) stem: &'a str,
    /// The digits of `00001`.
    n_digits: usize,
    /// `00002`
    count: &'a str,
    pub(super) n_shards: usize,
    /// `.safetensors`
    extension: &'static str,
}

impl<'a> ShardName<'a> {
    pub(super) fn parse(name: &'a str, format: &Format) -> Option<Self> {
        let extension = format.extension_of(name)?;
        let (head, count) = name.strip_suffix(extension)?.rsplit_once("-of-")?;
        let (stem, number) = head.rsplit_once('-')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(number) || !is_number(count) {
            return None;
        }
        Some(Self { stem, n_digits: number.len(), count, n_shards: count.parse().ok()?, extension })
    }

    /// The name of shard `number` of the same set.
    pub(super) fn sibling(&self, number: usize) -> String {
        let Self { stem, n_digits, count, extension, .. } = self;
        format!("{stem}-{number:0n_digits$}-of-{count}{extension}")
    }

    pub(super) fn is_of_one_set_with(&self, name: &str, format: &Format) -> bool {
        ShardName::parse(name, format).is_some_and(|other| self.sibling(1) == other.sibling(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_told_by_their_names() {
        let count = |name| ShardName::parse(name, &SAFETENSORS).map(|shard| shard.n_shards);
        assert_eq!(count("model-00001-of-00002.safetensors"), Some(2));
        assert_eq!(count("model.safetensors"), None);
        assert_eq!(count("best-of-luck.safetensors"), None);
        assert_eq!(count("a-+1-of-2.safetensors"), None);
        let shard = ShardName::parse("x-1-of-12.safetensors", &SAFETENSORS).unwrap();
        assert_eq!(shard.sibling(10), "x-10-of-12.safetensors");
    }
}
