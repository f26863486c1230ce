//! Rows of any source type to blocks, with the error they cost.
