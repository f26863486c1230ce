//! What paths say by their names alone.

use std::path::Path;

/// Bytes that a relative path of a checkpoint or of the hub has at most.
const MOST_BYTES: usize = 512;

/// The folder of a file: the current one, if its path names none.
pub fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether `path`, with slashes between its parts, stays below the folder that it is relative to, on every system, and can
/// be a file's there: backslashes and colons are separators on some.
pub fn stays_inside(path: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
    let is_plain = |c: char| !c.is_control() && !"\\:?\"<>|*".contains(c);
    path.len() <= MOST_BYTES && path.split('/').all(is_part) && path.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_their_folder_are_told() {
        for path in ["model-00001-of-00002.safetensors", "1_Pooling/config.json", "a b/ü"] {
            assert!(stays_inside(path), "{path:?}");
        }
        for path in
            ["", ".", "..", "../x", "/etc/passwd", "a/", "./a", "a//b", "a/../b", "..\\x", "C:x", "a\0b"]
        {
            assert!(!stays_inside(path), "{path:?}");
        }
        assert!(!stays_inside(&"a/".repeat(300)));
    }

    #[test]
    fn a_file_without_a_folder_is_in_the_current_one() {
        assert_eq!(folder_of(Path::new("m.gguf")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/m.gguf")), Path::new("a"));
    }
}
