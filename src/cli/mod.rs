//! The command lines: arguments and presentation only.

// These macros panic where their stream is closed; `output` has what does not.
#![warn(clippy::print_stderr, clippy::print_stdout)]

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use crate::error::{Error, Result};
use crate::mapped_file;
use crate::printable;

pub mod compute;
pub mod convert;
mod hub;
pub mod interrupt;
pub mod output;
mod reading;
pub mod run;
mod tips;
pub mod values;

/// Prepares the process and reads its arguments by `parse`. What is wrong with them, or the help that they ask
/// for, is shown.
///
/// # Errors
/// The exit status of a program that ends here.
pub fn begin_with<T>(parse: impl FnOnce() -> Result<T, clap::Error>) -> Result<T, ExitCode> {
    interrupt::install();
    mapped_file::explain_read_faults();
    parse().map_err(|error| {
        // clap quotes arguments as they are, and file names among them may hold anything.
        let is_harmless =
            |arg: OsString| matches!(printable::lines(&arg.to_string_lossy()), Cow::Borrowed(_));
        if std::env::args_os().all(is_harmless) {
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            // Help that is not read to its end is not a failure, and help that cannot be written is one.
            if let Err(e) = printed
                && error.exit_code() == 0
            {
                return exit(Err(Error::io("standard output", "cannot write to", e)));
            }
        } else {
            output::say(error.render().to_string().trim_end());
        }
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

/// Turns the outcome of a program into its exit status, with the error on standard error. A reader
/// that closed its end of our output is not a failure.
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
