//! The small files beside a tokenizer: which tokens have roles, which are added, what surrounds a
//! text, how conversations are written.

use std::collections::HashSet;

use serde_json::Value;

use super::tokenizer_json::{AddedToken, TokenizerJson};
use crate::checkpoint::{Config, Folder};
use crate::error::{Error, Result};
use crate::limits::MAX_CONFIG_BYTES;
use crate::tokenizer::special_ids::{Role, SpecialIds};

/// Roles that checkpoints name, by the stem of their keys.
const NAMED_ROLES: [(Role, &str); 7] = [
    (Role::Bos, "bos"),
    (Role::Eos, "eos"),
    (Role::Unknown, "unk"),
    (Role::Separator, "sep"),
    (Role::Padding, "pad"),
    (Role::Cls, "cls"),
    (Role::Mask, "mask"),
];

/// What the files beside a tokenizer say.
pub(super) struct Settings<'a> {
    folder: &'a Folder,
    model: &'a Config,
    tokenizer: Option<Config>,
    special_tokens: Option<Config>,
    added_tokens: Option<Config>,
    generation: Option<Config>,
}

/// The chat template and those for other purposes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Templates {
    pub(super) default: Option<String>,
    pub(super) named: Vec<(String, String)>,
}

impl<'a> Settings<'a> {
    /// Reads what there is in `folder`; `model` is config.json.
    pub(super) fn open(folder: &'a Folder, model: &'a Config) -> Result<Self> {
        Ok(Self {
            folder,
            model,
            tokenizer: folder.read_config("tokenizer_config.json")?,
            special_tokens: folder.read_config("special_tokens_map.json")?,
            added_tokens: folder.read_config("added_tokens.json")?,
            // What is wrong with it is noted where the checkpoint is opened.
            generation: folder.read_config_tolerantly("generation_config.json", &mut Vec::new()),
        })
    }

    /// Whether the model is one whose GGUF files hold merges over characters where those of others hold scores.
    pub(super) fn wants_character_merges(&self) -> Result<bool> {
        Ok(self.model.string("model_type")?.is_some_and(|name| name.starts_with("gemma4")))
    }

    /// Whether the model's positions are scaled, as Llama's are from 3.1 on.
    pub(super) fn has_scaled_positions(&self) -> bool {
        self.model.value("rope_scaling").is_some_and(|value| !value.is_null())
    }

