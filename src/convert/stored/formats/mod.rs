//! Which tensors of which names are what: one file per kin of formats.
//!
//! The tensors tell the format, and their shapes its parameters; config.json is asked only for what they do not say.

mod aqlm;
mod bitsandbytes;
mod exl2;
mod floats;
mod gptq;
mod integers;
mod kernels;
mod parted;
mod squeezellm;
mod torchao;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::{Packed, Stored};
use crate::checkpoint::{Checkpoint, NamePattern, SourceType, TensorView};
use crate::error::{Error, Result};
use crate::limits::MAX_DIMENSION;
use crate::quantize::decode_source;

/// A packed tensor as a format makes it of a module's tensors; none if they are not of that format.
type Made<'a> = Result<Option<Arc<dyn Packed + 'a>>>;

/// The formats, in the order in which they are tried.
const FORMATS: [for<'a> fn(&Module<'a, '_>) -> Made<'a>; 16] = [
    squeezellm::squeezellm,
    kernels::marlin,
    gptq::gptq,
    gptq::awq,
    integers::compressed,
    bitsandbytes::four_bits,
    parted::hqq,
    parted::quanto,
    parted::quanto_bits,
    torchao::torchao,
    aqlm::aqlm,
    exl2::exl2,
    quip,
    parted::bitnet,
    integers::bytes,
    floats::floats,
];

/// Endings of the tensors that tell a packed module; a matrix of a module without them is called `weight`.
const CODES: [&str; 11] = [
    "qweight",
    "weight_packed",
    "weight",
    "W_q",
    "_data",
    parted::PACKED_DATA,
    "_weight_qdata",
    "codes",
    "B",
    "q_weight",
    "Qidxs",
];

/// What quantisers keep beside weights for activations, or for other programs: weights need none of it.
const UNUSED: [&str; 11] = [
    "input_scale",
    "input_scale_ub",
    "input_zero_point",
    "input_global_scale",
    "output_scale",
    "output_zero_point",
    "activation_scale",
    "qscale_act",
    "weight_shape",
    "weight_g_idx",
    "weight_format",
];

/// Scales of caches of keys and values and of attention, which have modules of their own in some files.
const OF_CACHES: [&str; 7] =
    ["k_scale", "v_scale", "k_zero_point", "v_zero_point", "kv_scale", "q_scale", "prob_scale"];

/// Tensors of scales and tables: floats, or the bytes that some formats have for such.
const SCALES: [&str; 13] = [
    "scales",
    "scale",
    "s",
    "weight_scale",
    "weight_scale_inv",
    "weight_scale_2",
    "weight_global_scale",
    "_scale",
    "_weight_scale",
    "q_scale_max",
    "lookup_table",
    "codebooks",
    "SCB",
];

/// The settings of groups of modules and of single modules, each with what it is for.
type Tables<'a> = Vec<(NamePattern, &'a serde_json::Value)>;

/// The tensors of one module of a checkpoint.
struct Module<'a, 'm> {
    checkpoint: &'a Checkpoint,
    /// What comes before the last dot of their names; empty for names without one.
    name: &'m str,
    tables: &'m Tables<'a>,
    /// The last parts of those that were asked for and are there.
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Module<'a, '_> {
    fn full(&self, part: &str) -> String {
        if self.name.is_empty() { part.to_owned() } else { format!("{}.{part}", self.name) }
    }

    /// The tensor called `part`, if there is one.
    ///
    /// # Errors
    /// [`Error::Limit`] for a dimension that no weights have: formats multiply them before they compare.
    fn find(&self, part: &str) -> Result<Option<TensorView<'a>>> {
        let Some(found) = self.checkpoint.tensor(&self.full(part))? else { return Ok(None) };
        if let Some(n) = found.shape.iter().find(|&&n| n > MAX_DIMENSION) {
            let what =
                format!("tensor {} has a dimension of {n}; the limit is {MAX_DIMENSION}", self.full(part));
            return Err(Error::limit(what));
        }
        self.used.borrow_mut().insert(part.to_owned());
        Ok(Some(found))
    }

    /// The first of these tensors that is there, and its name.
    fn find_any(&self, parts: &[&str]) -> Result<Option<(String, TensorView<'a>)>> {
        for part in parts {
            if let Some(view) = self.find(part)? {
                return Ok(Some((self.full(part), view)));
            }
        }
        Ok(None)
    }

