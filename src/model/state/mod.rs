//! What layers remember of the positions before.

pub(super) mod kv;
