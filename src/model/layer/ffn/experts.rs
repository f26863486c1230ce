//! The routed feed-forward part: each token goes through a few of many experts.
//!
//! A token's router scores become probabilities by softmax; its experts are the most probable, a tie
//! won by the lower number, and their probabilities, divided by their sum, weigh their outputs (Jiang
//! et al. 2024, "Mixtral of Experts"). Tokens are sorted by expert, so that an expert's weights are
//! read once per batch; the outputs are added in the order of each token's own choice, which the
//! batch does not change.

use super::gated::GatedScratch;
use crate::error::Result;
use crate::model::compute::{Compute, Divide, RowsMut, pieces};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::Stream;
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::spec::layer::GatedSpec;
use crate::model::weights::Matrix;

/// Several gated parts, of which each token goes through a few.
#[derive(Debug)]
pub(in crate::model) struct Experts {
    /// Experts each token goes through.
    pub(in crate::model) n_used: usize,
    /// One expert.
    pub(in crate::model) spec: GatedSpec,
    /// `[n_expert, n_embd]`.
    pub(in crate::model) router: Matrix,
    /// `[n_expert * n_ff, n_embd]`.
    pub(in crate::model) gate: Matrix,
    /// `[n_expert * n_ff, n_embd]`.
    pub(in crate::model) up: Matrix,
    /// `[n_expert * n_embd, n_ff]`.
    pub(in crate::model) down: Matrix,
}

/// The buffers of routing. A *slot* is a pair of a token and one of its experts; slots are sorted by
/// expert.
#[derive(Debug)]
pub(in crate::model) struct ExpertScratch {
    /// `[n_batch, n_expert]`.
    probabilities: Vec<f32>,
    /// `[n_batch, n_used]`.
    choices: Vec<Choice>,
    /// `[n_expert + 1]`: expert `e` has the slots `starts[e]..starts[e + 1]`.
    starts: Vec<usize>,
    /// `[n_batch * n_used]`: the token of each slot.
    tokens: Vec<usize>,
    /// `[n_batch * n_used, n_embd]`: the input of each slot.
    inputs: Inputs,
    /// The experts' own, a row for each slot.
    gated: GatedScratch,
    /// `[n_batch * n_used, n_embd]`: the output of each slot.
    outputs: Vec<f32>,
}

/// One expert of a token.
#[derive(Clone, Copy, Debug, Default)]
struct Choice {
    expert: usize,
    weight: f32,
    slot: usize,
}

impl ExpertScratch {
    /// Buffers for batches of `n_batch` tokens in any of `parts`; `None` without parts.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn new(buffers: &mut Buffers, parts: &[&Experts], n_batch: usize) -> Result<Option<Self>> {
        let Some(first) = parts.first() else { return Ok(None) };
        let GatedSpec { n_embd, n_ff, .. } = first.spec;
        let (n_expert, n_slots) = (first.n_expert(), n_batch * first.n_used);
        let inputs = Formats::of(parts.iter().flat_map(|part| [&part.gate, &part.up]));
        let hidden = Formats::of(parts.iter().map(|part| &part.down));
        Ok(Some(Self {
            probabilities: buffers.zeroed(0.0, n_batch, n_expert)?,
            choices: buffers.zeroed(Choice::default(), n_slots, 1)?,
            starts: buffers.zeroed(0, n_expert + 1, 1)?,
            tokens: buffers.zeroed(0, n_slots, 1)?,
            inputs: Inputs::new(buffers, n_slots, n_embd, inputs)?,
            gated: GatedScratch::with_rows(buffers, n_slots, n_ff, hidden)?,
            outputs: buffers.zeroed(0.0, n_slots, n_embd)?,
        }))
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

impl Experts {
    /// Experts.
    fn n_expert(&self) -> usize {
        self.router.n_out()
    }

    /// The matrix that scores the experts.
    pub(super) fn router(&self) -> &Matrix {
        &self.router
    }

    /// The matrices of all experts.
    pub(super) fn stacks(&self) -> [&Matrix; 3] {
        [&self.gate, &self.up, &self.down]
    }

    /// The formats its input is needed in. The experts quantise their rows themselves.
    pub(super) fn input_formats(&self) -> Formats {
        Formats::of([&self.router])
    }

