//! The matrices of experts, and the products of those that were chosen.
//!
//! A *slot* is a pair of a token and one of its experts; slots are sorted by expert, so that each expert's lie together.

use std::ops::Range;

use gguf_simd::ops::Gate;

use super::gated::GatedScratch;
use crate::model::compute::Compute;
use crate::model::inputs::{Formats, Inputs};
use crate::model::product::Product;
use crate::model::weights::{Matrix, Stack};

/// The matrices of several parts, of which each slot goes through one.
#[derive(Debug)]
pub(in crate::model) struct ExpertStacks {
    pub(in crate::model) activation: Gate,
    /// `[n_expert, n_ff, n_embd]`; `None` for plain parts.
    pub(in crate::model) gate: Option<Stack>,
    /// `[n_expert, n_ff, n_embd]`.
    pub(in crate::model) up: Stack,
    /// `[n_expert, n_embd, n_ff]`.
    pub(in crate::model) down: Stack,
}

/// Narrow parts, one for every few experts, whose outputs are added to theirs.
#[derive(Debug)]
pub(in crate::model) struct Adjugate {
    pub(in crate::model) stacks: ExpertStacks,
    /// Experts that share one.
    pub(in crate::model) group: usize,
    /// Multiplies the outputs.
    pub(in crate::model) scale: f32,
}

/// Which slots experts have.
#[derive(Clone, Copy)]
pub(super) struct Slots<'a> {
    /// `[n_expert + 1]`: expert `e` has the slots `starts[e]..starts[e + 1]`.
    pub(super) starts: &'a [usize],
    /// Experts in a row that count as one.
    pub(super) group: usize,
}

impl<'a> Slots<'a> {
    /// The experts, or groups of them, that have slots, and which.
    fn chosen(self) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
        let end = move |group: usize| self.starts[group * self.group];
        let all = (0..(self.starts.len() - 1) / self.group).map(move |i| (i, end(i)..end(i + 1)));
        all.filter(|(_, slots)| !slots.is_empty())
    }

    /// Slots of all.
    fn n(self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }
}

impl ExpertStacks {
    /// What inputs are multiplied with.
    fn first(&self) -> impl Iterator<Item = &Stack> {
        self.gate.iter().chain([&self.up])
    }

    /// The formats that inputs are needed in.
    pub(super) fn input_formats(&self) -> Formats {
        Formats::of(self.first().map(|stack| &stack.matrix))
    }

    /// The matrices of all experts, each once.
    pub(super) fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let gate = self.gate.as_ref().filter(|gate| !gate.is_of_one_matrix_with(&self.up));
        [&self.up.matrix, &self.down.matrix].into_iter().chain(gate.map(|gate| &gate.matrix))
    }

    /// Says of the matrices of those chosen that they will soon be read.
    pub(super) fn announce(&self, compute: Compute<'_>, slots: Slots<'_>) {
        for stack in self.first().chain([&self.down]) {
            slots
                .chosen()
                .filter_map(|(expert, _)| stack.file_span_of(expert))
                .for_each(|span| compute.observer.soon(span));
        }
    }

    /// Computes `outputs: [n_slots, n_embd]` of all slots, whose inputs are quantised.
    pub(super) fn run(
        &self,
        compute: Compute<'_>,
        slots: Slots<'_>,
        inputs: &Inputs,
        (gated, outputs): (&mut GatedScratch, &mut [f32]),
    ) {
        let (n_slots, n_ff, n_embd) = (slots.n(), self.up.n_out, inputs.n_in());
        let gates =
            self.gate.as_ref().map(|gate| products(gate, slots, inputs, &mut gated.gate[..n_slots * n_ff]));
        let ups = products(&self.up, slots, inputs, &mut gated.up[..n_slots * n_ff]);
        let n_first = self.first().count();
        compute.multiply_all(n_first * n_slots * n_ff * n_embd, gates.into_iter().flatten().chain(ups));
        let down = Formats::of([&self.down.matrix]);
        let activation = (self.activation, n_ff);
        match &self.gate {
            Some(_) => gated.activate(compute, activation, down, n_slots),
            None => gated.activate_alone(compute, activation, down, n_slots),
        }
        let downs = products(&self.down, slots, &gated.hidden, &mut outputs[..n_slots * n_embd]);
        compute.multiply_all(n_slots * n_ff * n_embd, downs);
    }
}

/// One product for each expert that has slots, with its part of a stack of matrices.
fn products<'a>(
    stack: &'a Stack,
    slots: Slots<'a>,
    inputs: &'a Inputs,
    out: &'a mut [f32],
) -> impl Iterator<Item = Product<'a>> {
    let mut rest = out;
    slots.chosen().map(move |(expert, slots)| {
        let (out, after) = core::mem::take(&mut rest).split_at_mut(slots.len() * stack.n_out);
        rest = after;
        Product::of_expert(stack, expert, inputs.for_consumer(&stack.matrix, slots), out)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_the_slots_of_their_experts() {
        let starts = [0, 1, 3, 3, 3, 3, 6];
        let of = |group| Slots { starts: &starts, group }.chosen().collect::<Vec<_>>();
        assert_eq!(of(1), [(0, 0..1), (1, 1..3), (5, 3..6)]);
        assert_eq!(of(2), [(0, 0..3), (2, 3..6)]);
        assert_eq!(of(3), [(0, 0..3), (1, 3..6)]);
    }
}
