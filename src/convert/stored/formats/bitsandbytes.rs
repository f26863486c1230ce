//! bitsandbytes' NF4 and FP4: a `weight` of bytes, and tensors whose names continue its own.

use std::sync::Arc;

use serde_json::Value;

use super::{Made, Module};
use crate::checkpoint::SourceType;
use crate::convert::stored::looked_up::{LookedUp, Scales};
use crate::error::Result;

/// Bytes of the JSON that describes a weight: some two hundred.
const MAX_STATE_BYTES: u64 = 1 << 16;

/// What the descriptions of weights are called.
const STATES: [&str; 2] = ["weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4"];

/// Whether a `weight` is described so: what its elements are called says nothing then, since its bytes may be stored as
/// floats (`bnb_4bit_quant_storage`, for programs that shard floats only).
pub(super) fn is_described(module: &Module<'_, '_>) -> Result<bool> {
    Ok(module.find_any(&STATES)?.is_some())
}

/// A `weight` with `weight.absmax`, `weight.quant_map` and `weight.quant_state.bitsandbytes__nf4`, which is JSON.
pub(super) fn four_bits<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let Some((name, state)) = module.find_any(&STATES)? else { return Ok(None) };
    let codes = module.need("weight")?;
    let wrong = |why: &str| module.wrong(format!("{name} {why}"));
    if state.n_bytes > MAX_STATE_BYTES {
        return Err(wrong("is longer than the state of a weight"));
    }
    let mut bytes = vec![0; state.n_bytes as usize];
    state.read_at(0, &mut bytes)?;
    let state: Value = serde_json::from_slice(&bytes).map_err(|_| wrong("is not JSON"))?;
    let count = |key: &str| state.get(key).and_then(Value::as_u64).map(|n| n as usize);
    let shape: Option<Vec<usize>> = state
        .get("shape")
        .and_then(Value::as_array)
        .and_then(|shape| shape.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect());
    let (Some(shape), Some(block_len)) = (shape, count("blocksize").filter(|&n| n > 0)) else {
        return Err(wrong("lacks the shape or the length of blocks"));
    };
    let n = shape.iter().try_fold(1_usize, |n, &length| n.checked_mul(length)).unwrap_or(usize::MAX);
    let absmax = module.need("weight.absmax")?;
    let is_sound = shape.len() == 2
        && n > 0
        && codes.n_bytes == n.div_ceil(2) as u64
        && absmax.n_elements() == n.div_ceil(block_len);
    if !is_sound {
        return Err(wrong("makes another number of weights than there are codes and scales"));
    }
    let table = module.need("weight.quant_map")?;
    let table = module.numbers("weight.quant_map", &table)?;
    let table = <[f32; 16]>::try_from(table).map_err(|_| wrong("has a table of other than 16 numbers"))?;
    let scales = if absmax.dtype == SourceType::U8 {
        let of = |part: &str| module.need(part).and_then(|view| module.numbers(part, &view));
        let (scales, table) = (of("weight.nested_absmax")?, of("weight.nested_quant_map")?);
        let nested = count("nested_blocksize").filter(|&n| n > 0).unwrap_or(256);
        if table.len() != 256 || scales.len() != absmax.n_elements().div_ceil(nested) {
            return Err(wrong("has nested scales of another number"));
        }
        let offset = state.get("nested_offset").and_then(Value::as_f64).unwrap_or(0.0) as f32;
        Scales::Nested { codes: absmax, table, block_len: nested, scales, offset }
    } else {
        Scales::Plain(absmax)
    };
    let scheme = if name.ends_with("nf4") { "NF4" } else { "BNB-FP4" };
    Ok(Some(Arc::new(LookedUp { scheme, codes, shape, table, block_len, scales })))
}
