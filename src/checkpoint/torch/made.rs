//! What a pickle makes: values, and the containers, storages and tensors that they point to.
//!
//! Containers lie in one arena, so that neither a deep pickle nor one that contains itself costs more than its values.

use crate::checkpoint::tensor::SourceType;

/// A value on the stack. Strings are those of the pickle itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'p> {
    None,
    Bool(bool),
    Int(i64),
    Str(&'p str),
    /// A thing that nothing here needs, such as a float.
    Other,
    Tuple(usize),
    List(usize),
    /// Keys and values in turn.
    Dict(usize),
    /// A name of Python's: a module and what is in it.
    Global(&'p str, &'p str),
    Storage(usize),
    Tensor(usize),
}

/// Why a pickle cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not a pickle, or ends too early.
    Broken(&'static str),
    /// It asks for something that is neither a tensor nor a container.
    Refused(String),
    /// It makes more than is allowed.
    TooMuch,
}

/// Everything that a pickle made.
#[derive(Debug, Default)]
pub(super) struct Made<'p> {
    arena: Vec<Vec<Value<'p>>>,
    pub(super) storages: Vec<Storage<'p>>,
    pub(super) tensors: Vec<Tensor>,
}

impl<'p> Made<'p> {
    /// The elements of a tuple or a list, or the keys and values of a dictionary; none of another value.
    pub(super) fn items(&self, value: Value<'p>) -> &[Value<'p>] {
        match value {
            Value::Tuple(at) | Value::List(at) | Value::Dict(at) => &self.arena[at],
            _ => &[],
        }
    }

    /// Makes a tuple.
    pub(super) fn tuple(&mut self, items: Vec<Value<'p>>) -> Value<'p> {
        Value::Tuple(self.keep(items))
    }

    /// Makes an empty dictionary.
    pub(super) fn dict(&mut self) -> Value<'p> {
        Value::Dict(self.keep(Vec::new()))
    }

    pub(super) fn keep(&mut self, items: Vec<Value<'p>>) -> usize {
        self.arena.push(items);
        self.arena.len() - 1
    }

    /// Adds to a list or a dictionary that [`Self::keep`] keeps at `at`.
    pub(super) fn add(&mut self, at: usize, items: Vec<Value<'p>>) {
        self.arena[at].extend(items);
    }
}

/// Bytes that tensors are views of.
#[derive(Debug)]
pub(super) struct Storage<'p> {
    /// Its name in the archive, or its number in an old file.
    pub(super) key: &'p str,
    /// The type of its elements; `None` where the tensors say it.
    pub(super) dtype: Option<SourceType>,
    /// Whether its elements are complex numbers, of which `dtype` tells the length.
    pub(super) is_complex: bool,
    /// Its elements, or bytes where it has no type.
    pub(super) n_elements: u64,
}

impl Storage<'_> {
    pub(super) fn n_bytes(&self) -> Option<u64> {
        self.n_elements.checked_mul(self.dtype.map_or(1, |dtype| dtype.element_bits() as u64 / 8))
    }
}

/// A view of a storage.
#[derive(Debug)]
pub(super) struct Tensor {
    /// The number of its storage.
    pub(super) storage: usize,
    pub(super) dtype: SourceType,
    /// Whether they are complex numbers, of which `dtype` tells the length.
    pub(super) is_complex: bool,
    /// The first element.
    pub(super) first: u64,
    pub(super) shape: Vec<usize>,
    /// Elements from one to the next in each dimension.
    pub(super) stride: Vec<u64>,
}

impl Tensor {
    /// Whether its elements lie one after the other, the last dimension first.
    pub(super) fn is_contiguous(&self) -> bool {
        let mut n = 1_u64;
        self.shape.iter().zip(&self.stride).rev().all(|(&length, &stride)| {
            let fits = length <= 1 || stride == n;
            n = n.saturating_mul(length as u64);
            fits
        }) || self.shape.contains(&0)
    }

    /// Its elements, if they can be counted.
    pub(super) fn n_elements(&self) -> Option<u64> {
        self.shape.iter().try_fold(1_u64, |n, &length| n.checked_mul(length as u64))
    }
}
