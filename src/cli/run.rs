//! Arguments and presentation of `gguf-run`.

use std::process::ExitCode;

/// Runs `gguf-run` on the arguments of the process.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
