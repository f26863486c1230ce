//! Signals that ask to stop. The first one stops what is being computed, or wakes what waits for the
//! user; the program then saves its work and ends in order. The second one ends it at once.
//!
//! `SIGINT` (Ctrl-C) may be the end of one computation only, `SIGTERM` and `SIGHUP` (the terminal was
//! closed) are the end of the program. Nothing is done in a signal handler itself: a thread waits for
//! signals, and all it does is to set flags, to wake, or to end a program that does not follow.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

/// Nothing is being computed: a signal wakes what waits, or else ends the program.
const IDLE: u8 = 0;
/// Something is being computed: a signal asks it to stop.
const BUSY: u8 = 1;
/// It was asked to stop: another signal ends the program.
const STOPPING: u8 = 2;

const SIGINT: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(IDLE);
static STOP: AtomicBool = AtomicBool::new(false);
/// The signal that came last; 0 for none.
static LAST: AtomicU8 = AtomicU8::new(0);
/// The signal that ends the program; 0 for none.
static ENDING: AtomicU8 = AtomicU8::new(0);
static WAITER: Mutex<Option<Waiter>> = Mutex::new(None);

struct Waiter {
    wake: Box<dyn Fn() + Send>,
    /// Once is enough: the program ends.
    is_woken: bool,
}

/// The exit status of a program that `signal` ended, as shells give it.
fn status(signal: u8) -> u8 {
    128 + signal
}

/// Begins to handle signals; without this they end the program. Call it once, first of all.
pub fn install() {
    #[cfg(unix)]
    unix::install();
    #[cfg(not(unix))]
    let _ = ctrlc::set_handler(|| on_signal(SIGINT));
}

/// The exit status of a program that a signal stopped: that of the signal.
pub fn exit_status() -> u8 {
    match LAST.load(Ordering::SeqCst) {
        0 => status(SIGINT),
        signal => status(signal),
    }
}

/// Whether a signal came that ends the program.
pub fn is_ending() -> bool {
    ENDING.load(Ordering::SeqCst) != 0
}

/// What becomes true when a computation is to stop.
pub fn stop_flag() -> &'static AtomicBool {
    &STOP
}

/// Whether the computation that ended last was asked to stop, even if too late to notice.
pub fn was_stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// From now on, the first signal that comes while nothing is being computed calls `wake` instead of
/// ending the program. What it wakes calls [`end_in_order`], and so it does.
pub fn wake_by(wake: impl Fn() + Send + 'static) {
    *waiter() = Some(Waiter { wake: Box::new(wake), is_woken: false });
}

/// Says that the program ends because of the last signal, and only saves its work before.
pub fn end_in_order() {
    ENDING.store(LAST.load(Ordering::SeqCst), Ordering::SeqCst);
}

fn waiter() -> std::sync::MutexGuard<'static, Option<Waiter>> {
    WAITER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While this lives, the first signal sets [`Busy::stop`] instead of ending the program.
#[derive(Debug)]
pub struct Busy(());

impl Busy {
    /// Begins a computation that can be stopped; one that begins while the program is ending is not
    /// asked again.
    pub fn begin() -> Self {
        STOP.store(is_ending(), Ordering::SeqCst);
        STATE.store(if is_ending() { STOPPING } else { BUSY }, Ordering::SeqCst);
        Self(())
    }

    /// Becomes true when the computation is to stop.
    pub fn stop(&self) -> &'static AtomicBool {
        stop_flag()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        STATE.store(IDLE, Ordering::SeqCst);
    }
}

fn on_signal(signal: u8) {
    LAST.store(signal, Ordering::SeqCst);
    if signal != SIGINT {
        ENDING.store(signal, Ordering::SeqCst);
    }
    match STATE.compare_exchange(BUSY, STOPPING, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => STOP.store(true, Ordering::SeqCst),
        Err(IDLE) => match waiter().as_mut() {
            Some(waiter) if !waiter.is_woken => {
                waiter.is_woken = true;
                (waiter.wake)();
            }
            _ => end(signal),
        },
        Err(_) => end(signal),
    }
}

fn end(signal: u8) -> ! {
    std::process::exit(status(signal).into())
}

#[cfg(unix)]
mod unix {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use signal_hook::consts::SIGXFSZ;
    use signal_hook::iterator::Signals;

    use super::{SIGINT, on_signal};

    const SIGHUP: u8 = 1;
    const SIGTERM: u8 = 15;

    pub(super) fn install() {
        // Where nothing can be installed, signals end the program at once, which is no worse than failing here.
        // With a handler, a file size limit is an error of the write and no death.
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
        // `nohup` and its like ask to go on when the terminal is closed.
        let handled = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&s| s != SIGHUP || !is_ignored(s));
        let Ok(mut signals) = Signals::new(handled.map(i32::from)) else { return };
        let serve = move || signals.forever().for_each(|signal| on_signal(signal as u8));
        let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(serve);
    }

    /// Whether this process was started with `signal` ignored; false where the system does not say.
    fn is_ignored(signal: u8) -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        mask >> (signal - 1) & 1 == 1
    }
}
