//! What a benchmark found, as a table for people or for programs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::output::{bytes, count};
use crate::cli::run::load::Model;
use crate::eval::bench::{Breakdown, Speed, Workload};
use crate::eval::ceiling::{Ceilings, Needs};
use crate::gguf::TensorInfo;
use crate::runtime::Session;

/// What was found.
pub(super) struct Report<'a> {
    pub(super) model: &'a Model<()>,
    pub(super) session: &'a Session<'a>,
    pub(super) tests: Vec<Test>,
    pub(super) ceilings: Option<Ceilings>,
    /// Memory beyond the mapped file, where the system says.
    pub(super) own_bytes: Option<u64>,
}

/// One test.
pub(super) struct Test {
    pub(super) speed: Speed,
    pub(super) profile: Option<Breakdown>,
}

/// What the columns of a profile are called, in tables and for programs.
const PHASES: [(&str, &str); 5] = [
    ("matrices", "matmul"),
    ("attention", "attention"),
    ("norms etc.", "norm"),
    ("sampling", "sampling"),
    ("waiting", "wait"),
];

/// The times of a profile, in the order of [`PHASES`].
fn times(profile: &Breakdown) -> [Duration; 5] {
    let phases = profile.phases;
    [phases.matmul, phases.attention, phases.rest, profile.sampling, phases.wait]
}

