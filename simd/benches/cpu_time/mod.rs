//! A clock for measurements on a shared machine.

/// CPU time of this thread: what other processes take does not count.
#[cfg(unix)]
pub(crate) fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "the CPU time of this thread");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The time on the wall, where a thread's CPU time has another name.
#[cfg(not(unix))]
pub(crate) fn cpu_seconds() -> f64 {
    use std::sync::OnceLock;
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_secs_f64()
}
