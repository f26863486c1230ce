//! Vocabularies whose files list the bytes of every token by rank: tiktoken's, and Mistral's tekken.json.
//!
//! A piece of text that is a token becomes that token. Of another one the neighbours are joined whose bytes
//! together are the token of the lowest rank, and so on until none are. A byte-level BPE of tokenizer.json does the
//! same if it ignores merges for whole pieces and has as its merges, by rank, every pair of tokens whose bytes
//! together are a token. So these files are written as a tokenizer.json, and everything behind is that of one, the
//! proof in the `tokenizers` library included.
//!
//! What a file of tiktoken leaves out, the expression that cuts texts and the special tokens, stands in the code of
//! its model; [`FORMS`] has it. Special tokens in tokenizer_config.json go before.
//!
//! Sources: the tokenizer code of llama-models, Qwen, HunYuan, ChatGLM 4, Kimi K2 and mistral-common; the conversion
//! of tiktoken's files in transformers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::settings::Settings;
use super::tokenizer_json::TokenizerJson;
use crate::checkpoint::Folder;
use crate::error::{Error, Result};
use crate::limits::MAX_JSON_BYTES;
use crate::tokenizer::byte_chars;
use crate::tokenizer::special_ids::Role;

/// Mistral's file.
const TEKKEN: &str = "tekken.json";

/// Bytes of a token at most: the longest published ones have 128.
const MAX_TOKEN_BYTES: usize = 512;

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

/// The first special tokens of tekken.json before version 7, which does not list them.
const TEKKEN_SPECIALS: [&str; 20] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];

const TEKKEN_ROLES: [(Role, &str); 4] =
    [(Role::Unknown, "<unk>"), (Role::Bos, "<s>"), (Role::Eos, "</s>"), (Role::Padding, "<pad>")];

/// A list of ranks, as a tokenizer.json.
pub(super) struct Ranks {
    path: PathBuf,
    /// The text of a tokenizer.json of the same meaning.
    pub(super) text: String,
    /// Tokens with roles, where no file beside it names them.
    pub(super) roles: Vec<(Role, Option<u32>)>,
}

