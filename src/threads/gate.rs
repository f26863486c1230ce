//! Waiting, first awake and then asleep, without losing a wake-up.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicUsize, fence};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Turns of the wait loop that yield the processor, before it sleeps.
const YIELDS: u32 = 20;

/// Where threads wait for a condition that others bring about with atomics.
#[derive(Debug, Default)]
pub(super) struct Gate {
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    woken: Condvar,
}

impl Gate {
    /// Returns when `is_ready` does.
    pub(super) fn wait_until(&self, spins: u32, is_ready: impl Fn() -> bool) {
        for _ in 0..spins {
            if is_ready() {
                return;
            }
            std::hint::spin_loop();
        }
        for _ in 0..YIELDS {
            if is_ready() {
                return;
            }
            std::thread::yield_now();
        }
        let mut guard = lock(&self.lock);
        self.sleepers.fetch_add(1, Relaxed);
        // Against the fence in `wake_all`: either this thread sees the condition, or the waker sees
        // the sleeper and, needing the lock, notifies it after it has begun to wait.
        fence(SeqCst);
        while !is_ready() {
            guard = self.woken.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Relaxed);
    }

    /// Wakes all who sleep; to be called after the condition was brought about.
    pub(super) fn wake_all(&self) {
        fence(SeqCst);
        if self.sleepers.load(Relaxed) > 0 {
            drop(lock(&self.lock));
            self.woken.notify_all();
        }
    }
}

/// Locks; what the mutexes here guard is sound even after a panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
