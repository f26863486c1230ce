//! Arguments and presentation of `gguf-convert`.
//!
//! `args` is the command line of a conversion, `output` where it goes, `edit` the subcommand for metadata, `progress`
//! the bar, `report` what is printed.

mod args;
mod budget;
mod calibrate;
mod command;
mod edit;
mod key_args;
mod model_card;
mod output;
pub mod progress;
mod report;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gguf_simd::kernels::Kernels;
use serde_json::Value;

use crate::chat::{SpecialTokens, Template};
use crate::checkpoint::Checkpoint;
use crate::cli::interrupt::{self, Busy};
use crate::cli::output::{show, show_json, warn};
use crate::convert::summary::Calibration;
use crate::convert::{self, GgufInput, Plan, PlanOptions, RunOptions, Summary};
use crate::error::{Error, Result};
use crate::gguf::{GgufFile, parts};
use crate::hub::Purpose;
use crate::new_file::check_not_an_input;
use crate::threads::ThreadCounts;
use args::Args;
use command::Command;
use model_card::ModelCard;
use progress::Bar;

/// Bytes of the files of a conversion from which on what is done outlives a stop: what takes seconds begins anew.
const RESUMABLE_BYTES: u64 = 1 << 30;

/// Runs `gguf-convert` on the arguments of the process.
pub fn main() -> ExitCode {
    match super::begin_with(|| Command::parse().map_err(super::tips::of_convert)) {
        Ok(Command::Convert(mut args)) => super::exit(args.fetch().and_then(|()| convert(&args))),
        Ok(Command::Edit(args)) => super::exit(edit::run(&args)),
        Err(status) => status,
    }
}

fn convert(args: &Args) -> Result<()> {
    let options = args.plan_options()?;
    let run_options = run_options(args)?;
    let has_no_type = args.file_types.is_empty() && !args.budget.is_given() && !args.adapter_only;
    let needs_type = || {
        Error::usage(
            "--type is missing, and these weights are not quantised already: say what they are to become, as in --type \
             Q4_K_M",
        )
    };
    let adapters = args.adapters()?;
    if GgufInput::is_at(&args.input) {
        if !adapters.is_empty() {
            return Err(Error::usage(
                "adapters are merged into checkpoints; give the base's folder, or run the GGUF file with a GGUF adapter: \
                 gguf-run complete MODEL --lora FILE",
            ));
        }
        let input = GgufInput::open(&args.input)?;
        let plans = plans(args, &options, &run_options, |options| Plan::of_gguf(&input, options))?;
        if has_no_type && !plans.iter().any(Plan::is_packed) {
            return Err(needs_type());
        }
        return carry_out(args, plans, &run_options);
    }
    let checkpoint = match &args.look {
        Some(look) => {
            let purpose = if args.dry_run { Purpose::Look } else { Purpose::Stream };
            look.open(purpose, interrupt::stop_flag())?
        }
        None => Checkpoint::open(&args.input)?,
    };
    let checkpoint = checkpoint.with_adapters(adapters)?;
    let plan = if args.adapter_only { Plan::of_adapter } else { Plan::new };
    let plans = plans(args, &options, &run_options, |options| plan(&checkpoint, options))?;
    if has_no_type && !plans.iter().any(Plan::is_packed) {
        return Err(needs_type());
    }
    carry_out(args, plans, &run_options)
}

/// A plan for each of the types that were asked for, or one of the size.
fn plans<'a>(
    args: &Args,
    options: &[PlanOptions],
    run_options: &RunOptions,
    plan: impl Fn(&PlanOptions) -> Result<Plan<'a>>,
) -> Result<Vec<Plan<'a>>> {
    match args.budget.fitted(&plan, &options[0], run_options, args.quiet)? {
        Some(fitted) => Ok(vec![plan(&fitted)?]),
        None => options.iter().map(plan).collect(),
    }
}

