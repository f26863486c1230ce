//! Tips for what people type who come from other programs, or try the shortest thing first.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Endings of files that are models.
const MODEL_ENDINGS: [&str; 5] = [".gguf", ".safetensors", ".bin", ".pth", ".index.json"];

/// Short options of llama.cpp with several letters, which are taken for one with a value here, and what to do instead.
const OF_LLAMA_CPP: [(&str, &str); 8] = [
    ("-ngl", "there are no layers on a GPU here: leave -ngl out"),
    ("-fa", "there is one way to compute attention: leave -fa out"),
    ("-cnv", "a conversation is gguf-run chat MODEL"),
    ("-no-cnv", "a text without a conversation is gguf-run complete MODEL -p TEXT"),
    ("-sys", "what the model is told beforehand is given to gguf-run chat by --system TEXT"),
    ("-hf", "a model of the Hugging Face Hub stands in the place of MODEL, as in hf:ORG/NAME"),
    ("-ctk", "the type of cached keys and values is given by --kv-type TYPE"),
    ("-ctv", "the type of cached keys and values is given by --kv-type TYPE"),
];

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
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return None;
    }
    let of_llama_cpp = OF_LLAMA_CPP.iter().find(|(option, _)| args.iter().any(|arg| arg == option));
    if let Some((_, tip)) = of_llama_cpp {
        return Some((*tip).to_owned());
    }
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
                _ if command == Some("chat") && !word.starts_with('-') => Some(
                    "messages are typed, or come from a pipe, as in echo TEXT | gguf-run chat MODEL".into(),
                ),
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
    const OF_TYPES: &str = "the type is named by --type TYPE, as in --type Q8_0";
    let word = context(error, ContextKind::InvalidArg)?;
    if error.kind() == ErrorKind::ValueValidation && word.starts_with("--threads") {
        let value = context(error, ContextKind::InvalidValue)?;
        return value.starts_with(char::is_alphabetic).then(|| OF_TYPES.into());
    }
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    match word {
        "--outfile" => Some("the file to write is named by -o FILE".into()),
        "--outtype" => Some(OF_TYPES.into()),
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
