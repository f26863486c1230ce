//! Messages from the user, and the signals that come while waiting for one.
//!
//! A thread of its own reads standard input, because a read cannot be ended: when a signal comes, the
//! main thread saves the conversation and ends the program while that thread still waits. It reads only
//! when asked, so nothing is taken from standard input that is not used.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use super::reader::Reader;
use super::terminal::Terminal;
use crate::cli::interrupt;
use crate::error::{Error, Result};

/// Where messages come from.
#[derive(Debug)]
pub(super) struct Lines {
    requests: Sender<()>,
    events: Receiver<Event>,
    terminal: Option<Terminal>,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A line, or several joined by `\` at their ends.
    Text(String),
    /// Something that cannot be taken, and why.
    Unusable(String),
    /// Ctrl-C instead of a line.
    Interrupted,
    /// A signal that ends the program.
    Signal,
    /// There are no more lines.
    End,
}

enum Event {
    Read(Result<Input>),
    Signal,
    /// The reading thread has ended, which only a panic makes it do before the program ends.
    Gone,
}

impl Lines {
    /// The lines of standard input, edited if a person sits there, and kept for other chats if that `keeps_history`.
    ///
    /// # Errors
    /// [`Error::Limit`] if no thread can be started.
    pub(super) fn open(keeps_history: bool) -> Result<Self> {
        let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let terminal = is_terminal.then(Terminal::now);
        let (requests, asked) = mpsc::channel();
        let (events_in, events) = mpsc::channel();
        let on_signal = events_in.clone();
        // Without a receiver there is nothing to wake.
        interrupt::wake_by(move || drop(on_signal.send(Event::Signal)));
        let is_editing = Arc::new(AtomicBool::new(false));
        if let Some(terminal) = &terminal {
            terminal.set_again_after_stops(Arc::clone(&is_editing));
        }
        let read = move || serve((is_terminal, keeps_history), &is_editing, &asked, events_in);
        let thread = std::thread::Builder::new().name("input".to_owned()).spawn(read);
        thread.map_err(|e| Error::limit(format!("cannot start a thread to read with: {e}")))?;
        Ok(Self { requests, events, terminal })
    }

    /// Whether a person sits at the other end.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// The next message.
    ///
    /// # Errors
    /// [`Error::Io`] if standard input or the terminal fails.
    pub(super) fn read(&self) -> Result<Input> {
        // A signal that came when an answer was over, and its computation not yet, woke nothing. From here on
        // nothing is being computed, and signals wake.
        if interrupt::is_ending() || interrupt::was_stopped() && !self.is_terminal() {
            return Ok(self.end_in_order());
        }
        let event = match self.events.try_recv() {
            Ok(event) => event,
            Err(_) => {
                // A thread that is gone has said so.
                let _ = self.requests.send(());
                self.events.recv().unwrap_or(Event::Gone)
            }
        };
        match event {
            Event::Read(input) => input,
            Event::Signal => Ok(self.end_in_order()),
            Event::Gone => Ok(Input::End),
        }
    }

    fn end_in_order(&self) -> Input {
        interrupt::end_in_order();
        self.restore_terminal();
        Input::Signal
    }

    /// Sets the terminal, if there is one, as it was at the beginning: a line that was being edited when
    /// a signal came leaves it raw.
    pub(super) fn restore_terminal(&self) {
        if let Some(terminal) = &self.terminal {
            terminal.restore();
        }
    }
}

/// Reads a message for each request.
fn serve(
    (is_terminal, keeps_history): (bool, bool),
    is_editing: &AtomicBool,
    requests: &Receiver<()>,
    events: Sender<Event>,
) {
    let events = Farewell(events);
    let mut reader = Reader::open(is_terminal, keeps_history);
    for () in requests {
        let input = match &mut reader {
            Ok(reader) => {
                is_editing.store(true, Ordering::SeqCst);
                let read = reader.read();
                is_editing.store(false, Ordering::SeqCst);
                read
            }
            Err(error) => {
                Err(Error::io("the terminal", "cannot use", std::io::Error::other(error.to_string())))
            }
        };
        if events.0.send(Event::Read(input)).is_err() {
            return;
        }
    }
}

/// Says that its thread has ended, however it did.
struct Farewell(Sender<Event>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.0.send(Event::Gone);
    }
}
