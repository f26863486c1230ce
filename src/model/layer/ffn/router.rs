//! Which experts a token goes through, and how their outputs are weighed.
//!
//! A token's scores become numbers (probabilities, or each for itself); the experts with the greatest of
//! them, a tie won by the lower index, are chosen, and theirs are their weights: Mixtral (Jiang et al. 2024)
//! as well as DeepSeek V3 (DeepSeek-AI 2024, section 2.1.2), which chooses with a bias on top and among the
//! experts of the best groups alone.

use gguf_simd::ops::{Gate, Ops};

use crate::model::spec::layer::{GroupSpec, RouterSpec, Scoring};

/// Chooses experts.
#[derive(Debug)]
pub(in crate::model) struct Router {
    pub(in crate::model) spec: RouterSpec,
    /// `[n_expert]`: added for the choice alone.
    pub(in crate::model) choice_bias: Option<Vec<f32>>,
}

/// One expert of a token.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice {
    pub(super) expert: usize,
    pub(super) weight: f32,
    pub(super) slot: usize,
}

/// The least that weights are divided by, where their sum is smaller: then all of them are nearly zero.
const LEAST_SUM: f32 = 1e-20;

/// How far a score may lie below the greatest to count as near, as a share of the larger in size of the two:
/// twice the noise that Phi 3.5 MoE was trained with.
const NEAR: f32 = 0.02;

/// The probability of the score `greatest` among those of `others` that are near it.
fn share_of_near(greatest: f32, others: &[f32]) -> f32 {
    // Of equal scores around zero the share is not a number, and they are near; those chosen before are none.
    let is_far = |score: f32| (greatest - score) / score.abs().max(greatest) > NEAR;
    let is_near = |score: &&f32| !score.is_nan() && !is_far(**score);
    let sum: f32 = others.iter().filter(is_near).map(|score| libm::expf(score - greatest)).sum();
    1.0 / (1.0 + sum)
}

impl Router {
    /// Fills `choices` from a token's `scores: [n_expert]`, which change; `spare` is as long.
    pub(super) fn choose(&self, ops: &Ops, scores: &mut [f32], spare: &mut [f32], choices: &mut [Choice]) {
        if let Some(cap) = self.spec.softcap {
            ops.softcap(scores, cap);
        }
        match self.spec.scoring {
            Scoring::Softmax => ops.softmax(scores),
            Scoring::Sigmoid => {
                spare.copy_from_slice(scores);
                ops.activate(Gate::Sigmoid, spare, scores);
            }
            Scoring::SoftmaxOfChosen | Scoring::SparseMixer => {}
        }
        spare.copy_from_slice(scores);
        if let Some(bias) = &self.choice_bias {
            ops.add(spare, bias);
        }
        // What is not a number is the last that is chosen.
        spare.iter_mut().filter(|score| score.is_nan()).for_each(|score| *score = f32::NEG_INFINITY);
        if let Some(groups) = self.spec.groups {
            drop_groups(spare, groups);
        }
        for choice in choices.iter_mut() {
            let expert = take_greatest(spare);
            let weight = match self.spec.scoring {
                Scoring::SparseMixer => share_of_near(scores[expert], spare),
                _ => scores[expert],
            };
            *choice = Choice { expert, weight, slot: 0 };
        }
        self.weigh(ops, spare, choices);
    }

    fn weigh(&self, ops: &Ops, spare: &mut [f32], choices: &mut [Choice]) {
        if self.spec.scoring == Scoring::SoftmaxOfChosen {
            let weights = &mut spare[..choices.len()];
            weights.iter_mut().zip(&*choices).for_each(|(weight, choice)| *weight = choice.weight);
            ops.softmax(weights);
            choices.iter_mut().zip(weights).for_each(|(choice, weight)| choice.weight = *weight);
        }
        if self.spec.is_normalised {
            let sum: f32 = choices.iter().map(|choice| choice.weight).sum();
            let sum = if sum < LEAST_SUM { LEAST_SUM } else { sum };
            choices.iter_mut().for_each(|choice| choice.weight /= sum);
        }
        if self.spec.scale != 1.0 {
            choices.iter_mut().for_each(|choice| choice.weight *= self.spec.scale);
        }
    }
}

/// The index of the greatest number, of which the lowest, which then becomes NaN: NaNs are not looked at.
/// There is at least one number.
fn take_greatest(numbers: &mut [f32]) -> usize {
    let mut best = None;
    for (i, &number) in numbers.iter().enumerate() {
        if !number.is_nan() && best.is_none_or(|best: usize| number > numbers[best]) {
            best = Some(i);
        }
    }
    let best = best.unwrap_or_default();
    numbers[best] = f32::NAN;
    best
}

