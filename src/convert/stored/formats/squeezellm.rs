//! SqueezeLLM: `qweight` as GPTQ packs it, `lookup_table`, and perhaps `rows`, `cols`, `vals` and `full_rows`.

use std::sync::Arc;

use super::{Made, Module};
use crate::checkpoint::TensorView;
use crate::convert::stored::numbers::{Along, Layout, Numbers};
use crate::convert::stored::tabled::{Sparse, Tabled};
use crate::error::Result;

/// The matrix of a module.
pub(super) fn squeezellm<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let (Some(codes), Some(tables)) = (module.find("qweight")?, module.find("lookup_table")?) else {
        return Ok(None);
    };
    let (&[n_words, n_out], &[n_tables, n_levels]) = (codes.shape, tables.shape) else {
        return Err(module.wrong(format!("{} is not a matrix of words with tables", module.full("qweight"))));
    };
    let bits = n_levels.checked_ilog2().unwrap_or(0) as usize;
    if n_tables != n_out || !matches!(bits, 3 | 4) || 1 << bits != n_levels || n_words * 32 % bits != 0 {
        let what = format!(
            "{} has {n_tables} tables of {n_levels} numbers, and one of 8 or 16 is needed for each of {n_out} outputs",
            module.full("lookup_table")
        );
        return Err(module.wrong(what));
    }
    let n_in = n_words * 32 / bits;
    let layout = Layout { is_turned: true, packed: Some((bits, Along::Outer)), ..Layout::default() };
    let codes = Numbers::new(&module.full("qweight"), codes, layout, [n_out, n_in])?;
    module.find("startrows")?;
    let sparse = match module.find("rows")? {
        Some(view) => Some(sparse(module, &view, n_out)?),
        None => None,
    };
    let whole = match (module.find("full_rows")?, module.find("full_row_indices")?) {
        (Some(added), Some(rows)) => Some(whole(module, (&added, &rows), [n_out, n_in])?),
        _ => None,
    };
    Ok(Some(Arc::new(Tabled { shape: [n_out, n_in], codes, tables, n_levels, sparse, whole })))
}

fn sparse<'a>(module: &Module<'a, '_>, starts: &TensorView<'_>, n_out: usize) -> Result<Sparse<'a>> {
    let (columns, values) = (module.need("cols")?, module.need("vals")?);
    let n = columns.n_elements();
    let starts: Vec<usize> = module.numbers("rows", starts)?.iter().map(|&n| n as usize).collect();
    let is_sound = starts.len() == n_out + 1
        && starts[0] == 0
        && starts[n_out] == n
        && values.n_elements() == n
        && starts.is_sorted();
    if !is_sound {
        let what = format!(
            "{} does not say where the {n} weights beside the codes of {n_out} outputs begin",
            module.full("rows")
        );
        return Err(module.wrong(what));
    }
    Ok(Sparse { starts, columns, values })
}

fn whole(
    module: &Module<'_, '_>,
    (added, rows): (&TensorView<'_>, &TensorView<'_>),
    [n_out, n_in]: [usize; 2],
) -> Result<(Vec<usize>, Vec<f32>)> {
    let rows: Vec<usize> =
        module.numbers("full_row_indices", rows)?.iter().map(|&row| row as usize).collect();
    if *added.shape != [n_in, rows.len()] || rows.iter().any(|&row| row >= n_out) {
        let what = format!("{} is not of {} of {n_out} outputs", module.full("full_rows"), rows.len());
        return Err(module.wrong(what));
    }
    Ok((rows, module.numbers("full_rows", added)?))
}
