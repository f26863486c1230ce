//! Work on numbered pieces, on all threads of a pool: in order of their numbers, a piece per thread at a
//! time, so that the disk is read and written nearly in sequence and the memory in use is that of one piece
//! per thread.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// A pool of `n_threads` threads, or of one for each of `n_pieces` if these are fewer.
///
/// # Errors
/// [`Error::Limit`] if the system refuses to start them.
pub(super) fn pool(n_threads: usize, n_pieces: usize) -> Result<ThreadPool> {
    let n_threads = n_threads.clamp(1, n_pieces.max(1));
    let builder = ThreadPoolBuilder::new().num_threads(n_threads).thread_name(|i| format!("convert-{i}"));
    builder.build().map_err(|e| {
        Error::limit(format!(
            "the system does not start {n_threads} threads ({e}); give fewer with --threads"
        ))
    })
}

/// What `step` makes of each of the pieces `0..n`, in order. A `W` belongs to one thread and stays from
/// piece to piece.
///
/// # Errors
/// That of the first piece that fails, whatever the timing: pieces are taken in order, and those taken are
/// finished.
///
/// # Panics
/// If `step` does; the other threads then stop after their piece.
pub(super) fn in_order<W: Default, T: Send>(
    pool: &ThreadPool,
    n: usize,
    step: impl Fn(&mut W, usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let (next, is_stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || -> Result<Vec<(usize, T)>, (usize, Error)> {
        let _stop = StopOnPanic(&is_stopped);
        let (mut own, mut done) = (W::default(), Vec::new());
        while !is_stopped.load(Ordering::Relaxed) {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= n {
                break;
            }
            match step(&mut own, i) {
                Ok(made) => done.push((i, made)),
                Err(e) => {
                    is_stopped.store(true, Ordering::Relaxed);
                    return Err((i, e));
                }
            }
        }
        Ok(done)
    };
    let mut all = Vec::with_capacity(n);
    let mut first_error: Option<(usize, Error)> = None;
    for outcome in pool.broadcast(|_| work()) {
        match outcome {
            Ok(done) => all.extend(done),
            Err((i, e)) if first_error.as_ref().is_none_or(|&(first, _)| i < first) => {
                first_error = Some((i, e));
            }
            Err(_) => {}
        }
    }
    if let Some((_, e)) = first_error {
        return Err(e);
    }
    all.sort_unstable_by_key(|&(i, _)| i);
    Ok(all.into_iter().map(|(_, made)| made).collect())
}

/// Stops the others when its thread panics.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn results_are_in_order_for_any_number_of_threads() {
        for n_threads in [1, 2, 7] {
            let pool = pool(n_threads, 100).unwrap();
            let squares = in_order(&pool, 100, |count: &mut usize, i| {
                *count += 1;
                Ok(i * i)
            });
            assert_eq!(squares.unwrap(), (0..100).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_of_several_errors_is_told() {
        let pool = pool(4, 1000).unwrap();
        for _ in 0..100 {
            let failed =
                in_order(
                    &pool,
                    1000,
                    |(): &mut (), i| {
                        if i % 10 == 9 { Err(Error::limit(i.to_string())) } else { Ok(()) }
                    },
                );
            assert_eq!(failed.unwrap_err().to_string(), "9");
        }
    }

    #[test]
    fn a_panic_stops_the_other_threads_and_is_passed_on() {
        let pool = pool(2, 1000).unwrap();
        let n_begun = AtomicUsize::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            in_order(&pool, 1000, |(): &mut (), i| {
                n_begun.fetch_add(1, Ordering::Relaxed);
                assert!(i != 3, "a piece that panics");
                // The others have no end of their own before the panic.
                std::thread::sleep(std::time::Duration::from_millis(1));
                Ok(())
            })
        }));
        assert!(outcome.is_err());
        assert!(n_begun.into_inner() < 1000);
    }
}
