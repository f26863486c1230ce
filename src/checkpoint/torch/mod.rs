//! Weight files that PyTorch wrote (`.bin`, `.pth`, `.pt`): a pickle that describes tensors, and their bytes.
//!
//! Since PyTorch 1.6 they are zip archives (`zip`) with a member `data.pkl` and one for each storage; before, the
//! pickles and the storages followed each other in one file. [`pickle`] reads the description without executing any
//! of it, `rebuild` makes tensors of it, and here they are found in the file.

mod made;
mod pickle;
mod rebuild;
mod zip;

use std::collections::{BTreeMap, HashMap};

use super::strided::Strided;
use super::tensor::Entry;
use crate::error::{Error, Result};
use crate::limits;
use crate::read_file::ReadFile;
use made::{Fault, Made, Tensor, Value};

/// How files of the time before the archives begin: a pickle of one number.
const OLD_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Pickles of such a file: the number, a version, facts about the machine, the tensors, the keys of the storages.
const OLD_TENSORS: usize = 3;
const OLD_KEYS: usize = 4;

/// The member with the description of the tensors.
const DESCRIPTION: &str = "data.pkl";

/// Where programs put a model's tensors among other things.
const INNER: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];

/// Dictionaries that are looked into, one inside the other.
const MOST_NESTED: usize = 3;

/// Whether a file begins as PyTorch's do.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn is_torch(file: &ReadFile) -> Result<bool> {
    let mut head = [0; OLD_MAGIC.len()];
    let head = &mut head[..file.n_bytes().min(OLD_MAGIC.len() as u64) as usize];
    file.read_at(0, head)?;
    Ok(head.starts_with(&zip::MAGIC) || *head == *OLD_MAGIC)
}

/// The tensors of a file, by name.
///
/// # Errors
/// [`Error::Malformed`] if it breaks the format's rules, [`Error::Unsupported`] if it asks for anything but tensors
/// and containers, or compresses them, [`Error::Limit`], [`Error::Io`].
pub(super) fn entries(file: &ReadFile) -> Result<BTreeMap<String, Entry>> {
    let mut head = [0; 4];
    file.read_at(0, &mut head)?;
    if head == zip::MAGIC { of_archive(file) } else { of_old_file(file) }
}

fn of_archive(file: &ReadFile) -> Result<BTreeMap<String, Entry>> {
    let members = zip::directory(file)?;
    let ends_so = |name: &&String| name.rsplit_once('/').is_some_and(|(_, last)| last == DESCRIPTION);
    let Some(name) = members.keys().find(ends_so) else {
        let what =
            format!("a zip archive without a {DESCRIPTION}, which PyTorch's have: it holds something else");
        return Err(Error::unsupported(file.path(), what));
    };
    let folder = name.strip_suffix(DESCRIPTION).unwrap_or_default();
    check_byte_order(file, &members, folder)?;
    let (start, n_bytes) = members[name].data(name, file)?;
    let bytes = read(file, start, n_bytes)?;
    let (top, made, _) = pickle::read(&bytes, limits::MAX_PICKLE_VALUES).map_err(|e| explain(file, e))?;
    let places = made.storages.iter().map(|storage| {
        let name = format!("{folder}data/{}", storage.key);
        let missing = || Error::malformed(file.path(), format!("{} is missing in it", name.escape_debug()));
        members.get(&name).ok_or_else(missing)?.data(&name, file)
    });
    state_dict(file, &made, top, &places.collect::<Result<Vec<_>>>()?)
}

/// Refuses numbers with their bytes in the order of other machines.
fn check_byte_order(file: &ReadFile, members: &zip::Directory, folder: &str) -> Result<()> {
    let name = format!("{folder}byteorder");
    let Some(member) = members.get(&name) else { return Ok(()) };
    let (start, n_bytes) = member.data(&name, file)?;
    let mut order = vec![0; n_bytes.min(16) as usize];
    file.read_at(start, &mut order)?;
    if order == b"little" {
        return Ok(());
    }
    let what = "its numbers are in big-endian order: save it on a little-endian machine";
    Err(Error::unsupported(file.path(), what))
}

