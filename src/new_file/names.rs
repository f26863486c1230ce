//! The names of files that are not finished, and of finished ones that could not have theirs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::paths::folder_of;
use tempfile::{Builder, NamedTempFile};

/// How hidden names end.
const HIDDEN: &str = ".gguf-kit.partial";
/// How those of the first versions ended, whose files hold no lock.
const HIDDEN_BEFORE_LOCKS: &str = ".partial";
/// Random letters and digits between the target's name and the end.
const N_RANDOM: usize = 6;
/// How those end that another run of the same work goes on with, and what it needs to know.
const RESUMABLE: &str = ".gguf-kit.resume";
const JOURNAL: &str = ".gguf-kit.journal";
/// Hexadecimal digits of the work's name between the target's and the end.
const N_DIGITS: usize = 24;
/// Bytes of the target's name that a hidden name repeats: with everything around them far below the 255
/// (143 on encrypted file systems) that a name may have.
const MOST_REPEATED: usize = 100;

/// Who made a hidden file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// A program that holds a lock as long as it works on the file.
    Locking,
    /// One of the first versions.
    NotLocking,
}

/// Creates a file with a hidden name beside `target` by `create`, and locks it. `create` fails with
/// [`io::ErrorKind::AlreadyExists`] for a name that is taken.
pub(super) fn hidden(
    target: &Path,
    mut create: impl FnMut(&Path) -> io::Result<File>,
) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    let prefix = prefix_of(target);
    builder.prefix(&prefix).suffix(HIDDEN).rand_bytes(N_RANDOM);
    builder.make_in(folder_of(target), |path| {
        let file = create(path)?;
        let locked = file.lock();
        // Between creation and lock it may have been taken for a left-over; then the name is free again.
        // Where there are no locks, no program takes one to remove the file.
        if locked.is_ok() && !path.exists() { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(file) }
    })
}

/// Where the unfinished file of the work called `key`, which is to become `target`, lies from run to run, and its journal.
///
/// # Panics
/// If `key` is not of 24 hexadecimal digits.
pub(super) fn resumable(target: &Path, key: &str) -> [PathBuf; 2] {
    assert!(is_key(key.as_bytes()), "{key} is not a name of a work");
    let path = |end: &str| {
        let mut name = prefix_of(target);
        name.push(format!("{key}{end}"));
        target.with_file_name(name)
    };
    [path(RESUMABLE), path(JOURNAL)]
}

fn is_key(bytes: &[u8]) -> bool {
    bytes.len() == N_DIGITS && bytes.iter().all(u8::is_ascii_hexdigit)
}

/// Who made the hidden file `name`, if it is one for `target`, or for any target if that is `None`.
pub(super) fn maker_of(name: &OsStr, target: Option<&Path>) -> Option<Maker> {
    let name = name.as_encoded_bytes();
    let makers = [
        (HIDDEN, N_RANDOM, Maker::Locking),
        (RESUMABLE, N_DIGITS, Maker::Locking),
        (JOURNAL, N_DIGITS, Maker::Locking),
        (HIDDEN_BEFORE_LOCKS, N_RANDOM, Maker::NotLocking),
    ];
    makers.into_iter().find_map(|(suffix, n_random, maker)| {
        let stem = name.strip_suffix(suffix.as_bytes())?;
        let (prefix, random) = stem.split_at_checked(stem.len().checked_sub(n_random)?)?;
        let is_for_target = match target {
            None => prefix.len() > 2 && prefix.starts_with(b".") && prefix.ends_with(b"."),
            Some(target) if maker == Maker::Locking => prefix == prefix_of(target).as_encoded_bytes(),
            Some(target) => {
                let whole = target.file_name().unwrap_or_default().as_encoded_bytes();
                prefix == [b".", whole, b"."].concat()
            }
        };
        (is_for_target && random.iter().all(u8::is_ascii_alphanumeric)).then_some(maker)
    })
}

/// `.NAME.`, where long names are cut.
fn prefix_of(target: &Path) -> OsString {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    format!(".{}.", &name[..name.floor_char_boundary(MOST_REPEATED)]).into()
}

/// Gives a finished file that could not become `target` a name in `folder` by `rename`: that of the target
/// with `.kept-` and random letters before its extension.
pub(super) fn kept(
    target: &Path,
    folder: &Path,
    mut rename: impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let stem = target.file_stem().unwrap_or_default().to_string_lossy();
    let prefix = format!("{}.kept-", &stem[..stem.floor_char_boundary(MOST_REPEATED)]);
    let suffix = target.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    let suffix = suffix.filter(|suffix| suffix.len() <= MOST_REPEATED).unwrap_or_default();
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(&suffix).rand_bytes(N_RANDOM);
    let made = builder.make_in(folder, |path| {
        if path.exists() { Err(io::ErrorKind::AlreadyExists.into()) } else { rename(path) }
    })?;
    let ((), path) = made.keep().map_err(|e| e.error)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker(name: &str, target: Option<&str>) -> Option<Maker> {
        maker_of(name.as_ref(), target.map(Path::new))
    }

    #[test]
    fn hidden_names_are_told_from_those_of_users() {
        let target = Some("dir/m.gguf");
        assert_eq!(maker(".m.gguf.a1B2c3.gguf-kit.partial", target), Some(Maker::Locking));
        assert_eq!(maker(".m.gguf.a1B2c3.partial", target), Some(Maker::NotLocking));
        for users in [
            "m.gguf.a1B2c3.partial",
            ".m.gguf.a1B2c.partial",
            ".m.gguf.a1-2c3.partial",
            ".m.gguf.partial",
            ".n.gguf.a1B2c3.partial",
            ".m.gguf.a1B2c3.part",
            ".partial",
            "",
        ] {
            assert_eq!(maker(users, target), None, "{users}");
        }
        assert_eq!(maker(".any name.a1B2c3.partial", None), Some(Maker::NotLocking));
        assert_eq!(maker("..a1B2c3.partial", None), None);
    }

    #[test]
    fn names_of_any_length_have_hidden_ones_that_are_recognised() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["x".repeat(255), "模".repeat(85), "m".into()] {
            let target = dir.path().join(name);
            let hidden = hidden(&target, |path| File::create_new(path)).unwrap();
            let name = hidden.path().file_name().unwrap();
            assert!(name.len() <= 143, "{name:?}");
            assert_eq!(maker_of(name, Some(&target)), Some(Maker::Locking));
        }
    }
}
