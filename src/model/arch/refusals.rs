//! What a family's GGUF cannot express of a configuration, refused by name.

use super::config::FromConfig;
use super::defaults::Defaults;
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

    /// Refuses another rotary scaling than LongRoPE, in a family whose files always hold its divisors.
    ///
    /// # Errors
    /// [`Unsupported`](crate::error::Error::Unsupported) naming it; else as [`FromConfig::rope`].
    pub(super) fn longrope_or_none(&self, defaults: &Defaults) -> Result<()> {
        let rope = self.rope(defaults)?;
        match self.rope_parameters()? {
            Some(parameters) if rope.longrope.is_none() && rope.is_stretched() => {
                Err(self.unsupported(format!(
                    "{}: the {} architecture has no rotary scaling but longrope",
                    parameters.described(),
                    self.arch
                )))
            }
            _ => Ok(()),
        }
    }

    /// Refuses another number called `name` than `usual`, which is meant where the configuration has none.
    ///
    /// # Errors
    /// [`Unsupported`](crate::error::Error::Unsupported) naming both.
    pub fn refuse_number(&self, name: &str, usual: f32) -> Result<()> {
        match self.config.f32(name)?.filter(|&number| number != usual) {
            None => Ok(()),
            Some(number) => {
                Err(self
                    .unsupported(format!("{name} {number}; in the {} architecture it is {usual}", self.arch)))
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
