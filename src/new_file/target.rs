//! Where a file is written that the user names by a path.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::paths::folder_of;

/// Links followed one after the other, as systems limit it.
const MOST_LINKS: usize = 40;

/// The path that a file written to `path` takes: `path`, or what it links to, be that there or not.
/// `example` is a file name of the kind, for messages.
///
/// # Errors
/// [`Error::Usage`] if `path` is a directory, a pipe or a device, or has no parent folder; [`Error::Io`]
/// if it cannot be looked for.
pub fn target_of(path: &Path, example: &str) -> Result<PathBuf> {
    if path == Path::new("-") {
        return Err(Error::usage(format!(
            "- is standard output elsewhere, and what is written here appears as a whole file; name one, as in {example}"
        )));
    }
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(Error::usage(format!(
            "{} is a directory; name the file to write in it, as in {}",
            path.display(),
            path.join(example).display()
        ))),
        Ok(found) if !found.is_file() => Err(Error::usage(format!(
            "{} is a pipe or a device, and what is written here appears as a whole file; name one, as in {example}",
            path.display()
        ))),
        Ok(_) => fs::canonicalize(path).map_err(|e| Error::io(path, "cannot follow", e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => new_target(path, example),
        Err(e) => Err(Error::io(path, "cannot look for", e)),
    }
}

/// As [`target_of`], of a file that is not to take the place of another one unless `overwrite` is true.
///
/// # Errors
/// As there; [`Error::Usage`] if there is one.
pub fn free_target(path: &Path, example: &str, overwrite: bool) -> Result<PathBuf> {
    let target = target_of(path, example)?;
    if !overwrite && path.exists() {
        let path = path.display();
        return Err(Error::usage(format!("{path} exists; use --force to replace it, or give another name")));
    }
    Ok(target)
}

/// As [`free_target`], of a file that takes the place of none but its own `kind`, as in "a .npy file", whether
/// `overwrite` is true or not: `is_kind` looks at what is there, unless that is empty.
///
/// # Errors
/// As there; [`Error::Usage`] if something else is there.
pub fn target_of_kind(
    path: &Path,
    example: &str,
    overwrite: bool,
    kind: &str,
    is_kind: impl FnOnce(&Path) -> bool,
) -> Result<PathBuf> {
    let target = free_target(path, example, overwrite)?;
    if fs::metadata(&target).is_ok_and(|found| found.len() > 0) && !is_kind(&target) {
        return Err(Error::usage(format!(
            "{} is not {kind}, so --force does not replace it; write to another file",
            path.display()
        )));
    }
    Ok(target)
}

/// The path of a file that is not there: `path`, or where the links at it end.
fn new_target(path: &Path, example: &str) -> Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(next) = fs::read_link(&target) else { break };
        target = folder_of(&target).join(next);
    }
    let via = if target == path {
        String::new()
    } else {
        format!("{} links to {}: ", path.display(), target.display())
    };
    let is_folder =
        path.as_os_str().as_encoded_bytes().last().is_some_and(|&b| std::path::is_separator(b.into()));
    if is_folder || target.file_name().is_none() {
        return Err(Error::usage(format!(
            "{via}\"{}\" does not name a file; name the file to write, as in {}",
            path.display(),
            path.join(example).display()
        )));
    }
    let parent = folder_of(&target);
    if parent.is_dir() {
        Ok(target)
    } else {
        Err(Error::usage(format!(
            "{via}the folder {} does not exist; create it, or write elsewhere",
            parent.display()
        )))
    }
}

/// Refuses a `target` that is one of the files being read, by whatever name or link.
///
/// # Errors
/// [`Error::Usage`] naming both.
pub fn check_not_an_input<'a>(target: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let Some(id) = identity(target) else { return Ok(()) };
    match inputs.into_iter().find(|input| identity(input).is_some_and(|other| other == id)) {
        None => Ok(()),
        Some(input) if input == target => Err(Error::usage(format!(
            "{} is read here and cannot be written to as well; write to another file",
            target.display()
        ))),
        Some(input) => Err(Error::usage(format!(
            "{} is the same file as {}, which is read here and cannot be written to as well; write to another file",
            target.display(),
            input.display()
        ))),
    }
}

/// What two paths to one file have in common; `None` if it does not exist.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// What two paths to one file have in common, hard links aside; `None` if it does not exist.
#[cfg(not(unix))]
fn identity(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_recognised_by_every_name_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("model.safetensors");
        fs::write(&input, "weights").unwrap();
        let hard = dir.path().join("hard");
        fs::hard_link(&input, &hard).unwrap();
        let mut names = vec![input.clone(), dir.path().join(".").join("model.safetensors")];
        if cfg!(unix) {
            names.push(hard);
        }
        for name in names {
            let message = check_not_an_input(&name, [&*input]).unwrap_err().to_string();
            assert!(message.contains("model.safetensors") && message.contains("another file"), "{message}");
        }
        check_not_an_input(&dir.path().join("m.gguf"), [&*input]).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nothing_stands_for_the_file_that_it_names() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let (link, second) = (dir.path().join("link"), dir.path().join("second"));
        symlink("second", &link).unwrap();
        symlink("m.gguf", &second).unwrap();
        assert_eq!(target_of(&link, "x").unwrap(), dir.path().join("m.gguf"));
        symlink("nowhere/m.gguf", dir.path().join("lost")).unwrap();
        let message = target_of(&dir.path().join("lost"), "x").unwrap_err().to_string();
        assert!(message.contains("links to") && message.contains("nowhere does not exist"), "{message}");
    }

    #[test]
    fn a_path_that_ends_as_a_folder_names_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let message = target_of(&dir.path().join("new/"), "m.gguf").unwrap_err().to_string();
        assert!(message.contains("does not name a file") && message.contains("new/m.gguf"), "{message}");
    }

    #[test]
    fn only_a_file_of_its_kind_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made");
        let target = |overwrite| {
            let is_made = |path: &Path| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"made"));
            target_of_kind(&path, "made", overwrite, "a made file", is_made)
        };
        target(false).unwrap();
        for (content, is_replaced) in [("", true), ("made before", true), ("other", false)] {
            fs::write(&path, content).unwrap();
            assert!(target(false).is_err(), "{content}");
            assert_eq!(target(true).is_ok(), is_replaced, "{content}");
        }
        assert!(target(true).unwrap_err().to_string().contains("is not a made file"));
    }
}
