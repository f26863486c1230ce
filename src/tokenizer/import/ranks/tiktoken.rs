//! Lists of tiktoken: a line for each token, of its bytes in base64 and its rank. What else its model needs stands in
//! that model's code, and here.

use std::collections::HashMap;
use std::path::PathBuf;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::{Ranks, Written};
use crate::checkpoint::Folder;
use crate::error::{Error, Result};
use crate::limits::MAX_JSON_BYTES;
use crate::tokenizer::import::settings::Settings;
use crate::tokenizer::special_ids::Role;

/// The expressions of GPT-4 and its kin differ in how many digits they take together.
const ONE_DIGIT: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+",
    r"|\s+(?!\S)|\s+"
);
const THREE_DIGITS: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+",
    r"|\s+(?!\S)|\s+"
);
const HAN_APART: &str = concat!(
    r"[\p{Han}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// A file of tiktoken and what the code of its model adds.
struct Form {
    name: &'static str,
    pattern: &'static str,
    /// Whether texts are normalised to NFC first.
    is_nfc: bool,
    /// The special tokens behind the ranks, where tokenizer_config.json has none; `None` if they are only there.
    specials: Option<fn(&Settings<'_>) -> Specials>,
}

/// Special tokens, in the order of their ids, and what some of them are for.
struct Specials {
    texts: Vec<String>,
    roles: &'static [(Role, &'static str)],
    /// What comes before every text.
    first: Option<&'static str>,
}

const FORMS: [Form; 4] = [
    // Meta's, and that of ChatGLM 4, which names its special tokens in tokenizer_config.json.
    Form { name: "tokenizer.model", pattern: THREE_DIGITS, is_nfc: false, specials: Some(of_llama) },
    Form { name: "qwen.tiktoken", pattern: ONE_DIGIT, is_nfc: true, specials: Some(of_qwen) },
    Form { name: "hy.tiktoken", pattern: ONE_DIGIT, is_nfc: true, specials: Some(of_hunyuan) },
    // Kimi's.
    Form { name: "tiktoken.model", pattern: HAN_APART, is_nfc: false, specials: None },
];

/// Llama 3's 256. From 3.1 on, whose positions are scaled, some of those reserved have names; the numbers of the
/// others are those of transformers' checkpoints.
fn of_llama(settings: &Settings<'_>) -> Specials {
    const NAMED: [(usize, &str); 7] = [
        (0, "<|begin_of_text|>"),
        (1, "<|end_of_text|>"),
        (6, "<|start_header_id|>"),
        (7, "<|end_header_id|>"),
        (9, "<|eot_id|>"),
        (8, "<|eom_id|>"),
        (10, "<|python_tag|>"),
    ];
    const PADDING: (usize, &str) = (4, "<|finetune_right_pad_id|>");
    let is_newer = settings.has_scaled_positions();
    let n_named = if is_newer { NAMED.len() } else { NAMED.len() - 2 };
    let named = NAMED[..n_named].iter().chain(is_newer.then_some(&PADDING));
    let named: HashMap<usize, &str> = named.copied().collect();
    let mut n_reserved = 0;
    let texts = (0..256).map(|i| match named.get(&i) {
        Some(text) => (*text).to_owned(),
        None => {
            n_reserved += 1;
            format!("<|reserved_special_token_{}|>", n_reserved - 1)
        }
    });
    Specials {
        texts: texts.collect(),
        roles: &[
            (Role::Bos, "<|begin_of_text|>"),
            (Role::Eos, "<|end_of_text|>"),
            (Role::Padding, "<|finetune_right_pad_id|>"),
        ],
        first: Some("<|begin_of_text|>"),
    }
}

fn of_qwen(_: &Settings<'_>) -> Specials {
    let named = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    Specials {
        texts: named.into_iter().map(str::to_owned).chain(extras()).collect(),
        roles: &[(Role::Eos, "<|endoftext|>")],
        first: None,
    }
}

fn of_hunyuan(_: &Settings<'_>) -> Specials {
    let named = ["<|endoftext|>", "<|startoftext|>", "<|bos|>", "<|eos|>", "<|pad|>"];
    Specials {
        texts: named.into_iter().map(str::to_owned).chain(extras()).collect(),
        roles: &[(Role::Bos, "<|startoftext|>"), (Role::Eos, "<|eos|>"), (Role::Padding, "<|pad|>")],
        first: None,
    }
}

fn extras() -> impl Iterator<Item = String> {
    (0..205).map(|i| format!("<|extra_{i}|>"))
}

/// The first of these files in `folder`, for a model with `n_vocab` rows.
///
/// # Errors
/// As [`Ranks::open`].
pub(super) fn open(folder: &Folder, settings: &Settings<'_>, n_vocab: usize) -> Result<Option<Ranks>> {
    for form in &FORMS {
        let Some(bytes) = folder.read(form.name, MAX_JSON_BYTES)? else { continue };
        let path = folder.join(form.name);
        // SentencePiece's tokenizer.model is not a text.
        match std::str::from_utf8(&bytes) {
            Ok(text) if text.lines().next().is_some_and(|line| token_of(line).is_some()) => {
                return parse(path, text, form, settings, n_vocab).map(Some);
            }
            _ => {}
        }
    }
    Ok(None)
}

/// The bytes and the rank of a line.
fn token_of(line: &str) -> Option<(Vec<u8>, usize)> {
    let (bytes, rank) = line.trim_end().split_once(' ')?;
    let bytes = BASE64_STANDARD.decode(bytes).ok().filter(|bytes| !bytes.is_empty())?;
    Some((bytes, rank.parse().ok()?))
}

fn parse(path: PathBuf, text: &str, form: &Form, settings: &Settings<'_>, n_vocab: usize) -> Result<Ranks> {
    let mut tokens = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let token = token_of(line).ok_or_else(|| {
            Error::malformed(&path, format!("line {} is not a token in base64 and its rank", i + 1))
        })?;
        tokens.push(token);
    }
    let first_special = tokens.iter().map(|(_, rank)| rank.saturating_add(1)).max().unwrap_or(0);
    let specials = match form.specials {
        _ if !settings.added_tokens()?.is_empty() => Specials { texts: Vec::new(), roles: &[], first: None },
        Some(specials) => specials(settings),
        None => {
            let what = "the file does not have the special tokens of its model; download tokenizer_config.json \
                        beside it, which does";
            return Err(Error::unsupported(path, what));
        }
    };
    let n_room = n_vocab.saturating_sub(first_special);
    let listed = specials.texts.iter().take(n_room).enumerate();
    let added: Vec<(usize, &str)> = listed.map(|(i, text)| (first_special + i, text.as_str())).collect();
    let written = Written { pattern: form.pattern, is_nfc: form.is_nfc, first: specials.first };
    written.ranks(path, &tokens, &added, specials.roles)
}
