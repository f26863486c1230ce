//! Arguments and presentation of `gguf-convert`.

use std::process::ExitCode;

/// Runs `gguf-convert` on the arguments of the process.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
