//! The routed feed-forward part: each token goes through a few of many experts.
//!
//! A token's router scores become probabilities by softmax; its experts are the most probable, a tie
//! won by the lower number, and their probabilities, divided by their sum, weigh their outputs (Jiang
//! et al. 2024, "Mixtral of Experts"). Tokens are sorted by expert, so that an expert's weights are
//! read once per batch; the outputs are added in the order of each token's own choice, which the
//! batch does not change.

use super::Hparams;
use super::compute::{Compute, Divide, RowsMut, pieces};
use super::decoder::Decoder;
use super::inputs::{Formats, InputRows, Inputs};
use super::matrix::Matrix;
use super::memory::Buffers;
use super::product::Product;
use super::weights::{Experts, LayerWeights};
use super::workspace::Workspace;
use crate::error::Result;

/// The buffers of routing. A *slot* is a pair of a token and one of its experts; slots are sorted by
/// expert.
#[derive(Debug)]
pub(super) struct ExpertSpace {
    /// `[n_batch, n_expert]`.
    probabilities: Vec<f32>,
    /// `[n_batch, n_expert_used]`.
    choices: Vec<Choice>,
    /// `[n_expert + 1]`: expert `e` has the slots `starts[e]..starts[e + 1]`.
    starts: Vec<usize>,
    /// `[n_batch * n_expert_used]`: the token of each slot.
    tokens: Vec<usize>,
    /// `[n_batch * n_expert_used, n_embd]`: the input of each slot.
    inputs: Inputs,
    /// `[n_batch * n_expert_used, n_embd]`: the output of each slot.
    outputs: Vec<f32>,
}

/// One expert of a token.
#[derive(Clone, Copy, Debug, Default)]
struct Choice {
    expert: usize,
    weight: f32,
    slot: usize,
}

impl ExpertSpace {
    /// Room for `n_batch` tokens.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn new(
        buffers: &mut Buffers,
        [n_expert, n_used, n_embd]: [usize; 3],
        n_batch: usize,
        formats: Formats,
    ) -> Result<Self> {
        let n_slots = n_batch * n_used;
        Ok(Self {
            probabilities: buffers.zeroed(0.0, n_batch, n_expert)?,
            choices: buffers.zeroed(Choice::default(), n_slots, 1)?,
            starts: buffers.zeroed(0, n_expert + 1, 1)?,
            tokens: buffers.zeroed(0, n_slots, 1)?,
            inputs: Inputs::new(buffers, n_slots, n_embd, formats)?,
            outputs: buffers.zeroed(0.0, n_slots, n_embd)?,
        })
    }

    /// Gives every choice of the first `n` tokens its slot.
    fn assign_slots(&mut self, n: usize, n_used: usize) {
        let choices = &mut self.choices[..n * n_used];
        self.starts.fill(0);
        for choice in choices.iter() {
            self.starts[choice.expert + 1] += 1;
        }
        for e in 1..self.starts.len() {
            self.starts[e] += self.starts[e - 1];
        }
        for (i, choice) in choices.iter_mut().enumerate() {
            let next = &mut self.starts[choice.expert];
            choice.slot = *next;
            self.tokens[*next] = i / n_used;
            *next += 1;
        }
        // Each start has moved to its expert's end, which is the next one's start.
        self.starts.rotate_right(1);
        self.starts[0] = 0;
    }
}

impl Decoder {
    /// Adds the chosen experts' outputs to the residual stream of the first `n` rows.
    pub(super) fn route(
        &self,
        compute: Compute<'_>,
        layer: &LayerWeights,
        experts: &Experts,
        space: &mut Workspace,
        n: usize,
    ) {
        let (n_used, n_embd) = (self.hparams.n_expert_used, self.hparams.n_embd);
        let formats = Formats::of([&experts.router]);
        self.norm(compute, &layer.ffn_norm, formats, space, n);
        self.choose(compute, experts, space, n);
        let n_slots = n * n_used;
        self.run_experts(compute, experts, space, n);
        let Some(routing) = &space.experts else { return };
        let (choices, outputs) = (&routing.choices[..n_slots], &routing.outputs);
        let stream = &mut space.residual[..n * n_embd];
        let piece_len = compute.piece_len(n, n_used * n_embd);
        let parts = pieces(RowsMut { values: stream, width: n_embd }, piece_len).enumerate();
        compute.for_each(n_slots * n_embd, parts, |(i, rows): (usize, RowsMut<'_, f32>)| {
            let choices = choices[i * piece_len * n_used..].chunks_exact(n_used);
            for (sum, choices) in rows.values.chunks_exact_mut(n_embd).zip(choices) {
                for choice in choices {
                    let output = &outputs[choice.slot * n_embd..][..n_embd];
                    compute.kernels.ops().add_scaled(sum, choice.weight, output);
                }
            }
        });
    }

    /// Chooses the experts of each of the first `n` tokens, from its normed stream.
    fn choose(&self, compute: Compute<'_>, experts: &Experts, space: &mut Workspace, n: usize) {
        let (n_expert, n_used) = (self.hparams.n_expert, self.hparams.n_expert_used);
        let Some(routing) = &mut space.experts else { return };
        let scores = &mut routing.probabilities[..n * n_expert];
        let x = space.normed.for_consumer(&experts.router, 0..n);
        compute.multiply([Product::of_matrix(&experts.router, x, scores)]);
        for (row, choices) in scores.chunks_exact_mut(n_expert).zip(routing.choices.chunks_exact_mut(n_used))
        {
            compute.kernels.ops().softmax(row);
            choose_top(row, choices);
        }
        routing.assign_slots(n, n_used);
    }