    /// A flag of tokenizer_config.json.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.tokenizer.as_ref().map_or(Ok(None), |config| config.bool(key))
    }

    /// Whether texts get the tokens at the beginning and at the end: as tokenizer_config.json says,
    /// else as the template in tokenizer.json does; `None` where neither says.
    pub(super) fn added_around(
        &self,
        json: Option<&TokenizerJson>,
        ids: &SpecialIds,
        texts: &[String],
    ) -> Result<(Option<bool>, Option<bool>)> {
        let is = |shown: Option<&str>, role| {
            let text = ids.get(role).and_then(|id| texts.get(id as usize));
            text.is_some_and(|text| shown == Some(text.as_str()))
        };
        let template = json.and_then(TokenizerJson::template_ends);
        let (first, last) = match template {
            Some((first, last)) => (Some(is(first, Role::Bos)), Some(is(last, Role::Eos))),
            // A tokenizer.json without a template adds nothing; some kinds of GGUF do where a file says nothing.
            None => (json.map(|_| false), json.filter(|json| !json.is_byte_level()).map(|_| false)),
        };
        Ok((self.flag("add_bos_token")?.or(first), self.flag("add_eos_token")?.or(last)))
    }

    /// The tokens with roles. Texts in tokenizer_config.json come first, then those of
    /// special_tokens_map.json, then ids in config.json and generation_config.json.
    pub(super) fn special_ids(
        &self,
        texts: &[String],
        find: impl Fn(&str) -> Option<u32>,
    ) -> Result<SpecialIds> {
        let mut ids = SpecialIds::default();
        for (role, stem) in NAMED_ROLES {
            let by_text = [&self.tokenizer, &self.special_tokens]
                .into_iter()
                .flatten()
                .filter_map(|config| token_text(config.value(&format!("{stem}_token"))?))
                .find_map(&find);
            let id = match by_text {
                Some(id) => Some(id),
                None => self.numbers(&format!("{stem}_token_id"), texts.len())?.first().copied(),
            };
            ids.set(role, id);
        }
        self.set_ends(&mut ids, texts)?;
        Ok(ids)
    }

    /// Completes `ids` with the tokens that the template in `json` puts around every text, where no
    /// other file names them. One that it puts behind texts is the end of a text, whatever other files say: Qwen's
    /// embedding models call the end of a turn so, and read another.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a flag that is not true or false.
    pub(super) fn add_template_ids(
        &self,
        ids: &mut SpecialIds,
        json: &TokenizerJson,
        find: impl Fn(&str) -> Option<u32>,
    ) -> Result<()> {
        let (first, last) = json.template_ends().unwrap_or_default();
        // Encoders have no beginnings and ends but these; what config.json says of such is left from other models.
        let decides = json.is("WordPiece") || json.is("Unigram");
        for (role, text) in [(Role::Bos, first), (Role::Eos, last)] {
            let of_template = text.and_then(&find);
            let known = ids.get(role);
            ids.set(role, if decides { of_template.or(known) } else { known.or(of_template) });
        }
        let last = last.and_then(&find).filter(|_| json.is_byte_level());
        let named = ids.get(Role::Eos).filter(|&named| last.is_some_and(|last| last != named));
        if named.is_some() && self.flag("add_eos_token")? != Some(false) {
            ids.set(Role::Eos, last);
            let eot = ids.get(Role::Eot).filter(|&eot| Some(eot) != last);
            match (eot, named) {
                (Some(eot), Some(named)) if eot != named => {
                    ids.set_further_ends([ids.further_ends(), &[named]].concat());
                }
                _ => ids.set(Role::Eot, named),
            }
        }
        Ok(())
    }

    /// Every id in the lists of `eos_token_id` ends a generation.
    fn set_ends(&self, ids: &mut SpecialIds, texts: &[String]) -> Result<()> {
        let listed = self.numbers("eos_token_id", texts.len())?.into_iter().chain(ids.get(Role::Eos));
        let listed: Vec<(u32, &str)> = listed.map(|id| (id, texts[id as usize].as_str())).collect();
        ids.add_ends(&listed);
        Ok(())
    }

    /// The ids below `n_vocab` under `key` in config.json, then in generation_config.json.
    fn numbers(&self, key: &str, n_vocab: usize) -> Result<Vec<u32>> {
        let mut ids = self.model.token_ids(key)?;
        ids.extend(self.generation.iter().flat_map(|config| config.token_ids_or_notes(key).0));
        ids.retain(|&id| (id as usize) < n_vocab);
        Ok(ids)
    }

    /// What is wrong with the token ids in config.json and generation_config.json, one sentence each.
    pub(super) fn id_notes(&self, n_vocab: usize) -> Vec<String> {
        let configs = || [Some(self.model), self.generation.as_ref()].into_iter().flatten();
        let keys = NAMED_ROLES.iter().map(|(_, stem)| format!("{stem}_token_id"));
        let mut notes = Vec::new();
        for (key, config) in keys.flat_map(|key| configs().map(move |config| (key.clone(), config))) {
            let (ids, wrong) = config.token_ids_or_notes(&key);
            notes.extend(wrong);
            notes.extend(ids.iter().filter(|&&id| id as usize >= n_vocab).map(|id| {
                let path = config.path().display();
                format!("{path}: {key} {id} is left out: the vocabulary has {n_vocab} tokens")
            }));
        }
        notes
    }

    /// Tokens that the files beside the tokenizer add to it: those with ids, then special tokens by name.
    pub(super) fn added_tokens(&self) -> Result<Vec<AddedToken>> {
        let mut added = Vec::new();
        if let Some(config) = &self.added_tokens {
            let specials: HashSet<&str> = self.special_values().filter_map(token_text).collect();
            for content in config.keys() {
                let special = specials.contains(content);
                added.push(AddedToken::plain(Some(config.required_count(content)?), content, special));
            }
        }
        let decoder =
            self.tokenizer.as_ref().map_or(Ok(None), |config| config.object("added_tokens_decoder"))?;
        if let Some(decoder) = &decoder {
            for key in decoder.keys() {
                added.extend(decoded_token(decoder, key)?);
            }
        }
        added.sort_by_key(|token| token.id);
        added.extend(self.special_values().filter_map(special_token));
        Ok(added)
    }

    /// The special tokens that tokenizer_config.json and special_tokens_map.json name, in the order in
    /// which they would be added.
    fn special_values(&self) -> impl Iterator<Item = &Value> {
        let named = NAMED_ROLES.iter().flat_map(|(_, stem)| self.special_entries(&format!("{stem}_token")));
        let own = [&self.tokenizer, &self.special_tokens].into_iter().flatten().flat_map(own_special_entries);
        let groups = ["model_specific_special_tokens", "additional_special_tokens", "extra_special_tokens"];
        let grouped = groups.into_iter().flat_map(|key| self.special_entries(key)).flat_map(members);
        named.chain(own).chain(grouped)
    }

    fn special_entries(&self, key: &str) -> impl Iterator<Item = &Value> + use<'_, 'a> {
        let entries: Vec<&Value> = [&self.tokenizer, &self.special_tokens]
            .into_iter()
            .flatten()
            .filter_map(|config| config.value(key))
            .collect();
        entries.into_iter()
    }

    /// The chat templates: of the file chat_template.jinja, else of tokenizer_config.json, else of
    /// chat_template.json; those for other purposes of tokenizer_config.json and of the folder
    /// additional_chat_templates, which comes first.
    pub(super) fn templates(&self) -> Result<Templates> {
        let mut templates = match self.tokenizer.as_ref().and_then(|config| config.value("chat_template")) {
            Some(value) => self.parse_templates(value)?,
            None => Templates::default(),
        };
        if let Some(source) = self.folder.read_text("chat_template.jinja", MAX_CONFIG_BYTES)? {
            templates.default = Some(source);
        }
        for (name, source) in self.folder.more_templates()? {
            let name = key_name(&name);
            templates.named.retain(|(other, _)| *other != name);
            templates.named.push((name, source));
        }
        if templates.default.is_none()
            && let Some(config) = self.folder.read_config("chat_template.json")?
        {
            templates.default = config.string("chat_template")?.map(str::to_owned);
        }
        Ok(templates)
    }

    /// A template, or a list of `{"name": ..., "template": ...}`.
    fn parse_templates(&self, value: &Value) -> Result<Templates> {
        let mut templates = Templates::default();
        let list = match value {
            Value::String(source) => return Ok(Templates { default: Some(source.clone()), ..templates }),
            Value::Array(list) => list,
            _ => return Err(self.no_template("chat_template is neither a text nor a list")),
        };
        for entry in list {
            match (entry["name"].as_str(), entry["template"].as_str()) {
                (Some("default"), Some(source)) => templates.default = Some(source.to_owned()),
                (Some(name), Some(source)) => templates.named.push((key_name(name), source.to_owned())),
                _ => return Err(self.no_template("an entry of chat_template lacks its name or template")),
            }
        }
        Ok(templates)
    }

    fn no_template(&self, what: &str) -> Error {
        Error::malformed(self.folder.join("tokenizer_config.json"), what)
    }
}

