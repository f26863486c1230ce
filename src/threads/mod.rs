//! Threads: the worker pool of the runtime.
//!
//! A token passes through hundreds of short parallel regions, so a region must cost well under a
//! microsecond when workers are awake, nothing when one thread is asked for, and no processor time
//! while idle. A region is announced by one atomic counter. Waiting threads spin for a moment,
//! then yield, then sleep. A worker that the system does not run in time is not waited for: the
//! others take its parts. So a slow core is of use wherever there is much to compute, and a region can be
//! for the first threads of a pool alone, where memory is what bounds it: the others stay asleep.
//!
//! What runs in a region computes in the default floating-point environment, whatever the program that embeds
//! this one has made of its threads ([`FloatEnvironment`]): on the caller's thread for the region, on the
//! workers' for good.

#![allow(unsafe_code, reason = "lends a caller's closure and slice to threads that outlive the call")]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gguf_simd::FloatEnvironment;

use crate::error::{Error, Result};
use crate::limits::MAX_THREADS;

use gate::{Gate, lock};

pub use counts::ThreadCounts;

mod counts;
mod gate;
#[cfg(test)]
mod tests;
mod topology;

/// Turns of the wait loop that only spin (roughly 30 microseconds), before it yields.
const SPINS: u32 = 1000;

/// Threads that can run at once: fewer than the machine has processors where this process may use less
/// (CPU affinity, container quota).
pub fn processor_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Threads that wait for short parallel regions. The caller of a region works too, so a pool of `n`
/// threads starts `n - 1`. Dropping it ends and joins them.
#[derive(Debug)]
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    counts: ThreadCounts,
    /// Held by the caller of a region: regions of several callers follow one another.
    region: Mutex<()>,
}

/// What runs in a region: called with the worker's number and the part's.
type Body<'a> = dyn Fn(usize, usize) + Sync + 'a;

#[derive(Debug)]
struct Shared {
    /// Bits 63..17: the region's number; bit 16: it is open; bits 15..0: the workers inside.
    state: AtomicU64,
    /// The body of the region. Written while the region is closed and unreachable, read by
    /// workers that entered while it was open; `state` orders the two.
    body: UnsafeCell<Option<Lent>>,
    /// Each worker's share of the parts: the next one, and the end times 2^32.
    shares: Box<[Share]>,
    /// Workers that have begun to wait for regions.
    started: AtomicUsize,
    closing: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Where the workers wait that have a part in every region.
    work: Gate,
    /// Where the others wait, from `n_always` on.
    reserve: Gate,
    n_always: usize,
    /// Workers that the region is for: those below this number.
    n_members: AtomicUsize,
    quiet: Gate,
    /// Turns to spin: none if there are more threads than processors.
    spins: u32,
    times_waits: AtomicBool,
    /// Nanoseconds that callers have waited.
    waited: AtomicU64,
}

/// A share has a cache line of its own: its worker changes it with every part.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Share(AtomicU64);

