//! Finds out what MODEL is: a GGUF file or a checkpoint; and helps if it is neither.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::cli::hub;
use crate::error::{Error, Result};
use crate::file_kind;
use crate::gguf;
use crate::hub::Wanted;
use crate::paths::folder_of;
use crate::printable;
use crate::regular_file;

/// What MODEL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Located {
    /// A GGUF file.
    Gguf(PathBuf),
    /// A checkpoint: a folder, a `.safetensors` file or an index.
    Checkpoint(PathBuf),
}

/// Looks at what `path` names; what is on the hub is downloaded first, unless `quiet` with a bar.
///
/// # Errors
/// As [`hub::local`]; [`Error::Io`] if there is nothing (naming what there is) or it cannot be read, [`Error::Usage`]
/// for a folder without a checkpoint and for files of another kind.
pub(super) fn locate(path: &Path, quiet: bool) -> Result<Located> {
    let path = &*hub::local(path, Wanted::Model, quiet)?;
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(path)),
        Err(error) => return Err(Error::io(path, "cannot open", error)),
    };
    if metadata.is_dir() {
        return locate_in_folder(path);
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match extension.as_str() {
        "safetensors" | "json" => Ok(Located::Checkpoint(path.to_owned())),
        // A file that is called GGUF is read as one: the reader explains what is wrong with it.
        "gguf" => Ok(Located::Gguf(path.to_owned())),
        _ if starts_with_magic(path)? => Ok(Located::Gguf(path.to_owned())),
        _ => Err(Error::usage(match file_kind::joining(path) {
            Some(what) => format!("{} is not a model: {what}", path.display()),
            None => format!(
                "{} is not a model: it does not begin like a GGUF file; give a GGUF file, a checkpoint folder, a \
                 .safetensors file or a model.safetensors.index.json",
                path.display(),
            ),
        })),
    }
}

fn locate_in_folder(path: &Path) -> Result<Located> {
    if path.join("config.json").exists() {
        return Ok(Located::Checkpoint(path.to_owned()));
    }
    let mut models: Vec<_> = entries(path).into_iter().filter(|entry| looks_like_a_model(entry)).collect();
    if models.is_empty() {
        // A repository in the hub's cache.
        models =
            entries(&path.join("snapshots")).into_iter().filter(|entry| looks_like_a_model(entry)).collect();
    }
    let hint = if models.is_empty() {
        "it holds neither a config.json nor a GGUF file".to_owned()
    } else {
        format!("it holds no config.json, but there is {}", list(&models))
    };
    Err(Error::usage(format!("the folder {} is not a checkpoint: {hint}", path.display())))
}

fn starts_with_magic(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let file = regular_file::open(path)?;
    file.take(gguf::MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(|e| Error::io(path, "cannot read", e))?;
    Ok(start == gguf::MAGIC)
}

/// The error for a path that names nothing: says what was probably meant.
fn missing(path: &Path) -> Error {
    let folder = folder_of(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let hint = if let Ok(target) = fs::read_link(path) {
        format!("it is a link to {}", target.display())
    } else if !folder.is_dir() {
        format!("there is no folder {} either", folder.display())
    } else {
        let entries = entries(folder);
        let close = entries.iter().filter_map(|entry| {
            let other = entry.file_name()?.to_string_lossy().to_lowercase();
            let distance = strsim::levenshtein(&name, &other);
            let n = name.chars().count();
            (distance <= (n / 3).max(2).min(n / 2)).then_some((distance, entry))
        });
        if let Some((_, entry)) = close.min() {
            format!("did you mean {}?", entry.display())
        } else {
            let models: Vec<_> = entries.into_iter().filter(|entry| looks_like_a_model(entry)).collect();
            match models.as_slice() {
                [] => "MODEL is a GGUF file or a checkpoint folder".to_owned(),
                models => format!("there is {}", list(models)),
            }
        }
    };
    let reason = io::Error::new(io::ErrorKind::NotFound, format!("no such file or folder; {hint}"));
    Error::io(path, "cannot open", reason)
}

/// The entries of a folder, sorted; those of an unreadable one are none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).into_iter().flatten();
    let in_folder = |name: &std::ffi::OsStr| {
        if folder == Path::new(".") { PathBuf::from(name) } else { folder.join(name) }
    };
    let mut entries: Vec<_> = read.filter_map(|entry| Some(in_folder(&entry.ok()?.file_name()))).collect();
    entries.sort();
    entries
}

fn looks_like_a_model(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
        || path.join("config.json").is_file()
}

/// Up to five paths, as a list.
fn list(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 5;
    printable::first_few(paths.iter().map(|path| path.display()), SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_files_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a.bin"), b"GGUF\x03\0\0\0").expect("written");
        fs::write(path("b.txt"), b"hello").expect("written");
        fs::create_dir(path("empty")).expect("created");
        assert_eq!(locate(&path("a.bin"), true).expect("magic"), Located::Gguf(path("a.bin")));
        assert!(matches!(locate(&path("b.txt"), true), Err(Error::Usage { .. })));
        assert!(matches!(locate(&path("empty"), true), Err(Error::Usage { .. })));
        fs::write(path("empty/config.json"), b"{}").expect("written");
        assert_eq!(locate(&path("empty"), true).expect("checkpoint"), Located::Checkpoint(path("empty")));
        fs::create_dir_all(path("models--a--b/snapshots/abc")).expect("created");
        fs::write(path("models--a--b/snapshots/abc/config.json"), b"{}").expect("written");
        let message = locate(&path("models--a--b"), true).expect_err("no checkpoint").to_string();
        assert!(message.contains("snapshots") && message.contains("abc"), "{message}");
    }

    #[test]
    fn missing_model_names_the_closest_entry_or_the_models_there_are() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("fairytale-Q4_K_M.gguf"), b"GGUF").expect("written");
        let message = |name: &str| locate(&folder.path().join(name), true).expect_err("missing").to_string();
        assert!(message("fairytale-q4_k_s.gguf").contains("did you mean"));
        assert!(message("x").contains("there is") && message("x").contains("fairytale-Q4_K_M.gguf"));
        assert!(message("no/such").contains("there is no folder"));
    }
}
