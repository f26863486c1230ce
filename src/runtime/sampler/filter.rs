//! The filters that narrow the candidates, and the draw among those that are left.
//!
//! Probabilities are computed in f64 with `libm`, so that a seed draws the same token everywhere.

use super::Candidate;
use std::cmp::Ordering;

/// Likelier candidates first, equal ones by id. Logits are never NaN here.
fn by_likelihood(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id))
}

/// Keeps the `k` likeliest candidates, likeliest first; 0 keeps all, in their order.
pub(super) fn top_k(candidates: &mut Vec<Candidate>, k: usize) {
    if k == 0 || k >= candidates.len() {
        return;
    }
    if k <= MAX_INSERTED {
        insert_likeliest(candidates, k);
    } else {
        candidates.select_nth_unstable_by(k - 1, by_likelihood);
    }
    candidates.truncate(k);
    candidates.sort_unstable_by(by_likelihood);
}

/// Up to so many candidates are kept in order as the others go by.
const MAX_INSERTED: usize = 256;

/// Brings the `k` likeliest candidates, at least one, to the front, likeliest first. The others are lost.
///
/// Of a large vocabulary nearly every candidate is dismissed by one comparison, which is ten times as fast
/// as to partition all of them.
fn insert_likeliest(candidates: &mut [Candidate], k: usize) {
    let (kept, others) = candidates.split_at_mut(k);
    kept.sort_unstable_by(by_likelihood);
    for other in others {
        if other.logit < kept[k - 1].logit || by_likelihood(other, &kept[k - 1]).is_gt() {
            continue;
        }
        let place = kept.partition_point(|candidate| by_likelihood(candidate, other).is_lt());
        kept[place..].rotate_right(1);
        kept[place] = *other;
    }
}

/// Keeps the likeliest candidates whose probabilities together reach `p`, at least one (nucleus
/// sampling, Holtzman et al. 2020), likeliest first; 1 keeps all, in their order. `weights` is
/// scratch.
pub(super) fn top_p(candidates: &mut Vec<Candidate>, p: f32, weights: &mut Vec<f64>) {
    if p >= 1.0 {
        return;
    }
    candidates.sort_unstable_by(by_likelihood);
    let total = softmax_weights(candidates, 1.0, weights);
    let mut sum = 0.0;
    let reached = weights.iter().position(|weight| {
        sum += weight;
        sum >= f64::from(p) * total
    });
    if let Some(last) = reached {
        candidates.truncate(last + 1);
    }
}

/// Keeps the candidates at least `p` times as probable as the likeliest one; 0 keeps all.
pub(super) fn min_p(candidates: &mut Vec<Candidate>, p: f32) {
    if p <= 0.0 {
        return;
    }
    let floor = f64::from(max_logit(candidates)) + libm::log(f64::from(p));
    candidates.retain(|candidate| f64::from(candidate.logit) >= floor);
}

/// The likeliest candidate; the first one among equals.
pub(super) fn likeliest(candidates: &[Candidate]) -> Option<Candidate> {
    let later_if_likelier = |first: Candidate, later: Candidate| {
        if later.logit > first.logit { later } else { first }
    };
    candidates.iter().copied().reduce(later_if_likelier)
}

/// The candidate at `unit` (in `0.0..1.0`) of the cumulative distribution softmax(logit /
/// temperature). `weights` is scratch.
pub(super) fn draw(candidates: &[Candidate], temperature: f32, unit: f64, weights: &mut Vec<f64>) -> u32 {
    let target = unit * softmax_weights(candidates, temperature, weights);
    let mut sum = 0.0;
    let mut drawn = None;
    for (candidate, weight) in candidates.iter().zip(&*weights) {
        sum += weight;
        // Rounding can leave the target at the very sum: the last one with any weight is then drawn.
        if *weight > 0.0 {
            drawn = Some(candidate.id);
            if sum > target {
                break;
            }
        }
    }
    drawn.expect("the likeliest candidate has weight 1")
}

/// Fills `weights` with exp((logit - max) / temperature); returns their sum, which is at least 1.
fn softmax_weights(candidates: &[Candidate], temperature: f32, weights: &mut Vec<f64>) -> f64 {
    let max = f64::from(max_logit(candidates));
    let weight = |candidate: &Candidate| {
        let below = f64::from(candidate.logit) - max;
        libm::exp(below / f64::from(temperature))
    };
    weights.clear();
    weights.extend(candidates.iter().map(weight));
    weights.iter().sum()
}

