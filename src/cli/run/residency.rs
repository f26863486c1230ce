//! Says what becomes of a model that does not fit into memory.

use crate::cli::output::{bytes, note, warn};
use crate::runtime::residency::{Division, Plan, Reason, Residency};

/// Says what is planned, if that is not simply to have the whole model in memory. Sessions take `n_batch`
/// tokens of a prompt at once.
pub(super) fn announce(plan: &Plan, n_batch: usize) {
    match plan {
        Plan::Whole { .. } => {}
        Plan::Divided(division) => note(describe(division, n_batch)),
        Plan::Unplanned(Reason::System) => {
            warn("--ram has no effect on this system, which cannot be told what of a file to keep in memory");
        }
        Plan::Unplanned(Reason::NoRoom { needed, there }) => warn(format_args!(
            "the model is read from disk as it is used, which is slow: there is memory for {} of its weights and \
             streaming them in order takes {}; a smaller --ctx or --batch leaves more",
            bytes(*there),
            bytes(*needed),
        )),
    }
}

/// Says what of a plan the system refused.
pub(super) fn complain(residency: &Residency) {
    let (Some(refusal), Plan::Divided(division)) = (residency.refusal(), residency.plan()) else {
        return;
    };
    warn(format_args!(
        "the system locks only {} of the {} that should stay in memory ({}; see ulimit -l): only their use keeps \
         the others there, and other programs may push them out",
        bytes(refusal.locked_bytes),
        bytes(division.pinned_bytes()),
        refusal.reason,
    ));
}

fn describe(division: &Division, n_batch: usize) -> String {
    let mut text = format!(
        "of the model's {} memory holds {}: {} stay there",
        bytes(division.file_bytes),
        bytes(division.room_bytes),
        bytes(division.pinned_bytes()),
    );
    let streamed = division.streamed_bytes();
    if streamed > 0 {
        text += &format!(
            ", {} are read from disk for every token, or for every {n_batch} of a prompt (--batch), {} at a time",
            bytes(streamed),
            bytes(division.window_bytes()),
        );
    }
    if division.expert_bytes > 0 {
        text +=
            &format!(", and of the experts' {} the system keeps what it can", bytes(division.expert_bytes));
    }
    if let (Some(rate), Some(speed)) = (division.disk_rate, division.passes_per_second()) {
        text += &format!(
            "; the disk gives {}/s, which allows about {speed:.2} tokens per second",
            bytes(rate as u64)
        );
    }
    text
}
