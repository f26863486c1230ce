//! Vocabularies from the tokenizer files of a Hugging Face checkpoint.
//!
//! Eight forms are read: tokenizer.json with a byte-level BPE, with a WordPiece or with a Unigram model,
//! SentencePiece's tokenizer.model, a tokenizer.json that was made from one, lists of ranks ([`ranks`]), and the lists
//! of RWKV and of PLaMo. Which pre-tokenizer a byte-level BPE has is found out by what it does ([`detect`]), not by a
//! list of fingerprints.

mod added;
#[cfg(test)]
mod added_tests;
mod byte_level;
mod detect;
mod plamo;
mod probes;
mod proof;
#[cfg(test)]
mod proof_tests;
mod ranks;
mod sentencepiece;
mod sentencepiece_json;
mod settings;
#[cfg(test)]
mod tests;
mod token_list;
mod tokenizer_json;
mod unigram;
mod wordpiece;
mod world;

pub use proof::{Difference, Proof};

use super::normalizer::Normalizer;
use super::special_ids::Role;
use super::vocabulary::{AddedFlags, CaseRules, Kind, RawTokens, SpacePrefix, TokenType, Vocabulary};
use crate::checkpoint::{Config, Folder};
use crate::error::{Error, Result};
use ranks::Ranks;
use sentencepiece::Model;
use settings::Settings;
use token_list::Tokens;
use tokenizer_json::TokenizerJson;

impl Vocabulary {
    /// Reads the tokenizer files in `folder`, beside the model's `config`; the vocabulary has `n_vocab`
    /// tokens, as many as the embedding has rows.
    ///
    /// tokenizer.json decides, as it does for fast tokenizers. A tokenizer.model beside it that has the same
    /// tokens gives them its scores; one that has not is noted.
    ///
    /// # Errors
    /// `Unsupported` if no tokenizer is there or it is of another form, with what is supported;
    /// `Malformed` for invalid files, more tokens than `n_vocab`, or two with one id or one text; `Io` and
    /// `Limit` as they come.
    pub fn from_checkpoint(folder: &Folder, config: &Config, n_vocab: usize) -> Result<Self> {
        let settings = Settings::open(folder, config)?;
        let json = TokenizerJson::open(folder)?;
        let mut vocabulary = match &json {
            Some(json) if json.is_byte_level() => byte_level::read(json, &[], &settings, n_vocab)?,
            Some(json) if json.is("WordPiece") => wordpiece::read(json, &settings, n_vocab)?,
            Some(json) if json.is("Unigram") => unigram::read(json, &settings, n_vocab)?,
            Some(json) => match sentencepiece_json::read(json, Model::open(folder), &settings, n_vocab) {
                // What this program cannot do of tokenizer.json may not matter to tokenizer.model.
                Err(Error::Unsupported { path, what }) => match Model::open(folder) {
                    Ok(Some(model)) => {
                        let mut vocabulary = sentencepiece::read(&model, Some(json), &settings, n_vocab)?;
                        let note = format!(
                            "tokenizer: tokenizer.model is read, as tokenizer.json is not supported: {what}"
                        );
                        vocabulary.notes.push(note);
                        vocabulary
                    }
                    _ => return Err(Error::Unsupported { path, what }),
                },
                read => read?,
            },
            None => without_json(folder, &settings, n_vocab)?,
        };
        let name = if json.is_some() { tokenizer_json::NAME } else { sentencepiece::NAME };
        vocabulary.notes.extend(settings.id_notes(vocabulary.tokens.len()));
        vocabulary.checked(&folder.join(name))
    }
}

/// Files that tokenizers of transformers are made from where there is no tokenizer.json.
const OTHER_FILES: [&str; 5] =
    ["vocab.json", "merges.txt", "vocab.txt", "spiece.model", "sentencepiece.bpe.model"];

/// Reads the tokenizer of a folder without tokenizer.json.
fn without_json(folder: &Folder, settings: &Settings<'_>, n_vocab: usize) -> Result<Vocabulary> {
    if let Some(ranks) = Ranks::open(folder, settings, n_vocab)? {
        return byte_level::read(&ranks.json()?, &ranks.roles, settings, n_vocab);
    }
    if let Some(model) = Model::open(folder)? {
        return sentencepiece::read(&model, None, settings, n_vocab);
    }
    match (world::open(folder)?, plamo::open(folder)?) {
        (Some(file), _) => world::read(&file, settings, n_vocab),
        (None, Some(file)) => plamo::read(&file, settings, n_vocab),
        (None, None) => {
            let others: Vec<&str> =
                OTHER_FILES.into_iter().filter(|name| folder.join(name).is_file()).collect();
            let what = if others.is_empty() {
                "the checkpoint has neither tokenizer.json nor tokenizer.model; download them beside its weights".to_owned()
            } else {
                format!(
                    "the checkpoint has neither tokenizer.json nor tokenizer.model, and {} alone cannot be read; make \
                     tokenizer.json of it: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER), by transformers",
                    others.join(", ")
                )
            };
            Err(Error::unsupported(folder.path(), what))
        }
    }
}

