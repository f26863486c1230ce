//! Arrays of NumPy.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::Result;
use crate::new_file::{NewFile, check_not_an_input, target_of, target_of_kind};

/// What .npy files begin with.
const NPY_MAGIC: &[u8] = b"\x93NUMPY";

/// The output, refused if that would replace anything but another array.
///
/// # Errors
/// [`Error::Usage`] if it would be one of `inputs`, or exists and is not to be replaced; [`Error::Io`].
pub(super) fn create<'p>(
    output: &Path,
    name: &str,
    force: bool,
    inputs: impl IntoIterator<Item = &'p Path>,
) -> Result<NewFile> {
    check_not_an_input(&target_of(output, name)?, inputs)?;
    NewFile::create(target_of_kind(output, name, force, "a .npy file", is_npy)?)
}

/// Whether a file begins as arrays of NumPy do.
fn is_npy(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(NPY_MAGIC.len() as u64).read_to_end(&mut head));
    read.is_ok() && head == NPY_MAGIC
}

/// The header of format version 1.0 for an array `shape` of little-endian floats: the magic, the version, the
/// length of what follows, and a Python dictionary, padded so that the data begin at a multiple of 64 bytes.
pub(super) fn header((n_rows, n_columns): (usize, usize)) -> Vec<u8> {
    const ALIGNMENT: usize = 64;
    let dictionary =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n_rows}, {n_columns}), }}");
    let fixed = NPY_MAGIC.len() + 2 + size_of::<u16>();
    let whole = (fixed + dictionary.len() + 1).next_multiple_of(ALIGNMENT);
    let width = whole - fixed - 1;
    let mut header = NPY_MAGIC.to_vec();
    header.extend([1, 0]);
    // Two numbers of at most 20 digits: far below 2^16.
    header.extend((width as u16 + 1).to_le_bytes());
    header.extend(format!("{dictionary:width$}\n").bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npy_header_is_numpys() {
        // numpy.save of numpy.zeros((40, 256), "<f4").
        let numpys = format!("{:119}\n", "v\0{'descr': '<f4', 'fortran_order': False, 'shape': (40, 256), }");
        let ours = header((40, 256));
        assert_eq!(ours.len(), 128);
        assert_eq!(&ours[..8], b"\x93NUMPY\x01\x00");
        assert_eq!(&ours[8..], numpys.as_bytes());
    }
}
