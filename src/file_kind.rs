//! Recognises files of other kinds by their first bytes, and pieces of files by their names: people pass the
//! wrong file far more often than a broken one.

use std::path::Path;

use crate::limits;

/// What a file with these first bytes looks like, with what to do about it; a phrase that follows
/// "not a GGUF file but".
///
/// Readers ask when a file does not begin as their own format does, so their own is never the answer
/// they act on.
pub fn recognise(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("empty: download or convert it again");
    }
    if is_safetensors(bytes) {
        return Some("a safetensors file: convert it with gguf-convert");
    }
    const KINDS: &[(&[u8], &str)] = &[
        (b"GGUF", "a GGUF file, which needs no conversion: give it to gguf-run"),
        (b"PK\x03\x04", "a zip archive, most likely a PyTorch checkpoint: convert it with gguf-convert"),
        (
            b"\x80\x02",
            "a Python pickle, most likely of an old PyTorch checkpoint: convert it with gguf-convert",
        ),
        (b"MZ", "a Windows program"),
        (b"\x7fELF", "a Linux program"),
        (b"version https://git-lfs", "a git-lfs pointer: fetch the file itself with `git lfs pull`"),
        (b"tjgg", "a GGML file of the time before GGUF: convert the original model again"),
        (b"fmgg", "a GGML file of the time before GGUF: convert the original model again"),
        (b"lmgg", "a GGML file of the time before GGUF: convert the original model again"),
        (b"\x1f\x8b", "compressed with gzip: unpack it first"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"),
    ];
    if let Some((_, kind)) = KINDS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(kind);
    }
    let head = &bytes[..bytes.len().min(512)];
    match head.trim_ascii_start().first_chunk() {
        Some(b"<!" | b"<h" | b"<H" | b"<?") => {
            Some("a web page: the download needs another address, or a login")
        }
        Some([b'{', _]) => Some("JSON text"),
        _ => None,
    }
}

/// What to do with a file whose name says that it is a piece of one cut by bytes, as large models are published by some:
/// `NAME.gguf.part1of2`, `NAME.gguf-split-a`, `NAME.gguf.001`. `None` for other names.
pub fn joining(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let lower = name.to_ascii_lowercase();
    let end = lower.rfind(".gguf")? + ".gguf".len();
    let rest = lower[end..].strip_prefix(['.', '-', '_'])?;
    let is_number = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    let whole = &name[..end];
    (is_number || rest.starts_with("part") || rest.starts_with("split")).then(|| {
        format!(
            "its name says that it is a piece of {whole}: join all pieces first, in their order, as cat does"
        )
    })
}

/// A safetensors file begins with the length of a JSON object and the object.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk() else { return false };
    rest.first() == Some(&b'{') && u64::from_le_bytes(*length) <= limits::MAX_SAFETENSORS_HEADER_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_files_are_told_by_their_names() {
        for name in ["m.gguf.part1of2", "m.Q8_0.gguf-split-a", "m.gguf.001", "M.GGUF.part2of3"] {
            assert!(joining(Path::new(name)).is_some_and(|what| what.contains("join all")), "{name}");
        }
        for name in ["m.gguf", "m-00001-of-00002.gguf", "m.gguf.download", "m.gguf.", "part1of2"] {
            assert_eq!(joining(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn files_are_called_by_their_name() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "empty"),
            (b"GGUF\x03\0\0\0", "GGUF file, which needs no conversion"),
            (b"\x10\0\0\0\0\0\0\0{\"a\":1}", "safetensors"),
            (b"PK\x03\x04....", "zip archive"),
            (b"\x80\x02}q\0", "pickle"),
            (b"MZ\x90\0", "Windows program"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"\n<!DOCTYPE html>", "web page"),
            (b"<html>", "web page"),
            (b"{\"a\": 1}", "JSON"),
            (b"tjgg\x03\0\0\0", "before GGUF"),
        ];
        for (bytes, expected) in cases {
            let kind = recognise(bytes).unwrap_or_default();
            assert!(kind.contains(expected), "\"{kind}\" should say \"{expected}\"");
        }
        assert_eq!(recognise(b"\xde\xad\xbe\xef"), None);
    }
}
