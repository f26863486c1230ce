//! The model card beside the files (`--model-card`): what they are made of, how, and what that cost.
//!
//! Nothing is written that is not known: licence, base models, tags and languages are those that the files carry, sizes
//! and errors those of this conversion, and the command is the one that was given, but for the folders of absolute paths.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::output;
use crate::convert::{Plan, Summary};
use crate::error::{Error, Result};
use crate::gguf::{GgufFile, Metadata};
use crate::model::spec::ModelSpec;
use crate::new_file::{NewFile, free_target};
use crate::paths::folder_of;
use crate::printable;
use crate::quantize::ErrorStats;

/// What the hub calls a model card.
const NAME: &str = "README.md";

/// Where repositories are found.
const HUB: &str = "https://huggingface.co/";

/// A card to be written when the files are.
pub(super) struct ModelCard {
    path: PathBuf,
    overwrite: bool,
    source: Source,
    use_of: Use,
    warnings: Vec<String>,
}

/// What was converted.
enum Source {
    /// A revision of a repository of the hub.
    Repository { name: String, commit: String },
    /// A folder or a file of this name.
    Local(String),
}

/// What a model is for.
enum Use {
    Text,
    Streams,
    Ranks,
}

impl ModelCard {
    /// The card of files that are made of `input` and written beside `output`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is a README.md and it is not to be replaced, or it is that of `input`.
    pub(super) fn new(input: &Path, plan: &Plan<'_>, output: &Path, overwrite: bool) -> Result<Self> {
        let path = output.with_file_name(NAME);
        let source = if input.is_dir() { input } else { folder_of(input) };
        if is_same_folder(source, folder_of(&path)) && (input.is_dir() || path.exists()) {
            return Err(Error::usage(format!(
                "--model-card would write {} beside {}, where that name is for the card of the file or the folder that is \
                 converted; write to another folder with -o",
                path.display(),
                input.display()
            )));
        }
        free_target(&path, NAME, overwrite)?;
        let warnings = plan.warnings().to_vec();
        Ok(Self { path, overwrite, source: Source::of(input), use_of: Use::of(plan.spec()), warnings })
    }

    /// Writes the card of finished files. Returns where.
    ///
    /// # Errors
    /// As [`GgufFile::open`] and [`NewFile::write`].
    pub(super) fn write(&self, summaries: &[Summary]) -> Result<&Path> {
        let file = GgufFile::open(&summaries[0].paths[0])?;
        let command: Vec<OsString> = std::env::args_os().skip(1).collect();
        let text = self.text(&Facts::of(file.metadata())?, summaries, &command);
        let target = free_target(&self.path, NAME, self.overwrite)?;
        NewFile::write(target, &self.path, text.as_bytes(), self.overwrite)?;
        Ok(&self.path)
    }

    fn text(&self, facts: &Facts, summaries: &[Summary], command: &[OsString]) -> String {
        let mut text = self.front_matter(facts);
        let source = match &self.source {
            Source::Repository { name, commit } => {
                format!("[{name}]({HUB}{name}) (commit `{commit}`)")
            }
            Source::Local(name) => code(name),
        };
        let name = facts.name.as_deref().unwrap_or("Model");
        let _ = write!(text, "# {} in GGUF\n\nMade of {source}", prose(name));
        if let (Source::Local(_), false) = (&self.source, facts.base_models.is_empty()) {
            let _ =
                write!(text, ", whose card names {} as what it is based on", facts.base_models.join(", "));
        }
        let _ = writeln!(text, ", by gguf-kit {}.\n", env!("CARGO_PKG_VERSION"));
        let license = facts.license.as_deref().map_or_else(
            || "Licence: the source does not state one.".to_owned(),
            |license| {
                format!(
                    "Licence: {}, as the source has it.",
                    prose(facts.license_name.as_deref().unwrap_or(license))
                )
            },
        );
        let _ = writeln!(text, "{license}\n\n## Files\n");
        self.files(&mut text, summaries);
        let _ = writeln!(text, "\n## How they were made\n\n```sh\n{}\n```", command_line(command));
        if let Some(matrix) = &facts.imatrix {
            let _ = writeln!(text, "\nColumns count by the importance matrix {}.", code(matrix));
        }
        if !self.warnings.is_empty() {
            text.push_str("\nWhat the program noted:\n\n");
        }
        for note in &self.warnings {
            let _ = writeln!(text, "- {}", prose(note));
        }
        let _ = writeln!(text, "\n## How to run them\n\n```sh\n{}```", self.run(facts, &summaries[0]));
        text
    }

