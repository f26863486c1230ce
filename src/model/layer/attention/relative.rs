//! What is added to scores by how far keys lie from queries: the buckets of [`RelativeSpec`], laid out once by distance.

use std::ops::Range;

use crate::model::spec::layer::RelativeSpec;

/// The biases of the heads of a layer.
#[derive(Debug)]
pub(in crate::model) struct RelativeBias {
    /// `[n_head, 2 * max_distance + 1]`: for keys from `max_distance` in front of a query to as many behind it; those
    /// farther away have the first and the last.
    values: Vec<f32>,
    max_distance: usize,
}

/// Those of some consecutive heads.
#[derive(Clone, Copy)]
pub(super) struct HeadBiases<'a> {
    /// As in [`RelativeBias`].
    values: &'a [f32],
    max_distance: usize,
}

impl RelativeBias {
    /// Lays out `table: [n_buckets, n_head]`, for attention that is causal or not.
    pub(in crate::model) fn new((spec, is_causal): (RelativeSpec, bool), table: &[f32]) -> Self {
        let n_head = table.len() / spec.n_buckets;
        let farthest = spec.max_distance as isize;
        let buckets: Vec<usize> =
            (-farthest..=farthest).map(|offset| spec.bucket(offset, is_causal)).collect();
        let of_head = |head: usize| buckets.iter().map(move |bucket| table[bucket * n_head + head]);
        Self { values: (0..n_head).flat_map(of_head).collect(), max_distance: spec.max_distance }
    }

    /// Those of some of its heads.
    pub(super) fn heads(&self, heads: Range<usize>) -> HeadBiases<'_> {
        let n = 2 * self.max_distance + 1;
        HeadBiases { values: &self.values[heads.start * n..heads.end * n], max_distance: self.max_distance }
    }
}

impl HeadBiases<'_> {
    /// Adds those of `head` to the `scores: [keys.len()]` of the query at position `own`.
    pub(super) fn add(&self, head: usize, own: usize, keys: Range<usize>, scores: &mut [f32]) {
        let (farthest, n) = (self.max_distance, 2 * self.max_distance + 1);
        let values = &self.values[head * n..][..n];
        // Keys in front of the first that is near enough, the near ones, and those behind them.
        let first = own.saturating_sub(farthest).clamp(keys.start, keys.end);
        let end = (own + farthest + 1).clamp(keys.start, keys.end);
        let (before, rest) = scores.split_at_mut(first - keys.start);
        let (near, behind) = rest.split_at_mut(end - first);
        before.iter_mut().for_each(|score| *score += values[0]);
        if !near.is_empty() {
            let values = &values[first + farthest - own..];
            near.iter_mut().zip(values).for_each(|(score, value)| *score += value);
        }
        behind.iter_mut().for_each(|score| *score += values[n - 1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_gets_the_number_of_its_bucket() {
        let spec = RelativeSpec { n_buckets: 8, max_distance: 5, layer: 0 };
        let table: Vec<f32> = (0..16).map(|i| i as f32).collect();
        for is_causal in [false, true] {
            let bias = RelativeBias::new((spec, is_causal), &table);
            for own in [0, 3, 20] {
                for keys in [0..40, 2..4, 15..16, 24..30, 30..40, 7..7] {
                    for head in 0..2 {
                        let mut scores = vec![0.5; keys.len()];
                        bias.heads(head..2).add(0, own, keys.clone(), &mut scores);
                        for (key, score) in keys.clone().zip(scores) {
                            let bucket = spec.bucket(key as isize - own as isize, is_causal);
                            assert_eq!(score, 0.5 + table[2 * bucket + head], "{own} {key} {head}");
                        }
                    }
                }
            }
        }
    }
}
