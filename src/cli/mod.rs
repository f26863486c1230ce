//! The command lines: arguments and presentation only.

// These macros panic where their stream is closed; `output` has what does not.
#![warn(clippy::print_stderr, clippy::print_stdout)]

use std::process::ExitCode;

use crate::error::{Error, Result};

pub mod compute;
pub mod convert;
pub mod interrupt;
pub mod output;
pub mod run;
pub mod values;

/// Turns the outcome of a program into its exit status, with the error on standard error. A reader
/// that closed its end of our output is no failure.
pub fn exit(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        // What a signal ended may end with errors that follow from it, as a closed terminal's do.
        Err(error) if interrupt::is_ending() || matches!(error, Error::Interrupted) => {
            output::say("interrupted");
            ExitCode::from(interrupt::exit_status())
        }
        Err(error) => {
            output::error(&error);
            ExitCode::from(error.exit_status())
        }
    }
}
