//! The pool under every count, with panics, sleepers and several callers.

use super::*;
use std::time::Duration;

#[test]
fn every_part_runs_once_whatever_the_counts() {
    for n_threads in 1..=5 {
        let pool = ThreadPool::new(n_threads).unwrap();
        for n_parts in [0, 1, 2, 3, 7, 64, 1000] {
            let mut parts = vec![0usize; n_parts];
            pool.run_parts(&mut parts, |i, part| *part += i + 1);
            assert!(parts.iter().enumerate().all(|(i, part)| *part == i + 1), "{n_threads} {n_parts}");
        }
    }
}

#[test]
fn many_short_regions_lose_no_wakeup() {
    let pool = ThreadPool::new(4).unwrap();
    let mut parts = [0u32; 9];
    for round in 0..20_000 {
        pool.run_parts(&mut parts, |_, part| *part += 1);
        if round % 4000 == 0 {
            // Long enough for the workers to fall asleep.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!(parts, [20_000; 9]);
}

#[test]
fn a_scratch_value_belongs_to_one_thread() {
    let pool = ThreadPool::new(3).unwrap();
    let mut scratch = vec![Vec::new(); 3];
    let mut parts = [0u8; 300];
    pool.run_parts_with(&mut scratch, &mut parts, |seen: &mut Vec<usize>, i, _| seen.push(i));
    let mut seen = scratch.concat();
    seen.sort_unstable();
    assert_eq!(seen, (0..300).collect::<Vec<_>>());
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    let pool = ThreadPool::new(3).unwrap();
    for bad in [0, 5, 11] {
        let mut parts = [0u8; 12];
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run_parts(&mut parts, |i, _| assert_ne!(i, bad, "part {bad} fails"));
        }));
        let payload = outcome.expect_err("the panic must arrive");
        assert!(payload.downcast_ref::<String>().unwrap().contains(&format!("part {bad} fails")));
    }
    let mut parts = [0u8; 12];
    pool.run_parts(&mut parts, |_, part| *part = 1);
    assert_eq!(parts, [1; 12]);
}

#[test]
fn a_region_inside_a_region_runs_on_its_own_thread() {
    let pool = ThreadPool::new(2).unwrap();
    let mut parts = [[0u8; 3]; 4];
    pool.run_parts(&mut parts, |_, inner| pool.run_parts(inner, |_, part| *part += 1));
    assert_eq!(parts, [[1; 3]; 4]);
}

#[test]
fn regions_for_some_of_the_threads_and_for_all_lose_no_wakeup() {
    let pool = ThreadPool::with_counts(ThreadCounts { few: 2, many: 4 }).unwrap();
    assert_eq!(pool.n_threads(), 4);
    let mut parts = [0u32; 9];
    for round in 0..5_000 {
        let n_members = [2, 4, 1, 2][round % 4];
        pool.run_parts_among(n_members, &mut [(); 4], &mut parts, |(), _, part| *part += 1);
        if round % 1000 == 0 {
            // Long enough for the workers to fall asleep.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!(parts, [5_000; 9]);
}

#[test]
fn those_a_region_is_not_for_stay_asleep() {
    let pool = ThreadPool::with_counts(ThreadCounts { few: 2, many: 3 }).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let mut n_parts_of = [0; 3];
    for _ in 0..100 {
        pool.run_parts_among(2, &mut n_parts_of, &mut [(); 30], |n, _, ()| *n += 1);
    }
    assert!(n_parts_of[0] > 0 && n_parts_of[2] == 0, "{n_parts_of:?}");
    // All three must be inside at once for any of them to leave.
    let inside = AtomicUsize::new(0);
    pool.run_parts_with(&mut n_parts_of, &mut [(); 3], |n, _, ()| {
        *n += 1;
        inside.fetch_add(1, SeqCst);
        while inside.load(SeqCst) < 3 {
            std::thread::yield_now();
        }
    });
    assert_eq!(n_parts_of[2], 1);
}

#[test]
fn several_callers_share_a_pool() {
    let pool = ThreadPool::new(3).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut parts = [0u32; 5];
                (0..500).for_each(|_| pool.run_parts(&mut parts, |_, part| *part += 1));
                assert_eq!(parts, [500; 5]);
            });
        }
    });
}

#[test]
fn the_others_take_the_parts_of_a_thread_that_is_late() {
    let pool = ThreadPool::new(2).unwrap();
    // Part 0 waits for the last part of the same share: only a thief can have run it.
    let done = AtomicBool::new(false);
    pool.run_parts(&mut [(); 8], |i, ()| match i {
        0 => {
            while !done.load(Acquire) {
                std::thread::yield_now();
            }
        }
        3 => done.store(true, Release),
        _ => {}
    });
}

#[test]
fn impossible_thread_counts_are_refused() {
    assert!(matches!(ThreadPool::new(0), Err(Error::Usage { .. })));
    assert!(matches!(ThreadPool::new(MAX_THREADS + 1), Err(Error::Usage { .. })));
    assert!(matches!(ThreadPool::with_counts(ThreadCounts { few: 1, many: 0 }), Err(Error::Usage { .. })));
    assert_eq!(ThreadCounts::same(1).to_string(), "1 thread");
    assert_eq!(ThreadCounts { few: 4, many: 12 }.to_string(), "4 threads, 12 for prompts");
    let ThreadCounts { few, many } = ThreadCounts::of_machine();
    assert!(1 <= few && few <= many, "{few} {many}");
}
