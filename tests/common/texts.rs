//! Made-up texts, and the bits of the logits after them.

use gguf_kit::runtime::{Engine, Evaluator, Logits, Part, Sequence};

/// The first `n` ids of text number `text`.
pub(crate) fn ids(engine: &Engine, text: usize, n: usize) -> Vec<u32> {
    let n_vocab = engine.n_vocab();
    (0..n).map(|i| ((i * i * 37 + i * (text + 3) + text) % n_vocab) as u32).collect()
}

/// What equality of logits means here: a NaN equals itself, and 0 is not -0.
pub(crate) fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

/// Goes on with each of `sequences` in one step, up to the end of its text; the bits of the last logits of each.
pub(crate) fn go_on_together<'e>(
    evaluator: &mut Evaluator<'e>,
    sequences: &mut [Sequence<'e>],
    texts: &[Vec<u32>],
) -> Vec<Vec<u32>> {
    let parts = sequences.iter_mut().zip(texts).map(|(sequence, text)| {
        let start = sequence.n_past();
        Part::new(sequence, &text[start..], Logits::Last)
    });
    let mut parts: Vec<_> = parts.collect();
    let found = evaluator.step(&mut parts).expect("a step");
    (0..texts.len()).map(|i| bits(found.of(i))).collect()
}
