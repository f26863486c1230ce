//! Files of `numpy.save`.

use std::fs;
use std::path::Path;

/// Little-endian floats.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four bytes"))).collect()
}

/// The shape and the values of a version 1.0 file of two-dimensional little-endian floats.
pub(crate) fn read_npy(path: &Path) -> ([usize; 2], Vec<f32>) {
    let bytes = fs::read(path).expect("readable");
    assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
    let data_start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert!(data_start.is_multiple_of(64) && bytes[data_start - 1] == b'\n');
    let header = std::str::from_utf8(&bytes[10..data_start]).expect("ASCII");
    let shape = header.strip_prefix("{'descr': '<f4', 'fortran_order': False, 'shape': (").expect("floats");
    let (n_rows, rest) = shape.split_once(", ").expect("two dimensions");
    let (n_columns, _) = rest.split_once("), }").expect("two dimensions");
    let shape = [n_rows, n_columns].map(|n| n.parse().expect("a number"));
    (shape, floats(&bytes[data_start..]))
}