/// What the forms of tokenizer files come to.
struct Parts {
    kind: Kind,
    pre: &'static str,
    tokens: Tokens,
    merges: Vec<String>,
    added: Vec<(u32, AddedFlags)>,
    /// Tokens with roles that no file beside the tokenizer names.
    ids: Vec<(Role, Option<u32>)>,
    add_space_prefix: Option<bool>,
    space_prefix: SpacePrefix,
    remove_extra_whitespaces: Option<bool>,
    case: CaseRules,
    normalizer: Normalizer,
    charsmap: Vec<u8>,
    notes: Vec<String>,
}

impl Parts {
    /// These tokens, with nothing else said.
    fn new(kind: Kind, tokens: Tokens) -> Self {
        Self {
            kind,
            pre: "default",
            tokens,
            merges: Vec::new(),
            added: Vec::new(),
            ids: Vec::new(),
            add_space_prefix: None,
            space_prefix: SpacePrefix::Always,
            remove_extra_whitespaces: None,
            case: CaseRules::default(),
            normalizer: Normalizer::default(),
            charsmap: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The vocabulary, with what the files beside the tokenizer say.
    fn assemble(self, json: Option<&TokenizerJson>, settings: &Settings<'_>) -> Result<Vocabulary> {
        let normalized = self.normalized_tokens();
        let index = self.tokens.index();
        let find = |text: &str| index.get(text).copied();
        let mut ids = settings.special_ids(&self.tokens.texts, find)?;
        if let Some(json) = json {
            settings.add_template_ids(&mut ids, json, find)?;
        }
        for (role, id) in self.ids {
            ids.set(role, ids.get(role).or(id));
        }
        let (add_bos, add_eos) = settings.added_around(json, &ids, &self.tokens.texts)?;
        let templates = settings.templates()?;
        let mut notes = self.notes;
        notes.extend(normalized);
        notes.extend(json.and_then(TokenizerJson::more_around));
        Ok(Vocabulary {
            kind: self.kind,
            pre: self.pre.to_owned(),
            raw: RawTokens::new(),
            types: self.tokens.types,
            scores: if self.kind.has_scores() { self.tokens.scores } else { Vec::new() },
            merges: self.merges,
            ids,
            add_bos,
            add_eos,
            add_space_prefix: self.add_space_prefix,
            space_prefix: self.space_prefix,
            remove_extra_whitespaces: self.remove_extra_whitespaces,
            add_sep: json.and_then(TokenizerJson::parts_pairs_twice),
            case: self.case,
            normalizer: self.normalizer,
            charsmap: self.charsmap,
            added: Some(self.added),
            chat_template: templates.default,
            named_templates: templates.named,
            model_name: None,
            notes,
            tokens: self.tokens.texts,
        })
    }

    /// What others make of tokens that are looked for in normalised texts, if there are such tokens and texts.
    fn normalized_tokens(&self) -> Option<String> {
        let normalizes = match self.kind {
            Kind::WordPiece => self.case.lowercase || self.case.strip_accents,
            Kind::ByteLevelBpe => !self.normalizer.names().is_empty(),
            Kind::SentencePiece => {
                self.space_prefix == SpacePrefix::Always && self.add_space_prefix != Some(false)
            }
            Kind::Unigram => !self.charsmap.is_empty(),
            Kind::CharacterBpe | Kind::World | Kind::Plamo => false,
        };
        let tokens = self.added.iter().filter(|(_, flags)| flags.normalized);
        let texts: Vec<&str> =
            tokens.filter_map(|&(id, _)| self.tokens.texts.get(id as usize)).map(String::as_str).collect();
        (normalizes && !texts.is_empty()).then(|| {
            format!(
                "tokenizer: added tokens that the checkpoint looks for in the normalised text ({}) are found there by a \
                 key of this program's own; others look for them in the text as it is",
                added::listed(&texts)
            )
        })
    }
}

/// The type of an added token. Some that steer the model are not marked as special; their look tells.
fn added_type(text: &str, special: bool) -> TokenType {
    let looks_special = ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&text)
        || (text.starts_with("<|") && text.ends_with("|>"))
        || (text.starts_with("<｜") && text.ends_with("｜>"))
        || text.starts_with("<unused");
    if special || looks_special { TokenType::Control } else { TokenType::UserDefined }
}
