//! How many guesses are worth checking: what they cost against how often they come true.
//!
//! A step that checks `k` guesses evaluates `1 + k` tokens and gives `1 + p1 + p1 p2 + ...` tokens of text, if
//! guess `i` comes true `p_i` of the times that those before it do. It is worth it if that is more than its time
//! over that of a plain step. Both sides are measured as the text goes: the times by the number of tokens in a
//! step, the chances by the trust of a guess. Guesses that are not checked are compared with what comes all the
//! same, so that where guessing costs next to nothing, chances are learnt at no risk. Where it costs something, and
//! as a guard against measurements that mislead, guessing pauses when it has lost time of late, each time for longer.

use std::time::Duration;

use super::drafter::N_TRUSTS;

/// The chance of each trust before any guess was seen.
const PRIOR: [f64; N_TRUSTS as usize] = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];

/// Guesses that the prior counts for.
const PRIOR_WEIGHT: f64 = 2.0;

/// What a seen guess still counts for with each later one of its trust: about the last 30 decide.
const MEMORY: f64 = 0.97;

/// The least gain that guesses are checked for: measured times are not that exact.
const LEAST_GAIN: f64 = 1.03;

/// A step of two tokens over a plain one, and what each further token adds, before they were measured. Kernels
/// differ; these make the first attempts few.
const PRIOR_SECOND: f64 = 1.4;
const PRIOR_FURTHER: f64 = 0.1;

/// The part of a new time that enters the estimate.
const NEWNESS: f64 = 0.2;

/// How fast the times of longer steps are forgotten, for each plain step: one that was disturbed is not believed
/// for good.
const FORGETTING: f64 = 0.005;

/// Guesses for free take at most this part of a plain step.
const FREE: f64 = 0.01;

/// Plain steps of the first pause and of the longest.
const PAUSES: [u32; 2] = [16, 512];

/// Time lost, in plain steps, before guessing pauses.
const MAX_LOSS: f64 = 1.5;

/// Times and chances as far as they are known.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// Checks every guess, whatever it costs.
    is_eager: bool,
    /// Seconds of a plain step; `None` before the first.
    plain: Option<f64>,
    /// `[most + 1]`: the time of a step with `2 + i` tokens over that of a plain one.
    ratios: Vec<Option<f64>>,
    /// Seconds of a guess; `None` before the first.
    guess: Option<f64>,
    chances: [Chance; N_TRUSTS as usize],
    /// Plain steps won by guessing of late, less those lost.
    balance: f64,
    /// Steps left of the pause under way, and the length of the next one.
    pause: u32,
    next_pause: u32,
}

/// How often guesses of one trust came true, with older ones counting less.
#[derive(Clone, Copy, Debug, Default)]
struct Chance {
    n: f64,
    n_true: f64,
}

/// A draft as it grows: how many of its guesses to check.
#[derive(Clone, Debug)]
pub(super) struct Draft<'p> {
    pace: &'p Pace,
    n: usize,
    /// Tokens to expect of a step that checks all of them.
    tokens: f64,
    /// The chance that all come true.
    survival: f64,
    best: Best,
}

#[derive(Clone, Copy, Debug)]
struct Best {
    n: usize,
    /// Tokens in the time of a plain step.
    rate: f64,
}

impl Pace {
    /// Knows nothing; steps check at most `most` guesses.
    pub(super) fn new(most: usize) -> Self {
        Self {
            is_eager: false,
            plain: None,
            ratios: vec![None; most],
            guess: None,
            chances: [Chance::default(); N_TRUSTS as usize],
            balance: 0.0,
            pause: 0,
            next_pause: PAUSES[0],
        }
    }

    /// As [`Pace::new`], but checks every guess, whatever it costs.
    pub(super) fn eager(most: usize) -> Self {
        Self { is_eager: true, ..Self::new(most) }
    }

    /// Guesses to make for the next step: none if they would be made in vain.
    pub(super) fn n_guesses(&self, most: usize) -> usize {
        match self.plain {
            _ if self.is_eager => most,
            None => 0,
            Some(plain) => match self.guess.map(|seconds| seconds / plain) {
                // What a guess takes is not known yet.
                None => most.min(1),
                Some(cost) if cost <= FREE => most.min(if self.pause > 0 { 1 } else { most }),
                Some(cost) if self.pause == 0 && self.can_pay(cost, most) => most,
                Some(_) => 0,
            },
        }
    }

    /// Whether up to `most` guesses that take the part `cost` of a plain step each can pay, if they nearly always
    /// come true.
    fn can_pay(&self, cost: f64, most: usize) -> bool {
        let chance = PRIOR[PRIOR.len() - 1];
        let (mut survival, mut tokens) = (1.0, 1.0);
        (1..=most).any(|n| {
            survival *= chance;
            tokens += survival;
            tokens > LEAST_GAIN * (self.ratio(1 + n) + n as f64 * cost)
        })
    }

