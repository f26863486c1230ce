//! A picture of sensitivities: a cell for each tensor, layers from left to right and parts from top to bottom, the
//! darker the more an error costs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::quantize::Sensitivity;

/// Width and height of a cell.
const CELL: usize = 18;

/// Room for the names of the parts.
const LEFT: usize = 150;

/// Room for the title and the numbers of layers.
const TOP: usize = 64;

/// Room for the scale.
const BOTTOM: usize = 60;

/// The least width: that of title and scale.
const MIN_WIDTH: usize = 560;

/// Colours from what costs least to what costs most; they can be told apart without seeing colours.
const COLOURS: [[f64; 3]; 3] = [[247.0, 251.0, 255.0], [107.0, 174.0, 214.0], [8.0, 48.0, 107.0]];

/// The divergence that an error of 1 % of a tensor costs, and the tensor's name.
struct Cell<'a> {
    name: &'a str,
    cost: f64,
}

/// What the pictures begin with.
const SVG_START: &str = "<svg ";

/// Whether a file begins as the pictures do.
pub(super) fn is_svg(path: &Path) -> bool {
    let mut start = [0; SVG_START.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == SVG_START.as_bytes()
}

/// The picture as SVG.
pub(super) fn svg(sensitivity: &Sensitivity) -> String {
    let mut rows: BTreeMap<&str, BTreeMap<usize, Cell<'_>>> = BTreeMap::new();
    for (name, probe) in &sensitivity.tensors {
        let (part, layer) = place(name);
        rows.entry(part).or_default().insert(layer, Cell { name, cost: probe.slope() * 1e-4 });
    }
    let costs = || rows.values().flat_map(BTreeMap::values).map(|cell| cell.cost).filter(|&cost| cost > 0.0);
    let least = costs().fold(f64::INFINITY, f64::min).log10();
    let most = costs().fold(0.0, f64::max).log10();
    let n_columns = rows.values().filter_map(|row| row.keys().last()).max().map_or(0, |last| last + 1);
    let width = (LEFT + CELL * n_columns + 20).max(MIN_WIDTH);
    let height = TOP + CELL * rows.len() + BOTTOM;
    let mut out = format!(
        "{SVG_START}xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">{}</text>\n\
         <text x=\"10\" y=\"37\">divergence in nats for an error of 1 % of one tensor; {} tokens scored</text>\n",
        escaped(&sensitivity.model),
        sensitivity.n_scored
    );
    for layer in (0..n_columns).step_by(if n_columns > 40 { 5 } else { 1 }) {
        let x = LEFT + CELL * layer + CELL / 2;
        put(
            &mut out,
            format_args!("<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{layer}</text>", TOP - 6),
        );
    }
    for (i, (part, row)) in rows.iter().enumerate() {
        let y = TOP + CELL * i;
        let (x, baseline) = (LEFT - 8, y + CELL - 5);
        let part = escaped(part);
        put(&mut out, format_args!("<text x=\"{x}\" y=\"{baseline}\" text-anchor=\"end\">{part}</text>"));
        for (layer, Cell { name, cost }) in row {
            let share = if most > least { (cost.log10() - least) / (most - least) } else { 1.0 };
            let (x, fill, name) = (LEFT + CELL * layer, colour(share), escaped(name));
            let side = CELL - 1;
            put(
                &mut out,
                format_args!(
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" fill=\"{fill}\">\
                     <title>{name}: {cost:.3e}</title></rect>"
                ),
            );
        }
    }
    legend(&mut out, TOP + CELL * rows.len() + 18, (least, most));
    out + "</svg>\n"
}

/// The part that a tensor belongs to, and its layer; what is in no layer stands in the first column.
fn place(name: &str) -> (&str, usize) {
    let whole = name.strip_suffix(".weight").unwrap_or(name);
    let in_layer = whole.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    in_layer.and_then(|(layer, part)| Some((part, layer.parse().ok()?))).unwrap_or((whole, 0))
}

/// The scale, between two powers of ten.
fn legend(out: &mut String, y: usize, (least, most): (f64, f64)) {
    const STEPS: usize = 20;
    for step in 0..STEPS {
        let (x, fill) = (LEFT + 12 * step, colour(step as f64 / (STEPS - 1) as f64));
        put(out, format_args!("<rect x=\"{x}\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"{fill}\"/>"));
    }
    for (x, anchor, value) in [(LEFT, "start", least), (LEFT + 12 * STEPS, "end", most)] {
        if value.is_finite() {
            let (value, y) = (10f64.powf(value), y + 26);
            put(out, format_args!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{value:.1e}</text>"));
        }
    }
}

/// The colour at `share` of the scale; what costs nothing is as light as what costs least.
fn colour(share: f64) -> String {
    let at = 2.0 * share.clamp(0.0, 1.0);
    let (from, part) = if at < 1.0 { (0, at) } else { (1, at - 1.0) };
    let [r, g, b] = [0, 1, 2]
        .map(|i| (COLOURS[from][i] + part * (COLOURS[from + 1][i] - COLOURS[from][i])).round() as u8);
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '"' => out += "&quot;",
            c => out.push(c),
        }
    }
    out
}

fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("strings grow");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::Probe;

    #[test]
    fn every_tensor_has_a_cell_and_the_most_sensitive_one_is_the_darkest() {
        let probes = [("output.weight", 1.0), ("blk.0.attn_q.weight", 0.01), ("blk.11.ffn_down.weight", 0.1)];
        let tensors = probes.map(|(name, divergence)| (name.to_owned(), Probe { divergence, error: 1e-2 }));
        let picture = svg(&Sensitivity::new("a<b&.gguf".into(), "t.txt".into(), 7, tensors.into()));
        assert_eq!(picture.matches("<title>").count(), 3);
        assert!(picture.contains("a&lt;b&amp;.gguf") && picture.contains(">attn_q</text>"), "{picture}");
        let line =
            |name: &str| picture.lines().find(|line| line.contains(&format!("<title>{name}:"))).unwrap();
        assert!(line("output.weight").contains("#08306b") && line("output.weight").contains("1.000e-2"));
        assert!(line("blk.0.attn_q.weight").contains("#f7fbff"));
        assert!(line("blk.11.ffn_down.weight").contains(&format!("x=\"{}\"", LEFT + 11 * CELL)));
    }
}
