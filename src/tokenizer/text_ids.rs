//! The ids of tokens by their texts.
//!
//! A vocabulary is read at every start, and some have a quarter of a million tokens: their texts lie in one buffer
//! rather than each by itself, and are hashed by a fast function, which is seeded anew in each process so that no
//! file can be made to collide.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// What neighbours join to: (left, right) to (rank of the merge, joined).
pub(super) type Merges = hashbrown::HashMap<(u32, u32), (u32, u32)>;

/// Texts with an id each.
#[derive(Default)]
pub(super) struct TextIds {
    table: HashTable<Entry>,
    texts: Vec<u8>,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy)]
struct Entry {
    /// Where its text begins among `texts`.
    start: usize,
    /// Bytes.
    len: u32,
    id: u32,
}

impl Entry {
    fn text(self, texts: &[u8]) -> &[u8] {
        &texts[self.start..self.start + self.len as usize]
    }
}

impl TextIds {
    /// An empty table with room for `n` texts.
    pub(super) fn with_capacity(n: usize) -> Self {
        Self { table: HashTable::with_capacity(n), ..Self::default() }
    }

    /// The id of `text`.
    pub(super) fn get(&self, text: impl AsRef<[u8]>) -> Option<u32> {
        let text = text.as_ref();
        let is_text = |entry: &Entry| entry.text(&self.texts) == text;
        self.table.find(self.hasher.hash_one(text), is_text).map(|entry| entry.id)
    }

    /// The id of `text`, which is `id` if it has none yet: of equal texts the first counts.
    pub(super) fn get_or_insert(&mut self, text: impl AsRef<[u8]>, id: u32) -> u32 {
        let text = text.as_ref();
        let (texts, hasher) = (&self.texts, &self.hasher);
        let is_text = |entry: &Entry| entry.text(texts) == text;
        let rehash = |entry: &Entry| hasher.hash_one(entry.text(texts));
        match self.table.entry(hasher.hash_one(text), is_text, rehash) {
            hashbrown::hash_table::Entry::Occupied(found) => found.get().id,
            hashbrown::hash_table::Entry::Vacant(place) => {
                place.insert(Entry { start: texts.len(), len: text.len() as u32, id });
                self.texts.extend_from_slice(text);
                id
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_texts_the_first_counts() {
        let mut ids = TextIds::with_capacity(1);
        for (text, id) in [("a", 3), ("", 4), ("ab", 5), ("a", 6)] {
            ids.get_or_insert(text, id);
        }
        assert_eq!(
            ["a", "", "ab", "b", "abc"].map(|text| ids.get(text)),
            [Some(3), Some(4), Some(5), None, None]
        );
        assert_eq!(ids.get_or_insert("ab", 9), 5);
        assert_eq!(ids.get_or_insert("b", 9), 9);
    }

    #[test]
    fn every_text_of_many_is_found_with_its_id() {
        let mut ids = TextIds::default();
        (0..3000).for_each(|id: u32| _ = ids.get_or_insert(id.to_string(), id));
        (0..3000).for_each(|id| assert_eq!(ids.get(id.to_string()), Some(id)));
    }
}
