//! Chooses the next token from the logits.
//!
//! The order is the field's default chain: penalties, top-k, top-p, min-p, temperature, draw. The
//! same options, seed and logits give the same token on every machine.

mod filter;
mod from_file;
mod penalty;
mod random;

use std::fmt;

use gguf_simd::FloatEnvironment;

use crate::error::{Error, Result};
use crate::model::sampling::{MIN_P, REPEAT_PENALTY, TEMPERATURE, TOP_P};
use penalty::{Recent, Strength};
pub use random::Random;

/// How tokens are chosen. The default is llama.cpp's, with seed 0.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f32,
    /// Keeps only so many of the likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the likeliest tokens that together have this probability; 1 keeps all.
    pub top_p: f32,
    /// Drops tokens less probable than this share of the likeliest one; 0 keeps all.
    pub min_p: f32,
    /// Divides positive logits of recent tokens and multiplies negative ones; 1 is off.
    pub repeat_penalty: f32,
    /// How many tokens back the penalties look.
    pub repeat_last_n: usize,
    /// Subtracted from the logits of recent tokens; 0 is off.
    pub presence_penalty: f32,
    /// Subtracted from the logits of recent tokens, as often as they occurred; 0 is off.
    pub frequency_penalty: f32,
    /// The random numbers to draw with.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
        }
    }
}

/// A token that may be chosen.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: u32,
    logit: f32,
}

/// The model put out numbers that no token can be chosen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLogits {
    /// The logit of this token is NaN or plus infinity.
    NotFinite {
        /// The token.
        id: u32,
    },
    /// No token has any probability.
    AllImpossible,
}

impl fmt::Display for BadLogits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite { id } => write!(f, "the model computed no finite number for token {id}"),
            Self::AllImpossible => f.write_str("the model gives no token any probability"),
        }
    }
}

impl std::error::Error for BadLogits {}

/// Chooses tokens one after the other, knowing those before.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplerOptions,
    random: Random,
    recent: Recent,
    banned: Vec<u32>,
    candidates: Vec<Candidate>,
    weights: Vec<f64>,
}

impl Sampler {
    /// A sampler that has seen nothing yet.
    ///
    /// # Errors
    /// [`Error::Usage`] for an option out of its range.
    pub fn new(options: SamplerOptions) -> Result<Self> {
        check(&options)?;
        Ok(Self {
            random: Random::new(options.seed),
            recent: Recent::new(options.repeat_last_n),
            options,
            banned: Vec::new(),
            candidates: Vec::new(),
            weights: Vec::new(),
        })
    }

    /// The options it was made with.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Never chooses `id` from now on.
    pub fn ban(&mut self, id: u32) {
        self.banned.push(id);
    }

    /// Notes that `id` was used, by the prompt or by the model: the penalties look at it.
    pub fn accept(&mut self, id: u32) {
        self.recent.push(id);
    }

    /// Forgets the tokens that were used, but not where the random numbers are.
    pub fn forget(&mut self) {
        self.recent.clear();
    }

    /// Does from here on what `other` does: the same options, tokens used and banned, and random numbers.
    pub fn follow(&mut self, other: &Self) {
        self.options.clone_from(&other.options);
        self.random.clone_from(&other.random);
        self.recent.clone_from(&other.recent);
        self.banned.clone_from(&other.banned);
    }

    /// Chooses a token from `logits: [n_vocab]`. It is not yet accepted. Allocates only the first time.
    ///
    /// # Errors
    /// If a logit is NaN or plus infinity, or all are minus infinity.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, BadLogits> {
        let _environment = FloatEnvironment::enter();
        if let Some((id, _)) = (0..).zip(logits).find(|(_, logit)| logit.is_nan() || **logit == f32::INFINITY)
        {
            return Err(BadLogits::NotFinite { id });
        }
        let Self { options, random, recent, banned, candidates, weights } = self;
        candidates.clear();
        candidates.extend((0..).zip(logits).map(|(id, &logit)| Candidate { id, logit }));
        let strength = Strength {
            repeat: options.repeat_penalty,
            presence: options.presence_penalty,
            frequency: options.frequency_penalty,
        };
        recent.penalise(strength, candidates);
        for &id in &*banned {
            if let Some(candidate) = candidates.get_mut(id as usize) {
                candidate.logit = f32::NEG_INFINITY;
            }
        }
        let first = filter::likeliest(candidates).filter(|first| first.logit > f32::NEG_INFINITY);
        let first = first.ok_or(BadLogits::AllImpossible)?;
        if options.temperature == 0.0 {
            return Ok(first.id);
        }
        filter::top_k(candidates, options.top_k);
        filter::top_p(candidates, options.top_p, weights);
        filter::min_p(candidates, options.min_p);
        Ok(filter::draw(candidates, options.temperature, random.next_unit(), weights))
    }
}

fn check(options: &SamplerOptions) -> Result<()> {
    let wrong = |name: &str, value: f32, range: &dyn fmt::Display| {
        Err(Error::usage(format!("{name} is {value}; it must be {range}")))
    };
    let numbers = [
        ("temperature", options.temperature, TEMPERATURE),
        ("top-p", options.top_p, TOP_P),
        ("min-p", options.min_p, MIN_P),
        ("repeat-penalty", options.repeat_penalty, REPEAT_PENALTY),
    ];
    for (name, value, number) in numbers {
        if !number.allows(value) {
            return wrong(name, value, &number);
        }
    }
    // Bounded so that no finite logit becomes infinite by them.
    let bounded = -1.0e6..=1.0e6;
    let penalties =
        [("presence-penalty", options.presence_penalty), ("frequency-penalty", options.frequency_penalty)];
    match penalties.into_iter().find(|(_, value)| !bounded.contains(value)) {
        Some((name, value)) => wrong(name, value, &"between -1e6 and 1e6; 0 is off"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
