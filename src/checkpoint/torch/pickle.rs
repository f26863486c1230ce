//! A machine for the pickles that `torch.save` writes, which executes nothing.
//!
//! A pickle is a program for a stack machine, and Python's runs whatever it names. This one knows the operations on
//! numbers, strings and containers, and of all things that a pickle may call only the few that make a container or
//! a tensor ([`super::rebuild`]); any other name ends the reading. Operations: Python's `pickletools`, protocols 2 to 5.
//!
//! [`super::made`] holds what it makes.

use super::made::{Fault, Made, Value};
use super::rebuild;

type Result<T> = std::result::Result<T, Fault>;

/// The state of the machine.
#[derive(Debug, Default)]
struct Machine<'p> {
    stack: Vec<Value<'p>>,
    /// Where the marks are in the stack.
    marks: Vec<usize>,
    memo: Vec<Option<Value<'p>>>,
    made: Made<'p>,
    n_left: usize,
}

/// Reads the pickle at the beginning of `bytes`: its value, what that points to, and what follows it. At most `n_values` values are made.
///
/// # Errors
/// [`Fault`].
pub(super) fn read(bytes: &[u8], n_values: usize) -> Result<(Value<'_>, Made<'_>, &[u8])> {
    let mut machine = Machine { n_left: n_values, ..Machine::default() };
    let mut input = Input { bytes };
    loop {
        let op = input.byte()?;
        if op == b'.' {
            return Ok((machine.pop()?, machine.made, input.bytes));
        }
        machine.step(op, &mut input)?;
    }
}

impl<'p> Machine<'p> {
    fn step(&mut self, op: u8, input: &mut Input<'p>) -> Result<()> {
        let value = match op {
            // PROTO and FRAME say nothing that is needed.
            0x80 => return input.take(1).map(drop),
            0x95 => return input.take(8).map(drop),
            b'(' => {
                self.count()?;
                self.marks.push(self.stack.len());
                return Ok(());
            }
            b'0' => return self.pop().map(drop),
            b'1' => return self.pop_to_mark().map(drop),
            b'2' => *self.stack.last().ok_or(EMPTY)?,
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'K' => Value::Int(input.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(input.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(input.array()?).into()),
            0x8a => Value::Int(input.long()?),
            b'G' => input.take(8).map(|_| Value::Other)?,
            b'X' | b'T' | b'U' | 0x8c | 0x8d => Value::Str(input.text(op)?),
            b'B' | b'C' | 0x8e | 0x96 => input.binary(op).map(|_| Value::Other)?,
            b'c' => global(input.line()?, input.line()?)?,
            0x93 => match [self.pop()?, self.pop()?] {
                [Value::Str(name), Value::Str(module)] => global(module, name)?,
                _ => return Err(Fault::Broken("a name is not a string")),
            },
            b'h' => self.recall(input.byte()?.into())?,
            b'j' => self.recall(u32::from_le_bytes(input.array()?) as usize)?,
            b'q' => return self.memoise(Some(input.byte()?.into())),
            b'r' => return self.memoise(Some(u32::from_le_bytes(input.array()?) as usize)),
            0x94 => return self.memoise(None),
            b'Q' => {
                let id = self.pop()?;
                rebuild::storage(&mut self.made, id)?
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                rebuild::call(&mut self.made, callable, arguments)?
            }
            // The state of an object, which is an attribute of a dictionary at most.
            b'b' => return self.pop().map(drop),
            _ => return self.containers(op),
        };
        self.push(value)
    }

    /// The operations that make containers and fill them.
    fn containers(&mut self, op: u8) -> Result<()> {
        let value = match op {
            b'}' => Value::Dict(self.made.keep(Vec::new())),
            b']' | 0x8f => Value::List(self.made.keep(Vec::new())),
            b')' => self.made.tuple(Vec::new()),
            0x85..=0x87 => {
                let n = usize::from(op - 0x84);
                let at = self.stack.len().checked_sub(n).ok_or(EMPTY)?;
                let items = self.stack.split_off(at);
                self.made.tuple(items)
            }
            b't' | 0x91 => {
                let items = self.pop_to_mark()?;
                self.made.tuple(items)
            }
            b'l' => {
                let items = self.pop_to_mark()?;
                Value::List(self.made.keep(items))
            }
            b'd' => {
                let items = self.pop_to_mark()?;
                Value::Dict(self.made.keep(items))
            }
            b'a' => {
                let item = self.pop()?;
                return self.extend(vec![item]);
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                return self.extend(vec![key, value]);
            }
            b'e' | b'u' | 0x90 => {
                let items = self.pop_to_mark()?;
                return self.extend(items);
            }
            op => {
                return Err(Fault::Refused(format!("an operation that tensors do not need (0x{op:02x})")));
            }
        };
        self.push(value)
    }

    /// Adds to the container on top of the stack.
    fn extend(&mut self, items: Vec<Value<'p>>) -> Result<()> {
        match self.stack.last() {
            Some(&(Value::List(at) | Value::Dict(at))) => self.made.add(at, items),
            _ => return Err(Fault::Broken("items are added to what holds none")),
        }
        Ok(())
    }

    fn count(&mut self) -> Result<()> {
        self.n_left = self.n_left.checked_sub(1).ok_or(Fault::TooMuch)?;
        Ok(())
    }

    fn push(&mut self, value: Value<'p>) -> Result<()> {
        self.count()?;
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value<'p>> {
        // What is below a mark is not to be taken past it.
        match self.marks.last() {
            Some(&mark) if mark == self.stack.len() => Err(EMPTY),
            _ => self.stack.pop().ok_or(EMPTY),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'p>>> {
        let mark = self.marks.pop().ok_or(Fault::Broken("a mark is missing"))?;
        if mark > self.stack.len() { Err(EMPTY) } else { Ok(self.stack.split_off(mark)) }
    }

    fn recall(&self, at: usize) -> Result<Value<'p>> {
        self.memo.get(at).copied().flatten().ok_or(Fault::Broken("it refers to a value that it has not made"))
    }

    /// Keeps the value on top of the stack as number `at`, or as the next one.
    fn memoise(&mut self, at: Option<usize>) -> Result<()> {
        let value = *self.stack.last().ok_or(EMPTY)?;
        let at = at.unwrap_or(self.memo.len());
        while self.memo.len() <= at {
            self.count()?;
            self.memo.push(None);
        }
        self.memo[at] = Some(value);
        Ok(())
    }
}

const EMPTY: Fault = Fault::Broken("it takes more values than it has made");

const ENDS: Fault = Fault::Broken("it ends too early");

fn global<'p>(module: &'p str, name: &'p str) -> Result<Value<'p>> {
    if rebuild::is_known(module, name) {
        Ok(Value::Global(module, name))
    } else {
        Err(Fault::Refused(format!("{}.{}", module.escape_debug(), name.escape_debug())))
    }
}

/// What is left to be read.
struct Input<'p> {
    bytes: &'p [u8],
}

