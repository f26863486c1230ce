//! Arguments that several subcommands share.

use std::path::PathBuf;

use clap::Args;
use gguf_simd::attention::CacheType;

use crate::cli::output::warn;
use crate::cli::values::{Scaled, Seed, count, memory_bytes, scaled, seed};
use crate::error::{Error, Result};
use crate::gguf::Metadata;
use crate::model::KvTypes;
use crate::runtime::{Engine, SamplerOptions, Sequence, Session, SessionOptions};

/// Which model to run.
#[derive(Args, Clone, Debug)]
pub(super) struct ModelArgs {
    /// A GGUF file, or a checkpoint: a folder, a .safetensors file or a model.safetensors.index.json; or, from the Hugging
    /// Face Hub, hf:ORG/NAME[@REVISION] or hf:ORG/NAME:FILE, or :TYPE as in :Q4_K_M
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// Type to convert a checkpoint to (the GGUF is kept in the cache folder and used again) [default: Q4_K_M]
    #[arg(long = "type", value_name = "TYPE")]
    pub file_type: Option<String>,
    /// Memory to use at most, as in 3G or 512M; of a model that is larger a part stays in memory and the
    /// rest is read from disk for every token [default: what there is]
    #[arg(long, value_name = "LIMIT", value_parser = memory_bytes, allow_hyphen_values = true)]
    pub ram: Option<u64>,
    /// Add a GGUF adapter (LoRA) to the model as it runs, SCALE times [default: 1]; repeatable
    #[arg(long, value_name = "FILE[:SCALE]", value_parser = scaled)]
    pub lora: Vec<Scaled>,
    /// Threads for prompts, if others than --threads [default: that, or one per physical core, efficiency cores
    /// included]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count, help_heading = "Computing")]
    pub prompt_threads: Option<usize>,
}

/// How much text the model looks at, and how it is fed.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Context")]
pub(super) struct ContextArgs {
    /// Tokens of context; 0 takes what the model was trained for [default: that, at most 4096]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub ctx: Option<usize>,
    /// Tokens of the prompt to compute at once
    #[arg(short, long, value_name = "N", default_value_t = DEFAULT_BATCH, allow_negative_numbers = true, value_parser = count)]
    pub batch: usize,
    #[command(flatten)]
    pub kv: KvArgs,
    /// Keep what was computed of the text in this file, and go on from it the next time: tokens that the
    /// prompts have in common from the start are not computed again, and a chat goes on where it ended
    #[arg(long, value_name = "FILE")]
    pub session: Option<PathBuf>,
}

/// How keys and values are cached.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Context")]
pub(super) struct KvArgs {
    /// Type of cached keys and values: f16, q8_0 (half the memory), q4_0 (a quarter) or f32 (unrounded, twice
    /// the memory); or two, the keys' first, as in q8_0,f16
    #[arg(long = "kv-type", value_name = "TYPE", default_value = "f16", value_parser = parse_kv_types)]
    pub kv_types: KvTypes,
}

fn parse_kv_types(text: &str) -> Result<KvTypes, String> {
    let parse = |name| {
        CacheType::from_name(name).ok_or_else(|| {
            let names: Vec<_> = CacheType::ALL.iter().map(|ty| ty.name().to_lowercase()).collect();
            format!("{name:?} is not a type for keys and values; there are {}", names.join(", "))
        })
    };
    match text.split_once(',') {
        None => parse(text).map(KvTypes::both),
        Some((keys, values)) => Ok(KvTypes { keys: parse(keys)?, values: parse(values)? }),
    }
}

/// Tokens of the prompt to compute at once, unless told.
pub(super) const DEFAULT_BATCH: usize = 512;

/// The longest context taken unless told: the cache of a long one can outgrow memory.
pub(super) const DEFAULT_MAX_CTX: usize = 4096;

impl ContextArgs {
    /// The context length for a model trained with `n_ctx_train` positions, with a warning if it is
    /// longer than that.
    pub(super) fn n_ctx(&self, n_ctx_train: usize) -> usize {
        let n_ctx = match self.ctx {
            None => n_ctx_train.min(DEFAULT_MAX_CTX),
            Some(0) => n_ctx_train,
            Some(n_ctx) => n_ctx,
        };
        if n_ctx > n_ctx_train {
            warn(format_args!(
                "the model was trained with {n_ctx_train} positions; beyond them (--ctx {n_ctx}) its text degrades"
            ));
        }
        n_ctx
    }

    /// The batch length.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty batch.
    pub(super) fn n_batch(&self) -> Result<usize> {
        if self.batch == 0 {
            return Err(Error::usage("--batch 0 computes nothing; give 1 or more"));
        }
        Ok(self.batch)
    }

    /// Whether a session file can be written in the end.
    ///
    /// # Errors
    /// As [`Sequence::check_target`].
    pub(super) fn check_session_file(&self) -> Result<()> {
        self.session.as_deref().map_or(Ok(()), Sequence::check_target)
    }

