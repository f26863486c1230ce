//! Namespaces, which templates keep what changes in.

use std::cell::RefCell;

use indexmap::IndexMap;

use super::{DICT_BYTES, ENTRY_BYTES, Value};
use crate::chat::jinja::fault::Result;
use crate::chat::jinja::meter;
use crate::chat::jinja::text::Text;

/// What `namespace()` makes: the only value that can be changed.
#[derive(Debug, Default)]
pub(in crate::chat::jinja) struct Namespace {
    pub attributes: RefCell<IndexMap<Text, Value>>,
}

impl Namespace {
    /// One without attributes. Those that are made live as long as the rendering: what they take is not given back.
    pub(in crate::chat::jinja) fn new() -> Result<Self> {
        meter::take(DICT_BYTES)?;
        Ok(Self::default())
    }

    /// Sets an attribute.
    pub(in crate::chat::jinja) fn set(&self, name: Text, value: Value) -> Result<()> {
        let mut attributes = self.attributes.borrow_mut();
        if !attributes.contains_key(&name) {
            meter::take(ENTRY_BYTES)?;
        }
        attributes.insert(name, value);
        Ok(())
    }
}
