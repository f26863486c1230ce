//! Which tier of CPU features each kernel comes from.

use gguf_simd::kernels::{Operation, origin, origin_of_quantisers};
use gguf_simd::{BlockType, Isa};
use serde_json::{Map, Value, json};

use super::table;
use crate::cli::output::{show, show_json};
use crate::error::Result;

/// Shows, for every tier of this program, which tier does what, as text or as JSON.
///
/// # Errors
/// Those of writing.
pub(super) fn show_kernels(as_json: bool) -> Result<()> {
    if as_json { show_json(&to_json()) } else { show(&text()) }
}

/// The tiers this program was compiled for, worst first.
fn tiers() -> Vec<Isa> {
    Isa::all().filter(|isa| isa.is_of_target()).collect()
}

fn text() -> String {
    let tiers = tiers();
    let missing: Vec<_> = tiers.iter().filter(|isa| !isa.is_available()).map(|isa| isa.name()).collect();
    let missing = if missing.is_empty() { "none".to_owned() } else { missing.join(", ") };
    let mut rows = vec![row("type", "operation", tiers.iter().map(|isa| isa.name()))];
    for ty in BlockType::all() {
        for operation in Operation::ALL {
            let origins = tiers.iter().map(|&isa| origin(isa, ty, operation).map_or("none", Isa::name));
            rows.push(row(ty.name(), operation.name(), origins));
        }
    }
    let origins = tiers.iter().filter_map(|&isa| origin_of_quantisers(isa));
    rows.push(row("activations", "quantise", origins.map(Isa::name)));
    format!(
        "Best tier of this CPU: {}; tiers it lacks: {missing}\n\
         A column per tier, in it the tier whose kernel it uses. Operations on float rows are compiled for\n\
         every tier.\n{}",
        Isa::best(),
        table(&rows, &vec![false; 2 + tiers.len()]),
    )
}

fn row<'a>(ty: &'a str, operation: &'a str, cells: impl Iterator<Item = &'a str>) -> Vec<String> {
    [ty, operation].into_iter().chain(cells).map(str::to_owned).collect()
}

fn to_json() -> Value {
    let name = |isa: Option<Isa>| isa.map_or(Value::Null, |isa| isa.name().into());
    let of_tier = |isa: Isa| {
        let types: Map<_, _> = BlockType::all()
            .map(|ty| {
                let operations = Operation::ALL
                    .map(|operation| (operation.name().to_owned(), name(origin(isa, ty, operation))));
                (ty.name().to_owned(), Value::Object(operations.into_iter().collect()))
            })
            .collect();
        json!({
            "tier": isa.name(),
            "on_this_cpu": isa.is_available(),
            "quantise_activations": name(origin_of_quantisers(isa)),
            "types": types,
        })
    };
    json!({
        "best_tier": Isa::best().name(),
        "tiers": tiers().into_iter().map(of_tier).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_row_per_type_and_operation_and_a_cell_per_tier() {
        let text = text();
        let rows: Vec<Vec<_>> = text.lines().skip(3).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows.len(), 1 + BlockType::all().count() * Operation::ALL.len() + 1, "{text}");
        assert!(rows.iter().all(|row| row.len() == 2 + tiers().len()), "{text}");
    }

    #[test]
    fn kernels_come_from_the_tier_itself_or_one_below() {
        for isa in tiers() {
            for ty in BlockType::all() {
                for operation in Operation::ALL {
                    let from = origin(isa, ty, operation).expect("a tier of this target");
                    let mut below = std::iter::successors(Some(isa), |isa| isa.below());
                    assert!(below.any(|tier| tier == from), "{isa} {ty} {}: {from}", operation.name());
                }
            }
        }
    }
}
