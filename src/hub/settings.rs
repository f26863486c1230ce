//! What the environment says about the hub, as huggingface_hub reads it.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::regular_file;

/// Bytes of a file with a token at most.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Bytes of a file of certificates at most.
const MAX_CERTIFICATE_BYTES: u64 = 16 << 20;

/// How to reach the hub and where to keep what comes from it.
#[derive(Clone)]
pub struct Settings {
    /// The address of the hub, without a slash at its end.
    pub endpoint: String,
    /// Who asks, and where that was said.
    pub token: Option<Token>,
    /// The folder of all repositories.
    pub cache: PathBuf,
    /// Whether nothing is to be asked for over the network.
    pub is_offline: bool,
    /// Certificates to trust instead of those that the program knows, as PEM, and their file.
    pub certificates: Option<(PathBuf, Vec<u8>)>,
    /// The wait after a first failure, which doubles with each that follows.
    pub first_wait: Duration,
    /// How long nothing may come before a connection counts as dead.
    pub patience: Duration,
}

/// A token of a user of the hub.
#[derive(Clone)]
pub struct Token {
    /// The secret.
    pub text: String,
    /// The variable or file that it is from.
    pub source: String,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads the environment of the process.
    ///
    /// # Errors
    /// [`Error::Usage`] for what makes no sense, [`Error::Io`] if a file that is named there cannot be read.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// Reads variables that `get` looks up.
    ///
    /// # Errors
    /// As [`Settings::from_env`].
    pub fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let text = |name: &str| get(name).map(|value| value.to_string_lossy().trim().to_owned());
        let home = match (get("HF_HOME"), get("XDG_CACHE_HOME")) {
            (Some(home), _) => Some(PathBuf::from(home)),
            (None, Some(caches)) => Some(PathBuf::from(caches).join("huggingface")),
            (None, None) => dirs::home_dir().map(|home| home.join(".cache").join("huggingface")),
        };
        let cache =
            ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].iter().find_map(|name| get(name)).map(PathBuf::from);
        let Some(cache) = cache.or_else(|| Some(home.as_ref()?.join("hub"))) else {
            return Err(Error::usage(
                "this user has no home folder; set HF_HOME to a folder for models of the hub",
            ));
        };
        let is_on = |name: &str| {
            text(name)
                .is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str()))
        };
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        if !["https://", "http://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
            return Err(Error::usage(format!(
                "HF_ENDPOINT is \"{endpoint}\", and an address is needed, as https://huggingface.co"
            )));
        }
        let certificates = match get("SSL_CERT_FILE").map(PathBuf::from) {
            Some(path) => {
                let pem = regular_file::read(&path, MAX_CERTIFICATE_BYTES)?;
                Some((path, pem))
            }
            None => None,
        };
        let of_variable = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
            .iter()
            .find_map(|&name| Some(Token { text: text(name)?, source: name.to_owned() }));
        let token = match of_variable {
            Some(token) => Some(token),
            None if is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") => None,
            None => of_file(get("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home?.join("token"))))?,
        };
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.filter(|token| !token.text.is_empty()),
            cache,
            is_offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
            certificates,
            first_wait: Duration::from_secs(1),
            patience: Duration::from_secs(30),
        })
    }
}

/// The token that `hf auth login` kept.
fn of_file(path: Option<PathBuf>) -> Result<Option<Token>> {
    let Some(path) = path.filter(|path| path.is_file()) else { return Ok(None) };
    let text = String::from_utf8_lossy(&regular_file::read(&path, MAX_TOKEN_BYTES)?).trim().to_owned();
    Ok(Some(Token { text, source: path.display().to_string() }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings> {
        let get =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        Settings::from_variables(get)
    }

    #[test]
    fn the_cache_and_the_token_lie_where_huggingface_hub_has_them() {
        let home = tempfile::tempdir().expect("a folder");
        let at = home.path().to_str().expect("UTF-8");
        std::fs::write(home.path().join("token"), "hf_of_file\n").expect("written");
        let found = settings(&[("HF_HOME", at)]).expect("sound");
        assert_eq!(found.cache, home.path().join("hub"));
        assert_eq!(found.endpoint, "https://huggingface.co");
        assert_eq!(found.token.expect("a token").text, "hf_of_file");
        let found =
            settings(&[("HF_HOME", at), ("HF_TOKEN", "hf_own"), ("HF_HUB_CACHE", "/c")]).expect("sound");
        assert_eq!((&*found.cache, found.token.expect("a token").text.as_str()), (Path::new("/c"), "hf_own"));
        let found = settings(&[("HF_HOME", at), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).expect("sound");
        assert!(found.token.is_none() && !found.is_offline);
        let found = settings(&[("XDG_CACHE_HOME", "/x"), ("HF_HUB_OFFLINE", "True")]).expect("sound");
        assert!(found.is_offline && found.cache == Path::new("/x/huggingface/hub"));
    }

    #[test]
    fn an_endpoint_is_an_address() {
        let found = settings(&[("HF_HOME", "/h"), ("HF_ENDPOINT", "http://localhost:5/ ")]).expect("sound");
        assert_eq!(found.endpoint, "http://localhost:5");
        let message =
            settings(&[("HF_HOME", "/h"), ("HF_ENDPOINT", "hf-mirror.com")]).expect_err("none").to_string();
        assert!(message.contains("HF_ENDPOINT is \"hf-mirror.com\""), "{message}");
    }

    #[test]
    fn a_token_is_not_shown() {
        let found = settings(&[("HF_HOME", "/h"), ("HF_TOKEN", "hf_secret")]).expect("sound");
        let shown = format!("{found:?} {:?}", found.token);
        assert!(shown.contains("HF_TOKEN") && !shown.contains("hf_secret"), "{shown}");
    }
}