/// Leaves the `n_used` groups with the greatest sums of their `n_best` greatest numbers; those of the others
/// become NaN.
fn drop_groups(numbers: &mut [f32], GroupSpec { n_group, n_used, n_best }: GroupSpec) {
    let len = numbers.len() / n_group;
    let sum = |group: &[f32]| -> f32 {
        // The `n_best` greatest, without room to sort: how many are greater, or equal and before.
        let is_among = |i: usize| {
            let before = |j: usize| group[j] > group[i] || group[j] == group[i] && j < i;
            (0..len).filter(|&j| before(j)).count() < n_best
        };
        (0..len).filter(|&i| is_among(i)).map(|i| group[i]).sum()
    };
    // As many groups are dropped as are too many, the least first, of equals the last.
    for _ in n_used..n_group {
        let left = (0..n_group).filter(|g| !numbers[g * len].is_nan());
        let sums = left.map(|g| (g, sum(&numbers[g * len..][..len])));
        let least = sums.reduce(|least, other| if other.1 <= least.1 { other } else { least });
        let Some((g, _)) = least else { return };
        numbers[g * len..][..len].fill(f32::NAN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(spec: RouterSpec, choice_bias: Option<Vec<f32>>) -> Router {
        Router { spec, choice_bias }
    }

    fn plain(scoring: Scoring) -> RouterSpec {
        RouterSpec {
            softcap: None,
            scoring,
            has_choice_bias: false,
            is_choice_bias_bare: false,
            has_bias: false,
            groups: None,
            is_normalised: true,
            scale: 1.0,
            weighs_input: false,
            sees_stream: false,
        }
    }

    fn chosen(router: &Router, scores: &[f32], n: usize) -> Vec<(usize, f32)> {
        let (mut scores, mut spare) = (scores.to_vec(), vec![0.0; scores.len()]);
        let mut choices = vec![Choice::default(); n];
        router.choose(Ops::SCALAR, &mut scores, &mut spare, &mut choices);
        choices.iter().map(|choice| (choice.expert, choice.weight)).collect()
    }

    #[test]
    fn the_most_probable_experts_are_chosen_and_weighed() {
        let softmax = router(plain(Scoring::Softmax), None);
        let log = |p: [f32; 5]| p.map(f32::ln);
        let found = chosen(&softmax, &log([0.1, 0.3, 0.3, 0.1, 0.2]), 2);
        assert_eq!(found, [(1, 0.5), (2, 0.5)]);
        let found = chosen(&softmax, &log([0.05, 0.15, 1e-9, 0.2, 0.6]), 2);
        assert_eq!([found[0].0, found[1].0], [4, 3]);
        assert!((found[0].1 - 0.75).abs() < 1e-6);
    }

    /// The numbers of `sparsemixer` in transformers 5.24.
    #[test]
    fn a_sparse_mixer_weighs_each_choice_among_those_nearly_as_good() {
        let mut spec = plain(Scoring::SparseMixer);
        spec.is_normalised = false;
        let mixer = router(spec, None);
        for (scores, expected) in [
            ([2.0, 1.97, -0.5, 1.5], [(0, 0.507_499), (1, 1.0)]),
            ([-1.01, -1.0, -1.015, -3.0], [(1, 0.336_116), (0, 0.501_25)]),
            ([3.0, 0.5, 2.0, -4.0], [(0, 1.0), (2, 1.0)]),
        ] {
            let found = chosen(&mixer, &scores, 2);
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(found.0, expected.0, "{scores:?}");
                assert!((found.1 - expected.1).abs() < 1e-6, "{scores:?}: {found:?} for {expected:?}");
            }
        }
    }

    #[test]
    fn scores_that_are_not_numbers_still_choose_different_experts() {
        let softmax = router(plain(Scoring::Softmax), None);
        let found = chosen(&softmax, &[f32::NAN; 4], 3);
        assert_eq!(found.iter().map(|choice| choice.0).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_bias_chooses_and_does_not_weigh() {
        let mut spec = plain(Scoring::Sigmoid);
        (spec.is_normalised, spec.scale) = (false, 2.5);
        let biased = router(spec, Some(vec![0.0, 0.0, 5.0]));
        assert_eq!(chosen(&biased, &[0.0, 3.0, 0.0], 1), [(2, 1.25)]);
    }

    #[test]
    fn only_experts_of_the_best_groups_take_part() {
        let mut spec = plain(Scoring::SoftmaxOfChosen);
        spec.groups = Some(GroupSpec { n_group: 3, n_used: 2, n_best: 2 });
        let grouped = router(spec, None);
        // The groups' sums are 1, 5.5 and 4: the greatest score of all is in the group that is dropped.
        let found = chosen(&grouped, &[6.0, -5.0, 3.0, 2.5, 2.0, 2.0], 2);
        assert_eq!(found.iter().map(|choice| choice.0).collect::<Vec<_>>(), [2, 3]);
        assert!((found.iter().map(|choice| choice.1).sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
