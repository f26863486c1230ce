//! Packed tensors of other types and shapes than their formats have, as no header of a file rules out: whatever is
//! accepted can be read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Scratch, Stored, Tensors};
use crate::checkpoint::Checkpoint;

const DTYPES: [(&str, usize); 17] = [
    ("F64", 64),
    ("F32", 32),
    ("F16", 16),
    ("BF16", 16),
    ("F8_E4M3", 8),
    ("F8_E5M2", 8),
    ("F8_E8M0", 8),
    ("F4", 4),
    ("I64", 64),
    ("U64", 64),
    ("I32", 32),
    ("U32", 32),
    ("I16", 16),
    ("U16", 16),
    ("I8", 8),
    ("U8", 8),
    ("BOOL", 8),
];

/// Mutations of each fixture.
const N_MUTATIONS: usize = 60;

/// Bytes of a tensor that a mutation may have.
const MOST_BYTES: usize = 1 << 20;

#[derive(Clone)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

fn read_file(path: &Path) -> BTreeMap<String, Tensor> {
    let file = fs::read(path).expect("a fixture");
    let (length, rest) = file.split_first_chunk().expect("a length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).expect("JSON");
    let tensor = |(name, entry): (String, Value)| {
        let number = |value: &Value| value.as_u64().expect("a number") as usize;
        let offsets = &entry["data_offsets"];
        let bytes = data[number(&offsets[0])..number(&offsets[1])].to_vec();
        let shape = entry["shape"].as_array().expect("a shape").iter().map(number).collect();
        (name, Tensor { dtype: entry["dtype"].as_str().expect("a type").to_owned(), shape, bytes })
    };
    header.into_iter().filter(|(name, _)| name != "__metadata__").map(tensor).collect()
}

fn write_file(path: &Path, tensors: &BTreeMap<String, Tensor>) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, Tensor { dtype, shape, bytes }) in tensors {
        let start = data.len();
        data.extend_from_slice(bytes);
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    fs::write(path, file).expect("written");
}

/// Changes one thing of a tensor; `None` if no file can have what that makes.
fn mutated(tensor: &Tensor, dice: &mut Dice) -> Option<Tensor> {
    let Tensor { mut dtype, mut shape, mut bytes } = tensor.clone();
    let place = |shape: &[usize], dice: &mut Dice| (!shape.is_empty()).then(|| dice.roll(shape.len()));
    match dice.roll(7) {
        0 => DTYPES[dice.roll(DTYPES.len())].0.clone_into(&mut dtype),
        1 => {
            let at = place(&shape, dice)?;
            shape[at] = [0, 1, 2, 3, 1 << 40, 1 << 62][dice.roll(6)];
        }
        2 => {
            let at = place(&shape, dice)?;
            shape[at] =
                [shape[at] + 1, shape[at].saturating_sub(1), 2 * shape[at], shape[at] / 2][dice.roll(4)];
        }
        3 => shape.reverse(),
        4 => shape.push(1),
        5 => drop(shape.pop()?),
        _ => bytes.iter_mut().for_each(|byte| *byte = [0, 1, 128, 255][dice.roll(4)]),
    }
    let bits = DTYPES.iter().find(|(name, _)| *name == dtype)?.1;
    let n_bits = shape.iter().try_fold(bits, |n, &length| n.checked_mul(length))?;
    let n_bytes = n_bits / 8;
    if n_bits % 8 != 0 || n_bytes > MOST_BYTES {
        return None;
    }
    bytes.resize(n_bytes, 0);
    Some(Tensor { dtype, shape, bytes })
}

/// Reads all that is packed, as conversions do; whether anything is.
fn read_all(folder: &Path) -> bool {
    let Ok(checkpoint) = Checkpoint::open(folder) else { return false };
    let Ok(tensors) = Tensors::of(&checkpoint) else { return false };
    let mut any = false;
    for name in tensors.names() {
        let Ok(Some(stored @ Stored::Packed(packed))) = tensors.get(name) else { continue };
        let n = stored.shape().iter().product::<usize>();
        if n > MOST_BYTES {
            continue;
        }
        let (mut scratch, mut steps) = (Scratch::default(), Vec::new());
        for first in (0..n).step_by(997) {
            let mut out = vec![0.0; 997.min(n - first)];
            _ = stored.read(first, &mut out, &mut steps, &mut scratch);
        }
        _ = packed.levels();
        any = true;
    }
    any
}

#[test]
fn packed_tensors_of_any_type_and_shape_are_refused_or_read() {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/quantised");
    let mut names: Vec<_> =
        fs::read_dir(&fixtures).expect("fixtures").map(|entry| entry.expect("an entry").path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    names.sort_unstable();
    assert!(names.len() > 50, "{names:?}");
    let mut dice = Dice(1);
    let (mut n_read, mut n_written) = (0, 0);
    for path in names {
        let settings: Value =
            serde_json::from_slice(&fs::read(path.with_extension("json")).expect("settings")).expect("JSON");
        let folder = tempfile::tempdir().expect("a folder");
        let config = json!({"architectures": ["LlamaForCausalLM"], "quantization_config": settings});
        fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
        let tensors = read_file(&path);
        let of_module: Vec<&String> = tensors.keys().filter(|name| name.starts_with("m.")).collect();
        for _ in 0..N_MUTATIONS {
            let mut changed = tensors.clone();
            for _ in 0..=dice.roll(3) {
                let name = of_module[dice.roll(of_module.len())];
                match changed.get(name).and_then(|tensor| mutated(tensor, &mut dice)) {
                    Some(tensor) => drop(changed.insert(name.clone(), tensor)),
                    None if dice.roll(3) == 0 => drop(changed.remove(name)),
                    None => {}
                }
            }
            write_file(&folder.path().join("model.safetensors"), &changed);
            n_read += usize::from(read_all(folder.path()));
            n_written += 1;
        }
    }
    assert!(n_read > n_written / 20 && n_read < n_written, "{n_read} of {n_written} read");
}