impl<'p> Input<'p> {
    fn take(&mut self, n: usize) -> Result<&'p [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or(ENDS)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N).map(|bytes| *bytes.first_chunk().expect("as many as were asked for"))
    }

    /// An integer of up to eight bytes; a longer one counts as far as the smallest numbers go.
    fn long(&mut self) -> Result<i64> {
        let n = self.byte()?;
        let bytes = self.take(n.into())?;
        let Some(&last) = bytes.last() else { return Ok(0) };
        let mut wide = [if last >= 0x80 { 0xff } else { 0 }; 8];
        let n = bytes.len().min(8);
        wide[..n].copy_from_slice(&bytes[..n]);
        Ok(i64::from_le_bytes(wide))
    }

    /// As many bytes as the operation `op` says before them.
    fn binary(&mut self, op: u8) -> Result<&'p [u8]> {
        let n = match op {
            b'U' | b'C' | 0x8c => self.byte()?.into(),
            0x8d | 0x8e | 0x96 => usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| ENDS)?,
            _ => u32::from_le_bytes(self.array()?) as usize,
        };
        self.take(n)
    }

    fn text(&mut self, op: u8) -> Result<&'p str> {
        std::str::from_utf8(self.binary(op)?).map_err(|_| Fault::Broken("a string is not UTF-8"))
    }

    /// A line of text without its end.
    fn line(&mut self) -> Result<&'p str> {
        let n = self.bytes.iter().position(|&byte| byte == b'\n').ok_or(ENDS)?;
        let line = self.take(n)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| Fault::Broken("a name is not UTF-8"))
    }
}
