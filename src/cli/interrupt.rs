//! Ctrl-C: the first one ends what is being computed, the second one the program.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Nothing is being computed: a signal ends the program.
const IDLE: u8 = 0;
/// Something is being computed: a signal asks it to stop.
const BUSY: u8 = 1;
/// It was asked to stop: another signal ends the program.
const STOPPING: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(IDLE);
static STOP: AtomicBool = AtomicBool::new(false);
static INSTALL: Once = Once::new();

/// The exit status that shells give a program that Ctrl-C ended.
const STATUS: i32 = 130;

/// While this lives, the first Ctrl-C sets [`Busy::stop`] instead of ending the program.
#[derive(Debug)]
pub struct Busy(());

impl Busy {
    /// Begins a computation that can be stopped.
    pub fn begin() -> Self {
        INSTALL.call_once(|| {
            // Without a handler Ctrl-C ends the program at once, which is no worse than failing here.
            let _ = ctrlc::set_handler(on_signal);
        });
        STOP.store(false, Ordering::Relaxed);
        STATE.store(BUSY, Ordering::SeqCst);
        Self(())
    }

    /// Becomes true when the user asks to stop.
    pub fn stop(&self) -> &'static AtomicBool {
        &STOP
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        STATE.store(IDLE, Ordering::SeqCst);
    }
}

fn on_signal() {
    match STATE.compare_exchange(BUSY, STOPPING, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => STOP.store(true, Ordering::Relaxed),
        Err(_) => std::process::exit(STATUS),
    }
}