    /// Computes the outputs of all slots.
    fn run_experts(&self, compute: Compute<'_>, experts: &Experts, space: &mut Workspace, n: usize) {
        let Hparams { n_ff, n_embd, n_expert, .. } = self.hparams;
        let Some(routing) = &mut space.experts else { return };
        let n_slots = n * self.hparams.n_expert_used;
        for stack in [&experts.gate, &experts.up, &experts.down] {
            let n_out = stack.n_out() / n_expert;
            let chosen = chosen_experts(&routing.starts);
            chosen.for_each(|e| compute.observer.soon(stack.span_of(e * n_out..(e + 1) * n_out)));
        }
        let formats = Formats::of([&experts.gate, &experts.up]);
        let (tokens, starts, normed) = (&routing.tokens, &routing.starts, &space.normed);
        let work = 8 * n_slots * n_embd;
        let piece_len = compute.piece_len(n_slots, 8 * n_embd);
        let parts = pieces(routing.inputs.rows_mut(0..n_slots), piece_len).enumerate();
        compute.for_each(work, parts, |(i, mut slots): (usize, InputRows<'_>)| {
            let slot_tokens = &tokens[i * piece_len..][..slots.n_rows()];
            for (input, &token) in slots.floats().chunks_exact_mut(n_embd).zip(slot_tokens) {
                input.copy_from_slice(normed.floats(token..token + 1));
            }
            slots.quantize(compute.kernels, formats);
        });
        let inputs = &routing.inputs;
        let hidden = &mut space.feed_forward;
        let products = |stack, out| stack_products(stack, n_expert, starts, inputs, out);
        let gates = products(&experts.gate, &mut hidden.gate[..n_slots * n_ff]);
        let ups = products(&experts.up, &mut hidden.up[..n_slots * n_ff]);
        compute.multiply_all(2 * n_slots * n_ff * n_embd, gates.chain(ups));
        self.activate(compute, Formats::of([&experts.down]), hidden, n_slots);
        let outputs = &mut routing.outputs[..n_slots * n_embd];
        let downs = stack_products(&experts.down, n_expert, starts, &hidden.hidden, outputs);
        compute.multiply_all(n_slots * n_ff * n_embd, downs);
    }
}

/// One product for each expert that has slots, with its part of a stack of matrices.
fn stack_products<'a>(
    stack: &'a Matrix,
    n_expert: usize,
    starts: &'a [usize],
    inputs: &'a Inputs,
    out: &'a mut [f32],
) -> impl Iterator<Item = Product<'a>> {
    let n_out = stack.n_out() / n_expert;
    let mut rest = out;
    chosen_experts(starts).map(move |expert| {
        let slots = starts[expert]..starts[expert + 1];
        let (out, after) = core::mem::take(&mut rest).split_at_mut(slots.len() * n_out);
        rest = after;
        let rows = stack.rows(expert * n_out..(expert + 1) * n_out);
        Product::of_rows(rows, n_out, inputs.for_consumer(stack, slots), out)
    })
}

/// The experts that have slots, where expert `e` has the slots `starts[e]..starts[e + 1]`.
fn chosen_experts(starts: &[usize]) -> impl Iterator<Item = usize> {
    starts.windows(2).enumerate().filter(|(_, ends)| ends[0] < ends[1]).map(|(expert, _)| expert)
}

/// Fills `choices` with the most probable experts, in that order, and their weights.
fn choose_top(probabilities: &[f32], choices: &mut [Choice]) {
    for j in 0..choices.len() {
        let (before, rest) = choices.split_at_mut(j);
        let free = (0..probabilities.len()).filter(|e| before.iter().all(|choice| choice.expert != *e));
        // There are at least as many experts as choices. A NaN is never greater, so it is only taken
        // when it comes first.
        let best = free.reduce(|best, e| if probabilities[e] > probabilities[best] { e } else { best });
        let expert = best.unwrap_or_default();
        rest[0] = Choice { expert, weight: probabilities[expert], slot: 0 };
    }
    let sum: f32 = choices.iter().map(|choice| choice.weight).sum();
    choices.iter_mut().for_each(|choice| choice.weight /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_experts_are_chosen_and_weighed() {
        let mut choices = [Choice::default(); 2];
        choose_top(&[0.1, 0.3, 0.3, 0.1, 0.2], &mut choices);
        assert_eq!(choices.map(|choice| choice.expert), [1, 2]);
        assert_eq!(choices.map(|choice| choice.weight), [0.5, 0.5]);
        choose_top(&[0.05, 0.15, 0.0, 0.2, 0.6], &mut choices);
        assert_eq!(choices.map(|choice| choice.expert), [4, 3]);
        assert!((choices[0].weight - 0.75).abs() < 1e-6);
    }

    #[test]
    fn probabilities_that_are_no_numbers_still_choose_different_experts() {
        let mut choices = [Choice::default(); 3];
        choose_top(&[f32::NAN; 4], &mut choices);
        assert_eq!(choices.map(|choice| choice.expert), [0, 1, 2]);
    }

    #[test]
    fn slots_are_sorted_by_expert_and_keep_their_token() {
        let mut space = ExpertSpace::new(&mut Buffers::real(), [4, 2, 1], 3, Formats::default()).unwrap();
        let experts = [3, 0, 1, 3, 3, 1];
        for (choice, expert) in space.choices.iter_mut().zip(experts) {
            choice.expert = expert;
        }
        space.assign_slots(3, 2);
        assert_eq!(space.starts, [0, 1, 3, 3, 6]);
        assert_eq!(space.tokens, [0, 1, 2, 0, 1, 2]);
        let slots: Vec<_> = space.choices.iter().map(|choice| choice.slot).collect();
        assert_eq!(slots, [3, 0, 1, 4, 5, 2]);
    }
}
