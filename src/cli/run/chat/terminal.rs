//! The settings of the terminal, to be put back when the program ends in the middle of a line.

#[cfg(unix)]
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
#[cfg(unix)]
use std::sync::atomic::Ordering;

#[cfg(unix)]
use rustix::termios::{OptionalActions, tcsetattr};

/// Terminals that `rustyline` edits no lines on, by their TERM.
#[cfg(unix)]
const PLAIN_TERMINALS: [&str; 3] = ["dumb", "cons25", "emacs"];

/// What the terminal was set to.
#[derive(Debug)]
pub(super) struct Terminal {
    #[cfg(unix)]
    settings: Option<rustix::termios::Termios>,
}

#[cfg(unix)]
impl Terminal {
    /// The settings of now.
    pub(super) fn now() -> Self {
        Self { settings: rustix::termios::tcgetattr(std::io::stdin()).ok() }
    }

    /// Sets the terminal for the line editor again whenever this process goes on after a stop (Ctrl-Z, then `fg`), while
    /// `is_editing`, and lets the editor draw its line anew. The editor itself does so before it stops, if the signal that
    /// it sends reaches another thread first; the shell has then put its own settings in place.
    pub(super) fn set_again_after_stops(&self, is_editing: Arc<AtomicBool>) {
        use rustix::process::{Signal, getpid, kill_process};
        use signal_hook::consts::SIGCONT;
        use signal_hook::iterator::Signals;
        let (Some(settings), Ok(mut signals)) = (self.settings.clone(), Signals::new([SIGCONT])) else {
            return;
        };
        let mut edited = settings;
        edited.make_raw();
        // The editor leaves output as it is.
        edited.output_modes =
            self.settings.as_ref().map_or(edited.output_modes, |settings| settings.output_modes);
        let again = move || {
            for _ in signals.forever() {
                if is_editing.load(Ordering::SeqCst) {
                    let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &edited);
                    // As if the window had changed: the line is drawn anew.
                    let _ = kill_process(getpid(), Signal::WINCH);
                }
            }
        };
        let _ = std::thread::Builder::new().name("continued".to_owned()).spawn(again);
    }

    /// Puts the settings back, and begins a line.
    pub(super) fn restore(&self) {
        // The terminal may be gone: that may be why the program ends.
        if let Some(settings) = &self.settings {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, settings);
        }
        // The editor had also asked for marks around what is pasted, unless the terminal knows no such things.
        let term = std::env::var("TERM").unwrap_or_default();
        if PLAIN_TERMINALS.iter().any(|plain| plain.eq_ignore_ascii_case(&term)) {
            return;
        }
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(b"\x1b[?2004l\r\n").and_then(|()| stdout.flush());
    }
}

/// Elsewhere the system puts them back.
#[cfg(not(unix))]
impl Terminal {
    pub(super) fn now() -> Self {
        Self {}
    }

    pub(super) fn set_again_after_stops(&self, _is_editing: Arc<AtomicBool>) {}

    pub(super) fn restore(&self) {}
}
