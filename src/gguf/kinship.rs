//! Says what a file is that is no GGUF: people pass the wrong file far more often than a broken one.

use std::path::Path;

use crate::error::Error;

/// The error for a file that does not begin as a GGUF file does.
pub(super) fn not_gguf(path: &Path, bytes: &[u8]) -> Error {
    let what = match recognise(bytes) {
        Some(kind) => format!("it is not a GGUF file but {kind}"),
        None => {
            let head: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            format!(
                "it is not a GGUF file: it begins with the bytes {}, not with GGUF (47 47 55 46)",
                head.join(" ")
            )
        }
    };
    Error::unsupported(path, what)
}

/// What the bytes look like, with what to do about it.
fn recognise(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("empty: download or convert it again");
    }
    if b"GGUF".starts_with(bytes) {
        return Some("the first bytes of one: download or convert it again");
    }
    if is_safetensors(bytes) {
        return Some("safetensors: convert it with gguf-convert");
    }
    const KINDS: &[(&[u8], &str)] = &[
        (
            b"PK\x03\x04",
            "a zip archive, most likely a PyTorch checkpoint: get the model's .safetensors files",
        ),
        (b"\x80\x02", "a Python pickle (an old PyTorch checkpoint): get the model's .safetensors files"),
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

/// A safetensors file begins with the length of a JSON object and the object.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk() else { return false };
    rest.first() == Some(&b'{')
        && u64::from_le_bytes(*length) <= crate::limits::MAX_SAFETENSORS_HEADER_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_files_are_called_by_their_name() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "empty"),
            (b"GGU", "first bytes"),
            (b"\x10\0\0\0\0\0\0\0{\"a\":1}", "safetensors"),
            (b"PK\x03\x04....", "zip archive"),
            (b"\x80\x02}q\0", "pickle"),
            (b"MZ\x90\0", "Windows program"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"\n<!DOCTYPE html>", "web page"),
            (b"<html>", "web page"),
            (b"{\"a\": 1}", "JSON"),
            (b"tjgg\x03\0\0\0", "before GGUF"),
            (b"\xde\xad\xbe\xef", "de ad be ef"),
        ];
        for (bytes, expected) in cases {
            let message = not_gguf(Path::new("m.gguf"), bytes).to_string();
            assert!(message.contains(expected), "{message} should contain {expected}");
        }
    }
}
