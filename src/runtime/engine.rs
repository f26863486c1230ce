//! A model in memory, ready for sessions.

use std::path::Path;
use std::sync::OnceLock;

use gguf_simd::{Isa, Kernels};

use super::residency::{Plan, Residency};
use crate::error::{Error, Result};
use crate::gguf::{GgufFile, Metadata};
use crate::model::{Compute, Decoder, Family, Hparams, Profile, Promises, arch};
use crate::threads::{ThreadPool, default_thread_count};

/// What an engine computes with.
#[derive(Clone, Copy, Debug, Default)]
pub struct EngineOptions {
    /// Threads; [`default_thread_count`] of them unless told.
    pub n_threads: Option<usize>,
    /// The tier of CPU features; the best unless told. The results do not depend on it.
    pub isa: Option<Isa>,
    /// Bytes of memory that the process may take in all, the model's pages included; as much as there is
    /// unless told.
    pub ram: Option<u64>,
}

/// A model: its file mapped into memory, its weights checked, its threads waiting.
#[derive(Debug)]
pub struct Engine {
    file: GgufFile,
    decoder: Decoder,
    pool: ThreadPool,
    kernels: &'static Kernels,
    ram: Option<u64>,
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
        let kernels = kernels_for(options.isa)?;
        let pool = ThreadPool::new(options.n_threads.unwrap_or_else(default_thread_count))?;
        let file = GgufFile::open(path)?;
        let family = family_of(&file)?;
        let hparams = (family.hparams_from_gguf)(file.metadata())?;
        let decoder = Decoder::load(&file, family, hparams)?;
        Ok(Self {
            file,
            decoder,
            pool,
            kernels,
            ram: options.ram,
            residency: OnceLock::new(),
            promises: Promises::default(),
        })
    }

    /// Plans what becomes of the weights in memory, as far as there is memory now. `set_aside` are bytes
    /// that will yet be taken: of a session that was made, those of the positions that it has not filled
    /// ([`super::Session::free_bytes`]). If they do not fit, this measures the disk.
    ///
    /// # Errors
    /// [`Error::Limit`] if [`EngineOptions::ram`] is too little, naming the least.
    pub fn plan(&self, set_aside: u64) -> Result<Plan> {
        Plan::new(self.file.mapped_file(), &self.decoder.reads(), self.ram, set_aside)
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
        let residency = Residency::new(self.file.mapped_file(), &self.decoder.reads(), plan)?;
        Ok(self.residency.get_or_init(|| residency))
    }

    /// What became of the weights in memory; `None` before [`Engine::settle`].
    pub fn residency(&self) -> Option<&Residency> {
        self.residency.get()
    }

    /// The model's numbers.
    pub fn hparams(&self) -> &Hparams {
        self.decoder.hparams()
    }

    /// Tokens of the vocabulary: logits per position. Ids are below it.
    pub fn n_vocab(&self) -> usize {
        self.hparams().n_vocab
    }

    /// The metadata of the file.
    pub fn metadata(&self) -> &Metadata {
        self.file.metadata()
    }

    /// The file.
    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    /// The functions it computes with.
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// The threads it computes with.
    pub fn n_threads(&self) -> usize {
        self.pool.n_threads()
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

    pub(super) fn promises(&self) -> &Promises {
        &self.promises
    }

    pub(super) fn pool(&self) -> &ThreadPool {
        &self.pool
    }

    pub(super) fn compute<'a>(&'a self, profile: Option<&'a Profile>) -> Compute<'a> {
        let observer = self.residency.get().and_then(Residency::observer).unwrap_or(&());
        Compute { kernels: self.kernels, pool: &self.pool, observer, profile }
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
    let name = file.metadata().required_string("general.architecture")?;
    let Some(family) = arch::by_gguf_name(name) else {
        let names: Vec<_> = arch::gguf_names().collect();
        return unsupported(format!("the architecture \"{name}\"; there are {}", names.join(", ")));
    };
    if let Some(n) = file.metadata().count("split.count")?.filter(|&n| n > 1) {
        return unsupported(format!("one of {n} parts of a model; merge them first (gguf-split --merge)"));
    }
    if file.tensors().is_empty() {
        return unsupported(
            "it has a vocabulary but no weights; it can be inspected and tokenised with".into(),
        );
    }
    Ok(family)
}
