//! Opens files that must be files. Opening a pipe waits for its writer, reading a device may never end:
//! both are refused at once.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// Opens the regular file at `path`, or what it links to, for reading.
///
/// # Errors
/// [`Error::Io`] if it cannot be opened, [`Error::Usage`] if it is a directory, a pipe, a socket or a
/// device.
pub fn open(path: &Path) -> Result<File> {
    let cannot = |e| Error::io(path, "cannot open", e);
    // Asked by name first, because opening some devices does something.
    check(path, fs::metadata(path).map_err(cannot)?.file_type())?;
    let mut options = OpenOptions::new();
    options.read(true);
    // A pipe that has taken the file's place meanwhile does not make us wait; reads of files never do.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    let file = options.open(path).map_err(cannot)?;
    check(path, file.metadata().map_err(cannot)?.file_type())?;
    Ok(file)
}

/// The whole content of the regular file at `path`.
///
/// # Errors
/// As [`open`], [`Error::Limit`] if it is longer than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than is allowed tells a file that is too long; its stated length may be wrong.
    let read = open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|e| Error::io(path, "cannot read", e))?;
    if bytes.len() as u64 > limit {
        return Err(Error::limit(format!("{} is longer than the {limit} bytes allowed", path.display())));
    }
    Ok(bytes)
}

fn check(path: &Path, kind: FileType) -> Result<()> {
    if kind.is_file() {
        return Ok(());
    }
    let what = if kind.is_dir() {
        "a directory; a file is needed here"
    } else {
        match special(kind) {
            "pipe" => "a pipe; a regular file is needed here: save it to disk first",
            "socket" => "a socket; a regular file is needed here",
            _ => "a device; a regular file is needed here",
        }
    };
    Err(Error::usage(format!("{} is {what}", path.display())))
}

/// The kind of what is neither a file nor a directory.
#[cfg(unix)]
fn special(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        "pipe"
    } else if kind.is_socket() {
        "socket"
    } else {
        "device"
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> &'static str {
    "device"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_up_to_their_limit() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), b"12345").expect("written");
        assert_eq!(read(file.path(), 5).expect("read"), b"12345");
        assert!(matches!(read(file.path(), 4), Err(Error::Limit { .. })));
        assert!(matches!(open(&file.path().join("none")), Err(Error::Io { .. })));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_by_its_kind() {
        let folder = tempfile::tempdir().expect("a folder");
        let refusal = |path: &Path| match open(path) {
            Err(Error::Usage { what }) => what,
            other => panic!("{other:?}"),
        };
        assert!(refusal(folder.path()).ends_with("is a directory; a file is needed here"));
        #[cfg(unix)]
        {
            let socket = folder.path().join("socket");
            let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
            assert!(refusal(&socket).contains("is a socket"));
            assert!(refusal(Path::new("/dev/zero")).contains("is a device"));
        }
    }

    /// Without the check this waits for ever.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_without_a_writer_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
        let message = open(&pipe).expect_err("no file").to_string();
        assert!(message.contains("is a pipe") && message.contains("save it to disk first"), "{message}");
    }
}
