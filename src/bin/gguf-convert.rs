//! `gguf-convert`: a Hugging Face checkpoint becomes a GGUF file.

use std::process::ExitCode;

fn main() -> ExitCode {
    gguf_kit::cli::convert::main()
}
