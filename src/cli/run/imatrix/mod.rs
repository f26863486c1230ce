//! `gguf-run imatrix`: importance matrices, made, merged and shown.

mod collect;
mod merge;
mod show;

use clap::{ArgMatches, Command, FromArgMatches};

use crate::error::Result;

/// What is done with importance matrices.
#[derive(Debug)]
pub(super) enum Args {
    Collect(Box<collect::Args>),
    Merge(merge::Args),
    Show(show::Args),
}

impl clap::Args for Args {
    fn augment_args(command: Command) -> Command {
        let collect = <collect::Args as clap::Args>::augment_args(command);
        collect
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
            .subcommand(<merge::Args as clap::Args>::augment_args(Command::new("merge")))
            .subcommand(<show::Args as clap::Args>::augment_args(Command::new("show")))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Args {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some(("merge", matches)) => merge::Args::from_arg_matches(matches).map(Self::Merge),
            Some(("show", matches)) => show::Args::from_arg_matches(matches).map(Self::Show),
            _ => collect::Args::from_arg_matches(matches).map(|args| Self::Collect(Box::new(args))),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Any.
pub(super) fn run(args: &Args) -> Result<()> {
    match args {
        Args::Collect(args) => collect::run(args),
        Args::Merge(args) => merge::run(args),
        Args::Show(args) => show::run(args),
    }
}
