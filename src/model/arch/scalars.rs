//! The numbers that a checkpoint keeps as tensors, by their names: some GGUF keys are made of them.

use std::fmt;

use crate::error::Result;

/// Numbers of tensors.
#[derive(Clone, Copy)]
pub struct Scalars<'a> {
    /// That of a tensor of one element.
    pub float: &'a dyn Fn(&str) -> Result<Option<f32>>,
    /// Those of a row of whole numbers.
    pub integers: &'a dyn Fn(&str) -> Result<Option<Vec<i64>>>,
}

impl Scalars<'_> {
    /// None at all.
    pub const NONE: Self = Self { float: &|_| Ok(None), integers: &|_| Ok(None) };
}

impl fmt::Debug for Scalars<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scalars")
    }
}
