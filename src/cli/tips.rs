//! Tips for what people type who come from other programs, or try the shortest thing first.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Endings of files that are models.
const MODEL_ENDINGS: [&str; 5] = [".gguf", ".safetensors", ".bin", ".pth", ".index.json"];

/// What clap found wrong with the arguments of `gguf-run`, with a tip where one is known.
pub(super) fn of_run(error: clap::Error) -> clap::Error {
    let args: Vec<OsString> = std::env::args_os().collect();
    let tip = run_tip(&error, &args);
    with_tip(error, tip)
}

/// What clap found wrong with the arguments of `gguf-convert`, with a tip where one is known.
pub(super) fn of_convert(error: clap::Error) -> clap::Error {
    let tip = convert_tip(&error);
    with_tip(error, tip)
}

fn with_tip(mut error: clap::Error, tip: Option<String>) -> clap::Error {
    if let Some(tip) = tip {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

fn run_tip(error: &clap::Error, args: &[OsString]) -> Option<String> {
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = context(error, ContextKind::InvalidSubcommand)?;
            if is_like_a_model(word) {
                Some(format!(
                    "to talk with a model: gguf-run chat {word}; to continue a text: gguf-run complete {word} -p TEXT"
                ))
            } else if error.get(ContextKind::SuggestedSubcommand).is_none() {
                Some("gguf-run chat MODEL talks with a model, gguf-run complete MODEL -p TEXT continues a text".into())
            } else {
                None
            }
        }
        ErrorKind::UnknownArgument => {
            let word = context(error, ContextKind::InvalidArg)?;
            let command = args.get(1).and_then(|arg| arg.to_str()).filter(|arg| !arg.starts_with('-'));
            match word {
                "-m" | "--model" => Some(format!(
                    "the model has no option before it, as in gguf-run {} MODEL",
                    command.unwrap_or("chat")
                )),
                _ if command == Some("complete") && !word.starts_with('-') => {
                    Some("the text to continue is given by -p TEXT, or by -f FILE".into())
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn convert_tip(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let word = context(error, ContextKind::InvalidArg)?;
    match word {
        "--outfile" => Some("the file to write is named by -o FILE".into()),
        "--outtype" => Some("the type is named by --type TYPE, as in --type Q8_0".into()),
        "-m" | "--model" => {
            Some("the model has no option before it, as in gguf-convert MODEL --type Q4_K_M".into())
        }
        _ if !word.starts_with('-') => {
            Some("the file to write is named by -o FILE, and its type by --type TYPE".into())
        }
        _ => None,
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

fn is_like_a_model(word: &str) -> bool {
    let lower = word.to_lowercase();
    word.starts_with("hf:")
        || MODEL_ENDINGS.iter().any(|end| lower.ends_with(end))
        || Path::new(word).exists()
}
