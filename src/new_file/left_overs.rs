//! Removes what killed programs left: files under hidden names that no process is working on.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::names::{Maker, maker_of};
use crate::paths::folder_of;

/// After this long without a write, a file that one of the first versions made is no longer being written.
/// Nothing else tells, for they took no lock.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes the unfinished files beside `target` that were to become it, if no program works on them.
pub fn remove_left_overs(target: &Path) {
    remove_in(folder_of(target), Some(target));
}

/// Removes the unfinished files in `folder`, which only this program writes to.
pub fn remove_all_left_overs(folder: &Path) {
    remove_in(folder, None);
}

/// A left-over is not a reason to fail: what cannot be looked at or removed stays.
fn remove_in(folder: &Path, target: Option<&Path>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Some(maker) = maker_of(&entry.file_name(), target)
            && entry.file_type().is_ok_and(|kind| kind.is_file())
        {
            let _ = remove_if_abandoned(&entry.path(), maker);
        }
    }
}

fn remove_if_abandoned(path: &Path, maker: Maker) -> io::Result<()> {
    // Some systems lock only what is opened for writing.
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    file.try_lock()?;
    let is_abandoned = match maker {
        Maker::Locking => true,
        Maker::NotLocking => {
            let age = file.metadata()?.modified()?.elapsed();
            age.is_ok_and(|age| age > ABANDONED_AFTER)
        }
    };
    if is_abandoned { fs::remove_file(path) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn unlocked_files_go_and_locked_and_other_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let create = |name: &str| File::create_new(dir.path().join(name)).unwrap();
        create(".m.gguf.aaaaaa.gguf-kit.partial");
        let held = create(".m.gguf.bbbbbb.gguf-kit.partial");
        held.lock().unwrap();
        create(".n.gguf.cccccc.gguf-kit.partial");
        create(".m.gguf.dddddd.partial");
        let old = create(".m.gguf.eeeeee.partial");
        old.set_modified(SystemTime::now() - Duration::from_secs(25 * 60 * 60)).unwrap();
        create("m.gguf");
        remove_left_overs(&dir.path().join("m.gguf"));
        let names = || {
            let entries = fs::read_dir(dir.path()).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let kept =
            [".m.gguf.bbbbbb.gguf-kit.partial", ".m.gguf.dddddd.partial", ".n.gguf.cccccc.gguf-kit.partial"];
        assert_eq!(names(), [&kept[..], &["m.gguf"]].concat());
        drop(held);
        remove_all_left_overs(dir.path());
        assert_eq!(names(), [".m.gguf.dddddd.partial", "m.gguf"]);
    }
}