fn max_logit(candidates: &[Candidate]) -> f32 {
    candidates.iter().map(|candidate| candidate.logit).fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(logits: &[f32]) -> Vec<Candidate> {
        logits.iter().zip(0..).map(|(&logit, id)| Candidate { id, logit }).collect()
    }

    /// Logits of a distribution with these probabilities.
    fn of_probabilities(probabilities: &[f64]) -> Vec<Candidate> {
        candidates(&probabilities.iter().map(|&p| libm::log(p) as f32).collect::<Vec<_>>())
    }

    fn ids(candidates: &[Candidate]) -> Vec<u32> {
        candidates.iter().map(|candidate| candidate.id).collect()
    }

    #[test]
    fn top_k_keeps_the_first_of_equals() {
        let mut c = candidates(&[1.0, 3.0, 2.0, 3.0, 2.0]);
        top_k(&mut c, 3);
        assert_eq!(ids(&c), [1, 3, 2]);
    }

    #[test]
    fn top_k_keeps_the_likeliest_of_many_in_any_order() {
        let n = 2000;
        // 7 and 1000 have no common divisor: every logit of 0..1000 comes twice.
        let orders: [fn(u32) -> u32; 3] = [|i| i, |i| 2000 - i, |i| i * 7 % 1000];
        for logit in orders {
            let all = candidates(&(0..n).map(|i| logit(i) as f32).collect::<Vec<_>>());
            let mut sorted = all.clone();
            sorted.sort_by(by_likelihood);
            for k in [1, 2, 40, MAX_INSERTED, MAX_INSERTED + 1, 1999] {
                let mut kept = all.clone();
                top_k(&mut kept, k);
                assert_eq!(ids(&kept), ids(&sorted[..k]), "k = {k}");
            }
        }
    }

    #[test]
    fn top_k_of_zero_or_more_than_there_are_keeps_all() {
        for k in [0, 3, 4] {
            let mut c = candidates(&[1.0, 3.0, 2.0]);
            top_k(&mut c, k);
            assert_eq!(ids(&c), [0, 1, 2], "k = {k}");
        }
    }

    #[test]
    fn top_p_includes_the_candidate_that_reaches_the_share() {
        let kept = |p| {
            let mut c = of_probabilities(&[0.1, 0.5, 0.1, 0.3]);
            top_p(&mut c, p, &mut Vec::new());
            ids(&c)
        };
        assert_eq!(kept(0.0), [1]);
        assert_eq!(kept(0.49), [1]);
        assert_eq!(kept(0.51), [1, 3]);
        assert_eq!(kept(0.79), [1, 3]);
        assert_eq!(kept(0.81), [1, 3, 0]);
        assert_eq!(kept(0.95), [1, 3, 0, 2]);
        assert_eq!(kept(1.0), [0, 1, 2, 3]);
    }

    #[test]
    fn min_p_compares_with_the_likeliest() {
        let kept = |p| {
            let mut c = of_probabilities(&[0.1, 0.5, 0.05, 0.35]);
            min_p(&mut c, p);
            ids(&c)
        };
        assert_eq!(kept(0.0), [0, 1, 2, 3]);
        assert_eq!(kept(0.15), [0, 1, 3]);
        assert_eq!(kept(0.5), [1, 3]);
        assert_eq!(kept(1.0), [1]);
    }

    #[test]
    fn draw_walks_the_cumulative_distribution() {
        let c = of_probabilities(&[0.25, 0.5, 0.25]);
        let drawn = |unit| draw(&c, 1.0, unit, &mut Vec::new());
        assert_eq!([drawn(0.0), drawn(0.24), drawn(0.26), drawn(0.74), drawn(0.76)], [0, 0, 1, 1, 2]);
        assert_eq!(drawn(1.0), 2, "rounding up to 1 still draws the last");
    }

    #[test]
    fn draw_never_takes_a_candidate_without_weight() {
        let c = candidates(&[f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY]);
        for unit in [0.0, 0.5, 1.0] {
            assert_eq!(draw(&c, 1.0, unit, &mut Vec::new()), 1);
        }
    }

    #[test]
    fn low_temperature_sharpens_without_overflow() {
        let c = candidates(&[1.0, 1.5, -3.0e38]);
        assert_eq!(draw(&c, f32::MIN_POSITIVE, 0.0, &mut Vec::new()), 1);
    }
}