impl Ranks {
    /// The list in `folder`, if there is one, for a model with `n_vocab` rows.
    ///
    /// # Errors
    /// `Malformed` for a file that is not of its form; `Unsupported` where nothing names its special tokens; `Io` and
    /// `Limit` as they come.
    pub(super) fn open(folder: &Folder, settings: &Settings<'_>, n_vocab: usize) -> Result<Option<Self>> {
        if let Some(text) = folder.read_text(TEKKEN, MAX_JSON_BYTES)? {
            return of_tekken(folder.join(TEKKEN), &text).map(Some);
        }
        for form in &FORMS {
            let Some(bytes) = folder.read(form.name, MAX_JSON_BYTES)? else { continue };
            let path = folder.join(form.name);
            // SentencePiece's tokenizer.model is no text.
            match std::str::from_utf8(&bytes) {
                Ok(text) if text.lines().next().is_some_and(|line| token_of(line).is_some()) => {
                    return of_tiktoken(path, text, form, settings, n_vocab).map(Some);
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Parses what it was written as.
    ///
    /// # Errors
    /// As [`TokenizerJson::parse`].
    pub(super) fn json(&self) -> Result<TokenizerJson> {
        TokenizerJson::parse(&self.path, &self.text)
    }
}

/// The bytes and the rank of a line.
fn token_of(line: &str) -> Option<(Vec<u8>, usize)> {
    let (bytes, rank) = line.trim_end().split_once(' ')?;
    let bytes = BASE64_STANDARD.decode(bytes).ok().filter(|bytes| !bytes.is_empty())?;
    Some((bytes, rank.parse().ok()?))
}

fn of_tiktoken(
    path: PathBuf,
    text: &str,
    form: &Form,
    settings: &Settings<'_>,
    n_vocab: usize,
) -> Result<Ranks> {
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
    written.ranks(path, tokens, &added, specials.roles)
}

/// What tekken.json says.
#[derive(Deserialize)]
struct Tekken {
    config: TekkenConfig,
    vocab: Vec<TekkenToken>,
    #[serde(default)]
    special_tokens: Option<Vec<TekkenSpecial>>,
}

#[derive(Deserialize)]
struct TekkenConfig {
    pattern: String,
    default_vocab_size: usize,
    default_num_special_tokens: usize,
}

#[derive(Deserialize)]
struct TekkenToken {
    rank: usize,
    token_bytes: String,
}

#[derive(Deserialize)]
struct TekkenSpecial {
    rank: usize,
    token_str: String,
}

fn of_tekken(path: PathBuf, text: &str) -> Result<Ranks> {
    let tekken: Tekken =
        serde_json::from_str(text).map_err(|e| Error::malformed(&path, format!("not a tekken.json: {e}")))?;
    let n_special = tekken.config.default_num_special_tokens;
    let n_words = tekken.config.default_vocab_size.saturating_sub(n_special);
    let named: HashMap<usize, &str> = match &tekken.special_tokens {
        Some(list) => list.iter().map(|token| (token.rank, token.token_str.as_str())).collect(),
        None => TEKKEN_SPECIALS.into_iter().enumerate().collect(),
    };
    if let Some(rank) = named.keys().find(|&&rank| rank >= n_special) {
        let what =
            format!("special token {rank}, of {n_special} that default_num_special_tokens says there are");
        return Err(Error::malformed(path, what));
    }
    // Words of higher ranks serve other sizes of the vocabulary.
    let words = tekken.vocab.iter().filter(|token| token.rank < n_words);
    let tokens = words.map(|token| {
        let bytes = BASE64_STANDARD.decode(&token.token_bytes).ok().filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or_else(|| {
            Error::malformed(&path, format!("the bytes of token {} are not in base64", token.rank))
        })?;
        Ok((bytes, token.rank + n_special))
    });
    let tokens = tokens.collect::<Result<Vec<_>>>()?;
    if n_special > tokens.len() + named.len() + MAX_FILLERS {
        let what = format!("default_num_special_tokens is {n_special}, far more than it has tokens");
        return Err(Error::malformed(path, what));
    }
    let texts: Vec<String> = (0..n_special)
        .map(|i| named.get(&i).map_or_else(|| format!("<SPECIAL_{i}>"), |text| (*text).to_owned()))
        .collect();
    let added: Vec<(usize, &str)> = texts.iter().map(String::as_str).enumerate().collect();
    let written = Written { pattern: &tekken.config.pattern, is_nfc: false, first: Some("<s>") };
    written.ranks(path, tokens, &added, &TEKKEN_ROLES)
}

/// Special tokens without a name, at most: files have room for a thousand.
const MAX_FILLERS: usize = 1 << 16;

/// What a tokenizer.json says beside its tokens.
struct Written<'a> {
    pattern: &'a str,
    is_nfc: bool,
    first: Option<&'a str>,
}

impl Written<'_> {
    /// The tokenizer.json of `tokens`, their bytes and ids, and `added` ones.
    fn ranks(
        &self,
        path: PathBuf,
        tokens: Vec<(Vec<u8>, usize)>,
        added: &[(usize, &str)],
        roles: &[(Role, &str)],
    ) -> Result<Ranks> {
        let merges = merges(&path, &tokens)?;
        let id_of = |text: &str| added.iter().find(|(_, other)| *other == text).map(|&(id, _)| id as u32);
        let special = |&(id, text): &(usize, &str)| {
            json!({
                "id": id, "content": text, "special": true,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            })
        };
        let first = self.first.filter(|text| id_of(text).is_some());
        let template = first.map(|text| {
            json!({
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": text, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [
                    {"SpecialToken": {"id": text, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": text, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}},
                ],
                "special_tokens": {text: {"id": text, "ids": [id_of(text)], "tokens": [text]}},
            })
        });
        let mut vocab: serde_json::Map<String, Value> =
            tokens.iter().map(|(bytes, id)| (byte_chars::text_of(bytes), json!(id))).collect();
        if vocab.len() < tokens.len() {
            return Err(Error::malformed(path, "two tokens have the same bytes"));
        }
        // The library gives added tokens that are not in the vocabulary ids behind it.
        for (id, text) in added {
            vocab.entry(*text).or_insert(json!(id));
        }
        let in_bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let split = json!({
            "type": "Split", "pattern": {"Regex": self.pattern}, "behavior": "Isolated", "invert": false,
        });
        let text = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added.iter().map(special).collect::<Vec<_>>(),
            "normalizer": self.is_nfc.then(|| json!({"type": "NFC"})),
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, in_bytes(false)]},
            "post_processor": template,
            "decoder": in_bytes(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
                "vocab": vocab, "merges": merges,
            },
        });
        let roles = roles.iter().map(|(role, text)| (*role, id_of(text)));
        Ok(Ranks { path, text: text.to_string(), roles: roles.collect() })
    }
}