impl Report<'_> {
    /// Markdown tables, with what they were measured on.
    pub(super) fn markdown(&self) -> String {
        let engine = &self.model.engine;
        let (name, n_bytes, n_parameters) = describe(self.model);
        let mut out = format!(
            "CPU: {}; tier {}; {}; keys and values {}\n",
            cpu_name(),
            engine.kernels().isa(),
            engine.thread_counts(),
            self.session.kv_types()
        );
        if let Some(own) = self.own_bytes {
            let cache = bytes(self.session.cache_bytes());
            out += &format!("Memory: {} beyond the mapped file, of it {cache} keys and values\n", bytes(own));
        }
        if let Some(ceilings) = &self.ceilings {
            out += &describe_ceilings(ceilings);
        }
        let (title, rule) = if self.ceilings.is_some() { (" part |", "--:|") } else { ("", "") };
        out += &format!("\n| model | weights | parameters | test | tokens/s | slowest | fastest |{title}\n");
        out += &format!("|:--|--:|--:|:--|--:|--:|--:|{rule}\n");
        for Test { speed, .. } in &self.tests {
            out += &format!(
                "| {name} | {} | {} | {} | {:.2} | {:.2} | {:.2} |",
                bytes(n_bytes),
                count(n_parameters),
                speed.name(),
                speed.median(),
                speed.min(),
                speed.max(),
            );
            if self.ceilings.is_some() {
                out += &self.part(speed).map_or(" |".to_owned(), |part| format!(" {part:.2} |"));
            }
            out.push('\n');
        }
        out + &self.columns() + &self.profiles()
    }

    /// A table of steps of several columns, and of what they cost over one.
    fn columns(&self) -> String {
        let mut out = String::new();
        for Test { speed, .. } in &self.tests {
            let Some(cost) = self.cost_over_one(speed) else { continue };
            if out.is_empty() {
                out += "\n| columns | ms | time over one | tokens/s over one |\n|:--|--:|--:|--:|\n";
            }
            let (ms, gain) = (1e3 * speed.seconds(), speed.workload.n_tokens() as f64 / cost);
            out += &format!("| {} | {ms:.1} | {cost:.2} | {gain:.2} |\n", speed.name());
        }
        out
    }

    /// The time of columns over that of one at the same depth.
    fn cost_over_one(&self, speed: &Speed) -> Option<f64> {
        let Workload::Columns(_) = speed.workload else { return None };
        let is_one =
            |one: &&Test| one.speed.workload == Workload::Columns(1) && one.speed.depth == speed.depth;
        self.tests.iter().find(is_one).map(|one| speed.seconds() / one.speed.seconds())
    }

    /// A table of milliseconds for each token, and of parts of the whole.
    fn profiles(&self) -> String {
        let mut out = String::new();
        for Test { speed, profile } in &self.tests {
            let Some(profile) = profile else { continue };
            if out.is_empty() {
                let titles: Vec<_> = PHASES.iter().map(|(title, _)| *title).collect();
                out =
                    format!("\n| ms for each token | {} |\n|:--|--:|--:|--:|--:|--:|\n", titles.join(" | "));
            }
            let times = times(profile).map(|time| time.as_secs_f64());
            let total: f64 = times.iter().sum();
            let cell = |time: f64| {
                format!("{:.3} ({:.0} %)", 1e3 * time / profile.n_tokens as f64, 100.0 * time / total)
            };
            out += &format!("| {} | {} |\n", speed.name(), times.map(cell).join(" | "));
        }
        out
    }

    /// One JSON document.
    pub(super) fn json(&self) -> Value {
        let (_, n_bytes, n_parameters) = describe(self.model);
        let engine = &self.model.engine;
        let tests: Vec<_> = self.tests.iter().map(|test| self.test_json(test)).collect();
        let ceilings = self.ceilings.map(|ceilings| {
            json!({
                "read_bytes_per_second": ceilings.bytes_per_second,
                "multiply_adds_per_second": ceilings.multiply_adds_per_second,
                "multiply_adds_for": ceilings.block_type.name(),
            })
        });
        json!({
            "model": engine.file().path(),
            "weight_bytes": n_bytes,
            "parameters": n_parameters,
            "cpu": cpu_name(),
            "isa": engine.kernels().isa().name(),
            "threads": engine.thread_counts().few,
            "prompt_threads": engine.thread_counts().many,
            "batch": self.session.n_batch(),
            "kv_type": self.session.kv_types().to_string(),
            "cache_bytes": self.session.cache_bytes(),
            "own_resident_bytes": self.own_bytes,
            "ceilings": ceilings,
            "tests": tests,
        })
    }

    fn test_json(&self, Test { speed, profile }: &Test) -> Value {
        let profile = profile.map(|profile| {
            let seconds = times(&profile).map(|time| Value::from(time.as_secs_f64()));
            let named = PHASES.iter().map(|(_, name)| format!("{name}_seconds")).zip(seconds);
            Value::Object(named.collect())
        });
        json!({
            "test": speed.name(),
            "depth": speed.depth,
            "n_tokens": speed.workload.n_tokens(),
            "tokens_per_second": speed.median(),
            "slowest": speed.min(),
            "fastest": speed.max(),
            "part_of_ceiling": self.part(speed),
            "time_over_one_column": self.cost_over_one(speed),
            "profile": profile,
            "samples": speed.samples,
        })
    }

    /// A table of comma-separated values, one line for each test; what was not measured is empty.
    pub(super) fn csv(&self) -> String {
        let (name, n_bytes, n_parameters) = describe(self.model);
        let engine = &self.model.engine;
        let mut out = "model,weight_bytes,parameters,cpu,isa,threads,prompt_threads,batch,kv_type,own_resident_bytes,\
                       read_bytes_per_second,multiply_adds_per_second,test,depth,n_tokens,tokens_per_second,slowest,\
                       fastest,part_of_ceiling,time_over_one_column"
            .to_owned();
        PHASES.iter().for_each(|(_, name)| out += &format!(",{name}_seconds"));
        out.push('\n');
        for Test { speed, profile } in &self.tests {
            let optional = |number: Option<f64>| number.map_or(String::new(), |number| number.to_string());
            let mut fields = vec![
                quoted(&name),
                n_bytes.to_string(),
                n_parameters.to_string(),
                quoted(&cpu_name()),
                engine.kernels().isa().to_string(),
                engine.thread_counts().few.to_string(),
                engine.thread_counts().many.to_string(),
                self.session.n_batch().to_string(),
                quoted(&self.session.kv_types().to_string()),
                self.own_bytes.map_or(String::new(), |n| n.to_string()),
                optional(self.ceilings.map(|ceilings| ceilings.bytes_per_second)),
                optional(self.ceilings.and_then(|ceilings| ceilings.multiply_adds_per_second)),
                speed.name(),
                speed.depth.to_string(),
                speed.workload.n_tokens().to_string(),
                speed.median().to_string(),
                speed.min().to_string(),
                speed.max().to_string(),
                optional(self.part(speed)),
                optional(self.cost_over_one(speed)),
            ];
            let seconds = profile.as_ref().map(|profile| times(profile).map(|time| time.as_secs_f64()));
            fields.extend((0..PHASES.len()).map(|i| optional(seconds.map(|seconds| seconds[i]))));
            out += &fields.join(",");
            out.push('\n');
        }
        out
    }

    fn part(&self, speed: &Speed) -> Option<f64> {
        self.ceilings?.part(&Needs::of(&self.model.engine), speed)
    }
}

fn describe_ceilings(ceilings: &Ceilings) -> String {
    let multiply_adds = ceilings.multiply_adds_per_second.map_or(String::new(), |n| {
        let kind = if ceilings.block_type.is_float() { "float" } else { "8-bit" };
        format!(", {:.1} G {kind} multiply-adds/s (for {})", n * 1e-9, ceilings.block_type)
    });
    format!("Ceilings in this run: reading {:.1} GB/s{multiply_adds}\n", ceilings.bytes_per_second * 1e-9)
}

/// The model's name, bytes of its tensors, and parameters.
fn describe(model: &Model<()>) -> (String, u64, u64) {
    let file = model.engine.file();
    let name = file.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let tensors = file.tensors();
    let n_bytes = tensors.iter().map(|tensor| tensor.n_bytes as u64).sum();
    (name, n_bytes, tensors.iter().map(TensorInfo::n_elements).map(|n| n as u64).sum())
}

/// A field of comma-separated values.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The CPU's name as Linux tells it, else its architecture.
fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_separators_are_quoted() {
        assert_eq!(quoted("F16"), "F16");
        assert_eq!(quoted("Q8_0,F16"), "\"Q8_0,F16\"");
        assert_eq!(quoted("a \"b\""), "\"a \"\"b\"\"\"");
    }
}