/// A file from before the archives: its pickles, then each storage after its number of elements in 64 bits, in the
/// order of the list of keys.
fn of_old_file(file: &ReadFile) -> Result<BTreeMap<String, Entry>> {
    // The pickles are at the beginning, of a length that nothing says.
    let head = read(file, 0, file.n_bytes().min(limits::MAX_PICKLE_BYTES))?;
    let (mut rest, mut described, mut order) = (&head[..], None, Vec::new());
    for i in 0..=OLD_KEYS {
        let (top, made, after) =
            pickle::read(rest, limits::MAX_PICKLE_VALUES).map_err(|e| explain(file, e))?;
        rest = after;
        match i {
            OLD_TENSORS => described = Some((top, made)),
            OLD_KEYS => order.extend(made.items(top).iter().filter_map(|key| match key {
                Value::Str(key) => Some(*key),
                _ => None,
            })),
            _ => {}
        }
    }
    let (top, made) = described.expect("there was such a pickle");
    let sizes: HashMap<&str, Option<u64>> =
        made.storages.iter().map(|storage| (storage.key, storage.n_bytes())).collect();
    let mut at = (head.len() - rest.len()) as u64;
    let mut places = HashMap::new();
    for key in order {
        let Some(&n_bytes) = sizes.get(key) else { break };
        let start = at + 8;
        let end = n_bytes.and_then(|n| start.checked_add(n)).filter(|&end| end <= file.n_bytes());
        let Some(end) = end else { return Err(cut_short(file)) };
        places.insert(key, (start, end - start));
        at = end;
    }
    let of = |key: &str| places.get(key).copied().ok_or_else(|| cut_short(file));
    let places: Result<Vec<_>> = made.storages.iter().map(|storage| of(storage.key)).collect();
    state_dict(file, &made, top, &places?)
}

fn read(file: &ReadFile, start: u64, n_bytes: u64) -> Result<Vec<u8>> {
    if n_bytes > limits::MAX_PICKLE_BYTES {
        let (path, most) = (file.path().display(), limits::MAX_PICKLE_BYTES);
        return Err(Error::limit(format!("{path}: a pickle of {n_bytes} bytes; at most {most} are read")));
    }
    let mut bytes = vec![0; n_bytes as usize];
    file.read_at(start, &mut bytes)?;
    Ok(bytes)
}

/// The tensors of the dictionary `top`, or of one in it that holds the model; `places` are the storages' offsets
/// and bytes.
fn state_dict(
    file: &ReadFile,
    made: &Made<'_>,
    top: Value<'_>,
    places: &[(u64, u64)],
) -> Result<BTreeMap<String, Entry>> {
    let found = model_in(made, top, MOST_NESTED);
    let pairs = made.items(top).as_chunks::<2>().0;
    // Of a long list that is there many times only the beginning is looked at; HQQ's is the first of a module.
    let is_hqq = |module: Value<'_>| made.items(module).iter().take(64).any(|key| *key == Value::Str("W_q"));
    if pairs.iter().any(|&[_, module]| is_hqq(module)) {
        let what = "it is what HQQ's save_quantized writes, which says the shapes of its matrices in Python's own values; load \
                    it with HQQ and save the model's state_dict() in safetensors, or convert the original model";
        return Err(Error::unsupported(file.path(), what));
    }
    if found.is_empty() {
        let what = "it holds no dictionary of tensors, as torch.save(model.state_dict(), ...) makes it";
        return Err(Error::unsupported(file.path(), what));
    }
    let mut entries = BTreeMap::new();
    for (name, tensor) in found {
        if name.len() > limits::MAX_TENSOR_NAME_BYTES || entries.len() == limits::MAX_TENSORS {
            return Err(Error::limit(format!(
                "{}: more than {} tensors, or a name of more than {} bytes",
                file.path().display(),
                limits::MAX_TENSORS,
                limits::MAX_TENSOR_NAME_BYTES
            )));
        }
        entries.insert(name.to_owned(), entry(file, name, tensor, places[tensor.storage])?);
    }
    Ok(entries)
}