/// A region's body, lent to the workers.
#[derive(Clone, Copy, Debug)]
struct Lent(NonNull<Body<'static>>);

// SAFETY: the body is `Sync`, and `ThreadPool::open_region` keeps it alive while workers hold it.
unsafe impl Send for Lent {}

// SAFETY: all fields but `body` are `Sync`; `body` is ordered by `state` as its comment says.
unsafe impl Sync for Shared {}

const ONE_PHASE: u64 = 1 << 16;
const INSIDE: u64 = ONE_PHASE - 1;

fn is_open(state: u64) -> bool {
    state & ONE_PHASE != 0
}

thread_local! {
    /// Whether this thread is inside a region, where it must not wait for another one.
    static IN_REGION: Cell<bool> = const { Cell::new(false) };
}

impl ThreadPool {
    /// Starts a pool of `n_threads` threads, the caller's among them.
    ///
    /// # Errors
    /// [`Error::Usage`] for no thread or more than [`MAX_THREADS`], [`Error::Limit`] if the system
    /// refuses to start one.
    pub fn new(n_threads: usize) -> Result<Self> {
        Self::with_counts(ThreadCounts::same(n_threads))
    }

    /// Starts a pool of as many threads as the greater of `counts`, whose regions are for either number of them
    /// ([`ThreadPool::run_parts_among`]).
    ///
    /// # Errors
    /// As [`ThreadPool::new`].
    pub fn with_counts(counts: ThreadCounts) -> Result<Self> {
        let (n_always, n_threads) = (counts.few.min(counts.many), counts.most());
        if n_always == 0 {
            return Err(Error::usage("no thread was asked for; use at least 1"));
        }
        if n_threads > MAX_THREADS {
            return Err(Error::usage(format!(
                "{n_threads} threads were asked for; use --threads 1 to --threads {MAX_THREADS}"
            )));
        }
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            body: UnsafeCell::new(None),
            shares: (0..n_threads).map(|_| Share::default()).collect(),
            started: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            panic: Mutex::new(None),
            work: Gate::default(),
            reserve: Gate::default(),
            n_always,
            n_members: AtomicUsize::new(n_threads),
            quiet: Gate::default(),
            spins: if n_threads > processor_count() { 0 } else { SPINS },
            times_waits: AtomicBool::new(false),
            waited: AtomicU64::new(0),
        });
        let mut pool =
            Self { shared, workers: Vec::with_capacity(n_threads - 1), counts, region: Mutex::new(()) };
        for worker in 1..n_threads {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new().name(format!("worker-{worker}"));
            let handle = thread.spawn(move || shared.serve(worker)).map_err(|e| {
                Error::limit(format!(
                    "cannot start thread {worker} of {n_threads} ({e}); use fewer --threads"
                ))
            })?;
            pool.workers.push(handle);
        }
        // What a thread allocates as it starts is allocated when this returns.
        pool.shared.quiet.wait_until(0, || pool.shared.started.load(Acquire) == n_threads - 1);
        Ok(pool)
    }

    /// How many threads there are, the caller's among them.
    pub fn n_threads(&self) -> usize {
        self.shared.shares.len()
    }

    /// What it was started for.
    pub fn counts(&self) -> ThreadCounts {
        self.counts
    }

    /// Begins or ends to time how long callers wait for the other threads at the end of their regions.
    pub fn time_waits(&self, on: bool) {
        self.shared.times_waits.store(on, Relaxed);
    }

    /// How long callers have waited in all, while that was timed.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.shared.waited.load(Relaxed))
    }

    /// Calls `f(i, &mut parts[i])` once for every part, on some thread each, and returns when all
    /// calls have. Every thread starts on a contiguous share of the parts; who is done takes from
    /// the ends of the others' shares. Allocates nothing. From inside a region it runs the parts on
    /// the calling thread.
    ///
    /// # Panics
    /// If a call panics, after the other threads have stopped, with that call's payload.
    pub fn run_parts<T: Send>(&self, parts: &mut [T], f: impl Fn(usize, &mut T) + Sync) {
        let mut nothing = [(); MAX_THREADS];
        self.run_parts_with(&mut nothing, parts, |(), i, part| f(i, part));
    }

    /// As [`ThreadPool::run_parts`], with a scratch value for each thread: `scratch` holds at least
    /// [`ThreadPool::n_threads`].
    ///
    /// # Panics
    /// As `run_parts`, and if there are too few scratch values.
    pub fn run_parts_with<S: Send, T: Send>(
        &self,
        scratch: &mut [S],
        parts: &mut [T],
        f: impl Fn(&mut S, usize, &mut T) + Sync,
    ) {
        self.run_parts_among(self.n_threads(), scratch, parts, f);
    }

    /// As [`ThreadPool::run_parts_with`], on the first `n_members` threads. The others are left asleep; one that
    /// is awake still may take a part.
    ///
    /// # Panics
    /// As there.
    pub fn run_parts_among<S: Send, T: Send>(
        &self,
        n_members: usize,
        scratch: &mut [S],
        parts: &mut [T],
        f: impl Fn(&mut S, usize, &mut T) + Sync,
    ) {
        let _environment = FloatEnvironment::enter();
        assert!(scratch.len() >= self.n_threads(), "one scratch value per thread");
        let n_members = n_members.clamp(1, self.n_threads());
        if parts.len() <= 1 || n_members == 1 || IN_REGION.get() {
            for (i, part) in parts.iter_mut().enumerate() {
                f(&mut scratch[0], i, part);
            }
            return;
        }
        let (scratch, n_parts) = (Spread(scratch.as_mut_ptr()), parts.len());
        let parts = Spread(parts.as_mut_ptr());
        self.open_region(n_members, n_parts, &|worker, i| {
            // SAFETY: `worker` is below `n_threads` and belongs to one thread; `i` is below
            // `n_parts` and is handed out once (`Shared::take`). Both slices are borrowed mutably
            // until the region is over.
            let (scratch, part) = unsafe { (&mut *scratch.at(worker), &mut *parts.at(i)) };
            f(scratch, i, part);
        });
    }

    /// Runs `body` for every part on the first `n_members` threads and returns when no thread is inside any more.
    fn open_region(&self, n_members: usize, n_parts: usize, body: &Body<'_>) {
        let one_at_a_time = lock(&self.region);
        let shared = &*self.shared;
        let n_parts = u32::try_from(n_parts).expect("fewer than 2^32 parts");
        let n = n_members as u64;
        for (i, share) in (0u64..).zip(&shared.shares) {
            // The shares of those who are not members are empty.
            let bound = |i: u64| u64::from(n_parts) * i.min(n) / n;
            share.0.store(bound(i) | (bound(i + 1) << 32), Relaxed);
        }
        // SAFETY: only the lifetime changes. The workers that copy this reference are counted in
        // `state`; `close` below waits for them, also when a part panics, before `body` ends.
        let body: NonNull<Body<'static>> = unsafe { std::mem::transmute(NonNull::from(body)) };
        // SAFETY: the region is closed: a worker that enters now sees that and does not look.
        unsafe { *shared.body.get() = Some(Lent(body)) };
        shared.n_members.store(n_members, Relaxed);
        shared.state.fetch_add(ONE_PHASE, Release);
        shared.work.wake_all();
        if n_members > shared.n_always {
            shared.reserve.wake_all();
        }
        shared.work_as(0, Lent(body));
        shared.close();
        let panic = lock(&shared.panic).take();
        if let Some(payload) = panic {
            drop(one_at_a_time);
            resume_unwind(payload);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.closing.store(true, SeqCst);
        self.shared.work.wake_all();
        self.shared.reserve.wake_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of what it runs, so it ends in peace.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// A worker's life.
    fn serve(&self, worker: usize) {
        let _environment = FloatEnvironment::enter();
        self.started.fetch_add(1, Release);
        self.quiet.wake_all();
        let gate = if worker < self.n_always { &self.work } else { &self.reserve };
        let mut last_phase = 0;
        loop {
            let is_news = |state: u64| {
                is_open(state) && state / ONE_PHASE != last_phase && worker < self.n_members.load(Relaxed)
            };
            gate.wait_until(self.spins, || self.closing.load(Acquire) || is_news(self.state.load(Acquire)));
            if self.closing.load(Acquire) {
                return;
            }
            let state = self.state.fetch_add(1, Acquire);
            if is_open(state) {
                last_phase = state / ONE_PHASE;
                // SAFETY: the body was written before the region was opened, and is not written
                // again before this worker has left.
                if let Some(body) = unsafe { *self.body.get() } {
                    self.work_as(worker, body);
                }
            }
            let left = self.state.fetch_sub(1, Release);
            if left & INSIDE == 1 {
                self.quiet.wake_all();
            }
        }
    }

    /// Runs parts until none is left to take. A panic ends that and is kept for the caller.
    fn work_as(&self, worker: usize, body: Lent) {
        // SAFETY: the caller of the region waits until this thread has left it.
        let body = unsafe { body.0.as_ref() };
        IN_REGION.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            while let Some(part) = self.take(worker) {
                body(worker, part);
            }
        }));
        IN_REGION.set(false);
        if let Err(payload) = outcome {
            // No further part is started; the first payload is the one reported.
            self.shares.iter().for_each(|share| share.0.store(0, Relaxed));
            lock(&self.panic).get_or_insert(payload);
        }
    }

    /// A part not taken yet: the next of the worker's own share, else the last of another's.
    fn take(&self, worker: usize) -> Option<usize> {
        let claim = |share: &Share, own: bool| {
            let claimed = share.0.try_update(Relaxed, Relaxed, |bounds| {
                let (next, end) = (bounds & 0xffff_ffff, bounds >> 32);
                let rest = if own { (next + 1) | (end << 32) } else { next | (end.wrapping_sub(1) << 32) };
                (next < end).then_some(rest)
            });
            claimed.ok().map(|bounds| if own { bounds & 0xffff_ffff } else { (bounds >> 32) - 1 } as usize)
        };
        let n = self.shares.len();
        claim(&self.shares[worker], true)
            .or_else(|| (1..n).find_map(|i| claim(&self.shares[(worker + i) % n], false)))
    }

    /// Closes the region and waits until the workers are out of it.
    fn close(&self) {
        self.state.fetch_add(ONE_PHASE, Release);
        let start = self.times_waits.load(Relaxed).then(Instant::now);
        self.quiet.wait_until(self.spins, || self.state.load(Acquire) & INSIDE == 0);
        if let Some(start) = start {
            self.waited.fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
        }
    }
}

/// A slice whose elements are handed to several threads, each to one.
struct Spread<T>(*mut T);

// SAFETY: an element is only used by the one thread it is handed to, and `T` may be sent there.
unsafe impl<T: Send> Sync for Spread<T> {}

impl<T> Spread<T> {
    /// # Safety
    /// `i` is inside the slice.
    unsafe fn at(&self, i: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(i) }
    }
}
