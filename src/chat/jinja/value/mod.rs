//! The values of a template: Python's, as far as templates meet them.

mod generator;
mod key;
mod namespace;

pub(super) use generator::Generator;
use key::Key;
pub(super) use namespace::Namespace;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use indexmap::IndexMap;

use super::fault::{Fault, Result};
use super::meter;
use super::text::Text;

/// How deep lists and mappings may nest. Comparing, printing and dropping recurse that deep.
const MAX_NESTING: usize = 200;

/// Bytes that an item of a list, or an entry of a mapping, is counted as.
const ITEM_BYTES: usize = size_of::<Value>();
const ENTRY_BYTES: usize = 4 * ITEM_BYTES;

/// Bytes that a list, or a mapping, costs without its items.
const LIST_BYTES: usize = 64;
const DICT_BYTES: usize = 160;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing of that name; says what was looked for.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Text),
    Seq(Kind, Rc<List>),
    Generator(Rc<Generator>),
    Dict(Rc<Dict>),
    Namespace(Rc<Namespace>),
    Cycler(Rc<Cycler>),
    /// Its separator, and whether it was called.
    Joiner(Rc<(Text, Cell<bool>)>),
    Loop(Rc<Loop>),
    /// The number of a macro of this rendering.
    Macro(usize),
    Method(Rc<Method>),
    /// A global function.
    Function(&'static str),
}

/// What kind of sequence it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Tuple,
    /// From, to, step.
    Range(i64, i64, i64),
    Keys,
    Values,
    Items,
    /// A pair that `groupby` makes: `grouper` and `list`.
    Group,
}

/// The items of a sequence.
#[derive(Debug)]
pub(super) struct List {
    pub items: Vec<Value>,
    depth: usize,
}

impl List {
    /// How deep it nests.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }
}

impl Drop for List {
    fn drop(&mut self) {
        meter::give(LIST_BYTES + self.items.len() * ITEM_BYTES);
    }
}

/// A mapping in the order of insertion.
#[derive(Debug)]
pub(super) struct Dict {
    entries: IndexMap<Key, (Value, Value)>,
    depth: usize,
}

impl Drop for Dict {
    fn drop(&mut self) {
        meter::give(DICT_BYTES + self.entries.len() * ENTRY_BYTES);
    }
}

/// What `cycler()` makes.
#[derive(Debug)]
pub(super) struct Cycler {
    pub items: Vec<Value>,
    pub position: Cell<usize>,
    depth: usize,
}

impl Drop for Cycler {
    fn drop(&mut self) {
        meter::give(self.items.len() * ITEM_BYTES);
    }
}

/// The `loop` of a loop.
#[derive(Debug)]
pub(super) struct Loop {
    pub items: Rc<List>,
    pub index: Cell<usize>,
    pub depth: usize,
    pub changed: RefCell<Option<Value>>,
    /// The statement, for a recursive loop.
    pub recursion: Option<usize>,
}

/// A method of a value, not yet called.
#[derive(Debug)]
pub(super) struct Method {
    pub object: Value,
    pub name: &'static str,
    depth: usize,
}

impl Value {
    /// Nothing called `name`, which is only for the message and kept short.
    pub(super) fn undefined(name: &str) -> Self {
        const MAX_CHARS: usize = 80;
        let end = name.char_indices().nth(MAX_CHARS).map_or(name.len(), |(end, _)| end);
        Self::Undefined(name[..end].into())
    }

    /// A string.
    pub(super) fn text(text: impl Into<String>) -> Result<Self> {
        Ok(Self::Str(Text::new(text)?))
    }

    /// A sequence of items that [`push`] counted.
    pub(super) fn seq(kind: Kind, items: Vec<Self>) -> Result<Self> {
        let depth = 1 + items.iter().map(Self::depth).max().unwrap_or(0);
        check_depth(depth)?;
        meter::take(LIST_BYTES)?;
        Ok(Self::Seq(kind, Rc::new(List { items, depth })))
    }

    /// A list of `items`, counting them.
    pub(super) fn list(items: impl IntoIterator<Item = Self>) -> Result<Self> {
        Self::counted(Kind::List, items)
    }

    /// A tuple of `items`, counting them.
    pub(super) fn tuple(items: impl IntoIterator<Item = Self>) -> Result<Self> {
        Self::counted(Kind::Tuple, items)
    }

    /// A sequence of `items`, counting them.
    pub(super) fn counted(kind: Kind, items: impl IntoIterator<Item = Self>) -> Result<Self> {
        let mut counted = Vec::new();
        for item in items {
            push(&mut counted, item)?;
        }
        Self::seq(kind, counted)
    }

    /// The method `name` of `object`.
    pub(super) fn method(object: Self, name: &'static str) -> Result<Self> {
        let depth = 1 + object.depth();
        check_depth(depth)?;
        Ok(Self::Method(Rc::new(Method { object, name, depth })))
    }

    /// What `cycler(items)` makes; there is at least one item.
    pub(super) fn cycler(items: Vec<Self>) -> Result<Self> {
        let depth = 1 + items.iter().map(Self::depth).max().unwrap_or(0);
        check_depth(depth)?;
        meter::take(items.len() * ITEM_BYTES)?;
        Ok(Self::Cycler(Rc::new(Cycler { items, position: Cell::new(0), depth })))
    }

