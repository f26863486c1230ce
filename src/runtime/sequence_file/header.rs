//! What stands in a file before the tokens of a sequence, and whether that goes with a model and a request.

use std::io::{self, Read, Write};
use std::path::Path;

use gguf_simd::attention::CacheType;

use super::{DIGEST_BYTES, Growth, MAGIC};
use crate::error::{Error, Result};
use crate::limits::MAX_LAYERS;
use crate::model::{KvCache, KvLayer, KvSpec, KvTypes};
use crate::runtime::engine::Engine;
use crate::runtime::fingerprint::fingerprint;

/// Positions whose states a file keeps, at most.
const MAX_KEPT_STATES: u64 = 64;

/// What stands before the tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    version: Version,
    fingerprint: [u8; DIGEST_BYTES],
    types: Types,
    kv_spec: KvSpec,
    pub(super) n_positions: u64,
    pub(super) n_attached: u64,
    /// For each window: as [`KvCache::first_held`].
    pub(super) first_held: Vec<usize>,
    /// As [`KvCache::kept_states`].
    pub(super) kept_states: Vec<usize>,
}

/// The version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    growth: Growth,
    layout: Layout,
}

/// What layers of a model keep, as far as a version can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// All the same of all positions.
    Uniform,
    /// Each its own, of windows.
    Windows,
    /// Some have states as well.
    States,
}

impl Version {
    const ALL: [(u32, Self); 6] = [
        (1, Self { growth: Growth::Fixed, layout: Layout::Uniform }),
        (2, Self { growth: Growth::Journal, layout: Layout::Uniform }),
        (3, Self { growth: Growth::Fixed, layout: Layout::Windows }),
        (4, Self { growth: Growth::Journal, layout: Layout::Windows }),
        (7, Self { growth: Growth::Fixed, layout: Layout::States }),
        (8, Self { growth: Growth::Journal, layout: Layout::States }),
    ];

    fn number(self) -> u32 {
        Self::ALL.into_iter().find(|&(_, version)| version == self).map_or(0, |(number, _)| number)
    }
}

/// The types of keys and values, as GGUF numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Types {
    keys: u32,
    values: u32,
}

impl Header {
    /// The header of a sequence without positions, of a context of `n_ctx`.
    pub(super) fn of(engine: &Engine, kv_types: KvTypes, n_ctx: usize, growth: Growth) -> Self {
        let ggml_id = |ty: CacheType| ty.block_type().ggml_id();
        let kv_spec = engine.kv_spec().clone();
        let fingerprint = fingerprint(engine.file(), engine.adapters());
        let is_long = engine.spec().short_context().is_some_and(|short| n_ctx > short);
        Self {
            version: Version { growth, layout: Layout::of(&kv_spec) },
            fingerprint: if is_long { of_long_contexts(fingerprint) } else { fingerprint },
            types: Types { keys: ggml_id(kv_types.keys), values: ggml_id(kv_types.values) },
            n_positions: 0,
            n_attached: 0,
            first_held: vec![0; kv_spec.windows().len()],
            kept_states: Vec::new(),
            kv_spec,
        }
    }

    /// What may follow the sequence.
    pub(super) fn growth(&self) -> Growth {
        self.version.growth
    }

    /// Bytes from the magic up to the tokens.
    fn n_bytes(&self) -> u64 {
        let n_layer = self.kv_spec.layers.len();
        let of_windows = 4 + n_layer * 4 * 4 + self.first_held.len() * 8;
        let n_layer_bytes = match self.version.layout {
            Layout::Uniform => 4 * 4,
            Layout::Windows => of_windows,
            Layout::States => of_windows + (n_layer + 1 + self.kept_states.len()) * 8,
        };
        (MAGIC.len() + 4 + DIGEST_BYTES + 2 * 4 + n_layer_bytes + 2 * 8) as u64
    }

