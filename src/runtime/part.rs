//! What a step evaluates of each sequence.

use std::ops::Range;

use super::sequence::Sequence;
use crate::model::{BatchPart, KvCache};

/// The positions of a step whose logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// None: the step only fills the cache.
    None,
    /// The last one: what follows the ids.
    Last,
    /// All of them. They are held together, `n_vocab` floats for each id: evaluate a long text in
    /// several steps.
    All,
}

/// What a step does for one sequence.
#[derive(Debug)]
pub struct Part<'a, 'e> {
    pub(super) sequence: &'a mut Sequence<'e>,
    pub(super) ids: &'a [u32],
    /// The ids from this one on have their logits computed.
    first_wanted: usize,
    pub(super) wanted: Logits,
    /// The ids of the batch being evaluated.
    pub(super) now: Range<usize>,
    /// The position where the second text of a pair begins.
    border: usize,
    /// Whether the sequence can go back over its ids.
    pub(super) can_go_back: bool,
}

impl<'a, 'e> Part<'a, 'e> {
    /// Evaluates `ids` at the positions that follow those of `sequence`.
    pub fn new(sequence: &'a mut Sequence<'e>, ids: &'a [u32], wanted: Logits) -> Self {
        let first_wanted = match wanted {
            Logits::None => ids.len(),
            Logits::Last => ids.len().saturating_sub(1),
            Logits::All => 0,
        };
        Self { sequence, ids, first_wanted, wanted, now: 0..0, border: usize::MAX, can_go_back: false }
    }

    /// The same, of a pair of texts, of which the second begins at position `border`.
    #[must_use]
    pub fn with_border(self, border: usize) -> Self {
        Self { border, ..self }
    }

    /// The same; [`Sequence::rewind`] can then go back to each of the last positions, as many as
    /// [`Sequence::reserve_trail`] made room for.
    #[must_use]
    pub(super) fn with_ways_back(self) -> Self {
        Self { can_go_back: true, ..self }
    }

    /// Ids whose logits are wanted.
    pub(super) fn n_logits(&self) -> usize {
        self.ids.len() - self.first_wanted
    }

    pub(super) fn is_done(&self) -> bool {
        self.now.end == self.ids.len()
    }
}

impl BatchPart for Part<'_, '_> {
    fn cache(&self) -> &KvCache {
        &self.sequence.cache
    }

    fn cache_mut(&mut self) -> &mut KvCache {
        &mut self.sequence.cache
    }

    fn ids(&self) -> &[u32] {
        &self.ids[self.now.clone()]
    }

    fn n_wanted(&self) -> usize {
        self.now.end - self.first_wanted.clamp(self.now.start, self.now.end)
    }

    fn border(&self) -> usize {
        self.border
    }
}

/// Gives the next batch its ids, from the first part on, until it has `n_batch`, or cannot take a `whole` part more;
/// returns the number of parts that have some.
pub(super) fn take_batch(parts: &mut [Part<'_, '_>], n_batch: usize, whole: bool) -> usize {
    let mut room = n_batch;
    for (i, part) in parts.iter_mut().enumerate() {
        if room == 0 || whole && part.ids.len() > room {
            return i;
        }
        let n = room.min(part.ids.len() - part.now.end);
        part.now = part.now.end..part.now.end + n;
        room -= n;
    }
    parts.len()
}
