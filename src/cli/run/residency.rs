//! Says what becomes of a model that does not fit into memory.

use crate::cli::output::{bytes, note, warn};
use crate::runtime::residency::{Division, Plan, Residency};
use crate::runtime::{Session, SessionOptions};

/// Says what is planned, if that is not simply to have the whole model in memory. Sessions take `n_batch`
/// tokens of a prompt at once.
pub(super) fn announce(plan: &Plan, n_batch: usize) {
    match plan {
        Plan::Whole { .. } => {}
        Plan::Divided(division) => note(describe(division, n_batch)),
        Plan::Unplanned => {
            warn("--ram has no effect on this system, which cannot be told what of a file to keep in memory");
        }
    }
}

/// A context that is long enough for many purposes.
const SHORT_CTX: usize = 512;

/// A hint that a shorter context would keep more of the model in memory, if `plan` sets memory aside for one
/// that `session` has hardly used.
pub(super) fn shorter_context(plan: &Plan, session: &Session<'_>) -> Option<String> {
    let Plan::Divided(division) = plan else {
        return None;
    };
    let (n_ctx, n_past) = (session.n_ctx(), session.n_past());
    let (streamed, free) = (division.streamed_bytes(), session.free_bytes());
    if streamed == 0 || n_ctx <= SHORT_CTX || n_past > SHORT_CTX {
        return None;
    }
    let engine = session.engine();
    let short = engine.demand(SessionOptions { n_ctx: SHORT_CTX, ..session.options() }).ok()?;
    let freed = free.saturating_sub(short.cache);
    let pinned = engine.pinned_bytes_in(division.room_bytes + freed)?;
    let gain = pinned.saturating_sub(division.pinned_bytes());
    (gain > streamed / 10).then(|| {
        format!(
            "{} of memory are set aside for a context of {n_ctx} (--ctx); --ctx {SHORT_CTX} would keep {} more of \
             the model in memory",
            bytes(free),
            bytes(gain),
        )
    })
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
