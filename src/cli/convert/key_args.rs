//! Arguments that change metadata, of conversions and of edits.

use crate::convert::{KeyChanges, Setting};

/// Changes of metadata.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Metadata")]
pub(super) struct KeyArgs {
    /// Set a metadata key, as in general.name=str:My model or tokenizer.chat_template=file:template.jinja; types:
    /// str, file, int, float, bool and those of the format; repeatable
    #[arg(long = "override-kv", value_name = "KEY=TYPE:VALUE")]
    set: Vec<Setting>,
    /// Remove a metadata key; repeatable
    #[arg(long = "remove-kv", value_name = "KEY")]
    removed: Vec<String>,
}

impl KeyArgs {
    /// What is to change.
    pub(super) fn changes(&self) -> KeyChanges {
        KeyChanges { set: self.set.clone(), removed: self.removed.clone(), keeps_all: false }
    }
}
