//! Reads a header's fields in order, and never past its end.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use byteorder::{ByteOrder, LittleEndian};

use crate::error::{Error, Result};

/// A position in a file's bytes that moves forward as fields are read.
///
/// Each method takes what the field is, for the message if it does not fit.
pub(super) struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at `position`, which must not lie behind the end.
    pub(super) fn new(path: &'a Path, bytes: &'a [u8], position: usize) -> Self {
        debug_assert!(position <= bytes.len());
        Self { path, bytes, position }
    }

    /// The file, for messages.
    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// Offset of the next field from the start of the file.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Bytes from here to the end of the file.
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] if fewer are left.
    pub(super) fn take(&mut self, n: usize, what: fmt::Arguments<'_>) -> Result<&'a [u8]> {
        let range = self.skip(n, what)?;
        Ok(&self.bytes[range])
    }

    /// Passes over the next `n` bytes and returns where they lie.
    ///
    /// # Errors
    /// [`Error::Malformed`] if fewer are left.
    pub(super) fn skip(&mut self, n: usize, what: fmt::Arguments<'_>) -> Result<Range<usize>> {
        if n > self.remaining() {
            return Err(Error::malformed(
                self.path,
                format!(
                    "the header ends early: {what} at offset {} needs {n} bytes, and the file has {} left \
                     (of {}). Download or convert it again",
                    self.position,
                    self.remaining(),
                    self.bytes.len(),
                ),
            ));
        }
        let start = self.position;
        self.position += n;
        Ok(start..self.position)
    }

    /// A u32.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(super) fn u32(&mut self, what: fmt::Arguments<'_>) -> Result<u32> {
        self.take(4, what).map(LittleEndian::read_u32)
    }

    /// A u64.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(super) fn u64(&mut self, what: fmt::Arguments<'_>) -> Result<u64> {
        self.take(8, what).map(LittleEndian::read_u64)
    }

    /// A u64 that counts things of at least `least_bytes` bytes each, all still to come; so a count
    /// that passes is safe to allocate for.
    ///
    /// # Errors
    /// [`Error::Limit`] above `limit`, [`Error::Malformed`] if that many cannot fit in what is left.
    pub(super) fn count(
        &mut self,
        limit: usize,
        least_bytes: usize,
        what: fmt::Arguments<'_>,
    ) -> Result<usize> {
        let at = self.position;
        let stated = self.u64(what)?;
        let fits = self.remaining() / least_bytes;
        match usize::try_from(stated) {
            Ok(n) if n <= fits && n <= limit => Ok(n),
            Ok(n) if n <= fits => Err(Error::limit(format!(
                "{}: {what} at offset {at} is {n}, and this program reads at most {limit}",
                self.path.display()
            ))),
            _ => Err(Error::malformed(
                self.path,
                format!(
                    "{what} at offset {at} is {stated}, each of {least_bytes} bytes or more, and the file has {} \
                     left. Download or convert it again",
                    self.remaining()
                ),
            )),
        }
    }

    /// Where the bytes of a string lie; its length comes first, as a u64.
    ///
    /// # Errors
    /// As [`Self::count`].
    pub(super) fn string(&mut self, limit: usize, what: fmt::Arguments<'_>) -> Result<Range<usize>> {
        let n = self.count(limit, 1, format_args!("the length of {what}"))?;
        self.skip(n, what)
    }

    /// The bytes of a key or a name, which should be UTF-8 and need not be.
    ///
    /// # Errors
    /// As [`Self::string`].
    pub(super) fn name(&mut self, limit: usize, what: fmt::Arguments<'_>) -> Result<&'a [u8]> {
        let range = self.string(limit, what)?;
        Ok(&self.bytes[range])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(bytes: &[u8]) -> Cursor<'_> {
        Cursor::new(Path::new("x.gguf"), bytes, 0)
    }

    #[test]
    fn truncation_names_expected_and_found() {
        let mut cursor = cursor(&[1, 2, 3]);
        let message = cursor.u64(format_args!("the tensor count")).unwrap_err().to_string();
        assert!(message.contains("the tensor count at offset 0 needs 8 bytes"), "{message}");
        assert!(message.contains("has 3 left (of 3)"), "{message}");
        assert_eq!(cursor.position(), 0);
    }

    #[test]
    fn counts_are_refused_before_anything_is_allocated() {
        let huge = u64::MAX.to_le_bytes();
        assert!(matches!(cursor(&huge).count(10, 1, format_args!("n")), Err(Error::Malformed { .. })));
        let mut five = [0; 13];
        five[0] = 5;
        assert_eq!(cursor(&five).count(5, 1, format_args!("n")).unwrap(), 5);
        assert!(matches!(cursor(&five).count(4, 1, format_args!("n")), Err(Error::Limit { .. })));
        assert!(matches!(cursor(&five).count(5, 2, format_args!("n")), Err(Error::Malformed { .. })));
    }
}