    /// Strings are written as JSON, which YAML reads.
    fn front_matter(&self, facts: &Facts) -> String {
        let mut lines = vec!["---".to_owned()];
        let mut put = |key: &str, value: Value| match value {
            Value::Array(all) if all.is_empty() => {}
            Value::Array(all) => {
                lines.push(format!("{key}:"));
                lines.extend(all.iter().map(|value| format!("- {value}")));
            }
            Value::Null => {}
            value => lines.push(format!("{key}: {value}")),
        };
        match &self.source {
            Source::Repository { name, .. } => {
                put("base_model", json!([name]));
                put("base_model_relation", json!("quantized"));
            }
            Source::Local(_) => put("base_model", json!(facts.base_models)),
        }
        put("license", json!(facts.license));
        put("license_name", json!(facts.license_name));
        put("license_link", json!(facts.license_link));
        put("language", json!(facts.languages));
        let mut tags = facts.tags.clone();
        if !tags.iter().any(|tag| tag == "gguf") {
            tags.push("gguf".into());
        }
        put("tags", json!(tags));
        lines.push("---\n\n".to_owned());
        lines.join("\n")
    }

    fn files(&self, text: &mut String, summaries: &[Summary]) {
        text.push_str(
            "| file | type | bytes | bits per weight | error |\n| --- | --- | ---: | ---: | ---: |\n",
        );
        for summary in summaries {
            let name = summary.paths[0].file_name().unwrap_or_default().to_string_lossy();
            let more = summary.paths.len() - 1;
            let more = if more > 0 { format!(" and {more} more parts") } else { String::new() };
            let _ = writeln!(
                text,
                "| {}{more} | {} | {} | {:.3} | {} |",
                code(&name),
                summary.file_type,
                output::count(summary.file_bytes),
                summary.bits_per_weight,
                output::percent(summary.error().relative_rmse())
            );
        }
        text.push_str(
            "\nErrors are root mean squares over those of the weights, measured against the source while converting.\n",
        );
        if let Some(source) = summaries[0].source_error {
            let _ = writeln!(
                text,
                "The codes that the source itself has had cost about {} before.",
                output::percent(source)
            );
        } else if summaries[0].is_requantised {
            text.push_str("The source was quantised already: what that had lost is not in these figures.\n");
        }
        for summary in summaries {
            let _ = writeln!(text, "\n{} holds:\n", summary.file_type);
            text.push_str("| type | tensors | bytes | error |\n| --- | ---: | ---: | ---: |\n");
            for (name, n, n_bytes, error) in by_type(summary) {
                let share = error.relative_rmse();
                let error = if share > 0.0 { output::percent(share) } else { "none".to_owned() };
                let _ = writeln!(text, "| {name} | {n} | {} | {error} |", output::count(n_bytes));
            }
            if let Some(calibration) = &summary.calibration {
                let _ =
                    writeln!(text, "\nIts codes were chosen by calibration: {}.", prose(&calibration.what));
            }
            if summary.proof.is_some() {
                text.push_str("\nThe file holds these figures and a hash of each tensor: `gguf-run inspect --verify FILE`.\n");
            }
        }
    }

    /// Commands that run the first file.
    fn run(&self, facts: &Facts, summary: &Summary) -> String {
        let path = summary.paths[0].file_name().unwrap_or_default().to_os_string();
        let file = quoted(&path.to_string_lossy());
        match self.use_of {
            Use::Text if facts.has_template => {
                format!("gguf-run chat {file}\nllama-cli -m {file}\n")
            }
            Use::Text => format!(
                "gguf-run complete {file} -p \"Once upon a time\"\nllama-cli -m {file} -p \"Once upon a time\"\n"
            ),
            Use::Streams => {
                format!("gguf-run embed {file} \"a text\"\nllama-embedding -m {file} -p \"a text\"\n")
            }
            Use::Ranks => format!("gguf-run rerank {file} \"a question\" \"a text\" \"another text\"\n"),
        }
    }
}

impl Source {
    /// A snapshot in the cache of the hub's programs says what it is of.
    fn of(input: &Path) -> Self {
        let path = std::path::absolute(input).unwrap_or_else(|_| input.to_owned());
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        let repository = parts.windows(3).find_map(|part| {
            let name = part[0].strip_prefix("models--").filter(|_| part[1] == "snapshots")?;
            Some(Self::Repository { name: name.replacen("--", "/", 1), commit: part[2].to_string() })
        });
        repository
            .unwrap_or_else(|| Self::Local(parts.last().map_or_else(String::new, |name| name.to_string())))
    }
}

impl Use {
    fn of(spec: &ModelSpec) -> Self {
        match (spec.pooled.ranks, spec.head.has_logits) {
            (true, _) => Self::Ranks,
            (false, true) => Self::Text,
            (false, false) => Self::Streams,
        }
    }
}