/// An entry of added_tokens_decoder; `None` for one that is null.
fn decoded_token(decoder: &Config, key: &str) -> Result<Option<AddedToken>> {
    let wrong = || {
        let what = format!("added_tokens_decoder has the key {key:?}, not a token id");
        Error::malformed(decoder.path(), what)
    };
    let id: usize = key.parse().map_err(|_| wrong())?;
    let Some(entry) = decoder.object(key)? else { return Ok(None) };
    Ok(Some(AddedToken {
        id: Some(id),
        content: entry.required_string("content")?.to_owned(),
        special: entry.bool("special")?.unwrap_or(false),
        lstrip: entry.bool("lstrip")?.unwrap_or(false),
        rstrip: entry.bool("rstrip")?.unwrap_or(false),
        single_word: entry.bool("single_word")?.unwrap_or(false),
        normalized: entry.bool("normalized")?,
    }))
}

/// The special tokens that a file names for what its model alone has, as in `image_token`.
fn own_special_entries(config: &Config) -> impl Iterator<Item = &Value> {
    let is_own = |key: &&str| {
        let stem = key.strip_suffix("_token");
        stem.is_some_and(|stem| NAMED_ROLES.iter().all(|(_, named)| *named != stem))
    };
    config.keys().filter(is_own).filter_map(|key| config.value(key))
}

/// The values of a list or of an object.
fn members(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(object) => object.values().collect(),
        _ => Vec::new(),
    }
}

/// A special token that is named by its text, or by an object with its flags.
fn special_token(value: &Value) -> Option<AddedToken> {
    let flag = |key: &str| value[key].as_bool().unwrap_or(false);
    Some(AddedToken {
        lstrip: flag("lstrip"),
        rstrip: flag("rstrip"),
        single_word: flag("single_word"),
        normalized: value["normalized"].as_bool(),
        ..AddedToken::plain(None, token_text(value).filter(|text| !text.is_empty())?, true)
    })
}

/// The text of a special token: a string, or an object with `content`.
fn token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}

/// A template's name as part of a metadata key: letters, digits and underscores.
fn key_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}
