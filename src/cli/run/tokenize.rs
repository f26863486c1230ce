//! `gguf-run tokenize`: shows the tokens of a text.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::input::read_text;
use super::locate::{Located, locate};
use crate::checkpoint::{Config, Folder};
use crate::cli::output::{show, show_json};
use crate::error::{Error, Result};
use crate::gguf::GgufFile;
use crate::limits;
use crate::paths::folder_of;
use crate::tokenizer::{Tokenizer, Vocabulary};

/// Show the tokens of a text.
///
/// Prints one token a line: its number, and its piece of the vocabulary in quotes. Needs no weights:
/// vocabulary-only GGUF files and folders with just the tokenizer files of a checkpoint do.
#[derive(clap::Args, Debug)]
// The order that clap would give, with the group of texts first, is not the one it takes.
#[command(after_help = EXAMPLES, override_usage = "gguf-run tokenize [OPTIONS] <MODEL> <TEXT|--file <FILE>>")]
pub(super) struct Args {
    /// A GGUF file, or a checkpoint: a folder, a .safetensors file or a model.safetensors.index.json
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    text: TextArgs,
    /// Do not add the tokens that the model wants at the beginning or the end of a text
    #[arg(long)]
    no_special: bool,
    /// Read special tokens that are spelled out in the text, such as <|eot_id|>, as such
    #[arg(long)]
    parse_special: bool,
    /// Print the numbers only, on one line
    #[arg(long, conflicts_with = "json")]
    ids: bool,
    /// Print a JSON array of objects: `id`, `piece` (what it shows) and `token` (as the vocabulary spells it)
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  gguf-run tokenize model.gguf \"Once upon a time\"
  gguf-run tokenize model.gguf -f text.txt --ids
  echo -n \"<|eot_id|>\" | gguf-run tokenize path/to/checkpoint - --parse-special --no-special";

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct TextArgs {
    /// The text; - reads standard input
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,
    /// A file with the text, taken as it is, with its last newline
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs the subcommand.
///
/// # Errors
/// Any.
pub(super) fn run(args: &Args) -> Result<()> {
    let text = match (&args.text.text, &args.text.file) {
        (Some(text), _) if text == "-" => read_text("-".as_ref())?,
        (Some(text), _) => text.clone(),
        (None, Some(file)) => read_text(file)?,
        (None, None) => return Err(Error::usage("a text is needed: as an argument or by -f FILE")),
    };
    let tokenizer = open_tokenizer(&args.model)?;
    let ids = tokenizer.encode(&text, !args.no_special, args.parse_special)?;
    if args.ids {
        let ids: Vec<_> = ids.iter().map(u32::to_string).collect();
        return show(&format!("{}\n", ids.join(" ")));
    }
    let piece = |id: u32| tokenizer.piece(id).unwrap_or_default();
    if args.json {
        let tokens = ids
            .iter()
            .map(|&id| json!({ "id": id, "piece": piece(id), "token": tokenizer.token_text(id) }))
            .collect();
        return show_json(&serde_json::Value::Array(tokens));
    }
    let lines: String = ids.iter().map(|&id| format!("{id:>7} {:?}\n", piece(id))).collect();
    show(&lines)
}

/// The tokenizer of a GGUF file or of a checkpoint, whose weights are not looked at.
fn open_tokenizer(path: &Path) -> Result<Tokenizer> {
    match locate(path, false)? {
        Located::Gguf(path) => Tokenizer::from_metadata(GgufFile::open(&path)?.metadata()),
        Located::Checkpoint(path) => {
            let folder = if path.is_dir() { &path } else { folder_of(&path) };
            let config = Config::open(&folder.join("config.json"))?;
            let n_vocab = config.required_count("vocab_size")?;
            if n_vocab > limits::MAX_VOCAB {
                let what = format!("vocab_size is {n_vocab}; at most {} are read", limits::MAX_VOCAB);
                return Err(Error::malformed(config.path(), what));
            }
            Tokenizer::new(Vocabulary::from_checkpoint(&Folder::new(folder), &config, n_vocab)?)
        }
    }
}