    /// The tensor called `part`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is missing.
    fn need(&self, part: &str) -> Result<TensorView<'a>> {
        self.find(part)?.ok_or_else(|| {
            let what =
                format!("tensor {} is missing, without which its module cannot be decoded", self.full(part));
            Error::malformed(self.checkpoint.dir(), what)
        })
    }

    /// All numbers of a small tensor.
    fn numbers(&self, part: &str, view: &TensorView<'_>) -> Result<Vec<f32>> {
        const MOST: usize = 1 << 24;
        let n = view.n_elements();
        if n > MOST {
            return Err(
                self.wrong(format!("tensor {} has {n} elements; at most {MOST} are read", self.full(part)))
            );
        }
        let (mut bytes, mut out) = (vec![0; view.n_bytes as usize], vec![0.0; n]);
        view.read_at(0, &mut bytes)?;
        decode_source(view.dtype, &bytes, &mut out);
        Ok(out)
    }

    /// The number that a tensor of one element holds.
    fn number(&self, part: &str, view: &TensorView<'_>) -> Result<f32> {
        match self.numbers(part, view)?[..] {
            [number] => Ok(number),
            ref numbers => {
                let n = numbers.len();
                Err(self.wrong(format!("tensor {} has {n} elements, and one is needed", self.full(part))))
            }
        }
    }

    fn wrong(&self, what: String) -> Error {
        Error::malformed(self.checkpoint.dir(), what)
    }

    fn unsupported(&self, what: &str) -> Error {
        Error::unsupported(self.checkpoint.dir(), format!("module {}: {what}", self.name))
    }

    fn setting(&self, key: &str) -> Option<&'a serde_json::Value> {
        self.checkpoint.quantisation_setting(key)
    }

    /// The values of `key` in the tables of groups of modules and of single modules, those of this module first.
    fn settings_of_some(&self, key: &str) -> Vec<&'a serde_json::Value> {
        let rows = self.tables.iter();
        let values = rows.filter_map(|(name, row)| Some((name, row.get("weights").unwrap_or(row).get(key)?)));
        let (own, others): (Vec<_>, Vec<_>) = values.partition(|(name, _)| name.matches(self.name));
        own.into_iter().chain(others).map(|(_, value)| value).collect()
    }

    /// Inputs that share a scale where a row of `n_in` has `n_groups`: as the settings say, if they say what fits, for the
    /// last group may be shorter; `None` if nothing fits.
    fn group_len(&self, n_in: usize, n_groups: usize) -> Option<usize> {
        let of_all = ["group_size", "q_group_size"].map(|key| self.setting(key)).into_iter().flatten();
        let of_some = self.settings_of_some("group_size").into_iter();
        let mut lengths = of_some.chain(of_all).filter_map(|n| usize::try_from(n.as_u64()?).ok());
        let even = || n_in.is_multiple_of(n_groups).then(|| n_in / n_groups);
        lengths.find(|&n| n > 0 && n_in.div_ceil(n) == n_groups).or_else(even)
    }

    fn text(&self, key: &str) -> &'a str {
        self.setting(key).and_then(serde_json::Value::as_str).unwrap_or_default()
    }

    fn count(&self, key: &str) -> Option<usize> {
        self.setting(key)?.as_u64().and_then(|n| usize::try_from(n).ok())
    }
}

