//! The merge loop that byte-level BPE and SentencePiece share.
//!
//! A word starts as a chain of small symbols. Of all neighbours that a rule can join, the pair with
//! the best priority is joined first (the leftmost of equals), until no pair is left. The pairs wait
//! in a heap; one whose symbols have changed since is recognised by its length and dropped. So a word
//! of n symbols takes O(n log n) steps, whatever it holds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No neighbour.
const NONE: u32 = u32::MAX;

/// A piece of the word: its text is `start..start + len`, in bytes of the text it came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    /// What it is, in the rule's own numbering.
    pub(super) id: u32,
    /// First byte.
    pub(super) start: u32,
    /// Bytes; 0 once it has been joined to its left neighbour.
    pub(super) len: u32,
    previous: u32,
    next: u32,
}

/// A pair in waiting. Ordered by priority, then from left to right.
type Candidate = Reverse<(u32, u32, u32, u32, u32)>;

/// The chain and the heap, kept between words so that a long text allocates little.
#[derive(Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Candidate>,
}

impl Merger {
    /// Forgets the last word.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.heap.clear();
    }

    /// Appends a symbol to the word; symbols follow each other without gaps.
    pub(super) fn push(&mut self, id: u32, start: u32, len: u32) {
        let index = self.symbols.len() as u32;
        let previous = index.checked_sub(1).unwrap_or(NONE);
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        self.symbols.push(Symbol { id, start, len, previous, next: NONE });
    }

    /// Joins symbols until `rule` joins no neighbours, and yields what is left, in order.
    ///
    /// `rule(left, right)` gives the pair's priority (lower goes first) and the id of the joined symbol.
    pub(super) fn merge(
        &mut self,
        rule: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>,
    ) -> impl Iterator<Item = &Symbol> {
        for right in 1..self.symbols.len() as u32 {
            self.consider(right - 1, right, &rule);
        }
        while let Some(Reverse((_, left, right, len, id))) = self.heap.pop() {
            let (l, r) = (self.symbols[left as usize], self.symbols[right as usize]);
            if l.len == 0 || r.len == 0 || l.len + r.len != len {
                continue;
            }
            self.symbols[left as usize] = Symbol { id, len, next: r.next, ..l };
            self.symbols[right as usize].len = 0;
            if r.next != NONE {
                self.symbols[r.next as usize].previous = left;
                self.consider(left, r.next, &rule);
            }
            if l.previous != NONE {
                self.consider(l.previous, left, &rule);
            }
        }
        self.symbols.iter().filter(|symbol| symbol.len > 0)
    }

    fn consider(&mut self, left: u32, right: u32, rule: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        let (l, r) = (&self.symbols[left as usize], &self.symbols[right as usize]);
        if let Some((priority, id)) = rule(l, r) {
            self.heap.push(Reverse((priority, left, right, l.len + r.len, id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Merges the digits of `word` by a rule over (left id, right id).
    fn merged(word: &[u32], rule: impl Fn(u32, u32) -> Option<(u32, u32)>) -> Vec<u32> {
        let mut merger = Merger::default();
        for (i, &id) in word.iter().enumerate() {
            merger.push(id, i as u32, 1);
        }
        merger.merge(|l, r| rule(l.id, r.id)).map(|symbol| symbol.id).collect()
    }

    #[test]
    fn the_best_priority_goes_first() {
        let rule = |l, r| match (l, r) {
            (1, 2) => Some((5, 12)),
            (2, 3) => Some((1, 23)),
            _ => None,
        };
        assert_eq!(merged(&[1, 2, 3], rule), [1, 23]);
    }

    #[test]
    fn equal_priorities_join_from_the_left() {
        assert_eq!(merged(&[1, 1, 1], |l, r| (l == 1 && r == 1).then_some((0, 2))), [2, 1]);
    }

    #[test]
    fn joined_symbols_join_again_and_stale_pairs_are_dropped() {
        let rule = |l: u32, r: u32| (l == r).then_some((l, l + 1));
        assert_eq!(merged(&[0; 8], rule), [3]);
        assert_eq!(merged(&[0; 7], rule), [2, 1, 0]);
    }

    #[test]
    fn an_empty_word_has_no_symbols() {
        assert!(merged(&[], |_, _| None).is_empty());
    }
}