/// Every pair of tokens whose bytes together are a token, in the order of that token's id, then of their own.
fn merges(path: &Path, tokens: &[(Vec<u8>, usize)]) -> Result<Vec<[String; 2]>> {
    let ids: HashMap<&[u8], usize> = tokens.iter().map(|(bytes, id)| (bytes.as_slice(), *id)).collect();
    let mut pairs = Vec::new();
    for (bytes, id) in tokens {
        if bytes.len() > MAX_TOKEN_BYTES {
            let what = format!("token {id} has {} bytes; at most {MAX_TOKEN_BYTES} are read", bytes.len());
            return Err(Error::malformed(path, what));
        }
        for at in 1..bytes.len() {
            let (left, right) = bytes.split_at(at);
            if let (Some(&a), Some(&b)) = (ids.get(left), ids.get(right)) {
                pairs.push(((*id, a, b), [left, right]));
            }
        }
    }
    pairs.sort_unstable_by_key(|(order, _)| *order);
    Ok(pairs.into_iter().map(|(_, halves)| halves.map(byte_chars::text_of)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::checkpoint::Config;
    use crate::tokenizer::import::Proof;
    use crate::tokenizer::vocabulary::{TokenType, Vocabulary};
    use crate::tokenizer::{Kind, Tokenizer};

    /// Every byte, then these tokens, in tiktoken's lines.
    const WORDS: [&str; 12] = ["th", "he", "the", " t", " th", " the", "ab", "bab", "aba", "  ", "12", "123"];

    fn lines() -> String {
        let bytes = (0..=255u8).map(|byte| vec![byte]);
        let tokens = bytes.chain(WORDS.iter().map(|word| word.as_bytes().to_vec()));
        tokens.enumerate().map(|(i, bytes)| format!("{} {i}\n", BASE64_STANDARD.encode(bytes))).collect()
    }

    struct Imported {
        vocabulary: Vocabulary,
        proof: Proof,
    }

    /// The vocabulary of a folder of these files, which must prove itself.
    fn import(files: &[(&str, &str)], n_vocab: usize) -> Result<Imported> {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        let config = files.iter().find(|(name, _)| *name == "config.json").map_or("{}", |(_, text)| text);
        let config = Config::parse(Path::new("config.json"), config).unwrap();
        let folder = Folder::new(dir.path());
        let vocabulary = Vocabulary::from_checkpoint(&folder, &config, n_vocab)?;
        let tokenizer = Tokenizer::new(vocabulary.clone()).unwrap();
        let proof = Proof::of(&tokenizer, &folder, &config)?;
        assert_eq!((&proof.unchecked, proof.differences.as_slice()), (&None, &[][..]));
        assert!(proof.n_texts > 150, "{}", proof.n_texts);
        Ok(Imported { vocabulary, proof })
    }

    /// Joins the neighbours of the lowest rank, over and over: what tiktoken does with a piece.
    fn joined(piece: &[u8]) -> Vec<usize> {
        let rank = |bytes: &[u8]| match bytes {
            [byte] => Some(usize::from(*byte)),
            _ => WORDS.iter().position(|word| word.as_bytes() == bytes).map(|i| 256 + i),
        };
        let mut parts: Vec<Vec<u8>> = piece.iter().map(|&byte| vec![byte]).collect();
        let best = |parts: &[Vec<u8>]| {
            let joint = |i: usize| rank(&parts[i..i + 2].concat()).map(|rank| (rank, i));
            (0..parts.len().saturating_sub(1)).filter_map(joint).min()
        };
        while let Some((_, at)) = best(&parts) {
            let right = parts.remove(at + 1);
            parts[at].extend(right);
        }
        parts.iter().filter_map(|part| rank(part)).collect()
    }

    #[test]
    fn metas_vocabulary_has_the_special_tokens_of_its_generation() {
        let text = lines();
        let n = 256 + WORDS.len();
        let old = import(&[("tokenizer.model", &text)], n + 256).unwrap().vocabulary;
        assert_eq!((old.kind(), old.pre_tokenizer()), (Kind::ByteLevelBpe, "llama-bpe"));
        let special = |vocabulary: &Vocabulary, i: usize| vocabulary.tokens()[n + i].clone();
        // What Llama 3's own files have at these places.
        for (i, text) in [
            (0, "<|begin_of_text|>"),
            (2, "<|reserved_special_token_0|>"),
            (8, "<|reserved_special_token_4|>"),
            (9, "<|eot_id|>"),
            (10, "<|reserved_special_token_5|>"),
            (255, "<|reserved_special_token_250|>"),
        ] {
            assert_eq!(special(&old, i), text);
        }
        assert!(old.types()[n..].iter().all(|ty| *ty == TokenType::Control));
        assert_eq!((old.add_bos, old.ids.get(Role::Bos)), (Some(true), Some(n as u32)));
        assert_eq!(old.ids.get(Role::Eos), Some(n as u32 + 1));
        let config = r#"{"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}"#;
        let newer =
            import(&[("tokenizer.model", &text), ("config.json", config)], n + 256).unwrap().vocabulary;
        // What those of Llama 3.1 have.
        for (i, text) in [
            (4, "<|finetune_right_pad_id|>"),
            (5, "<|reserved_special_token_2|>"),
            (8, "<|eom_id|>"),
            (10, "<|python_tag|>"),
            (11, "<|reserved_special_token_3|>"),
            (255, "<|reserved_special_token_247|>"),
        ] {
            assert_eq!(special(&newer, i), text);
        }
        assert_eq!(newer.ids.get(Role::Padding), Some(n as u32 + 4));
    }

    #[test]
    fn pieces_are_joined_as_tiktoken_joins_them() {
        let vocabulary = import(&[("tokenizer.model", &lines())], 600).unwrap().vocabulary;
        let tokenizer = Tokenizer::new(vocabulary).unwrap();
        for piece in ["the", " the", " then", "bathe", "ababab", "babab", "aaba", "thhe", "1234", "é"] {
            let whole = WORDS.iter().position(|word| *word == piece);
            let pieces: Vec<&str> = if piece == "1234" { vec!["123", "4"] } else { vec![piece] };
            let expected: Vec<u32> = match whole {
                Some(i) => vec![256 + i as u32],
                None => {
                    pieces.iter().flat_map(|piece| joined(piece.as_bytes())).map(|id| id as u32).collect()
                }
            };
            assert_eq!(tokenizer.encode(piece, false, false).unwrap(), expected, "{piece}");
        }
    }

    #[test]
    fn models_have_expressions_and_special_tokens_of_their_own() {
        let (text, n) = (lines(), 256 + WORDS.len());
        let qwen = import(&[("qwen.tiktoken", &text)], n + 300).unwrap().vocabulary;
        assert_eq!((qwen.pre_tokenizer(), qwen.tokens()[n + 2].as_str()), ("qwen2", "<|im_end|>"));
        assert_eq!((qwen.add_bos, qwen.tokens()[n + 207].as_str()), (Some(false), "<|extra_204|>"));
        let hunyuan = import(&[("hy.tiktoken", &text)], n + 5).unwrap().vocabulary;
        assert_eq!(hunyuan.tokens()[n + 3], "<|eos|>");
        assert_eq!(hunyuan.ids.get(Role::Eos), Some(n as u32 + 3));
        let refused = import(&[("tiktoken.model", &text)], n + 5).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("tokenizer_config.json"), "{refused}");
        let decoder = format!(
            r#"{{"added_tokens_decoder": {{"{n}": {{"content": "[BOS]", "special": true}},
                "{}": {{"content": "[EOS]", "special": true}}}}, "bos_token": "[BOS]", "eos_token": "[EOS]"}}"#,
            n + 1
        );
        let files = [("tiktoken.model", text.as_str()), ("tokenizer_config.json", &decoder)];
        let kimi = import(&files, n + 5).unwrap().vocabulary;
        assert_eq!((kimi.pre_tokenizer(), kimi.ids.get(Role::Eos)), ("kimi-k2", Some(n as u32 + 1)));
        assert_eq!(kimi.add_bos, Some(false));
    }

    fn tekken(specials: Option<Value>) -> String {
        let vocab = |(i, bytes): (usize, Vec<u8>)| json!({"rank": i, "token_bytes": BASE64_STANDARD.encode(bytes), "token_str": null});
        let words = WORDS.iter().map(|word| word.as_bytes().to_vec());
        let tokens = (0..=255u8).map(|byte| vec![byte]).chain(words).chain([b"left out".to_vec()]);
        let mut file = json!({
            "config": {
                "pattern": concat!(
                    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
                    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
                    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
                ),
                "num_vocab_tokens": 269,
                "default_vocab_size": 24 + 256 + WORDS.len(),
                "default_num_special_tokens": 24,
                "version": "v3",
            },
            "vocab": tokens.enumerate().map(vocab).collect::<Vec<_>>(),
        });
        if let Some(specials) = specials {
            file["special_tokens"] = specials;
        }
        file.to_string()
    }

    #[test]
    fn mistrals_file_is_read_with_and_without_special_tokens() {
        let n_vocab = 24 + 256 + WORDS.len();
        let Imported { vocabulary, proof } = import(&[("tekken.json", &tekken(None))], n_vocab).unwrap();
        assert!(proof.n_texts > 0);
        assert_eq!(vocabulary.pre_tokenizer(), "tekken");
        assert_eq!(vocabulary.tokens()[..3], ["<unk>", "<s>", "</s>"]);
        assert_eq!(
            vocabulary.tokens()[19..25],
            ["[TOOL_CONTENT]", "<SPECIAL_20>", "<SPECIAL_21>", "<SPECIAL_22>", "<SPECIAL_23>", "Ā"]
        );
        assert!(
            !vocabulary.tokens().iter().any(|text| text.contains("left")),
            "beyond the vocabulary's size"
        );
        assert_eq!((vocabulary.add_bos, vocabulary.ids.get(Role::Eos)), (Some(true), Some(2)));
        let tokenizer = Tokenizer::new(vocabulary).unwrap();
        assert_eq!(tokenizer.encode("the[INST]", true, true).unwrap(), [1, 24 + 258, 3]);
        let listed = json!([
            {"rank": 0, "token_str": "<unk>", "is_control": true},
            {"rank": 1, "token_str": "<s>", "is_control": true},
            {"rank": 2, "token_str": "</s>", "is_control": true},
            {"rank": 5, "token_str": "[THINK]", "is_control": true},
        ]);
        let vocabulary = import(&[("tekken.json", &tekken(Some(listed)))], n_vocab).unwrap().vocabulary;
        assert_eq!(vocabulary.tokens()[3..6], ["<SPECIAL_3>", "<SPECIAL_4>", "[THINK]"]);
    }

    #[test]
    fn damaged_lists_are_refused_with_their_place() {
        let refused = |name: &str, text: &str| {
            import(&[(name, text)], 600).map(|_| ()).expect_err("refused").to_string()
        };
        let text = lines();
        let message = refused("tokenizer.model", &text.replacen(" 7\n", " seven\n", 1));
        assert!(message.contains("line 8 is not a token in base64"), "{message}");
        let twice = format!("{text}{} 999\n", BASE64_STANDARD.encode("the"));
        assert!(refused("tokenizer.model", &twice).contains("same bytes"));
        let long = format!("{text}{} 300\n", BASE64_STANDARD.encode([b'a'; 600]));
        assert!(refused("tokenizer.model", &long).contains("600 bytes"));
        assert!(refused("tekken.json", "{}").contains("not a tekken.json"));
        let far = tekken(Some(json!([{"rank": 24, "token_str": "x"}])));
        assert!(refused("tekken.json", &far).contains("special token 24"));
    }
}
