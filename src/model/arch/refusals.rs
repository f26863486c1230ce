//! What a family's GGUF cannot express of a configuration, refused by name.

use super::config::FromConfig;
use crate::error::Result;

impl FromConfig<'_> {
    /// Refuses a window within the context, which the family's GGUF cannot express.
    ///
    /// # Errors
    /// [`Unsupported`](crate::error::Error::Unsupported) naming it.
    pub fn refuse_window(&self) -> Result<()> {
        let n_ctx = self.config.required_count("max_position_embeddings")?;
        match self.config.count("sliding_window")?.filter(|&window| window < n_ctx) {
            None => Ok(()),
            Some(window) => {
                Err(self
                    .unsupported(format!("sliding_window {window}; the {} architecture has none", self.arch)))
            }
        }
    }

    /// Refuses another activation than `allowed`, whose names are those that mean the family's own.
    ///
    /// # Errors
    /// [`Unsupported`](crate::error::Error::Unsupported) naming it.
    pub fn activation(&self, names: &[&str], default: &str, allowed: &[&str]) -> Result<()> {
        let mut found = default;
        for name in names {
            if let Some(value) = self.config.string(name)? {
                found = value;
                break;
            }
        }
        if allowed.contains(&found) {
            return Ok(());
        }
        let (name, arch, allowed) = (names[0], self.arch, allowed[0]);
        Err(self.unsupported(format!("{name} \"{found}\"; the {arch} architecture has {allowed}")))
    }

    /// Refuses a truth value that the family's GGUF cannot express.
    ///
    /// # Errors
    /// [`Unsupported`](crate::error::Error::Unsupported) naming it.
    pub fn refuse(&self, name: &str, default: bool, refused: bool) -> Result<()> {
        if self.config.bool(name)?.unwrap_or(default) != refused {
            return Ok(());
        }
        Err(self
            .unsupported(format!("{name}: {refused}, which the {} architecture cannot express", self.arch)))
    }
}
