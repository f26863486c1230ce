//! What `map`, `select` and their like give: items that can be taken once, one after the other.
//!
//! Python computes each item when it is asked for. Here they are computed at once, which is not different but where an
//! operation on one of them fails: what it fails with is told when that item is asked for.

use std::cell::Cell;
use std::rc::Rc;

use super::super::fault::{Fault, Result};
use super::{List, Value};

/// Items of which each is given once.
#[derive(Debug)]
pub(in super::super) struct Generator {
    items: Rc<List>,
    next: Cell<usize>,
    /// What happens behind the last item.
    fault: Option<Fault>,
}

impl Generator {
    /// The items that `fill` gives, up to where it fails.
    ///
    /// # Errors
    /// Limits, which hold whether the items are asked for or not.
    pub(in super::super) fn filled(fill: impl FnOnce(&mut Vec<Value>) -> Result<()>) -> Result<Value> {
        let mut items = Vec::new();
        let fault = match fill(&mut items) {
            Ok(()) => None,
            Err(fault @ Fault::Limit(_)) => return Err(fault),
            Err(fault) => Some(fault),
        };
        let items = Value::seq(super::Kind::List, items)?.items()?;
        Ok(Value::Generator(Rc::new(Self { items, next: Cell::new(0), fault })))
    }

    /// The items of `list`.
    pub(in super::super) fn of(items: Rc<List>) -> Value {
        Value::Generator(Rc::new(Self { items, next: Cell::new(0), fault: None }))
    }

    /// The next item, if there is one.
    pub(in super::super) fn next(&self) -> Result<Option<Value>> {
        let at = self.next.get();
        match self.items.items.get(at) {
            Some(item) => {
                self.next.set(at + 1);
                Ok(Some(item.clone()))
            }
            None => self.check_end().map(|()| None),
        }
    }

    /// All items that were not given yet, which does not fail where what comes behind them does.
    pub(in super::super) fn rest(&self) -> Result<Rc<List>> {
        let at = self.next.replace(self.items.items.len());
        if at == 0 {
            return Ok(self.items.clone());
        }
        Value::list(self.items.items[at.min(self.items.items.len())..].iter().cloned())?.items()
    }

    /// Fails if what comes behind the items does.
    pub(in super::super) fn check_end(&self) -> Result<()> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// How deep its items nest.
    pub(in super::super) fn depth(&self) -> usize {
        self.items.depth()
    }
}
