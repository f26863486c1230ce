//! The settings of the terminal, to be put back when the program ends in the middle of a line.

#[cfg(unix)]
use std::io::Write;

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

    /// Puts the settings back, and begins a line.
    pub(super) fn restore(&self) {
        use rustix::termios::{OptionalActions, tcsetattr};
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

    pub(super) fn restore(&self) {}
}
