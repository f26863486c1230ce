//! Arguments and presentation of `gguf-convert`.
//!
//! `args` is the command line of a conversion, `edit` the subcommand for metadata, `progress` the bar, `report` what is printed.

mod args;
mod command;
mod edit;
mod key_args;
pub mod progress;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use gguf_simd::kernels::Kernels;

use crate::checkpoint::Checkpoint;
use crate::cli::interrupt::Busy;
use crate::cli::output::{show, show_json, warn};
use crate::convert::{self, GgufInput, Plan, RunOptions};
use crate::error::Result;
use crate::threads;
use args::Args;
use command::Command;
use progress::Bar;

/// Runs `gguf-convert` on the arguments of the process.
pub fn main() -> ExitCode {
    match super::begin_with(Command::parse) {
        Ok(Command::Convert(args)) => super::exit(convert(&args)),
        Ok(Command::Edit(args)) => super::exit(edit::run(&args)),
        Err(status) => status,
    }
}

fn convert(args: &Args) -> Result<()> {
    let options = args.plan_options()?;
    let run_options = run_options(args)?;
    if GgufInput::is_at(&args.input) {
        let input = GgufInput::open(&args.input)?;
        return carry_out(args, &Plan::of_gguf(&input, &options)?, &run_options);
    }
    let checkpoint = Checkpoint::open(&args.input)?;
    carry_out(args, &Plan::new(&checkpoint, &options)?, &run_options)
}

/// Shows a plan, or follows it.
fn carry_out(args: &Args, plan: &Plan<'_>, run_options: &RunOptions) -> Result<()> {
    let output = args.output.clone().unwrap_or_else(|| PathBuf::from(plan.default_file_name()));
    for warning in plan.warnings() {
        warn(warning);
    }
    if args.dry_run {
        if let Err(error) = plan.check_target(&output, args.force) {
            warn(error);
        }
        return if args.json {
            show_json(&report::plan_json(plan, &output))
        } else {
            show(&report::plan_table(plan, &output))
        };
    }
    // Told before the first byte is read, not when the file is to be written.
    plan.check_target(&output, args.force)?;
    let busy = Busy::begin();
    let bar = Bar::new(args.quiet, busy.stop());
    let summary = convert::run(plan, &output, run_options, &bar);
    bar.clear();
    let summary = summary?;
    match (args.json, args.quiet) {
        (true, _) => show_json(&report::summary_json(&summary)),
        (false, true) => Ok(()),
        (false, false) => show(&report::summary_text(&summary)),
    }
}

fn run_options(args: &Args) -> Result<RunOptions> {
    let kernels = match args.compute.isa()? {
        // `isa` answers only with what this CPU has.
        Some(isa) => Kernels::get(isa).unwrap_or_else(Kernels::best),
        None => Kernels::best(),
    };
    let n_threads = args.compute.threads()?.unwrap_or_else(threads::default_thread_count);
    Ok(RunOptions { overwrite: args.force, n_threads, kernels })
}
