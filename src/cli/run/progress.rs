//! Progress bars on standard error; none where it is not a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over `n` steps called `unit`, with a running message; hidden if `quiet`.
pub(super) fn bar(n: usize, unit: &str, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(n as u64), target);
    let template = format!("{{bar:30}} {{pos}}/{{len}} {unit}  {{msg}}  {{eta}} left");
    bar.set_style(ProgressStyle::with_template(&template).expect("the template is well-formed"));
    bar
}