/// The packed tensors of a checkpoint, by the names of plain ones, and the names of their parts.
///
/// # Errors
/// [`Error::Malformed`] if parts are missing or do not fit together; [`Error::Unsupported`] for a variant of a format
/// that cannot be read.
pub(super) fn find(checkpoint: &Checkpoint) -> Result<(BTreeMap<String, Stored<'_>>, HashSet<String>)> {
    let (mut packed, mut parts) = (BTreeMap::new(), HashSet::new());
    let tables = tables(checkpoint);
    for name in checkpoint.tensor_names() {
        let (module, part) =
            match name.strip_suffix(parted::PACKED_DATA).and_then(|front| front.strip_suffix('.')) {
                Some(module) => (module, parted::PACKED_DATA),
                None => name.rsplit_once('.').unwrap_or(("", name)),
            };
        // What is not readable, or plain, is not a part that a packed tensor is found by.
        let Ok(Some(view)) = checkpoint.tensor(name) else { continue };
        if view.n_elements() == 0 {
            continue;
        }
        let is_codes = CODES.contains(&part) || is_float_8(view.dtype);
        let module = Module { checkpoint, name: module, tables: &tables, used: RefCell::default() };
        let is_plain =
            view.dtype.is_plain_float() && !(part == "weight" && bitsandbytes::is_described(&module)?);
        if !is_codes || is_plain || parts.contains(name) {
            continue;
        }
        let mut found = None;
        for format in FORMATS {
            module.used.borrow_mut().clear();
            found = format(&module)?;
            if found.is_some() {
                break;
            }
        }
        // Parts of a parameter have its name in front of theirs.
        let mut plain = if matches!(part, "_data" | parted::PACKED_DATA) {
            module.name.to_owned()
        } else {
            module.full("weight")
        };
        if found.is_none() && is_float_8(view.dtype) && part != "weight" {
            // Stacks of experts are parameters of a module that has several.
            module.used.borrow_mut().clear();
            found = floats::parameter(&module, part, view)?;
            name.clone_into(&mut plain);
        }
        let Some(found) = found else { continue };
        module.used.borrow().iter().try_for_each(|part| check_scales(&module, part))?;
        parts.extend(module.used.borrow().iter().map(|part| module.full(part)));
        packed.insert(plain, Stored::Packed(found));
    }
    let is_of_packed = |module: &str| packed.contains_key(&format!("{module}.weight"));
    let is_unused = |name: &&str| {
        let (module, part) = name.rsplit_once('.').unwrap_or(("", name));
        UNUSED.contains(&part) && is_of_packed(module) || !packed.is_empty() && OF_CACHES.contains(&part)
    };
    parts.extend(checkpoint.tensor_names().filter(is_unused).map(str::to_owned));
    if !packed.is_empty() {
        refuse_rotations(checkpoint)?;
    }
    Ok((packed, parts))
}

fn tables(checkpoint: &Checkpoint) -> Tables<'_> {
    let tables = ["extra_config", "dynamic", "config_groups"].map(|key| checkpoint.quantisation_setting(key));
    let rows = tables.into_iter().flatten().filter_map(serde_json::Value::as_object).flatten();
    rows.map(|(name, row)| (NamePattern::of_table(name), row)).collect()
}

/// Refuses weights that were rotated before they were quantised, and whose program rotates activations as it runs.
fn refuse_rotations(checkpoint: &Checkpoint) -> Result<()> {
    for key in ["rotation_config", "transform_config"] {
        let says_nothing = |value: &serde_json::Value| {
            value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty) || *value == false
        };
        if !checkpoint.quantisation_setting(key).is_none_or(says_nothing) {
            let what = format!(
                "its weights were rotated before they were quantised ({key} in config.json): a runtime has to rotate what they are \
                 multiplied with as well, which GGUF cannot say; convert the original model"
            );
            return Err(Error::unsupported(checkpoint.dir(), what));
        }
    }
    Ok(())
}

/// Checks that a part of scales is of numbers that scales can be: integers would be read as such.
fn check_scales(module: &Module<'_, '_>, part: &str) -> Result<()> {
    let Some(view) = module.checkpoint.tensor(&module.full(part))?.filter(|_| SCALES.contains(&part)) else {
        return Ok(());
    };
    let is_sound =
        view.dtype.is_plain_float() || view.dtype == SourceType::U8 || view.dtype.name().starts_with("F8");
    if is_sound {
        return Ok(());
    }
    let what = format!(
        "tensor {} has elements of {}, and scales are floats: the checkpoint is damaged, or of a variant of its format that \
         is not known; make it anew, or convert the original model",
        module.full(part),
        view.dtype
    );
    Err(Error::malformed(view.path(), what))
}

/// QuIP#: `Qidxs` with signs and a transform on either side.
fn quip<'a>(module: &Module<'a, '_>) -> Made<'a> {
    if module.find("Qidxs")?.is_none() {
        return Ok(None);
    }
    Err(module.unsupported(
        "weights of QuIP#, between two Hadamard transforms that blocks cannot hold; convert the original model, to IQ2_XS or \
         IQ2_XXS with --imatrix for about as many bits",
    ))
}

fn is_float_8(dtype: SourceType) -> bool {
    matches!(dtype.name(), "F8_E4M3" | "F8_E5M2" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ")
}
