//! What layers remember of the positions before.

pub(super) mod kv;
pub(super) mod promises;
mod recurrent;
pub(super) mod trail;
