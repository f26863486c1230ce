//! The zip archive that `torch.save` writes: a directory at the end, members that are stored as they are.
//!
//! Only members without compression are read, as `torch.save` writes them and memory mapping needs them, so that no
//! archive unpacks to more than it has. Layout: PKWARE's APPNOTE 6.3, sections 4.3 and 4.5.3 (Zip64).

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::limits;
use crate::read_file::ReadFile;

/// How a member begins.
pub(super) const MAGIC: [u8; 4] = *b"PK\x03\x04";

const DIRECTORY_MAGIC: [u8; 4] = *b"PK\x01\x02";
const END_MAGIC: [u8; 4] = *b"PK\x05\x06";
const END64_MAGIC: [u8; 4] = *b"PK\x06\x06";
const LOCATOR64_MAGIC: [u8; 4] = *b"PK\x06\x07";

/// Bytes of the records without their parts of variable length.
const MEMBER_BYTES: usize = 30;
const DIRECTORY_ENTRY_BYTES: usize = 46;
const END_BYTES: usize = 22;
const END64_BYTES: usize = 56;
const LOCATOR64_BYTES: usize = 20;

/// A comment ends the file and has at most so many bytes.
const MAX_COMMENT_BYTES: usize = 65_535;

/// The extra field that holds lengths and offsets of 64 bits.
const ZIP64_FIELD: u16 = 1;

/// Stands in 32 bits for a number that is in the extra field.
const IN_EXTRA_FIELD: u32 = u32::MAX;

/// A member of an archive, of which nothing but the directory has been read.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Its bytes in the archive, if it is stored as it is; its method of compression if not.
    pub(super) n_bytes: Result<u64, u16>,
    /// Where its own header is.
    header: u64,
}

/// The directory of an archive, by name.
pub(super) type Directory = BTreeMap<String, Member>;

/// Reads the directory of the archive in `file`.
///
/// # Errors
/// [`Error::Malformed`] if there is none or it breaks the format's rules, [`Error::Limit`], [`Error::Io`].
pub(super) fn directory(file: &ReadFile) -> Result<Directory> {
    let (start, n_bytes, n_members) = find_directory(file)?;
    if n_bytes > limits::MAX_ZIP_DIRECTORY_BYTES || n_members > limits::MAX_TENSORS as u64 {
        let what = format!(
            "{}: a directory of {n_members} members in {n_bytes} bytes; at most {} in {} are read",
            file.path().display(),
            limits::MAX_TENSORS,
            limits::MAX_ZIP_DIRECTORY_BYTES
        );
        return Err(Error::limit(what));
    }
    let end = start.checked_add(n_bytes).filter(|&end| end <= file.n_bytes());
    let mut bytes = vec![0; end.map_or(0, |_| n_bytes as usize)];
    if end.is_none() {
        return Err(cut_short(file));
    }
    file.read_at(start, &mut bytes)?;
    let mut members = Directory::new();
    let mut rest = &bytes[..];
    for _ in 0..n_members {
        let (name, member, after) = entry(rest).ok_or_else(|| broken(file))?;
        if members.insert(name.clone(), member).is_some() {
            let what = format!("its directory names {} twice", name.escape_debug());
            return Err(Error::malformed(file.path(), what));
        }
        rest = after;
    }
    Ok(members)
}

impl Member {
    /// Where its data begin in `file`, after a header whose own name and extra field may be of any length, and how
    /// many bytes they are.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they are not in the file, [`Error::Unsupported`] if they are compressed,
    /// [`Error::Io`].
    pub(super) fn data(&self, name: &str, file: &ReadFile) -> Result<(u64, u64)> {
        let n_bytes = self.n_bytes.map_err(|method| {
            let name = name.escape_debug();
            let what = format!(
                "{name} in it is compressed (method {method}), and PyTorch stores its files as they are: unpack the \
                 archive and pack it again with `zip -0`, or save the model again with torch.save"
            );
            Error::unsupported(file.path(), what)
        })?;
        let mut header = [0; MEMBER_BYTES];
        if self.header.checked_add(MEMBER_BYTES as u64).is_none_or(|end| end > file.n_bytes()) {
            return Err(cut_short(file));
        }
        file.read_at(self.header, &mut header)?;
        if header[..4] != MAGIC {
            return Err(broken(file));
        }
        let variable = [26, 28].map(|at| u64::from(u16_at(&header, at).unwrap_or(0)));
        let start = self.header + (MEMBER_BYTES as u64) + variable[0] + variable[1];
        match start.checked_add(n_bytes).filter(|&end| end <= file.n_bytes()) {
            Some(_) => Ok((start, n_bytes)),
            None => Err(cut_short(file)),
        }
    }
}