    /// Adds the chosen experts' outputs for the first `n` rows of `input` to `stream`.
    pub(super) fn step(
        &self,
        compute: Compute<'_>,
        input: &Inputs,
        n: usize,
        scratch: &mut ExpertScratch,
        stream: &mut Stream,
    ) {
        self.choose(compute, input, n, scratch);
        self.run(compute, input, n, scratch);
        let (n_used, n_embd) = (self.n_used, self.spec.n_embd);
        let n_slots = n * n_used;
        let (choices, outputs) = (&scratch.choices[..n_slots], &scratch.outputs);
        let piece_len = compute.piece_len(n, n_used * n_embd);
        let parts = pieces(stream.rows_mut(n), piece_len).enumerate();
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

    /// Chooses the experts of each of the first `n` tokens, from its row of `input`.
    fn choose(&self, compute: Compute<'_>, input: &Inputs, n: usize, scratch: &mut ExpertScratch) {
        let (n_expert, n_used) = (self.n_expert(), self.n_used);
        let scores = &mut scratch.probabilities[..n * n_expert];
        let x = input.for_consumer(&self.router, 0..n);
        compute.multiply([Product::of_matrix(&self.router, x, scores)]);
        let rows = scores.chunks_exact_mut(n_expert).zip(scratch.choices.chunks_exact_mut(n_used));
        for (row, choices) in rows {
            compute.kernels.ops().softmax(row);
            choose_top(row, choices);
        }
        scratch.assign_slots(n, n_used);
    }

    /// Computes the outputs of all slots.
    fn run(&self, compute: Compute<'_>, input: &Inputs, n: usize, scratch: &mut ExpertScratch) {
        let GatedSpec { n_embd, n_ff, .. } = self.spec;
        let (n_expert, n_slots) = (self.n_expert(), n * self.n_used);
        let ExpertScratch { starts, tokens, inputs, gated, outputs, .. } = scratch;
        for stack in self.stacks() {
            let n_out = stack.n_out() / n_expert;
            let chosen = chosen_experts(starts);
            chosen.for_each(|e| compute.observer.soon(stack.span_of(e * n_out..(e + 1) * n_out)));
        }
        let formats = Formats::of([&self.gate, &self.up]);
        let work = 8 * n_slots * n_embd;
        let piece_len = compute.piece_len(n_slots, 8 * n_embd);
        let parts = pieces(inputs.rows_mut(0..n_slots), piece_len).enumerate();
        compute.for_each(work, parts, |(i, mut slots): (usize, InputRows<'_>)| {
            let slot_tokens = &tokens[i * piece_len..][..slots.n_rows()];
            for (slot, &token) in slots.floats().chunks_exact_mut(n_embd).zip(slot_tokens) {
                slot.copy_from_slice(input.floats(token..token + 1));
            }
            slots.quantize(compute.kernels, formats);
        });
        let gates = stack_products(&self.gate, n_expert, starts, inputs, &mut gated.gate[..n_slots * n_ff]);
        let ups = stack_products(&self.up, n_expert, starts, inputs, &mut gated.up[..n_slots * n_ff]);
        compute.multiply_all(2 * n_slots * n_ff * n_embd, gates.chain(ups));
        gated.activate(compute, self.spec, Formats::of([&self.down]), n_slots);
        let outputs = &mut outputs[..n_slots * n_embd];
        let downs = stack_products(&self.down, n_expert, starts, &gated.hidden, outputs);
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
        let buffers = &mut Buffers::real();
        let mut scratch = ExpertScratch {
            probabilities: Vec::new(),
            choices: [3, 0, 1, 3, 3, 1].map(|expert| Choice { expert, ..Choice::default() }).to_vec(),
            starts: vec![0; 5],
            tokens: vec![0; 6],
            inputs: Inputs::new(buffers, 0, 1, Formats::default()).unwrap(),
            gated: GatedScratch::with_rows(buffers, 0, 1, Formats::default()).unwrap(),
            outputs: Vec::new(),
        };
        scratch.assign_slots(3, 2);
        assert_eq!(scratch.starts, [0, 1, 3, 3, 6]);
        assert_eq!(scratch.tokens, [0, 1, 2, 0, 1, 2]);
        let slots: Vec<_> = scratch.choices.iter().map(|choice| choice.slot).collect();
        assert_eq!(slots, [3, 0, 1, 4, 5, 2]);
    }
}
