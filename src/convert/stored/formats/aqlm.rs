//! AQLM: `codes` with `codebooks` and `scales`.

use std::sync::Arc;

use super::{Made, Module};
use crate::checkpoint::SourceType;
use crate::convert::stored::additive::Additive;

/// The most vectors of a book: codes have 16 bits.
const MOST_VECTORS: usize = 1 << 16;

/// Codes `[n_out, n_in / vector_len, n_books]`, codebooks `[n_books, book_len, 1, vector_len]`, a scale for each row.
pub(super) fn aqlm<'a>(module: &Module<'a, '_>) -> Made<'a> {
    let (Some(codes), Some(books)) = (module.find("codes")?, module.find("codebooks")?) else {
        return Ok(None);
    };
    let scales = module.need("scales")?;
    let (&[n_out, n_vectors, n_codes], &[n_books, book_len, n_rows, vector_len]) = (codes.shape, books.shape)
    else {
        return Err(module.wrong(format!("{} or its codebooks are of another shape", module.full("codes"))));
    };
    if n_rows != 1 {
        return Err(module.unsupported("AQLM with vectors of several rows, and those of one can be read"));
    }
    let is_integer =
        matches!(codes.dtype, SourceType::I8 | SourceType::I16 | SourceType::I32 | SourceType::U8);
    let is_sound = is_integer
        && n_codes == n_books
        && n_books > 0
        && book_len.is_power_of_two()
        && book_len <= MOST_VECTORS
        && scales.n_elements() == n_out
        && [n_out, n_vectors, vector_len]
            .iter()
            .try_fold(1_usize, |n, &m| n.checked_mul(m))
            .is_some_and(|n| n > 0);
    if !is_sound {
        let what = format!(
            "{} of shape {:?} do not fit codebooks of shape {:?} and {} scales",
            module.full("codes"),
            codes.shape,
            books.shape,
            scales.n_elements()
        );
        return Err(module.wrong(what));
    }
    let shape = [n_out, n_vectors * vector_len];
    Ok(Some(Arc::new(Additive { shape, codes, books, n_books, book_len, vector_len, scales })))
}