/// Where the directory is: its offset, its bytes, its members.
fn find_directory(file: &ReadFile) -> Result<(u64, u64, u64)> {
    let most = (END_BYTES + LOCATOR64_BYTES + MAX_COMMENT_BYTES) as u64;
    let n_tail = file.n_bytes().min(most);
    let mut tail = vec![0; n_tail as usize];
    file.read_at(file.n_bytes() - n_tail, &mut tail)?;
    let at = tail.windows(4).rposition(|window| window == END_MAGIC).ok_or_else(|| cut_short(file))?;
    let end = &tail[at..];
    let of_end = || Some((u32_at(end, 16)?, u32_at(end, 12)?, u16_at(end, 10)?));
    let (start, n_bytes, n_members) = of_end().ok_or_else(|| cut_short(file))?;
    if start != IN_EXTRA_FIELD && n_bytes != IN_EXTRA_FIELD && n_members != u16::MAX {
        return Ok((start.into(), n_bytes.into(), n_members.into()));
    }
    let locator = at.checked_sub(LOCATOR64_BYTES).map(|start| &tail[start..at]);
    let locator = locator.filter(|locator| locator[..4] == LOCATOR64_MAGIC);
    // A directory of exactly so many members needs no second record.
    let Some(locator) = locator else { return Ok((start.into(), n_bytes.into(), n_members.into())) };
    let at = u64_at(locator, 8)
        .filter(|at| at.checked_add(END64_BYTES as u64).is_some_and(|end| end <= file.n_bytes()));
    let mut end = [0; END64_BYTES];
    file.read_at(at.ok_or_else(|| broken(file))?, &mut end)?;
    if end[..4] != END64_MAGIC {
        return Err(broken(file));
    }
    let of_end = || Some((u64_at(&end, 48)?, u64_at(&end, 40)?, u64_at(&end, 32)?));
    of_end().ok_or_else(|| broken(file))
}

/// The first entry of a directory, and what follows it.
fn entry(bytes: &[u8]) -> Option<(String, Member, &[u8])> {
    if bytes.get(..4)? != DIRECTORY_MAGIC {
        return None;
    }
    let method = u16_at(bytes, 10)?;
    let [n_name, n_extra, n_comment] = [28, 30, 32].map(|at| u16_at(bytes, at).map(usize::from));
    let (name, rest) = bytes.get(DIRECTORY_ENTRY_BYTES..)?.split_at_checked(n_name?)?;
    let (extra, rest) = rest.split_at_checked(n_extra?)?;
    let rest = rest.get(n_comment?..)?;
    // The fields of 64 bits are there only for those of 32 that say so, in this order.
    let mut wide = zip64(extra);
    let mut number = |at: usize| -> Option<u64> {
        let narrow = u32_at(bytes, at)?;
        if narrow != IN_EXTRA_FIELD {
            return Some(narrow.into());
        }
        let (first, rest) = wide.split_first_chunk()?;
        wide = rest;
        Some(u64::from_le_bytes(*first))
    };
    let [unpacked, packed, header] = [number(24)?, number(20)?, number(42)?];
    let n_bytes = if method == 0 && packed == unpacked { Ok(packed) } else { Err(method) };
    Some((String::from_utf8(name.to_vec()).ok()?, Member { n_bytes, header }, rest))
}

/// The field of 64-bit numbers among the extra fields; empty if there is none.
fn zip64(mut extra: &[u8]) -> &[u8] {
    while let (Some(id), Some(n)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some((field, rest)) = extra[4..].split_at_checked(n.into()) else { break };
        if id == ZIP64_FIELD {
            return field;
        }
        extra = rest;
    }
    &[]
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn cut_short(file: &ReadFile) -> Error {
    let what = "a zip archive (of PyTorch, most likely) that ends before its data do: it was cut short. Download it again";
    Error::malformed(file.path(), what)
}

fn broken(file: &ReadFile) -> Error {
    Error::malformed(file.path(), "a zip archive whose directory is broken: download it again")
}
