//! Penalties on tokens that were used lately.

use super::Candidate;

/// The last `capacity` tokens, as a ring.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    capacity: usize,
    ring: Vec<u32>,
    oldest: usize,
    // The ring's tokens in ascending order, so that equal ones stand together.
    sorted: Vec<u32>,
}

/// How strongly repeated tokens are made less likely.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strength {
    /// Positive logits are divided by it, negative ones multiplied; 1 is off.
    pub(super) repeat: f32,
    /// Subtracted from the logit of every token in the window; 0 is off.
    pub(super) presence: f32,
    /// Subtracted from a token's logit once for each time it stands in the window; 0 is off.
    pub(super) frequency: f32,
}

impl Strength {
    /// Whether nothing is penalised.
    pub(super) fn is_off(self) -> bool {
        self.repeat == 1.0 && self.presence == 0.0 && self.frequency == 0.0
    }
}

impl Recent {
    /// An empty window over the last `capacity` tokens.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, ring: Vec::new(), oldest: 0, sorted: Vec::new() }
    }

    /// Appends `token`, in place of the oldest one if the window is full.
    pub(super) fn push(&mut self, token: u32) {
        if self.ring.len() < self.capacity {
            self.ring.push(token);
        } else if self.capacity > 0 {
            self.ring[self.oldest] = token;
            self.oldest = (self.oldest + 1) % self.capacity;
        }
    }

    /// Forgets every token.
    pub(super) fn clear(&mut self) {
        self.ring.clear();
        self.oldest = 0;
    }

    /// Applies the penalties. `candidates[i].id` is `i`; tokens past the end are ignored.
    pub(super) fn penalise(&mut self, strength: Strength, candidates: &mut [Candidate]) {
        if strength.is_off() {
            return;
        }
        self.sorted.clear();
        self.sorted.extend_from_slice(&self.ring);
        self.sorted.sort_unstable();
        for run in self.sorted.chunk_by(u32::eq) {
            let Some(candidate) = candidates.get_mut(run[0] as usize) else { continue };
            let logit = &mut candidate.logit;
            // Dividing a negative logit would make the token likelier. A divisor below 1 must not
            // reach infinity.
            let scaled = if *logit > 0.0 { *logit / strength.repeat } else { *logit * strength.repeat };
            *logit = scaled.min(f32::MAX);
            *logit -= run.len() as f32 * strength.frequency + strength.presence;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn penalised(logits: &[f32], history: &[u32], capacity: usize, strength: Strength) -> Vec<f32> {
        let mut recent = Recent::new(capacity);
        history.iter().for_each(|&token| recent.push(token));
        let mut candidates: Vec<_> =
            logits.iter().zip(0..).map(|(&logit, id)| Candidate { id, logit }).collect();
        recent.penalise(strength, &mut candidates);
        candidates.iter().map(|candidate| candidate.logit).collect()
    }

    const OFF: Strength = Strength { repeat: 1.0, presence: 0.0, frequency: 0.0 };

    #[test]
    fn repeat_penalty_lowers_positive_and_negative_logits_once() {
        let strength = Strength { repeat: 2.0, ..OFF };
        assert_eq!(penalised(&[4.0, -4.0, 4.0], &[0, 1, 0, 1], 64, strength), [2.0, -8.0, 4.0]);
    }

    #[test]
    fn frequency_counts_occurrences_and_presence_does_not() {
        let strength = Strength { frequency: 0.5, ..OFF };
        assert_eq!(penalised(&[1.0, 1.0, 1.0], &[0, 1, 0, 0], 64, strength), [-0.5, 0.5, 1.0]);
        let strength = Strength { presence: 0.25, ..OFF };
        assert_eq!(penalised(&[1.0, 1.0, 1.0], &[0, 1, 0, 0], 64, strength), [0.75, 0.75, 1.0]);
    }

    #[test]
    fn window_forgets_the_oldest_token_first() {
        let strength = Strength { presence: 1.0, ..OFF };
        assert_eq!(penalised(&[0.0; 5], &[0, 1, 2, 3, 4], 2, strength), [0.0, 0.0, 0.0, -1.0, -1.0]);
        assert_eq!(penalised(&[0.0; 2], &[0, 1], 0, strength), [0.0, 0.0]);
    }

    #[test]
    fn rewarded_repetition_stays_finite() {
        assert_eq!(penalised(&[1.0e38], &[0], 64, Strength { repeat: 0.001, ..OFF }), [f32::MAX]);
    }

    #[test]
    fn tokens_outside_the_vocabulary_are_ignored() {
        assert_eq!(penalised(&[1.0], &[9], 64, Strength { presence: 1.0, ..OFF }), [1.0]);
    }
}
