//! Scores that depend on how far a key lies from the query: a learned number for each bucket of distances and each head
//! (Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", section
//! 2.1). Near keys have a bucket each; those of far keys widen like the logarithm of the distance.

use super::{AttentionSpec, LayerSpec, MixerSpec};

/// The most buckets that this program takes; known models have 32.
const MAX_BUCKETS: usize = 256;

/// The greatest distance up to which buckets may differ; known models have 128.
const MAX_DISTANCE: usize = 4096;

/// The buckets of attention, and where their numbers lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelativeSpec {
    /// Rows of the table, which is `[n_buckets, n_head]`. Where queries see what is behind them, the first half is of
    /// keys up to the query and the second of those behind it.
    pub n_buckets: usize,
    /// All keys from this distance on have the same bucket.
    pub max_distance: usize,
    /// The layer whose table is used: its own, or one in front of it.
    pub layer: usize,
}

impl RelativeSpec {
    /// The bucket of a key at `offset` positions behind the query (negative: in front of it).
    ///
    /// With `n` buckets on a side, of which `e = n / 2` hold one distance each, a distance `d` of `e` or more has the
    /// bucket `e + (n - e) ln(d / e) / ln(max_distance / e)`, rounded down, and at most the last. Powers are compared
    /// in the place of logarithms, whose rounding would decide where the two sides are equal.
    pub fn bucket(&self, offset: isize, is_causal: bool) -> usize {
        let n = self.n_on_side(is_causal);
        let (first, distance) = match (is_causal, offset > 0) {
            (true, true) => return 0,
            (false, true) => (n, offset.unsigned_abs()),
            (_, false) => (0, offset.unsigned_abs()),
        };
        let n_exact = n / 2;
        if distance < n_exact {
            return first + distance;
        }
        let ratio = |of: usize| of as f64 / n_exact as f64;
        let times = |x: f64, n: usize| (0..n).fold(1.0, |product, _| product * x);
        let reached = times(ratio(distance.min(self.max_distance)), n - n_exact);
        let step = ratio(self.max_distance);
        let n_steps = (1..n - n_exact).take_while(|&steps| times(step, steps) <= reached).count();
        first + n_exact + n_steps
    }

    /// Buckets of the keys on one side of a query.
    fn n_on_side(&self, is_causal: bool) -> usize {
        if is_causal { self.n_buckets } else { self.n_buckets / 2 }
    }

    /// What is wrong with them in `layer`, whose attention is `of`.
    pub(super) fn fault(&self, layer: usize, (of, layers): (&AttentionSpec, &[LayerSpec])) -> Option<String> {
        let Self { n_buckets, max_distance, layer: kept } = *self;
        let n_exact = self.n_on_side(of.is_causal) / 2;
        if n_exact == 0 || n_buckets > MAX_BUCKETS {
            return Some(format!(
                "{n_buckets} buckets of relative positions; there must be at least two on each side that queries see, \
                 and at most {MAX_BUCKETS} in all"
            ));
        }
        if max_distance <= n_exact || max_distance > MAX_DISTANCE {
            return Some(format!(
                "relative positions told apart up to a distance of {max_distance}; it must be within {}..={MAX_DISTANCE}",
                n_exact + 1
            ));
        }
        let is_kept = layers.get(kept).is_some_and(|other| match &other.mixer {
            MixerSpec::Attention(other) => other.n_head == of.n_head && other.relative == of.relative,
            _ => false,
        });
        (kept > layer || !is_kept)
            .then(|| format!("layer {layer} cannot use the relative positions of layer {kept}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: RelativeSpec = RelativeSpec { n_buckets: 32, max_distance: 128, layer: 0 };

    #[test]
    fn buckets_are_those_of_t5() {
        // The first distance of each bucket, as transformers 5.24 computes them.
        let both = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91];
        let causal = [
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59,
            67, 77, 87, 99, 113,
        ];
        for distance in 0..300 {
            let of = |firsts: &[isize]| firsts.iter().filter(|&&first| first <= distance).count() - 1;
            assert_eq!(SPEC.bucket(-distance, false), of(&both), "{distance}");
            assert_eq!(SPEC.bucket(-distance, true), of(&causal), "{distance}");
            let behind = if distance == 0 { 0 } else { 16 + of(&both) };
            assert_eq!(SPEC.bucket(distance, false), behind, "{distance}");
            assert_eq!(SPEC.bucket(distance.max(1), true), 0, "{distance}");
        }
    }

    #[test]
    fn buckets_stay_within_the_table_whatever_their_number() {
        for n_buckets in 4..=MAX_BUCKETS {
            for max_distance in [n_buckets / 2 + 1, 128.max(n_buckets), MAX_DISTANCE] {
                let spec = RelativeSpec { n_buckets, max_distance, layer: 0 };
                for offset in [isize::MIN + 1, -5000, -300, -20, -1, 0, 1, 7, 127, 5000, isize::MAX] {
                    assert!(spec.bucket(offset, false) < n_buckets, "{spec:?} {offset}");
                    assert!(spec.bucket(offset, true) < n_buckets, "{spec:?} {offset}");
                }
            }
        }
    }
}
