//! What one rendering may use: steps, and bytes that are alive.
//!
//! A template comes in a file from anywhere, and twenty characters of it can ask for a string of a
//! gigabyte. So whatever builds a value asks here first, and gives the bytes back when it is dropped;
//! what takes long without building anything counts steps. Renderings run on threads of their own (see
//! `on_own_stack` in the module's head), so the account is the thread's and need not be handed about.

use std::cell::Cell;

use super::fault::{Fault, Result};
use crate::limits::{MAX_TEMPLATE_MEMORY, MAX_TEMPLATE_STEPS};

/// Bytes that cost as much as one step: copying 256 takes about as long as evaluating an expression.
const BYTES_PER_STEP: usize = 256;

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Starts the account of a rendering.
pub(super) fn reset() {
    STEPS.set(0);
    BYTES.set(0);
}

/// Counts `n` steps.
pub(super) fn steps(n: usize) -> Result<()> {
    let total = STEPS.get().saturating_add(n as u64);
    STEPS.set(total);
    if total > MAX_TEMPLATE_STEPS {
        return Err(Fault::Limit(format!("does not come to an end within {MAX_TEMPLATE_STEPS} steps")));
    }
    Ok(())
}

/// Counts the steps that reading or copying `n` bytes is worth.
pub(super) fn touch(n: usize) -> Result<()> {
    steps(n / BYTES_PER_STEP)
}

/// Takes `n` bytes into use.
pub(super) fn take(n: usize) -> Result<()> {
    touch(n)?;
    let total = BYTES.get().saturating_add(n);
    if total > MAX_TEMPLATE_MEMORY {
        return Err(Fault::Limit(format!("needs more than {} MiB of memory", MAX_TEMPLATE_MEMORY >> 20)));
    }
    BYTES.set(total);
    Ok(())
}

/// Refuses work that needs `n` bytes for a moment.
pub(super) fn room(n: usize) -> Result<()> {
    take(n)?;
    give(n);
    Ok(())
}

/// Gives back what [`take`] took.
pub(super) fn give(n: usize) {
    BYTES.set(BYTES.get().saturating_sub(n));
}
