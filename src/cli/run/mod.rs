//! Arguments and presentation of `gguf-run`: one file per subcommand, and what they share.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod args;
mod bench;
mod chat;
mod complete;
mod divergence;
mod embed;
mod imatrix;
pub(super) mod input;
mod inspect;
mod load;
mod locate;
mod logits;
mod memory;
mod npy;
mod perplexity;
mod progress;
mod rerank;
mod residency;
mod sensitivity;
mod sensitivity_plot;
mod speculation;
mod statistics;
mod texts;
mod tokenize;

/// Runs language models on the CPU: GGUF files, or Hugging Face checkpoints, which are converted first.
#[derive(Debug, Parser)]
#[command(name = "gguf-run", version, after_help = EXAMPLES, max_term_width = 110, args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  gguf-run complete model.gguf -p \"Once upon a time\"
  gguf-run complete path/to/checkpoint --type Q4_K_M -p \"Once upon a time\"
  gguf-run chat model.gguf --system \"Answer briefly.\"
  gguf-run perplexity model.gguf -f text.txt

`gguf-run COMMAND --help` explains each command. Exit status: 0 success, 1 failure, 2 wrong usage;
ended by a signal: 130 Ctrl-C, 143 SIGTERM, 129 a closed terminal.";

#[derive(Debug, Subcommand)]
enum Command {
    Complete(complete::Args),
    Chat(chat::Args),
    Perplexity(perplexity::Args),
    Divergence(divergence::Args),
    Logits(logits::Args),
    Embed(embed::Args),
    Rerank(rerank::Args),
    Bench(bench::Args),
    Imatrix(imatrix::Args),
    Sensitivity(sensitivity::Args),
    Inspect(inspect::Args),
    Tokenize(tokenize::Args),
}

/// Runs `gguf-run` on the arguments of the process.
pub fn main() -> ExitCode {
    let cli: Cli = match super::begin_with(|| Cli::try_parse().map_err(super::tips::of_run)) {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    super::exit(match cli.command {
        Command::Complete(args) => complete::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Perplexity(args) => perplexity::run(&args),
        Command::Divergence(args) => divergence::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Rerank(args) => rerank::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Imatrix(args) => imatrix::run(&args),
        Command::Sensitivity(args) => sensitivity::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn argument_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
