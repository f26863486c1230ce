//! What `gguf-convert` is asked to do: a conversion, unless its first argument names something else.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use super::args::Args;
use super::edit;

/// A command line.
#[derive(Debug)]
pub(super) enum Command {
    Convert(Box<Args>),
    Edit(edit::Args),
}

/// The subcommands. A conversion has none, so that an input can have any name but theirs; a folder `edit` is
/// `./edit`.
#[derive(Parser, Debug)]
#[command(name = "gguf-convert", version, max_term_width = 110, args_override_self = true)]
struct Other {
    #[command(subcommand)]
    command: OtherCommand,
}

#[derive(Subcommand, Debug)]
enum OtherCommand {
    Edit(edit::Args),
}

impl Command {
    /// Reads the arguments of the process.
    ///
    /// # Errors
    /// What clap finds wrong with them.
    pub(super) fn parse() -> Result<Self, clap::Error> {
        Self::parse_from(std::env::args_os().collect())
    }

    fn parse_from(args: Vec<OsString>) -> Result<Self, clap::Error> {
        if args.get(1).is_some_and(|first| first == "edit") {
            return Other::try_parse_from(args)
                .map(|Other { command: OtherCommand::Edit(args) }| Self::Edit(args));
        }
        Args::try_parse_from(args).map(|args| Self::Convert(Box::new(args)))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_lines_are_consistent() {
        Args::command().debug_assert();
        Other::command().debug_assert();
    }

    #[test]
    fn a_conversion_and_an_edit_are_told_apart() {
        let parse = |line: &str| Command::parse_from(line.split(' ').map(OsString::from).collect());
        let convert = parse("gguf-convert m --type Q8_0 --json --override-kv a=int:5");
        assert!(matches!(convert, Ok(Command::Convert(_))), "{convert:?}");
        let edit = parse("gguf-convert edit m.gguf --remove-kv a");
        assert!(matches!(edit, Ok(Command::Edit(_))), "{edit:?}");
        assert!(matches!(parse("gguf-convert ./edit --type Q8_0"), Ok(Command::Convert(_))));
        assert!(parse("gguf-convert edit").is_err() && parse("gguf-convert --json").is_err());
    }
}
