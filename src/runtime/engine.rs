//! A model in memory, ready for sessions.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use gguf_simd::{FloatEnvironment, Isa, Kernels};

use super::memory::{self, Demand, Reserved, Room};
use super::residency::{self, Plan, Residency};
use super::session_options::SessionOptions;
use crate::error::{Error, Result};
use crate::gguf::{GgufFile, Metadata, parts};
use crate::limits::MAX_DIMENSION;
use crate::model::adapter::Adapter;
use crate::model::{
    Compute, Decoder, Dimensions, Family, KvCache, KvSpec, KvTypes, ModelSpec, NewBlocks, Profile, Promise,
    Promises, Reads, arch, is_of_other_part,
};
use crate::threads::{ThreadCounts, ThreadPool};

/// What an engine computes with.
#[derive(Clone, Copy, Debug, Default)]
pub struct EngineOptions {
    /// Threads to compute with; those of [`ThreadCounts::of_machine`] unless told.
    pub n_threads: Option<usize>,
    /// Threads to compute many tokens at once with; as many as `n_threads` if that is told and this is not.
    pub n_prompt_threads: Option<usize>,
    /// The tier of CPU features; the best unless told. The results do not depend on it.
    pub isa: Option<Isa>,
    /// Bytes of memory that the process may take in all, the model's pages included; as much as there is
    /// unless told.
    pub ram: Option<u64>,
}

impl EngineOptions {
    /// The threads that these options ask for.
    pub fn thread_counts(&self) -> ThreadCounts {
        let machine = ThreadCounts::of_machine();
        ThreadCounts {
            few: self.n_threads.unwrap_or(machine.few),
            many: self.n_prompt_threads.or(self.n_threads).unwrap_or(machine.many),
        }
    }
}

/// A model: its file mapped into memory, its weights checked, its threads waiting.
#[derive(Debug)]
pub struct Engine {
    file: Arc<GgufFile>,
    adapters: Arc<Vec<Adapter>>,
    decoder: Decoder,
    pool: ThreadPool,
    kernels: &'static Kernels,
    ram: Option<u64>,
    reads: Reads,
    residency: OnceLock<Residency>,
    promises: Promises,
}

impl Engine {
    /// Opens the GGUF file at `path` and decides what of it stays in memory: [`Engine::open`], then
    /// [`Engine::plan`] with nothing set aside, then [`Engine::settle`].
    ///
    /// # Errors
    /// What these give.
    pub fn load(path: &Path, options: EngineOptions) -> Result<Self> {
        let _environment = FloatEnvironment::enter();
        let engine = Self::open(path, options)?;
        engine.settle(engine.plan(0)?)?;
        Ok(engine)
    }

    /// Opens the GGUF file at `path`: maps it, reads its header and checks every tensor. The weights
    /// are read as they are used, until [`Engine::settle`] decides otherwise.
    ///
    /// # Errors
    /// [`Error::Usage`] for options this machine cannot follow, [`Error::Io`], [`Error::Malformed`],
    /// [`Error::Unsupported`] and [`Error::Limit`] for the file.
    pub fn open(path: &Path, options: EngineOptions) -> Result<Self> {
        Self::open_with(path, options, Vec::new())
    }

    /// As [`Engine::open`], with `adapters` added to the products of the model.
    ///
    /// # Errors
    /// As there; [`Error::Malformed`] and [`Error::Unsupported`] for an adapter of another model.
    pub fn open_with(path: &Path, options: EngineOptions, adapters: Vec<Adapter>) -> Result<Self> {
        let kernels = kernels_for(options.isa)?;
        let pool = ThreadPool::with_counts(options.thread_counts())?;
        let file = Arc::new(parts::open_whole(path)?);
        let family = family_of(&file)?;
        let spec = family.spec_of_file(file.metadata(), &|name| Some(&file.tensor(name)?.shape))?;
        let decoder = Decoder::load_with(&file, family.gguf_name, spec, None, &adapters)?;
        let reads = decoder.reads();
        Ok(Self {
            file,
            adapters: Arc::new(adapters),
            decoder,
            pool,
            kernels,
            ram: options.ram,
            reads,
            residency: OnceLock::new(),
            promises: Promises::default(),
        })
    }

