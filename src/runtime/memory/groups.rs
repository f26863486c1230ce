//! Control groups: what they leave a process, in version 1 and in version 2.
//!
//! A group's limit holds for the groups below it together, so a process has what the tightest of its
//! group and that group's ancestors leaves. Pages of files that a group has read count as its use, but
//! are given back when something else needs the room.

use std::fs;
use std::path::{Path, PathBuf};

/// The files that describe a group's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Names {
    /// Each holds a limit, or `max`.
    limits: &'static [&'static str],
    used: &'static str,
    /// The lines of `memory.stat`, of the group and all below it, that count pages of files which can
    /// be given back.
    files: [&'static str; 2],
}

const VERSION_1: Names = Names {
    limits: &["memory.limit_in_bytes"],
    used: "memory.usage_in_bytes",
    files: ["total_inactive_file ", "total_active_file "],
};

const VERSION_2: Names = Names {
    limits: &["memory.max", "memory.high"],
    used: "memory.current",
    files: ["inactive_file ", "active_file "],
};

/// Bytes left by the tightest group, if any has a limit. `groups` is /proc/self/cgroup and `mounts`
/// /proc/self/mountinfo.
pub(super) fn left(groups: &str, mounts: &str) -> Option<u64> {
    let folders = mounts.lines().filter_map(|mount| folder(groups, mount));
    folders.filter_map(|(names, folder, top)| left_on_the_way(names, &folder, &top)).min()
}

/// The process's group in the hierarchy that `mount` shows, if that governs memory: its folder, and the
/// folder of the uppermost group that can be seen.
fn folder(groups: &str, mount: &str) -> Option<(Names, PathBuf, PathBuf)> {
    let (place, kind) = mount.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, top) = (place.next()?, Path::new(place.next()?));
    let mut kind = kind.split(' ');
    let (names, controller) = match (kind.next()?, kind.nth(1)?) {
        ("cgroup2", _) => (VERSION_2, ""),
        ("cgroup", options) if options.split(',').any(|option| option == "memory") => (VERSION_1, "memory"),
        _ => return None,
    };
    let group = groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })?;
    // Inside a container the group's own path may be hidden, and its top be what counts.
    let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
    Some((names, top.join(below), top.to_owned()))
}

/// The least that the group in `folder` and its ancestors up to `top` leave.
fn left_on_the_way(names: Names, folder: &Path, top: &Path) -> Option<u64> {
    let way = folder.ancestors().take_while(|folder| folder.starts_with(top));
    way.filter_map(|folder| left_in_group(names, |name| fs::read_to_string(folder.join(name)).ok())).min()
}

/// The limit less what is used and cannot be given back; `None` without a limit. `read` gives a file of
/// the group.
fn left_in_group(names: Names, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let limit = names.limits.iter().filter_map(|name| read(name)?.trim().parse::<u64>().ok()).min()?;
    let used: u64 = read(names.used)?.trim().parse().ok()?;
    let stat = read("memory.stat")?;
    let count = |name| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let files = count(names.files[0])?.saturating_add(count(names.files[1])?);
    Some(limit.saturating_sub(used.saturating_sub(files)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNT_1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory";
    const MOUNT_2: &str = "41 31 0:38 /box /sys/fs/cgroup rw - cgroup2 cgroup2 rw";

    /// A folder of a group with these files.
    fn group(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
    }

    #[test]
    fn a_process_is_found_in_its_group_of_either_version() {
        let groups = "4:cpu,memory:/a/b\n3:cpuset:/\n0::/box/c\n";
        let (names, folder_1, top) = folder(groups, MOUNT_1).unwrap();
        assert_eq!((names, top), (VERSION_1, "/sys/fs/cgroup/memory".into()));
        assert_eq!(folder_1, Path::new("/sys/fs/cgroup/memory/a/b"));
        let (names, folder_2, top) = folder(groups, MOUNT_2).unwrap();
        assert_eq!((names, top), (VERSION_2, "/sys/fs/cgroup".into()));
        assert_eq!(folder_2, Path::new("/sys/fs/cgroup/c"));
        assert_eq!(folder("0::/elsewhere\n", MOUNT_2).unwrap().1, Path::new("/sys/fs/cgroup"));
        assert!(folder(groups, "38 31 0:35 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio").is_none());
        assert!(folder(groups, "").is_none());
    }

    #[test]
    fn a_group_leaves_its_limit_less_what_cannot_be_given_back() {
        let files = |limit: &str, used: &str, stat: &str| {
            let (limit, used, stat) = (limit.to_owned(), used.to_owned(), stat.to_owned());
            move |name: &str| match name {
                "memory.max" => Some(limit.clone()),
                "memory.current" => Some(used.clone()),
                "memory.stat" => Some(stat.clone()),
                _ => None,
            }
        };
        let stat = "anon 300\nfile 450\nfile_mapped 9\ninactive_file 100\nactive_file 300\nunevictable 50\n";
        assert_eq!(left_in_group(VERSION_2, files("1000\n", "750\n", stat)), Some(650));
        assert_eq!(left_in_group(VERSION_2, files("1000\n", "5000\n", stat)), Some(0));
        assert_eq!(left_in_group(VERSION_2, files("max\n", "700\n", stat)), None);
    }

    #[test]
    fn the_tightest_group_on_the_way_counts() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("middle/inner");
        let stat = ("memory.stat", "total_inactive_file 10\ntotal_active_file 0\n");
        let used = ("memory.usage_in_bytes", "110\n");
        group(dir.path(), &[("memory.limit_in_bytes", "9223372036854771712\n"), used, stat]);
        group(&inner, &[("memory.limit_in_bytes", "5000\n"), used, stat]);
        assert_eq!(left_on_the_way(VERSION_1, &inner, dir.path()), Some(4900));
        group(&dir.path().join("middle"), &[("memory.limit_in_bytes", "900\n"), used, stat]);
        assert_eq!(left_on_the_way(VERSION_1, &inner, dir.path()), Some(800));
    }
}