    fn depth(&self) -> usize {
        match self {
            Self::Seq(_, list) => list.depth,
            Self::Generator(generator) => generator.depth(),
            Self::Dict(dict) => dict.depth,
            Self::Method(method) => method.depth,
            Self::Cycler(cycler) => cycler.depth,
            Self::Loop(state) => state.items.depth,
            _ => 0,
        }
    }

    /// The string, if it is one.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if it is one or a truth value.
    pub(super) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(int) => Some(*int),
            Self::Bool(bool) => Some(i128::from(*bool)),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(float) => Some(*float),
            _ => self.as_int().map(|int| int as f64),
        }
    }

    /// Whether nothing has that name.
    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// Whether a condition holds that is this value.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(bool) => *bool,
            Self::Int(int) => *int != 0,
            Self::Float(float) => *float != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::Seq(_, list) => !list.items.is_empty(),
            Self::Dict(dict) => dict.len() > 0,
            _ => true,
        }
    }

    /// What Python calls its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Seq(kind, _) => match kind {
                Kind::List => "list",
                Kind::Tuple => "tuple",
                Kind::Range(..) => "range",
                Kind::Keys => "dict_keys",
                Kind::Values => "dict_values",
                Kind::Items => "dict_items",
                Kind::Group => "_GroupTuple",
            },
            Self::Generator(_) => "generator",
            Self::Dict(_) => "dict",
            Self::Namespace(_) => "Namespace",
            Self::Cycler(_) => "Cycler",
            Self::Joiner(_) => "Joiner",
            Self::Loop(_) => "LoopContext",
            Self::Macro(_) => "Macro",
            Self::Method(_) => "builtin_function_or_method",
            Self::Function(_) => "function",
        }
    }

    /// The items that a loop over it sees.
    pub(super) fn items(&self) -> Result<Rc<List>> {
        let items = match self {
            Self::Seq(_, list) => return Ok(list.clone()),
            Self::Generator(generator) => {
                generator.check_end()?;
                return generator.rest();
            }
            Self::Undefined(_) => Self::list([])?,
            Self::Str(text) => {
                let mut items = Vec::new();
                for c in text.chars() {
                    push(&mut items, Self::text(c)?)?;
                }
                Self::seq(Kind::List, items)?
            }
            Self::Dict(dict) => Self::list(dict.iter().map(|(key, _)| key.clone()))?,
            Self::Loop(state) => return Ok(state.items.clone()),
            _ => return Err(Fault::failed(format!("'{}' object is not iterable", self.type_name()))),
        };
        match items {
            Self::Seq(_, list) => Ok(list),
            _ => unreachable!("a list was made"),
        }
    }

    /// What `len` gives.
    pub(super) fn len(&self) -> Result<usize> {
        match self {
            Self::Undefined(_) => Ok(0),
            Self::Str(text) => {
                meter::touch(text.len())?;
                Ok(text.chars().count())
            }
            Self::Seq(_, list) => Ok(list.items.len()),
            Self::Dict(dict) => Ok(dict.len()),
            Self::Loop(state) => Ok(state.items.items.len()),
            _ => Err(Fault::failed(format!("object of type '{}' has no len()", self.type_name()))),
        }
    }
}

fn check_depth(depth: usize) -> Result<()> {
    if depth > MAX_NESTING {
        return Err(Fault::Limit(format!("nests values more than {MAX_NESTING} deep")));
    }
    Ok(())
}

/// Appends `item`, counting its bytes.
pub(super) fn push(items: &mut Vec<Value>, item: Value) -> Result<()> {
    meter::take(ITEM_BYTES)?;
    meter::steps(1)?;
    items.push(item);
    Ok(())
}

impl Dict {
    /// A mapping without entries.
    pub(super) fn new() -> Result<Self> {
        meter::take(DICT_BYTES)?;
        Ok(Self { entries: IndexMap::new(), depth: 0 })
    }

    /// Inserts or replaces an entry.
    pub(super) fn insert(&mut self, key: Value, value: Value) -> Result<()> {
        let depth = 1 + key.depth().max(value.depth());
        check_depth(depth)?;
        self.depth = self.depth.max(depth);
        match self.entries.entry(key.key()?) {
            // As in Python, the key stays the one that was there.
            indexmap::map::Entry::Occupied(mut entry) => entry.get_mut().1 = value,
            indexmap::map::Entry::Vacant(entry) => {
                meter::take(ENTRY_BYTES)?;
                entry.insert((key, value));
            }
        }
        Ok(())
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &Value) -> Result<Option<&Value>> {
        Ok(self.entries.get(&key.key()?).map(|(_, value)| value))
    }

    /// The entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Value, &Value)> {
        self.entries.values().map(|(key, value)| (key, value))
    }

    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A copy to add to.
    pub(super) fn copy(&self) -> Result<Self> {
        let mut copy = Self::new()?;
        for (key, value) in self.iter() {
            copy.insert(key.clone(), value.clone())?;
        }
        Ok(copy)
    }
}