/// Shows plans, or follows them.
fn carry_out(args: &Args, plans: Vec<Plan<'_>>, run_options: &RunOptions) -> Result<()> {
    let paths = plans.iter().map(|plan| output::path_of(args, plan)).collect::<Result<Vec<_>>>()?;
    // What is said of every type is said once.
    let mut said = HashSet::new();
    plans.iter().flat_map(Plan::warnings).filter(|&warning| said.insert(warning)).for_each(warn);
    if args.dry_run {
        return show_plans(args, &pairs_of(&plans, &paths));
    }
    // Told before the first byte is read, not when the files are to be written.
    plans.iter().zip(&paths).try_for_each(|(plan, path)| {
        plan.check_target(path, args.force)?;
        check_not_an_input(path, args.side_inputs())
    })?;
    let card =
        args.model_card.then(|| ModelCard::new(&args.input, &plans[0], &paths[0], args.force)).transpose()?;
    let busy = Busy::begin();
    let bar = Bar::new(args.quiet, busy.stop());
    let summaries = match args.calibrate.texts {
        Some(_) => {
            let outputs = plans.into_iter().zip(&paths);
            outputs.map(|(plan, path)| calibrated(args, plan, path, run_options, &bar)).collect()
        }
        None if args.resumable || plans.iter().map(Plan::file_bytes).sum::<u64>() >= RESUMABLE_BYTES => {
            convert::run_all_resumable(&pairs_of(&plans, &paths), run_options, &bar)
        }
        None => convert::run_all(&pairs_of(&plans, &paths), run_options, &bar),
    };
    bar.clear();
    let summaries = summaries?;
    summaries.iter().for_each(if args.changes_model() { warn_of_useless } else { warn_of_template });
    let card = card.as_ref().map(|card| card.write(&summaries)).transpose()?;
    match (args.json, args.quiet) {
        (true, _) => show_json(&one_or_all(summaries.iter().map(report::summary_json).collect())),
        (false, true) => Ok(()),
        (false, false) => {
            let texts = summaries.iter().map(report::summary_text);
            show(&texts.chain(card.map(report::card_text)).collect::<String>())
        }
    }
}

/// Says so if what the user changed has made a file that cannot be used.
fn warn_of_useless(summary: &Summary) {
    if let Err(error) = parts::open_whole(&summary.paths[0]).and_then(|file| edit::check_usable(&file)) {
        warn(format_args!("as it was changed, this program cannot use all of it: {error}"));
    }
}

/// Says so if the model cannot be talked to because of its chat template.
fn warn_of_template(summary: &Summary) {
    let source = |file: GgufFile| file.metadata().string("tokenizer.chat_template").ok()?.map(str::to_owned);
    let Some(source) = parts::open_whole(&summary.paths[0]).ok().and_then(source) else { return };
    if let Err(error) = Template::new(&source, SpecialTokens::default()) {
        warn(format_args!(
            "{error}; chat fails until `gguf-convert edit` gives it another one (--override-kv \
             tokenizer.chat_template=file:FILE)"
        ));
    }
}

/// The files of a model: each plan with its path.
fn pairs_of<'p, 'a>(plans: &'p [Plan<'a>], paths: &'p [PathBuf]) -> Vec<(&'p Plan<'a>, &'p Path)> {
    plans.iter().zip(paths).map(|(plan, path)| (plan, &**path)).collect()
}

/// Follows a plan after calibrating what it quantises.
fn calibrated(
    args: &Args,
    mut plan: Plan<'_>,
    output: &Path,
    run_options: &RunOptions,
    bar: &Bar,
) -> Result<Summary> {
    let ready = calibrate::run(args, &mut plan, output, run_options, bar)?;
    let mut summary = convert::run(&ready.calibrated.put_into(plan), output, run_options, bar)?;
    let won = ready.calibrated.won().cloned().collect();
    summary.calibration = Some(Calibration { what: ready.what.clone(), won });
    ready.remove()?;
    Ok(summary)
}

fn show_plans(args: &Args, outputs: &[(&Plan<'_>, &Path)]) -> Result<()> {
    for (plan, path) in outputs {
        if let Err(error) = plan.check_target(path, args.force) {
            warn(error);
        }
    }
    if args.json {
        show_json(&one_or_all(outputs.iter().map(|(plan, path)| report::plan_json(plan, path)).collect()))
    } else {
        let tables: Vec<String> = outputs.iter().map(|(plan, path)| report::plan_table(plan, path)).collect();
        show(&tables.join("\n"))
    }
}

/// The value of a conversion to one type, or the list of those of several.
fn one_or_all(mut values: Vec<Value>) -> Value {
    if values.len() == 1 { values.remove(0) } else { Value::Array(values) }
}

fn run_options(args: &Args) -> Result<RunOptions> {
    let kernels = match args.compute.isa()? {
        // `isa` answers only with what this CPU has.
        Some(isa) => Kernels::get(isa).unwrap_or_else(Kernels::best),
        None => Kernels::best(),
    };
    let n_threads = args.compute.threads()?.unwrap_or_else(|| ThreadCounts::of_machine().many);
    Ok(RunOptions { overwrite: args.force, n_threads, kernels })
}