    /// Begins a draft.
    pub(super) fn draft(&self) -> Draft<'_> {
        Draft { pace: self, n: 0, tokens: 1.0, survival: 1.0, best: Best { n: 0, rate: LEAST_GAIN } }
    }

    /// Learns whether a guess came true.
    pub(super) fn note_guess(&mut self, trust: u8, came: bool) {
        let chance = &mut self.chances[usize::from(trust)];
        *chance =
            Chance { n: MEMORY * chance.n + 1.0, n_true: MEMORY * chance.n_true + f64::from(u8::from(came)) };
    }

    /// Learns how long `n` guesses took to make.
    pub(super) fn note_guessing(&mut self, n: usize, time: Duration) {
        if n > 0 {
            let seconds = time.as_secs_f64() / n as f64;
            self.guess = Some(self.guess.map_or(seconds, |known| known + NEWNESS * (seconds - known)));
        }
    }

    /// Learns how long a step of `n` tokens took.
    pub(super) fn note_step(&mut self, n: usize, time: Duration) {
        let seconds = time.as_secs_f64();
        match (self.plain, n) {
            (None, 1) => self.plain = Some(seconds),
            (Some(plain), 1) => {
                // A step that the system interrupted says little.
                self.plain = Some(plain + NEWNESS * (seconds.clamp(0.5 * plain, 2.0 * plain) - plain));
                self.pause = self.pause.saturating_sub(1);
                for (n, ratio) in (2..).zip(&mut self.ratios) {
                    if let Some(ratio) = ratio {
                        *ratio += FORGETTING * (prior_ratio(n) - *ratio);
                    }
                }
            }
            (Some(plain), n) => {
                let found = seconds / plain;
                let known = self.ratio(n);
                if let Some(ratio) = self.ratios.get_mut(n - 2) {
                    let newness = if ratio.is_some() { NEWNESS } else { 1.0 };
                    *ratio = Some(known + newness * (found - known));
                }
            }
            (None, _) => {}
        }
    }

    /// Learns what guessing gave: `n_tokens` of text in `time`, the time of guessing included. Returns the
    /// seconds that were won.
    pub(super) fn note_gain(&mut self, n_tokens: usize, time: Duration) -> f64 {
        let Some(plain) = self.plain else { return 0.0 };
        let won = n_tokens as f64 * plain - time.as_secs_f64();
        self.balance = (self.balance + won / plain).min(MAX_LOSS);
        if self.balance > 0.0 {
            self.next_pause = PAUSES[0];
        }
        if self.balance < -MAX_LOSS {
            self.balance = 0.0;
            self.pause = self.next_pause;
            self.next_pause = PAUSES[1].min(2 * self.next_pause);
        }
        won
    }

    /// The time of a step with `n` tokens over that of a plain one: as measured, or between those measured.
    fn ratio(&self, n: usize) -> f64 {
        let known = |n: usize| if n <= 1 { Some(1.0) } else { self.ratios.get(n - 2).copied().flatten() };
        if let Some(ratio) = known(n) {
            return ratio;
        }
        let (less, ratio) = (1..n).rev().find_map(|n| Some((n, known(n)?))).unwrap_or((1, 1.0));
        let above = ratio + prior_ratio(n) - prior_ratio(less);
        let more = (n + 1..2 + self.ratios.len()).find_map(|n| Some((n, known(n)?)));
        more.map_or(above, |(more, ratio_of_more)| {
            let part = (n - less) as f64 / (more - less) as f64;
            ratio + part * (ratio_of_more - ratio)
        })
    }

    fn chance(&self, trust: u8) -> f64 {
        let (chance, prior) = (self.chances[usize::from(trust)], PRIOR[usize::from(trust)]);
        (chance.n_true + PRIOR_WEIGHT * prior) / (chance.n + PRIOR_WEIGHT)
    }
}

impl Draft<'_> {
    /// Whether a further guess can be worth the time to make it.
    pub(super) fn may_go_on(&self) -> bool {
        const HOPELESS: f64 = 0.02;
        // It adds a token at most, as often as all before it come true.
        let is_worth = |plain| {
            self.survival > HOPELESS
                && self.survival > self.best.rate * self.pace.guess.unwrap_or(0.0) / plain
        };
        self.pace.is_eager || self.pace.plain.is_some_and(is_worth)
    }

    /// Adds a guess.
    pub(super) fn push(&mut self, trust: u8) {
        self.n += 1;
        self.survival *= self.pace.chance(trust);
        self.tokens += self.survival;
        let rate = self.tokens / self.pace.ratio(1 + self.n);
        if rate > self.best.rate {
            self.best = Best { n: self.n, rate };
        }
    }

    /// How many of the guesses to check.
    pub(super) fn n_worth_it(&self) -> usize {
        match self.pace {
            Pace { is_eager: true, .. } => self.n,
            Pace { pause: 0, .. } => self.best.n,
            _ => 0,
        }
    }
}