/// What a file says of its model.
#[derive(Default)]
struct Facts {
    name: Option<String>,
    license: Option<String>,
    license_name: Option<String>,
    license_link: Option<String>,
    base_models: Vec<String>,
    languages: Vec<String>,
    tags: Vec<String>,
    imatrix: Option<String>,
    has_template: bool,
}

impl Facts {
    fn of(metadata: &Metadata) -> Result<Self> {
        let text = |key: &str| Ok::<_, Error>(metadata.string(key)?.map(str::to_owned));
        let list = |key: &str| {
            Ok::<_, Error>(
                metadata.strings(key)?.map_or_else(Vec::new, |all| all.map(str::to_owned).collect()),
            )
        };
        let n_base = metadata.count("general.base_model.count")?.unwrap_or(0);
        let base_models = (0..n_base.min(metadata.keys().len()))
            .map(|i| text(&format!("general.base_model.{i}.repo_url")))
            .filter_map(Result::transpose)
            .map(|url| url.map(|url| url.strip_prefix(HUB).unwrap_or(&url).to_owned()));
        let imatrix = text("quantize.imatrix.file")?;
        Ok(Self {
            name: text("general.name")?,
            license: text("general.license")?,
            license_name: text("general.license.name")?,
            license_link: text("general.license.link")?,
            base_models: base_models.collect::<Result<_>>()?,
            languages: list("general.languages")?,
            tags: list("general.tags")?,
            // Its name is enough: the folder tells of the machine, not of the model.
            imatrix: imatrix
                .map(|path| Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned()),
            has_template: metadata.contains("tokenizer.chat_template"),
        })
    }
}

/// Tensors, bytes and error of each block type, in the order of the file.
fn by_type(summary: &Summary) -> Vec<(Cow<'static, str>, usize, u64, ErrorStats)> {
    let mut types: Vec<(Cow<'_, str>, usize, u64, ErrorStats)> = Vec::new();
    for tensor in &summary.tensors {
        let name = tensor.ty.name();
        let place = types.iter().position(|known| known.0 == name).unwrap_or_else(|| {
            types.push((name, 0, 0, ErrorStats::default()));
            types.len() - 1
        });
        let (_, n, n_bytes, error) = &mut types[place];
        *n += 1;
        *n_bytes += tensor.n_bytes;
        error.merge(&tensor.error);
    }
    types
}

/// Whether two folders that are there are one.
fn is_same_folder(a: &Path, b: &Path) -> bool {
    a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}

/// A command of a shell. Of absolute paths it has the last part: the rest says where files lie on one machine.
fn command_line(args: &[OsString]) -> String {
    let last_part = |word: &str| {
        let path = Path::new(word);
        let name = path.file_name().filter(|_| path.is_absolute());
        name.map_or_else(|| word.to_owned(), |name| name.to_string_lossy().into_owned())
    };
    let words = args.iter().map(|word| {
        let word = word.to_string_lossy();
        quoted(&match word.split_once('=') {
            Some((option, path)) if option.starts_with("--") => format!("{option}={}", last_part(path)),
            _ => last_part(&word),
        })
    });
    std::iter::once("gguf-convert".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
    let word = printable::line(word);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Text in a line of Markdown that means nothing there but itself.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for c in printable::line(text).chars() {
        if "\\`*_[]<>#|".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A name in a line or in a table of Markdown.
fn code(text: &str) -> String {
    let text = printable::line(text).replace('|', "\\|");
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_as_they_were() {
        let args = ["m.gguf", "--tensor-type", "ffn_down=Q6_K", "it's; $HOME", ""].map(OsString::from);
        assert_eq!(
            command_line(&args),
            "gguf-convert m.gguf --tensor-type ffn_down=Q6_K 'it'\\''s; $HOME' ''"
        );
    }

    #[test]
    fn the_command_does_not_tell_where_files_lie_on_one_machine() {
        let args =
            ["/home/hans/m", "--imatrix=/home/hans/i.gguf", "-o", "out/m.gguf", "/"].map(OsString::from);
        assert_eq!(command_line(&args), "gguf-convert m --imatrix=i.gguf -o out/m.gguf /");
    }

    #[test]
    fn a_snapshot_of_the_hub_is_known_by_its_path() {
        let of = |path: &str| match Source::of(Path::new(path)) {
            Source::Repository { name, commit } => format!("{name} {commit}"),
            Source::Local(name) => name,
        };
        assert_eq!(of("/c/hub/models--a--b-1--c/snapshots/0f/x.gguf"), "a/b-1--c 0f");
        assert_eq!(of("/models/Tiny-1"), "Tiny-1");
    }

    #[test]
    fn what_markdown_would_take_for_more_is_escaped() {
        assert_eq!(prose("a_b <x> | #1"), "a\\_b \\<x\\> \\| \\#1");
        assert_eq!(code("a|b"), "`a\\|b`");
    }
}
