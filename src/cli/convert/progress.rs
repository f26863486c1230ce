//! The progress bar of a conversion.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::output::note;
use crate::convert::Progress;
use crate::hub::Watch;

/// A bar on standard error with rate and time left; nothing where that is not a terminal.
pub struct Bar {
    bar: ProgressBar,
    is_quiet: bool,
    stop: &'static AtomicBool,
}

impl Bar {
    /// A bar, invisible if `is_quiet`, as are notes about downloads. The conversion stops when `stop` becomes true.
    pub fn new(is_quiet: bool, stop: &'static AtomicBool) -> Self {
        let target = if is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Self { bar: ProgressBar::with_draw_target(None, target), is_quiet, stop }
    }

    /// Removes the bar.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl fmt::Debug for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bar").field("position", &self.bar.position()).finish_non_exhaustive()
    }
}

impl Bar {
    fn start(&self, message: &'static str, total: u64) {
        let template =
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).expect("a sound template").progress_chars("=> ");
        self.bar.set_style(style);
        self.bar.set_length(total);
        self.bar.set_position(0);
        self.bar.reset_eta();
        self.bar.set_message(message);
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }
}

impl Progress for Bar {
    fn begin(&self, total: u64) {
        self.start("converting", total);
    }

    fn calibrating(&self, total: u64) {
        self.start("calibrating", total);
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn verifying(&self) {
        self.bar.set_message("reading back");
    }

    fn kept(&self, place: &str) {
        self.bar.suspend(|| {
            note(format_args!("what was done is kept in {place}: the same command goes on with it"));
        });
    }

    fn is_cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Watch for Bar {
    fn begin(&self, total: u64, there: u64) {
        self.start("downloading", total);
        self.bar.set_position(there);
        // What was there did not come just now.
        self.bar.reset_eta();
    }

    fn reached(&self, n_bytes: u64) {
        self.bar.set_position(n_bytes);
    }

    fn tell(&self, what: &str) {
        if !self.is_quiet {
            self.bar.suspend(|| note(what));
        }
    }

    fn is_cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
