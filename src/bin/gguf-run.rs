//! `gguf-run`: a GGUF file speaks.

use std::process::ExitCode;

fn main() -> ExitCode {
    gguf_kit::cli::run::main()
}