    /// The same model with other weights in the place of those of the tensor `name`.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn with_replacement(&self, name: &str, blocks: NewBlocks) -> Result<Self> {
        let (family, spec) = (family_of(&self.file)?, self.spec().clone());
        let replaced = HashMap::from([(name.to_owned(), blocks)]);
        let decoder =
            Decoder::load_with(&self.file, family.gguf_name, spec, Some(&replaced), &self.adapters)?;
        Ok(Self {
            file: Arc::clone(&self.file),
            adapters: Arc::clone(&self.adapters),
            reads: decoder.reads(),
            decoder,
            pool: ThreadPool::with_counts(self.thread_counts())?,
            kernels: self.kernels,
            ram: self.ram,
            residency: OnceLock::new(),
            promises: Promises::default(),
        })
    }

    /// Plans what becomes of the weights in memory, as far as there is memory now. `set_aside` are bytes
    /// that will yet be taken: of a session that was made, those of the positions that it has not filled
    /// ([`super::Session::free_bytes`]). If the weights do not fit beside them, this measures the disk.
    ///
    /// # Errors
    /// [`Error::Limit`] if there is too little memory even to stream the weights; where
    /// [`EngineOptions::ram`] is what bounds it, naming the least.
    pub fn plan(&self, set_aside: u64) -> Result<Plan> {
        let room = Room::now(self.ram, Reserved { promised: set_aside, ..Reserved::default() });
        Plan::new(self.file.mapped_file(), &self.reads, room)
    }

    /// As [`Engine::plan`], for `n_bytes` of weights in memory, whatever memory there is: for a program that
    /// divides it itself. The least is [`Demand::least_weights`].
    ///
    /// # Errors
    /// [`Error::Limit`] for less than that.
    pub fn plan_within(&self, n_bytes: u64) -> Result<Plan> {
        Plan::new(self.file.mapped_file(), &self.reads, Some(Room::of(n_bytes)))
    }

    /// Bytes of weights that would stay in memory if there were `room_bytes` for them; `None` for less than
    /// the least.
    pub fn pinned_bytes_in(&self, room_bytes: u64) -> Option<u64> {
        residency::pinned_bytes(&self.reads, room_bytes)
    }

    /// Follows `plan`, which this engine made, unless one was followed before; that one stays.
    ///
    /// # Errors
    /// [`Error::Limit`] if the system refuses to start a thread.
    ///
    /// # Panics
    /// If the plan was made by an engine of a longer file.
    pub fn settle(&self, plan: Plan) -> Result<&Residency> {
        if let Some(residency) = self.residency.get() {
            return Ok(residency);
        }
        let residency = Residency::new(self.file.mapped_file(), &self.reads, plan)?;
        Ok(self.residency.get_or_init(|| residency))
    }

    /// What became of the weights in memory; `None` before [`Engine::settle`].
    pub fn residency(&self) -> Option<&Residency> {
        self.residency.get()
    }

    /// What the model is.
    pub fn spec(&self) -> &ModelSpec {
        self.decoder.spec()
    }

    /// What its layers keep of every position.
    pub fn kv_spec(&self) -> &KvSpec {
        self.decoder.kv_spec()
    }

    /// Tokens of the vocabulary: logits per position. Ids are below it.
    pub fn n_vocab(&self) -> usize {
        self.spec().n_vocab
    }

    /// The metadata of the file.
    pub fn metadata(&self) -> &Metadata {
        self.file.metadata()
    }

    /// The file.
    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    /// How many tensors of the file are of parts that see or hear, which are left aside.
    pub fn n_left_aside(&self) -> usize {
        self.file.tensors().iter().filter(|tensor| is_of_other_part(&tensor.name)).count()
    }

    /// What is added to the products of the model.
    pub(super) fn adapters(&self) -> &[Adapter] {
        &self.adapters
    }

    /// The functions it computes with.
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// The threads it computes with.
    pub fn thread_counts(&self) -> ThreadCounts {
        self.pool.counts()
    }

    pub(super) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Bytes that the sequences of this engine have reserved for keys and values and not filled. The system
    /// does not count them as taken yet.
    pub fn promised_bytes(&self) -> u64 {
        self.promises.promised_bytes()
    }

    /// Bytes of keys and values that the sequences of this engine have filled, those that several share once.
    pub fn held_bytes(&self) -> u64 {
        self.promises.held_bytes()
    }

    /// Counts what this model takes in memory with a session of these dimensions.
    ///
    /// # Errors
    /// [`Error::Usage`] if the model's heads do not divide into the blocks of a cache type.
    pub fn demand(&self, options: SessionOptions) -> Result<Demand> {
        /// Bytes that a position of a full context takes beside keys and values: its id, where it is kept and
        /// in the prompt, and its text while that is encoded.
        const TEXT_BYTES: u64 = 64;
        /// Bytes for each token of the vocabulary: its logit, and its place among a sampler's candidates.
        const CANDIDATE_BYTES: u64 = 16;
        let SessionOptions { n_ctx, n_batch, kv_types } = options;
        let cache = KvCache::n_bytes(self.kv_spec(), options.cache())?;
        let within = n_ctx.min(MAX_DIMENSION);
        let dimensions = Dimensions {
            n_batch: n_batch.min(within),
            n_ctx: within,
            kv_types,
            n_threads: self.pool.n_threads(),
        };
        let text = (n_ctx as u64).saturating_mul(TEXT_BYTES);
        let buffers = self.decoder.workspace_bytes(dimensions).saturating_add(text);
        let owned = self.reads.owned_bytes as u64;
        Ok(Demand {
            weights: self.file.file_len() + owned,
            least_weights: residency::least_bytes(&self.reads).min(self.file.file_len()) + owned,
            cache,
            buffers: buffers.saturating_add(self.n_vocab() as u64 * CANDIDATE_BYTES),
            tokenizer: memory::tokenizer_bytes(self.metadata()),
        })
    }

    /// Checks that there is memory for the model's tokenizer, before that is made, beside the least of its
    /// weights and the smallest session.
    ///
    /// # Errors
    /// [`Error::Limit`] if there is not.
    pub fn check_start(&self) -> Result<()> {
        let least = SessionOptions { n_ctx: 1, n_batch: 1, kv_types: KvTypes::default() };
        memory::check_start(self.room(), self.demand(least)?)
    }

    /// Checks that the model predicts tokens.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is an encoder.
    pub(crate) fn check_has_logits(&self) -> Result<()> {
        if self.spec().head.has_logits {
            return Ok(());
        }
        Err(Error::usage("the model is an encoder, which writes no text: use gguf-run embed or rerank"))
    }

    /// Checks that a session with `options` fits into memory, beside the weights and the other sequences.
    ///
    /// # Errors
    /// [`Error::Limit`] if it does not, naming what does; [`Error::Usage`] for an encoder.
    pub(super) fn check_session(&self, options: SessionOptions) -> Result<()> {
        self.check_has_logits()?;
        // Whatever the dimensions, their types are the same.
        self.demand(options)?;
        memory::check_session(self.room(), options, |options| self.demand(options).unwrap_or_default())
    }

    /// As [`Engine::check_session`], for a session without keys and values.
    pub(super) fn check_evaluator(&self, options: SessionOptions) -> Result<()> {
        self.demand(options)?;
        memory::check_session(self.room(), options, |options| Demand {
            cache: 0,
            ..self.demand(options).unwrap_or_default()
        })
    }

    /// Promises `n_bytes` of keys and values.
    ///
    /// # Errors
    /// The bytes there is room for beside the weights and the promises there are, if that is less.
    pub(super) fn promise(&self, n_bytes: u64) -> std::result::Result<Promise, u64> {
        if n_bytes == 0 {
            // Most steps ask for this, and to look for room takes a while.
            return self.promises.take(0).ok_or(0);
        }
        let room = self.room_beside(0).map_or(u64::MAX, |room| room.bytes);
        let left = |promised| room.saturating_sub(promised);
        let before = left(self.promises.promised_bytes());
        let promise = self.promises.take(n_bytes).filter(|_| n_bytes <= before).ok_or(before)?;
        // Who asked at the same time sees this promise, and this one sees theirs; an error gives it back.
        let now = left(self.promises.promised_bytes() - n_bytes);
        if n_bytes <= now { Ok(promise) } else { Err(now) }
    }

    /// The memory that is left beside the weights and what the sequences were promised.
    fn room(&self) -> Option<Room> {
        self.room_beside(self.promises.promised_bytes())
    }

    fn room_beside(&self, promised: u64) -> Option<Room> {
        let least = || residency::least_bytes(&self.reads).min(self.file.file_len());
        let residency = self.residency.get();
        Room::now(
            self.ram,
            Reserved {
                weights: residency.map_or_else(least, |residency| residency.plan().held_bytes()),
                evictable: residency.map_or_else(least, Residency::evictable_bytes),
                promised,
            },
        )
    }

    pub(super) fn pool(&self) -> &ThreadPool {
        &self.pool
    }

    pub(super) fn compute<'a>(&'a self, profile: Option<&'a Profile>) -> Compute<'a> {
        let observer = self.residency.get().and_then(Residency::observer).unwrap_or(&());
        Compute { profile, ..Compute::new(self.kernels, &self.pool, observer) }
    }
}

fn kernels_for(isa: Option<Isa>) -> Result<&'static Kernels> {
    let Some(isa) = isa else {
        return Ok(Kernels::best());
    };
    Kernels::get(isa).ok_or_else(|| {
        let names: Vec<_> = Isa::available().map(Isa::name).collect();
        Error::usage(format!("this CPU lacks {isa}; use --isa with one of {}", names.join(", ")))
    })
}

/// The family of a file that holds a whole model.
fn family_of(file: &GgufFile) -> Result<&'static Family> {
    let unsupported = |what| Err(Error::unsupported(file.path(), what));
    let name = file.metadata().architecture()?;
    let Some(family) = arch::by_gguf_name(name) else {
        return unsupported(arch::missing::architecture(name));
    };
    if file.tensors().is_empty() {
        return unsupported(
            "it has a vocabulary but no weights; it can be inspected and tokenised with".into(),
        );
    }
    Ok(family)
}
