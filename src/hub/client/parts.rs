//! What an answer says of the part of a file that it brings.

use super::{Answer, Trouble};
use crate::error::Error;

impl Answer {
    /// Checks that a part of a file is the one that was asked for.
    pub(super) fn check_first(&self, first: u64) -> Result<(), Trouble> {
        if self.status != 206 {
            return Ok(());
        }
        let come = match self.range() {
            Some((begin, _)) if begin == first => return Ok(()),
            Some((begin, _)) => format!("those from {begin} on"),
            None => "a part that does not say which it is".to_owned(),
        };
        Err(Trouble::passing(format!("bytes from {first} on were asked for, and what comes is {come}")))
    }

    /// The first byte of the part of a file that comes, and the bytes of the whole if that is said: "bytes 100-199/200".
    fn range(&self) -> Option<(u64, Option<u64>)> {
        let (range, total) = self.header("content-range")?.trim().strip_prefix("bytes ")?.split_once('/')?;
        let first = range.split('-').next()?.trim().parse().ok()?;
        Some((first, total.trim().parse().ok()))
    }

    /// Checks that the whole file has `n_bytes`, as the hub says, if the server says how many.
    pub(in crate::hub) fn check_total(&self, n_bytes: u64, url: &str) -> Result<(), Trouble> {
        let total = match self.status {
            206 => self.range().and_then(|(_, total)| total),
            _ => self.header("content-length").and_then(|length| length.trim().parse().ok()),
        };
        let Some(total) = total.filter(|&total| total != n_bytes) else { return Ok(()) };
        let what = format!(
            "the hub says that the file has {n_bytes} bytes, and the server has {total}; a proxy may answer in its place. Try \
             again later, or without the proxy"
        );
        Err(Error::malformed(url, what).into())
    }
}
