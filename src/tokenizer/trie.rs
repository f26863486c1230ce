//! A trie of byte strings: which keys a text begins with.
//!
//! Built once from all keys, level by level, so that the children of a node lie side by side with their labels in
//! order: nine bytes a node, and a step is a binary search among at most 256 labels.

/// No key ends at a node.
const NO_VALUE: u32 = u32::MAX;

/// Keys with a number each.
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// The byte that leads to each node; the root's is not used.
    labels: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Node {
    /// Its children are `first..first + n_children`.
    first: u32,
    n_children: u16,
    value: u32,
}

impl Trie {
    /// The trie of `keys`; of equal ones the first counts. Empty keys are left out.
    pub(super) fn new<'k, K: AsRef<[u8]> + ?Sized + 'k>(
        keys: impl IntoIterator<Item = (&'k K, u32)>,
    ) -> Self {
        let mut sorted: Vec<(&[u8], u32)> = keys.into_iter().map(|(key, id)| (key.as_ref(), id)).collect();
        sorted.sort_by_key(|&(key, _)| key);
        sorted.dedup_by_key(|&mut (key, _)| key);
        let mut trie = Self { nodes: Vec::new(), labels: vec![0] };
        // Keys below each node that is not finished, in the order of the nodes, and the bytes before them.
        let mut waiting = std::collections::VecDeque::from([(0..sorted.len(), 0)]);
        while let Some((mut range, depth)) = waiting.pop_front() {
            let mut value = NO_VALUE;
            if let Some(&(key, id)) = sorted.get(range.start).filter(|_| !range.is_empty())
                && key.len() == depth
            {
                value = if depth == 0 { NO_VALUE } else { id };
                range.start += 1;
            }
            let first = trie.labels.len() as u32;
            let mut from = range.start;
            for group in sorted[range].chunk_by(|(a, _), (b, _)| a[depth] == b[depth]) {
                trie.labels.push(group[0].0[depth]);
                waiting.push_back((from..from + group.len(), depth + 1));
                from += group.len();
            }
            let n_children = (trie.labels.len() as u32 - first) as u16;
            trie.nodes.push(Node { first, n_children, value });
        }
        trie
    }

    /// The keys that `text` begins with, shortest first: length in bytes and number.
    pub(super) fn prefixes<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = (usize, u32)> + 't {
        let mut node = self.nodes[0];
        let steps = text.iter().enumerate().map_while(move |(i, byte)| {
            let first = node.first as usize;
            let labels = &self.labels[first..first + usize::from(node.n_children)];
            node = self.nodes[first + labels.binary_search(byte).ok()?];
            Some((i + 1, node.value))
        });
        steps.filter(|&(_, value)| value != NO_VALUE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_come_shortest_first_and_the_first_of_equal_keys_counts() {
        let trie = Trie::new([("ab", 1), ("a", 2), ("abcd", 3), ("", 4), ("b", 5), ("a", 6), ("é", 7)]);
        let found = |text: &str| trie.prefixes(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(found("abcde"), [(1, 2), (2, 1), (4, 3)]);
        assert_eq!(found("abc"), [(1, 2), (2, 1)]);
        assert_eq!(found("ba"), [(1, 5)]);
        assert_eq!(found("éa"), [(2, 7)]);
        assert!(found("").is_empty() && found("x").is_empty() && found("è").is_empty());
        assert!(Trie::new::<str>([]).prefixes(b"a").next().is_none());
    }

    #[test]
    fn every_key_of_many_is_found_with_its_number() {
        let keys: Vec<String> =
            (0..3000u32).map(|i| format!("{:x}", i.wrapping_mul(2_654_435_761))).collect();
        let trie = Trie::new(keys.iter().enumerate().map(|(i, key)| (key.as_str(), i as u32)));
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(trie.prefixes(key.as_bytes()).last(), Some((key.len(), i as u32)));
        }
    }
}
