//! Everything a conversion decides before it writes a byte.

use std::collections::HashSet;

use gguf_simd::BlockType;

use crate::checkpoint::{Checkpoint, SourceType, TensorView};
use crate::convert::FileType;
use crate::convert::metadata::{self, General};
use crate::convert::naming::{file_stem, folder_identifier};
use crate::convert::recipe::{self, Candidate, Choice, Overrides};
use crate::convert::transform::{Part, SourceRows};
use crate::error::{Error, Result};
use crate::gguf::{DEFAULT_ALIGNMENT, Layout, PlannedTensor};
use crate::model::arch::{self, Family};
use crate::model::{Hparams, Presence, Role, Source, TensorSpec, Transform};
use crate::tokenizer::Vocabulary;

/// Names listed in a warning before it says «and more».
const MAX_LISTED: usize = 8;

/// What a conversion is asked for.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// The type of the file.
    pub file_type: FileType,
    /// Types of single tensors.
    pub overrides: Overrides,
    /// `general.name`, if it is not to come from the model card or the folder.
    pub name: Option<String>,
}

impl PlanOptions {
    /// A plain conversion to `file_type`.
    pub fn new(file_type: FileType) -> Self {
        Self { file_type, overrides: Overrides::default(), name: None }
    }
}

/// A conversion, decided: tensors with their sources, types and places.
#[derive(Debug)]
pub struct Plan<'a> {
    file_type: FileType,
    name: String,
    file_stem: String,
    hparams: Hparams,
    metadata_keys: Vec<String>,
    layout: Layout,
    sources: Vec<Planned<'a>>,
    warnings: Vec<String>,
}

/// How one tensor is made.
#[derive(Debug)]
pub(super) struct Planned<'a> {
    pub(super) rows: SourceRows<'a>,
    pub(super) choice: Choice,
}

/// One tensor of a plan, for people.
#[derive(Clone, Debug)]
pub struct PlannedRow<'p> {
    /// Its name in the GGUF file.
    pub name: &'p str,
    /// Outermost dimension first.
    pub shape: &'p [usize],
    /// The type in the checkpoint; F32 where values are computed.
    pub source_type: SourceType,
    /// The type in the GGUF file.
    pub block_type: BlockType,
    /// The type that was meant, where the rows do not divide into its blocks.
    pub instead_of: Option<BlockType>,
    /// Bytes in the GGUF file.
    pub n_bytes: u64,
}

impl<'a> Plan<'a> {
    /// Decides a conversion of `checkpoint`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an architecture, tokenizer, element type or kind of quantisation
    /// this program does not have; [`Error::Malformed`] for tensors that are missing or of another
    /// shape than config.json makes them; [`Error::Usage`] for types that do not fit.
    pub fn new(checkpoint: &'a Checkpoint, options: &PlanOptions) -> Result<Self> {
        let config = checkpoint.config();
        let family = family_of(checkpoint)?;
        let hparams = (family.hparams_from_config)(config)?;
        let vocabulary = Vocabulary::from_checkpoint(checkpoint.folder(), config, hparams.n_vocab)?;
        let specs = (family.tensors)(&hparams, Some(config))?;
        let mut warnings = checkpoint.notes().to_vec();
        warnings.extend_from_slice(vocabulary.notes());
        warnings.extend(window_warning(checkpoint, &hparams)?);
        warnings.extend(leftover_warning(checkpoint, family, &specs));

        let mut candidates = Vec::with_capacity(specs.len());
        let mut rows = Vec::with_capacity(specs.len());
        for spec in specs {
            if let Some(source) = source_rows(checkpoint, &spec)? {
                let name = spec.gguf_name();
                candidates.push(Candidate { name, role: spec.role, layer: spec.layer, shape: spec.shape });
                rows.push(source);
            }
        }
        let choices = recipe::choose(options.file_type, &hparams, &options.overrides, &candidates)?;
        warnings.extend(unused_overrides(&options.overrides, &candidates));

        let general = General::of(checkpoint, options, &hparams, &candidates);
        let mut pairs = metadata::general(family, &general, checkpoint, &mut warnings);
        pairs.extend((family.metadata)(&hparams, config)?);
        pairs.extend(metadata::file(options.file_type));
        pairs.extend(vocabulary.to_metadata());
        let metadata_keys = pairs.iter().map(|(key, _)| key.clone()).collect();
        let planned = candidates.into_iter().zip(&choices);
        let tensors = planned.map(|(tensor, choice)| PlannedTensor {
            name: tensor.name,
            shape: tensor.shape,
            block_type: choice.block_type,
        });
        let layout = Layout::new(pairs, tensors.collect(), DEFAULT_ALIGNMENT)?;
        let sources = rows.into_iter().zip(choices).map(|(rows, choice)| Planned { rows, choice }).collect();
        Ok(Self {
            file_type: options.file_type,
            name: general.name().to_owned(),
            file_stem: file_stem(&folder_identifier(checkpoint.dir())),
            hparams,
            metadata_keys,
            layout,
            sources,
            warnings,
        })
    }