    /// Writes what follows the magic.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.version.number().to_le_bytes())?;
        out.write_all(&self.fingerprint)?;
        // All are within `limits`, far below 2^32.
        let mut numbers = vec![self.types.keys, self.types.values, self.kv_spec.layers.len() as u32];
        // The early versions have one layer for all, and no window.
        let layout = self.version.layout;
        let (n_written, n_numbers) = match layout {
            Layout::Uniform => (1, 3),
            Layout::Windows | Layout::States => (self.kv_spec.layers.len(), 4),
        };
        for layer in &self.kv_spec.layers[..n_written] {
            numbers.extend(layer.map_or([0; 4], |layer| {
                let KvLayer { n_head_kv, head_dim_k, head_dim_v, window } = layer;
                [n_head_kv, head_dim_k, head_dim_v, window.unwrap_or(0)].map(|n| n as u32)
            }));
            numbers.truncate(numbers.len() + n_numbers - 4);
        }
        numbers.iter().try_for_each(|number| out.write_all(&number.to_le_bytes()))?;
        let numbers = |numbers: &[usize], is_written: bool| {
            numbers.iter().filter(|_| is_written).map(|&n| n as u64).collect::<Vec<_>>()
        };
        let counts = [
            numbers(&self.kv_spec.states, layout == Layout::States),
            vec![self.n_positions, self.n_attached],
            numbers(&self.first_held, layout != Layout::Uniform),
            numbers(&[self.kept_states.len()], layout == Layout::States),
            numbers(&self.kept_states, layout == Layout::States),
        ];
        counts.concat().into_iter().try_for_each(|count| out.write_all(&count.to_le_bytes()))
    }

    /// Reads what follows the magic.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an unknown version, [`Error::Malformed`] for more layers than there are,
    /// [`Error::Io`].
    pub(super) fn read(input: &mut impl Read, path: &Path) -> Result<Self> {
        let refused = |e| refused(e, path);
        let number = read_u32(input).map_err(refused)?;
        let Some((_, version)) = Version::ALL.into_iter().find(|&(known, _)| known == number) else {
            let what = format!("a saved session of version {number}; this program has 1 to 4, 7 and 8");
            return Err(Error::unsupported(path, what));
        };
        let mut fingerprint = [0; DIGEST_BYTES];
        input.read_exact(&mut fingerprint).map_err(refused)?;
        let [keys, values, n_layer] = read_u32s(input).map_err(refused)?;
        let n_layer = n_layer as usize;
        if n_layer > MAX_LAYERS {
            return Err(Error::malformed(path, format!("it is of a model with {n_layer} layers")));
        }
        let layers: io::Result<_> = match version.layout {
            Layout::Uniform => {
                read_u32s(input).map(|[heads, k, v]| vec![Some(layer([heads, k, v, 0])); n_layer])
            }
            Layout::Windows | Layout::States => (0..n_layer)
                .map(|_| read_u32s(input).map(|numbers| (numbers != [0; 4]).then(|| layer(numbers))))
                .collect(),
        };
        let mut kv_spec = KvSpec::without_states(layers.map_err(refused)?);
        if version.layout == Layout::States {
            kv_spec.states = read_counts(input, n_layer).map_err(refused)?;
        }
        let [n_positions, n_attached] =
            [read_u64(input).map_err(refused)?, read_u64(input).map_err(refused)?];
        let n_windows = kv_spec.windows().len();
        let first_held = match version.layout {
            Layout::Uniform => vec![0; n_windows],
            Layout::Windows | Layout::States => read_counts(input, n_windows).map_err(refused)?,
        };
        let n_kept = match version.layout {
            Layout::States => read_u64(input).map_err(refused)?,
            Layout::Uniform | Layout::Windows => 0,
        };
        if n_kept > MAX_KEPT_STATES {
            return Err(Error::malformed(path, format!("states are kept of {n_kept} positions")));
        }
        let kept_states = read_counts(input, n_kept as usize).map_err(refused)?;
        let types = Types { keys, values };
        Ok(Self { version, fingerprint, types, kv_spec, n_positions, n_attached, first_held, kept_states })
    }

    /// Whether this header goes with that of an empty sequence of `n_ctx` positions; the number of its
    /// own positions.
    pub(super) fn check(&self, own: &Self, n_ctx: usize, path: &Path) -> Result<usize> {
        let shown = path.display();
        if self.fingerprint == of_long_contexts(own.fingerprint) {
            return Err(Error::usage(format!(
                "{shown} was saved with a context for which this model computes otherwise than for one of {n_ctx}: it has \
                 angles of its own beyond the context that it was first trained with; give the --ctx it was saved with, \
                 or name another file (--session)"
            )));
        }
        if self.fingerprint != own.fingerprint {
            return Err(Error::usage(format!(
                "{shown} was saved with another model or another file of it; name another file (--session)"
            )));
        }
        if self.types != own.types {
            let types = [self.types.keys, self.types.values].map(type_name).join(",").to_lowercase();
            return Err(Error::usage(format!(
                "{shown} holds keys and values in {types}; use --kv-type {types}, or name another file (--session)"
            )));
        }
        if self.kv_spec != own.kv_spec {
            let what = "the keys, values and states in it are not those that this model's layers have; name another file \
                        (--session)";
            return Err(Error::malformed(path, what));
        }
        usize::try_from(self.n_positions).ok().filter(|&n| n <= n_ctx).ok_or_else(|| {
            let n = self.n_positions;
            Error::limit(format!(
                "{shown} holds {n} tokens and the context is {n_ctx}; use --ctx {n} or more, or name another file \
                 (--session)"
            ))
        })
    }

    /// Whether a file has the bytes of what this header, which was checked, announces, and more only where a
    /// journal may follow; their number.
    pub(super) fn check_file_bytes(&self, types: KvTypes, found: u64, path: &Path) -> Result<u64> {
        let (n, n_attached) = (self.n_positions, self.n_attached);
        let Some(rows) = KvCache::row_bytes(&self.kv_spec, types, n as usize, &self.first_held)? else {
            let what = format!("the rows of its windows begin at positions {:?} of {n}", self.first_held);
            return Err(Error::malformed(path, what));
        };
        let Some(states) = KvCache::state_bytes(&self.kv_spec, n as usize, &self.kept_states) else {
            let what = format!("states are kept of positions {:?} of {n}", self.kept_states);
            return Err(Error::malformed(path, what));
        };
        let before = self.n_bytes() + n * size_of::<u32>() as u64;
        let announced = rows.checked_add(states).and_then(|bytes| bytes.checked_add(before));
        let announced = announced.and_then(|bytes| bytes.checked_add(n_attached));
        let expected = announced.and_then(|bytes| bytes.checked_add(DIGEST_BYTES as u64));
        let may_grow = self.growth() == Growth::Journal;
        if let Some(bytes) = expected.filter(|&bytes| bytes == found || may_grow && bytes < found) {
            return Ok(bytes);
        }
        let expected = expected.map_or("more than can be counted".to_owned(), |n| n.to_string());
        let what = format!(
            "the session is cut off or damaged: {n} positions and {n_attached} bytes more take {expected} bytes, \
                 and the file has {found}; take a copy of it, or name another file (--session)"
        );
        Err(Error::malformed(path, what))
    }
}