    /// A session of `n_ctx` positions: the one in the session file, if there is one, else an empty one.
    ///
    /// # Errors
    /// As [`Session::new`] and [`Session::load`].
    pub(super) fn open_session<'e>(&self, engine: &'e Engine, n_ctx: usize) -> Result<Session<'e>> {
        let options = SessionOptions { n_ctx, n_batch: self.n_batch()?, kv_types: self.kv.kv_types };
        match self.session.as_deref().filter(|path| path.exists()) {
            Some(path) => Session::load(engine, options, path),
            None => Session::new(engine, options),
        }
    }

    /// Writes the session file, if there is to be one.
    ///
    /// # Errors
    /// As [`ContextArgs::check_text_file`] and [`Sequence::save`].
    pub(super) fn save_session(&self, session: &Session<'_>) -> Result<()> {
        self.check_text_file()?;
        self.session.as_deref().map_or(Ok(()), |path| session.sequence().save(path, &[]))
    }

    /// Whether the session file, if there is one, may be replaced by a text: not if a chat's conversation
    /// is in it.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is one, [`Error::Io`] if the file cannot be read.
    pub(super) fn check_text_file(&self) -> Result<()> {
        let Some(path) = &self.session else { return Ok(()) };
        match Sequence::attached_bytes(path)? {
            None | Some(0) => Ok(()),
            Some(_) => Err(Error::usage(format!(
                "{} holds the conversation of a chat, which `complete` would write over; name another file \
                 (--session)",
                path.display()
            ))),
        }
    }
}

/// How tokens are chosen.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sampling (defaults may be set by the model file)")]
pub(super) struct SamplingArgs {
    /// Temperature; 0 always takes the likeliest token [default: 0.8]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub temp: Option<f32>,
    /// Choose among the K likeliest tokens; 0 is off [default: 40]
    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = count)]
    pub top_k: Option<usize>,
    /// Choose among the likeliest tokens that together reach this probability; 1 is off [default: 0.95]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Drop tokens less probable than this share of the likeliest; 0 is off [default: 0.05]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub min_p: Option<f32>,
    /// Make tokens used lately less likely by this factor; 1 is off [default: 1]
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    pub repeat_penalty: Option<f32>,
    /// How many tokens back the penalties look; -1 is the whole context [default: 64]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub repeat_last_n: Option<i64>,
    /// Subtract this from the logits of tokens used lately; 0 is off [default: 0]
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,
    /// Subtract this from the logits of tokens used lately, for each use; 0 is off [default: 0]
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,
    /// Random seed: the same seed gives the same text [default: -1, a new one each time]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = seed)]
    pub seed: Option<Seed>,
}

impl SamplingArgs {
    /// The options: the flags, else what the model's file asks for, else the defaults. Warns of
    /// what the file asks for and no sampler can do.
    ///
    /// # Errors
    /// [`Error::Usage`] for a window below -1.
    pub(super) fn resolve(&self, metadata: &Metadata, n_ctx: usize) -> Result<SamplerOptions> {
        let (file, notes) = SamplerOptions::from_metadata(metadata, n_ctx);
        notes.iter().for_each(warn);
        let repeat_last_n = match self.repeat_last_n {
            None => file.repeat_last_n,
            Some(-1) => n_ctx,
            Some(n) => usize::try_from(n).map_err(|_| {
                Error::usage(format!(
                    "--repeat-last-n {n}: give a count, 0 for off or -1 for the whole context"
                ))
            })?,
        };
        Ok(SamplerOptions {
            temperature: self.temp.unwrap_or(file.temperature),
            top_k: self.top_k.unwrap_or(file.top_k),
            top_p: self.top_p.unwrap_or(file.top_p),
            min_p: self.min_p.unwrap_or(file.min_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(file.repeat_penalty),
            repeat_last_n: repeat_last_n.min(n_ctx),
            presence_penalty: self.presence_penalty.unwrap_or(file.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(file.frequency_penalty),
            seed: match self.seed {
                Some(Seed::Given(seed)) => seed,
                Some(Seed::New) | None => random_seed(),
            },
        })
    }
}

/// A seed that differs from run to run; below 2^32, so that it is easily typed again.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_context_is_the_models_up_to_a_bound() {
        let args = |ctx| ContextArgs { ctx, batch: DEFAULT_BATCH, kv: KvArgs::default(), session: None };
        assert_eq!(args(None).n_ctx(512), 512);
        assert_eq!(args(None).n_ctx(131_072), 4096);
        assert_eq!(args(Some(0)).n_ctx(131_072), 131_072);
        assert_eq!(args(Some(100)).n_ctx(512), 100);
    }

    #[test]
    fn kv_types_are_given_together_or_apart() {
        let mixed = KvTypes { keys: CacheType::Q8_0, values: CacheType::F16 };
        assert_eq!(parse_kv_types("f16"), Ok(KvTypes::default()));
        assert_eq!(parse_kv_types("Q4_0"), Ok(KvTypes::both(CacheType::Q4_0)));
        assert_eq!(parse_kv_types("q8_0,f16"), Ok(mixed));
        for types in [mixed, KvTypes::default()] {
            assert_eq!(parse_kv_types(&types.to_string()), Ok(types));
        }
        for wrong in ["", "q5_1", "q8_0,", "q8_0,f16,f16"] {
            let message = parse_kv_types(wrong).expect_err("no such type");
            assert!(message.contains("f32, f16, q8_0, q4_0"), "{message}");
        }
    }
}
