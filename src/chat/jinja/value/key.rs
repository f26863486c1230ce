//! Values as keys of mappings.

use std::rc::Rc;

use super::super::fault::{Fault, Result};
use super::super::meter;
use super::super::text::Text;
use super::{Kind, Value};

/// A value as a key: what Python holds equal is equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Key {
    None,
    Undefined,
    Int(i128),
    /// The bits of a number that is not an integer.
    Float(u64),
    Str(Text),
    Tuple(Vec<Key>),
    /// What is equal to itself alone: its place in memory, or its number.
    Object(usize),
}

impl Value {
    /// What tells it from others of its kind.
    fn place(&self) -> usize {
        match self {
            Self::Seq(_, list) => Rc::as_ptr(list).addr(),
            Self::Generator(generator) => Rc::as_ptr(generator).addr(),
            Self::Namespace(namespace) => Rc::as_ptr(namespace).addr(),
            Self::Cycler(cycler) => Rc::as_ptr(cycler).addr(),
            Self::Joiner(joiner) => Rc::as_ptr(joiner).addr(),
            Self::Loop(state) => Rc::as_ptr(state).addr(),
            Self::Method(method) => Rc::as_ptr(method).addr(),
            Self::Function(name) => name.as_ptr().addr(),
            Self::Macro(number) => *number,
            _ => 0,
        }
    }

    /// Whether a mapping may have it as a key, in Python.
    pub(in super::super) fn is_hashable(&self) -> bool {
        match self {
            Self::Dict(_) | Self::Seq(Kind::List | Kind::Keys | Kind::Items, _) => false,
            Self::Seq(Kind::Tuple | Kind::Group, list) => list.items.iter().all(Self::is_hashable),
            _ => true,
        }
    }

    /// The value as a key.
    pub(in super::super) fn key(&self) -> Result<Key> {
        meter::steps(1)?;
        Ok(match self {
            Self::None => Key::None,
            Self::Undefined(_) => Key::Undefined,
            Self::Bool(_) | Self::Int(_) => Key::Int(self.as_int().unwrap_or_default()),
            Self::Float(float) if float.fract() == 0.0 && float.abs() < 1e30 => Key::Int(*float as i128),
            Self::Float(float) => Key::Float(float.to_bits()),
            Self::Str(text) => {
                meter::touch(text.len())?;
                Key::Str(text.clone())
            }
            Self::Seq(Kind::Tuple | Kind::Group, list) => {
                // Keys that are kept are not counted when they go, and few are tuples.
                meter::take(list.items.len() * size_of::<Key>())?;
                Key::Tuple(list.items.iter().map(Self::key).collect::<Result<_>>()?)
            }
            _ if !self.is_hashable() => {
                return Err(Fault::failed(format!("unhashable type: '{}'", self.type_name())));
            }
            _ => Key::Object(self.place()),
        })
    }
}