    /// The type of the file.
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    /// The model's name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file name to use where the user gives none: the checkpoint's folder and the type.
    pub fn default_file_name(&self) -> String {
        format!("{}-{}.gguf", self.file_stem, self.file_type)
    }

    /// The model's numbers.
    pub fn hparams(&self) -> &Hparams {
        &self.hparams
    }

    /// What the user should know before the conversion, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Bytes of the finished file.
    pub fn file_bytes(&self) -> u64 {
        self.layout.file_bytes()
    }

    /// Every tensor, in file order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = PlannedRow<'_>> {
        self.layout.tensors().iter().zip(&self.sources).map(|(placed, planned)| PlannedRow {
            name: &placed.name,
            shape: &placed.shape,
            source_type: planned.rows.source_type(),
            block_type: placed.block_type,
            instead_of: planned.choice.instead_of,
            n_bytes: placed.n_bytes,
        })
    }

    /// Weights in all tensors.
    pub fn n_parameters(&self) -> u64 {
        self.sources.iter().map(|planned| planned.rows.n_elements()).sum()
    }

    /// Bits that a weight takes on average, in tensor data alone.
    pub fn bits_per_weight(&self) -> f64 {
        let n_bytes: u64 = self.layout.tensors().iter().map(|placed| placed.n_bytes).sum();
        n_bytes as f64 * 8.0 / self.n_parameters() as f64
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn sources(&self) -> &[Planned<'a>] {
        &self.sources
    }

    pub(super) fn metadata_keys(&self) -> &[String] {
        &self.metadata_keys
    }
}

/// The family of the checkpoint's class, unless its tensors are quantised already.
fn family_of(checkpoint: &Checkpoint) -> Result<&'static Family> {
    let config = checkpoint.config();
    let classes = config.strings("architectures")?.unwrap_or_default();
    let known = || arch::checkpoint_classes().collect::<Vec<&str>>().join(", ");
    if classes.is_empty() {
        let what = format!("it names no class in \"architectures\"; supported are {}", known());
        return Err(Error::unsupported(config.path(), what));
    }
    let Some(family) = classes.iter().find_map(|class| arch::by_checkpoint_class(class)) else {
        let what = format!("architecture {}; supported are {}", classes.join(", "), known());
        return Err(Error::unsupported(config.path(), what));
    };
    if let Some(method) = checkpoint.quantization_method()? {
        let what = format!(
            "weights that are already quantised ({method}); use the original F32, F16 or BF16 checkpoint"
        );
        return Err(Error::unsupported(config.path(), what));
    }
    Ok(family)
}