/// The fingerprint of a model in contexts beyond its short ones, where those have other angles; and back.
fn of_long_contexts(fingerprint: [u8; DIGEST_BYTES]) -> [u8; DIGEST_BYTES] {
    fingerprint.map(|byte| !byte)
}

impl Layout {
    /// The first that can say what `spec` does: the first versions are those that most programs know.
    fn of(spec: &KvSpec) -> Self {
        let first = spec.layers.first().copied().flatten().filter(|first| first.window.is_none());
        match first {
            _ if spec.has_states() => Self::States,
            Some(first) if spec.layers.iter().all(|layer| *layer == Some(first)) => Self::Uniform,
            _ => Self::Windows,
        }
    }
}

/// What a layer keeps; a window of 0 stands for none.
fn layer(numbers: [u32; 4]) -> KvLayer {
    let [n_head_kv, head_dim_k, head_dim_v, window] = numbers.map(|n| n as usize);
    KvLayer { n_head_kv, head_dim_k, head_dim_v, window: (window > 0).then_some(window) }
}

fn type_name(ggml_id: u32) -> String {
    let ty = CacheType::ALL.into_iter().find(|ty| ty.block_type().ggml_id() == ggml_id);
    ty.map_or_else(|| format!("type {ggml_id}"), |ty| ty.name().to_owned())
}

/// The error of a file that cannot be read on.
pub(super) fn refused(e: io::Error, path: &Path) -> Error {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => Error::malformed(path, "it ends in the middle"),
        _ => Error::io(path, "cannot read", e),
    }
}

pub(super) fn read_u32(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_u32s<const N: usize>(input: &mut impl Read) -> io::Result<[u32; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = read_u32(input)?;
    }
    Ok(numbers)
}

/// Counts; one that cannot be counted is behind all positions, as this is.
fn read_counts(input: &mut impl Read, n: usize) -> io::Result<Vec<usize>> {
    (0..n).map(|_| read_u64(input).map(|count| usize::try_from(count).unwrap_or(usize::MAX))).collect()
}

fn read_u64(input: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
