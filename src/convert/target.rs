//! Where a conversion may write: never over what it reads.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::checkpoint::{Adapter, Checkpoint, Shard};
use crate::error::{Error, Result};
use crate::gguf::{GgufWriter, MAGIC};
use crate::new_file::{check_not_an_input, target_of};
use crate::paths::folder_of;

/// Endings of names in a checkpoint's folder that make a file part of the checkpoint.
const CHECKPOINT_ENDINGS: [&str; 7] = [".safetensors", ".bin", ".pth", ".pt", ".json", ".model", ".jinja"];

/// Whether a GGUF file made of `checkpoint` may be written to `path`. In the checkpoint's own folder nothing
/// but a GGUF file is ever replaced, and no name is taken that the checkpoint could have.
///
/// # Errors
/// [`Error::Usage`] if not, and as [`GgufWriter::check`].
pub(super) fn check(checkpoint: &Checkpoint, path: &Path, overwrite: bool) -> Result<()> {
    let target = target_of(path, "model.gguf")?;
    let asked_for = checkpoint.folder().asked_for();
    let neighbours: Vec<_> = asked_for.keys().map(|name| checkpoint.folder().join(name)).collect();
    let inputs = neighbours.iter().map(|path| &**path);
    let of_adapters = checkpoint.adapters().iter().map(Adapter::shard);
    let weights = checkpoint.shards().iter().chain(of_adapters).map(Shard::path);
    check_not_an_input(&target, inputs.chain(checkpoint.index_path()).chain(weights))?;
    if is_same_folder(folder_of(&target), checkpoint.dir()) {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        if asked_for.contains_key(&*name) || CHECKPOINT_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            return Err(Error::usage(format!(
                "{} would be taken for a part of the checkpoint in its folder; give it a name that ends in .gguf",
                path.display()
            )));
        }
        if overwrite && target.exists() && !is_gguf(&target) {
            return Err(Error::usage(format!(
                "{} lies in the checkpoint's folder and is not a GGUF file, so --force does not replace it; \
                 write to another file",
                path.display()
            )));
        }
    }
    GgufWriter::check(path, overwrite).map(drop)
}

fn is_same_folder(a: &Path, b: &Path) -> bool {
    fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
}

/// Whether a file begins as GGUF files do, or is empty.
fn is_gguf(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut head));
    read.is_ok() && (head.is_empty() || head == MAGIC)
}