/// The tensors of the model in a dictionary: its own, unless one in it that is called like a model has more of them, as
/// where programs save their steps beside it.
fn model_in<'m, 'p>(made: &'m Made<'p>, dict: Value<'p>, depth: usize) -> Vec<(&'p str, &'m Tensor)> {
    let mut found = tensors(made, dict);
    if depth == 0 || !matches!(dict, Value::Dict(_)) {
        return found;
    }
    let pairs = made.items(dict).as_chunks::<2>().0;
    for name in INNER {
        // Of a key that comes again the last value counts, as in Python.
        let Some([_, value]) = pairs.iter().rev().find(|[key, _]| *key == Value::Str(name)) else { continue };
        let inner = model_in(made, *value, depth - 1);
        found = if inner.len() > found.len() { inner } else { found };
    }
    found
}

/// The tensors in a dictionary, by name.
fn tensors<'m, 'p>(made: &'m Made<'p>, dict: Value<'p>) -> Vec<(&'p str, &'m Tensor)> {
    if !matches!(dict, Value::Dict(_)) {
        return Vec::new();
    }
    let pairs = made.items(dict).as_chunks::<2>().0.iter();
    let tensor = |pair: &[Value<'p>; 2]| match *pair {
        [Value::Str(name), Value::Tensor(at)] => Some((name, &made.tensors[at])),
        _ => None,
    };
    pairs.filter_map(tensor).collect()
}

/// Where a tensor lies in the file, of whose storage `start` and `n_storage` are the place and the bytes.
fn entry(file: &ReadFile, name: &str, tensor: &Tensor, (start, n_storage): (u64, u64)) -> Result<Entry> {
    let Tensor { dtype, first, shape, stride, .. } = tensor;
    let element_bytes = tensor.dtype.element_bits() as u64 / 8;
    let strides = if tensor.is_contiguous() { None } else { Some(stride.clone()) };
    let place = tensor.n_elements().and_then(|n| {
        let extent = if n == 0 { 0 } else { Strided::last(shape, stride)?.checked_add(1)? };
        let offset = first.checked_mul(element_bytes)?;
        let end = offset.checked_add(extent.checked_mul(element_bytes)?)?;
        (end <= n_storage).then_some((start + offset, n.checked_mul(element_bytes)?))
    });
    let Some((offset, n_bytes)) = place else {
        let name = name.escape_debug();
        let what = format!(
            "tensor {name} of shape {shape:?} does not fit into the {n_storage} bytes of its storage"
        );
        return Err(Error::malformed(file.path(), what));
    };
    // A few stored numbers could otherwise claim any size.
    let dtype = if tensor.is_complex {
        Err("holds complex numbers, which no weights are".to_owned())
    } else if n_bytes <= n_storage {
        Ok(*dtype)
    } else {
        Err(format!("repeats its numbers (strides {stride:?}): save it after .contiguous()"))
    };
    Ok(Entry { dtype, shape: shape.clone(), offset, n_bytes, strides })
}

fn cut_short(file: &ReadFile) -> Error {
    Error::malformed(
        file.path(),
        "a PyTorch file that ends before its data do: it was cut short. Download it again",
    )
}

/// Puts faults into sentences.
fn explain(file: &ReadFile, fault: Fault) -> Error {
    match fault {
        Fault::Broken(how) => {
            Error::malformed(file.path(), format!("its pickle is broken: {how}. Download it again"))
        }
        Fault::TooMuch => Error::limit(format!(
            "{}: its pickle makes more than {} values, far more than weights need",
            file.path().display(),
            limits::MAX_PICKLE_VALUES
        )),
        Fault::Refused(name) => Error::unsupported(
            file.path(),
            format!(
                "its pickle asks for {name}, and only tensors and containers are read; nothing was executed. If you \
                 trust it, load it in Python and save its tensors alone, with safetensors.torch.save_file"
            ),
        ),
    }
}

#[cfg(test)]
mod tests;
