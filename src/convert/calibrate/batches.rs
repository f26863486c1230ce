//! Which texts go through a layer together, and which are held out.

/// Every so many texts one is held out, to check with.
const HELD_OUT: usize = 8;

/// Several texts that go through a layer together, all held out or none.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) texts: Vec<usize>,
    pub(super) is_held_out: bool,
}

/// The texts in batches of up to `n_together`.
pub(super) fn batches(n_texts: usize, n_together: usize) -> Vec<Batch> {
    let (held_out, others): (Vec<_>, Vec<_>) = (0..n_texts).partition(|text| text % HELD_OUT == HELD_OUT - 1);
    let of = |texts: &[usize], is_held_out| -> Vec<Batch> {
        let chunks = texts.chunks(n_together);
        chunks.map(|texts| Batch { texts: texts.to_vec(), is_held_out }).collect()
    };
    [of(&others, false), of(&held_out, true)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_in_one_batch_and_one_of_eight_is_held_out() {
        let batches = batches(20, 4);
        let mut texts: Vec<usize> = batches.iter().flat_map(|batch| batch.texts.clone()).collect();
        texts.sort_unstable();
        assert_eq!(texts, (0..20).collect::<Vec<_>>());
        let held_out = batches.iter().filter(|batch| batch.is_held_out).flat_map(|batch| batch.texts.clone());
        assert_eq!(held_out.collect::<Vec<_>>(), [7, 15]);
        assert!(batches.iter().all(|batch| batch.texts.len() <= 4));
    }
}
