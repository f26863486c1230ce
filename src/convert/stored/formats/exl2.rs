//! EXL2 (exllamav2): `q_weight` with `q_scale`, `q_scale_max`, `q_groups` and `q_invperm`.

use std::sync::Arc;

use super::{Made, Module};
use crate::checkpoint::TensorView;
use crate::convert::stored::mixed::{Group, Mixed};
use crate::error::Result;

/// The matrix of a module; its order of inputs is `q_invperm`, the place of each, or `q_perm`, the input of each place.
pub(super) fn exl2<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let Some(codes) = module.find("q_weight")? else { return Ok(None) };
    let (scales, greatest, bounds) =
        (module.need("q_scale")?, module.need("q_scale_max")?, module.need("q_groups")?);
    module.find("q_group_map")?;
    let order = order_of_inputs(module)?;
    let n_in = order.len();
    let is_of_words = |view: &TensorView<'_>| view.dtype.element_bits() == 32;
    let (&[n_words, n_out], &[n_groups, n_scales]) = (codes.shape, scales.shape) else {
        return Err(module.wrong(format!("{} is not a matrix of words with scales", module.full("q_weight"))));
    };
    if !is_of_words(&codes) || !is_of_words(&scales) || n_out == 0 || n_scales * 8 != n_out {
        let what = format!(
            "{} is of {} outputs, and {} of {n_scales} words of eight scales each",
            module.full("q_weight"),
            n_out,
            module.full("q_scale")
        );
        return Err(module.wrong(what));
    }
    let (greatest, bounds) =
        (module.numbers("q_scale_max", &greatest)?, module.numbers("q_groups", &bounds)?);
    if n_groups == 0 || greatest.len() != n_groups || bounds.len() != 2 * n_groups {
        let what = format!("{} does not name bits and words of {n_groups} groups", module.full("q_groups"));
        return Err(module.wrong(what));
    }
    let mut groups = Vec::with_capacity(n_groups);
    let mut first = 0_usize;
    for i in 0..n_groups {
        let (bits, first_word) = (bounds[2 * i] as usize, bounds[2 * i + 1] as usize);
        let next = bounds.get(2 * i + 3).map_or(n_words, |&next| next as usize);
        let n_words_of = next.checked_sub(first_word).filter(|_| next <= n_words);
        let n = match (n_words_of, matches!(bits, 2..=6 | 8)) {
            (Some(n), true) if i + 1 == n_groups => Some((n, n_in.saturating_sub(first))),
            (Some(n), true) => Some((n, n * 32 / bits)),
            _ => None,
        };
        let Some((n_words, n)) = n.filter(|&(words, n)| n > 0 && n * bits <= 32 * words && first + n <= n_in)
        else {
            let what = format!(
                "{}: group {i} of {bits} bits from word {first_word} on does not fit {n_words} words and {n_in} inputs",
                module.full("q_groups")
            );
            return Err(module.wrong(what));
        };
        groups.push(Group { bits, first_word, n_words, first, n, greatest_scale: greatest[i] / 256.0 });
        first += n;
    }
    if first != n_in {
        let what = format!("{} is of {first} inputs, and {n_in} are in order", module.full("q_groups"));
        return Err(module.wrong(what));
    }
    Ok(Some(Arc::new(Mixed { shape: [n_out, n_in], codes, scales, groups, order })))
}

/// The input of each place.
fn order_of_inputs(module: &Module<'_, '_>) -> Result<Vec<usize>> {
    let (places, inputs) = (module.find("q_invperm")?, module.find("q_perm")?);
    let (part, view) = match (places, inputs) {
        (Some(view), _) => ("q_invperm", view),
        (None, Some(view)) => ("q_perm", view),
        (None, None) => ("q_invperm", module.need("q_invperm")?),
    };
    let named: Vec<usize> = module.numbers(part, &view)?.iter().map(|&n| n as i64 as u16 as usize).collect();
    let mut other = vec![usize::MAX; named.len()];
    for (i, &n) in named.iter().enumerate() {
        match other.get_mut(n) {
            Some(free @ &mut usize::MAX) => *free = i,
            _ => {
                let what =
                    format!("{} names {n} twice or beyond its {} inputs", module.full(part), named.len());
                return Err(module.wrong(what));
            }
        }
    }
    Ok(if part == "q_perm" { named } else { other })
}