/// Finds the rows of a tensor; `None` for an optional tensor that is not there.
fn source_rows<'a>(checkpoint: &'a Checkpoint, spec: &TensorSpec) -> Result<Option<SourceRows<'a>>> {
    let (names, shape) = match &spec.source {
        Source::Computed(values) => return Ok(Some(SourceRows::computed(values.clone()))),
        Source::Checkpoint(name) => (std::slice::from_ref(name), &spec.shape[..]),
        Source::Stacked(names) => (&names[..], &spec.shape[1..]),
    };
    let mut parts = Vec::with_capacity(names.len());
    for name in names {
        match checkpoint.tensor(name)? {
            Some(view) => {
                check_shape(&view, name, shape, spec)?;
                parts.push(Part { name: name.clone(), view });
            }
            None if spec.presence == Presence::Optional => return Ok(None),
            None => return Err(missing(checkpoint, name, spec)),
        }
    }
    let (n_rows, n_in) = match (&spec.shape[..], spec.transform) {
        (&[n], Transform::None) => (1, n),
        (&[n], Transform::RotaryPairs { .. }) => (n, 1),
        // No overflow: the parts were checked to have this shape, and they are mapped.
        ([outer @ .., n_in], _) => (outer.iter().product(), *n_in),
        ([], _) => unreachable!("families give every tensor a shape"),
    };
    Ok(Some(SourceRows::from_checkpoint(parts, spec.transform, n_rows, n_in)))
}

fn check_shape(view: &TensorView<'_>, name: &str, shape: &[usize], spec: &TensorSpec) -> Result<()> {
    if view.shape == shape {
        return Ok(());
    }
    let what = format!(
        "tensor {name} has shape {:?}, but config.json makes it {shape:?} ({} in GGUF)",
        view.shape,
        spec.gguf_name()
    );
    Err(Error::malformed(view.path, what))
}

fn missing(checkpoint: &Checkpoint, name: &str, spec: &TensorSpec) -> Error {
    let hint = match spec.role {
        Role::Output => {
            "; if the output shares the embedding, config.json must say \"tie_word_embeddings\": true"
        }
        _ => "; a part of the download may be missing",
    };
    let what = format!("tensor {name} is missing ({} in GGUF){hint}", spec.gguf_name());
    Error::malformed(checkpoint.dir(), what)
}

/// Attention in the field's runtimes reaches over the whole context for this family.
fn window_warning(checkpoint: &Checkpoint, hparams: &Hparams) -> Result<Option<String>> {
    let window = checkpoint.config().count("sliding_window")?.filter(|&window| window < hparams.n_ctx_train);
    Ok(window.map(|window| {
        format!("the model was trained with a sliding window of {window} positions, which GGUF files of this architecture cannot say: beyond {window} tokens its answers may differ")
    }))
}

/// Names what the checkpoint has and the family does not use.
fn leftover_warning(checkpoint: &Checkpoint, family: &Family, specs: &[TensorSpec]) -> Option<String> {
    let used: HashSet<&str> = specs
        .iter()
        .flat_map(|spec| match &spec.source {
            Source::Checkpoint(name) => std::slice::from_ref(name),
            Source::Stacked(names) => names,
            Source::Computed(_) => &[],
        })
        .map(String::as_str)
        .collect();
    let is_tied = !specs.iter().any(|spec| spec.role == Role::Output);
    let is_harmless = |name: &str| {
        // Buffers that older versions of transformers saved, and an output matrix that is tied.
        name.ends_with(".rotary_emb.inv_freq") || is_tied && name == "lm_head.weight"
    };
    let leftover: Vec<&str> =
        checkpoint.tensor_names().filter(|&name| !used.contains(name) && !is_harmless(name)).collect();
    let n = leftover.len();
    let listed = leftover[..n.min(MAX_LISTED)].join(", ");
    let more = if n > MAX_LISTED { format!(" and {} more", n - MAX_LISTED) } else { String::new() };
    let arch = family.gguf_name;
    (n > 0).then(|| {
        format!("{n} tensors have no place in the {arch} architecture and are left out: {listed}{more}")
    })
}

/// Names the patterns that no tensor matched: most likely a slip.
fn unused_overrides(overrides: &Overrides, tensors: &[Candidate]) -> Vec<String> {
    let is_unused = |name: &regex::Regex| !tensors.iter().any(|tensor| name.is_match(&tensor.name));
    overrides
        .tensors
        .iter()
        .filter(|(name, _)| is_unused(name))
        .map(|(name, ty)| format!("--tensor-type {name}={ty} matches no tensor; --dry-run lists their names"))
        .collect()
}
