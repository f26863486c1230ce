//! The head of a model whose head is its embedding.

use super::Found;
use crate::convert::transform::{Reading, SourceRows};
use crate::error::Result;
use crate::model::spec::{Presence, Role};

/// Elements of the head and of the embedding compared at a time.
const COMPARED_ELEMENTS: usize = 1 << 20;

/// Removes the head of a tied model if it is the embedding once more. One that differs is kept: then
/// config.json is wrong and not the weights, as transformers 5 has it.
///
/// # Errors
/// [`crate::Error::Io`] if the two cannot be read.
pub(super) fn drop_tied_head(found: &mut Vec<Found<'_>>, warnings: &mut Vec<String>) -> Result<()> {
    let position = |role| found.iter().position(|(slot, _)| slot.id.role == role && slot.shape.len() > 1);
    let (Some(head), Some(embedding)) = (position(Role::Output), position(Role::TokenEmbd)) else {
        return Ok(());
    };
    // A head that must be there is none that config.json ties.
    if found[head].0.presence == Presence::Required {
        return Ok(());
    }
    if found[embedding].1.is_of_the_same_tensor(&found[head].1) {
        warnings.push(format!(
            "the embedding is not in the checkpoint; it is taken from {}, to which config.json ties it",
            found[head].1.name()
        ));
        found.remove(head);
    } else if found[embedding].1.is_glimpsed() {
        warnings.push(format!(
            "{} is taken for the embedding once more, to which config.json ties it: a look at the headers compares no weights",
            found[head].1.name()
        ));
        found.remove(head);
    } else if are_equal(&found[embedding].1, &found[head].1)? {
        found.remove(head);
    } else {
        warnings.push(format!(
            "{} differs from the embedding, though config.json ties them: it is kept, as transformers 5 does",
            found[head].1.name()
        ));
    }
    Ok(())
}

/// Whether two tensors of one shape hold the same values.
///
/// # Errors
/// [`crate::Error::Io`] if they cannot be read.
fn are_equal(a: &SourceRows<'_>, b: &SourceRows<'_>) -> Result<bool> {
    let (n_rows, n_in) = (a.n_rows(), a.n_in());
    let together = (COMPARED_ELEMENTS / n_in).clamp(1, n_rows);
    let mut values = [vec![0.0; together * n_in], vec![0.0; together * n_in]];
    let mut reading = Reading::default();
    for first in (0..n_rows).step_by(together) {
        let n = together.min(n_rows - first) * n_in;
        let [of_a, of_b] = &mut values;
        a.read(first, &mut of_a[..n], &mut reading)?;
        b.read(first, &mut of_b[..n], &mut reading)?;
        if of_a[..n] != of_b[..n] {
            return Ok(false);
        }
    }
    Ok(true)
}
