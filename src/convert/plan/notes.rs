//! What the user should know of a plan.

use regex::Regex;

use crate::convert::FileType;
use crate::convert::recipe::{Candidate, Overrides};

/// What to know of weights that lie on grids already.
pub(super) fn grid_note(n_on_grids: usize, file_type: FileType) -> Option<String> {
    if n_on_grids == 0 {
        return None;
    }
    let what = match file_type {
        FileType::KEEP | FileType::Q4_0 | FileType::Q5_0 | FileType::Q8_0 => {
            "are kept so where the type has their levels"
        }
        _ => "--type KEEP keeps them so, in the smallest type that has their levels",
    };
    Some(format!(
        "the floats of {n_on_grids} tensors lie on grids already, as quantisation-aware training leaves them: {what}"
    ))
}

/// Names the patterns that no tensor matched: most likely a slip.
pub(super) fn unused_overrides(overrides: &Overrides, tensors: &[Candidate]) -> Vec<String> {
    let is_unused = |name: &Regex| !tensors.iter().any(|tensor| name.is_match(&tensor.name));
    overrides
        .tensors
        .iter()
        .filter(|(name, _)| is_unused(name))
        .map(|(name, ty)| format!("--tensor-type {name}={ty} matches no tensor; --dry-run lists their names"))
        .collect()
}