/// The ratio of a step with `n` tokens before any was measured.
fn prior_ratio(n: usize) -> f64 {
    if n <= 1 { 1.0 } else { PRIOR_SECOND + PRIOR_FURTHER * (n - 2) as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Duration = Duration::from_millis(100);

    /// A pace that has measured a plain step.
    fn pace(most: usize) -> Pace {
        let mut pace = Pace::new(most);
        pace.note_step(1, PLAIN);
        pace
    }

    fn n_worth_it(pace: &Pace, trusts: &[u8]) -> usize {
        let mut draft = pace.draft();
        trusts.iter().for_each(|&trust| draft.push(trust));
        draft.n_worth_it()
    }

    #[test]
    fn nothing_is_guessed_before_a_plain_step_was_timed() {
        assert_eq!(Pace::new(8).n_guesses(8), 0);
        let mut pace = pace(8);
        assert_eq!(pace.n_guesses(5), 1, "what a guess takes is not known");
        pace.note_guessing(1, Duration::ZERO);
        assert_eq!(pace.n_guesses(5), 5);
    }

    #[test]
    fn guesses_are_checked_as_far_as_they_are_worth_their_columns() {
        let mut pace = pace(8);
        pace.note_step(3, PLAIN.mul_f64(1.2));
        pace.note_step(9, PLAIN.mul_f64(2.4));
        // Two guesses of 0.95: 2.85 tokens for 1.2 steps; eight: 7.4 for 2.4.
        assert_eq!(n_worth_it(&pace, &[7; 8]), 8);
        // That step now counts for 7.9.
        pace.note_step(9, PLAIN.mul_f64(30.0));
        assert_eq!(n_worth_it(&pace, &[7; 8]), 2);
        // 1.3 + 0.09 tokens for 1.2 steps, and 1.3 for 1.1.
        assert_eq!(n_worth_it(&pace, &[0; 2]), 1);
    }

    #[test]
    fn chances_are_learnt_and_follow_the_text() {
        let mut pace = pace(8);
        (0..20).for_each(|_| pace.note_guess(7, false));
        assert_eq!(n_worth_it(&pace, &[7; 8]), 0);
        (0..60).for_each(|_| pace.note_guess(7, true));
        assert_eq!(n_worth_it(&pace, &[7; 8]), 8);
    }

    #[test]
    fn columns_that_are_too_dear_are_left_alone_and_tried_again_much_later() {
        let mut pace = pace(4);
        (2..=5).for_each(|n| pace.note_step(n, PLAIN * n as u32));
        assert_eq!(n_worth_it(&pace, &[6; 4]), 0);
        let mut n_plain = 0;
        while n_worth_it(&pace, &[6; 4]) == 0 {
            pace.note_step(1, PLAIN);
            n_plain += 1;
        }
        assert!((20..300).contains(&n_plain), "{n_plain}");
    }

    #[test]
    fn a_loss_makes_a_pause_and_the_next_one_longer() {
        let mut pace = pace(4);
        pace.note_guessing(1, Duration::ZERO);
        let mut pauses = Vec::new();
        for _ in 0..3 {
            while pace.pause == 0 {
                assert!((pace.note_gain(1, PLAIN * 2) + 0.1).abs() < 1e-9);
            }
            assert_eq!(
                (n_worth_it(&pace, &[7; 4]), pace.n_guesses(4)),
                (0, 1),
                "guesses for free are watched"
            );
            pauses.push(pace.pause);
            (0..pace.pause).for_each(|_| pace.note_step(1, PLAIN));
        }
        assert_eq!(pauses, [16, 32, 64]);
        assert_eq!(pace.n_guesses(4), 4);
        (0..9).for_each(|_| _ = pace.note_gain(3, PLAIN));
        assert_eq!(pace.next_pause, 16);
        pace.note_guessing(1, PLAIN / 2);
        while pace.pause == 0 {
            pace.note_gain(1, PLAIN * 2);
        }
        assert_eq!((pace.pause, pace.n_guesses(4)), (16, 0), "dear guesses are not");
    }

    #[test]
    fn dear_guesses_are_made_only_while_they_can_pay() {
        let mut pace = pace(8);
        pace.note_guessing(1, PLAIN / 2);
        let mut draft = pace.draft();
        let n = std::iter::from_fn(|| draft.may_go_on().then(|| draft.push(2))).count();
        // Each halves the chance that the next counts, and takes half a step.
        assert_eq!(n, 1);
        // A step of two tokens takes 1.4, and nearly two tokens come of it.
        assert_eq!(pace.n_guesses(8), 8);
        (0..40).for_each(|_| pace.note_guessing(1, PLAIN.mul_f64(0.8)));
        assert_eq!(pace.n_guesses(8), 0, "no guess can pay");
    }
}
