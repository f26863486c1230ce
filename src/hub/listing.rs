//! What a revision of a repository holds, as the hub tells.

use serde_json::Value;

use super::Watch;
use super::client::{Client, Failure, Subject, escaped};
use super::name::HubName;
use crate::error::Error;
use crate::paths::stays_inside;

/// Bytes of such an answer at most; about 300 for each file.
const MAX_BYTES: usize = 64 << 20;

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    pub(super) name: String,
    pub(super) n_bytes: u64,
    pub(super) hash: Hash,
}

/// What names the content of a file, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// Of large files: the SHA-256 of the content.
    Sha256(String),
    /// Of others: the SHA-1 that git gives the content behind a header.
    Git(String),
}

impl Hash {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Sha256(text) | Self::Git(text) => text,
        }
    }
}

/// The files of one commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    files: Vec<RemoteFile>,
}

impl Listing {
    /// Asks for it.
    pub(super) fn ask(client: &Client, name: &HubName, watch: &dyn Watch) -> Result<Self, Failure> {
        let url = format!(
            "{}/api/models/{}/revision/{}?blobs=true",
            client.settings.endpoint,
            escaped(name.repository(), true),
            escaped(name.revision(), false)
        );
        let subject = Subject { url: &url, name, file: None };
        client.persist((&url, ""), watch, || {
            let answer = client.get(&url, 0, &subject, watch);
            let body = answer.and_then(|answer| answer.body(&url, MAX_BYTES, watch));
            (false, body.and_then(|body| Ok(Self::parse(&url, &body)?)))
        })
    }

    fn parse(url: &str, body: &[u8]) -> Result<Self, Error> {
        let malformed = |what: &str| {
            Error::malformed(
                url,
                format!("{what}; what answers is not the hub (see HF_ENDPOINT and the proxy)"),
            )
        };
        let value: Value = serde_json::from_slice(body).map_err(|_| malformed("the answer is not JSON"))?;
        let commit = value["sha"].as_str().filter(|sha| is_hexadecimal(sha, &[40, 64]));
        let commit = commit.ok_or_else(|| malformed("the answer names no commit"))?;
        let siblings = value["siblings"].as_array().ok_or_else(|| malformed("the answer lists no files"))?;
        // A name that could lead out of a folder is none that anyone needs.
        let is_plain = |file: &&Value| file["rfilename"].as_str().is_some_and(stays_inside);
        let files = siblings.iter().filter(is_plain).map(|file| {
            file_of(file).ok_or_else(|| malformed("the answer names a file without a size and a sound hash"))
        });
        Ok(Self { commit: commit.to_owned(), files: files.collect::<Result<_, _>>()? })
    }

    /// The names of all files.
    pub(super) fn names(&self) -> Vec<&str> {
        self.files.iter().map(|file| &*file.name).collect()
    }

    /// The file of a name.
    pub(super) fn file(&self, name: &str) -> Option<&RemoteFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

fn file_of(value: &Value) -> Option<RemoteFile> {
    let name = value["rfilename"].as_str()?;
    let lfs = &value["lfs"];
    let hash = match lfs["sha256"].as_str().or(lfs["oid"].as_str()) {
        Some(sha256) => Hash::Sha256(sha256.strip_prefix("sha256:").unwrap_or(sha256).to_owned()),
        None => Hash::Git(value["blobId"].as_str()?.to_owned()),
    };
    let n_digits = if matches!(hash, Hash::Sha256(_)) { 64 } else { 40 };
    let n_bytes = value["size"].as_u64().or(lfs["size"].as_u64())?;
    is_hexadecimal(hash.text(), &[n_digits]).then(|| RemoteFile { name: name.to_owned(), n_bytes, hash })
}

fn is_hexadecimal(text: &str, lengths: &[usize]) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_would_write_elsewhere_or_name_no_hash_is_refused() {
        let (commit, hash) = ("a".repeat(40), "b".repeat(40));
        let parse = |name: &str, hash: &str| {
            let answer = format!(
                r#"{{"sha": "{commit}", "siblings": [{{"rfilename": "{name}", "size": 5, "blobId": "{hash}"}}]}}"#
            );
            Listing::parse("u", answer.as_bytes())
        };
        assert_eq!(parse("a/config.json", &hash).expect("sound").names(), ["a/config.json"]);
        for name in ["../x", "/etc/x", "a\\\\b", "x/../../y"] {
            assert!(parse(name, &hash).expect("left out").names().is_empty(), "{name}");
        }
        for hash in ["../../x", "bb"] {
            let message = parse("x", hash).expect_err("no hash").to_string();
            assert!(message.contains("sound hash"), "{message}");
        }
        assert!(Listing::parse("u", b"<html>").expect_err("a page").to_string().contains("HF_ENDPOINT"));
    }
}
