//! The cores that this process may compute on, as Linux describes them.
//!
//! One thread per physical core is what both prompts and generation are fastest with: a second thread on a core
//! shares its arithmetic units and its way to memory. Where cores differ, those far slower than the fastest serve
//! prompts alone, whose parts they take as fast as they can: the fast ones saturate the memory that generation waits
//! for, and each of its short products ends when its last part does. Nothing is timed for that. What a second of
//! timing finds depends on what else the machine does in that second, and would be kept for good.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A core with less than this part of the fastest one's capacity is not a fast one: efficiency cores have about half of
/// it, while cores that differ by their highest clock stay together.
const LEAST_CAPACITY: f64 = 0.6;

/// Physical cores that this process may run on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Cores {
    /// Without efficiency cores, where there are others.
    pub fast: usize,
    /// All of them.
    pub all: usize,
}

/// Those of this machine; `None` where the system does not say.
pub(super) fn cores() -> Option<Cores> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    cores_in(Path::new("/sys/devices"), &parse_list(allowed)?)
}

/// As [`cores`], for the processors `allowed`, with the folder of devices at `devices`.
fn cores_in(devices: &Path, allowed: &[usize]) -> Option<Cores> {
    let read = |path: &str| fs::read_to_string(devices.join(path)).ok();
    // Intel's hybrid processors tell their kinds of cores apart by these lists.
    let performance = read("cpu_core/cpus").and_then(|list| parse_list(&list));
    // Cores by their first processor.
    let mut cores = BTreeMap::new();
    for &cpu in allowed {
        let of_cpu = |name: &str| read(&format!("system/cpu/cpu{cpu}/{name}"));
        // Masks may name processors that there are not.
        let Some(siblings) = of_cpu("topology/thread_siblings_list").and_then(|list| parse_list(&list))
        else {
            continue;
        };
        let capacity = ["cpu_capacity", "cpufreq/cpuinfo_max_freq"].into_iter().find_map(of_cpu);
        let capacity: Option<f64> = capacity.and_then(|text| text.trim().parse().ok());
        let is_performance = performance.as_ref().is_none_or(|list| list.contains(&cpu));
        cores.insert(*siblings.first()?, (is_performance, capacity));
    }
    let fastest = cores.values().filter_map(|(_, capacity)| *capacity).fold(0.0, f64::max);
    let is_fast =
        |capacity: Option<f64>| capacity.is_none_or(|capacity| capacity >= LEAST_CAPACITY * fastest);
    let n_fast =
        cores.values().filter(|(is_performance, capacity)| *is_performance && is_fast(*capacity)).count();
    let all = cores.len();
    // Of efficiency cores alone, all count.
    (all > 0).then_some(Cores { fast: if n_fast > 0 { n_fast } else { all }, all })
}

/// Parses a list of processors, as in `0-3,8,10-11`, in ascending order.
fn parse_list(text: &str) -> Option<Vec<usize>> {
    /// Processors that are read of a list.
    const MAX_PROCESSORS: usize = 1 << 13;
    let mut found = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        found.extend((first..=last).take(MAX_PROCESSORS.saturating_sub(found.len())));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of devices with processors that have these siblings and capacities.
    fn devices(cpus: &[(&str, Option<u32>)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (cpu, (siblings, capacity)) in cpus.iter().enumerate() {
            let folder = dir.path().join(format!("system/cpu/cpu{cpu}"));
            fs::create_dir_all(folder.join("topology")).unwrap();
            fs::write(folder.join("topology/thread_siblings_list"), format!("{siblings}\n")).unwrap();
            if let Some(capacity) = capacity {
                fs::write(folder.join("cpu_capacity"), format!("{capacity}\n")).unwrap();
            }
        }
        dir
    }

    #[test]
    fn siblings_are_one_core_and_only_allowed_ones_count() {
        let dir = devices(&[("0,4", None), ("1,5", None), ("2,6", None), ("3,7", None)].repeat(2));
        let cores = |allowed: &[usize]| cores_in(dir.path(), allowed);
        assert_eq!(cores(&[0, 1, 2, 3, 4, 5, 6, 7]), Some(Cores { fast: 4, all: 4 }));
        assert_eq!(cores(&[1, 5]), Some(Cores { fast: 1, all: 1 }), "two threads of one core");
        assert_eq!(cores(&[4, 5]), Some(Cores { fast: 2, all: 2 }));
        assert_eq!(
            cores(&[0, 1, 99]),
            Some(Cores { fast: 2, all: 2 }),
            "a mask that names more than there is"
        );
        assert_eq!(cores(&[99]), None);
    }

    #[test]
    fn cores_far_slower_than_the_fastest_are_told_apart() {
        let mut cpus = vec![("0", Some(1024)), ("1", Some(870)), ("2", Some(870))];
        cpus.extend(["3", "4", "5", "6"].map(|cpu| (cpu, Some(350))));
        let dir = devices(&cpus);
        assert_eq!(cores_in(dir.path(), &[0, 1, 2, 3, 4, 5, 6]), Some(Cores { fast: 3, all: 7 }));
        assert_eq!(cores_in(dir.path(), &[4, 5]), Some(Cores { fast: 2, all: 2 }), "there are no others");
    }

    #[test]
    fn efficiency_cores_of_hybrid_processors_are_told_apart() {
        let dir = devices(&[("0-1", None), ("0-1", None), ("2", None), ("3", None), ("4", None)]);
        fs::create_dir(dir.path().join("cpu_core")).unwrap();
        fs::write(dir.path().join("cpu_core/cpus"), "0-2\n").unwrap();
        assert_eq!(cores_in(dir.path(), &[0, 1, 2, 3, 4]), Some(Cores { fast: 2, all: 4 }));
        assert_eq!(cores_in(dir.path(), &[3, 4]), Some(Cores { fast: 2, all: 2 }));
    }

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(parse_list("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(parse_list("\n"), Some(vec![]));
        assert_eq!(parse_list("0-x"), None);
        assert_eq!(parse_list("0-99999999999").map(|list| list.len()), Some(1 << 13));
    }
}
