//! The tokens with a role (beginning, end, padding ...) and the ones that end a generation.
//!
//! Files name some of them by id. The rest is known by text: the same handful of spellings serves
//! the whole field, and files often lack the keys, or mark such a token as ordinary.

use std::collections::{HashMap, HashSet};

use super::answer_marks;
use super::vocabulary::TokenType;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Beginning of a sequence.
    Bos,
    /// End of a sequence.
    Eos,
    /// End of a turn in a conversation.
    Eot,
    /// End of a message that calls a tool.
    Eom,
    /// Stands for what the vocabulary cannot spell.
    Unknown,
    /// Between two sequences.
    Separator,
    /// Fills up batches.
    Padding,
    /// Before a text that is classified.
    Cls,
    /// A blank to be filled in.
    Mask,
    /// Fill-in-the-middle: before the part that precedes the gap.
    FimPrefix,
    /// Fill-in-the-middle: before the part that follows the gap.
    FimSuffix,
    /// Fill-in-the-middle: where the filling starts.
    FimMiddle,
    /// Fill-in-the-middle: padding; ends a generation.
    FimPad,
    /// Before the name of a repository; ends a generation.
    FimRepo,
    /// Between files; ends a generation.
    FimFile,
}

/// How a role is found.
struct Rule {
    role: Role,
    /// Keys under `tokenizer.ggml.`, the first being the one written.
    keys: &'static [&'static str],
    /// Texts that have the role where no key says so, most telling first.
    texts: &'static [&'static str],
}

const RULES: [Rule; 15] = [
    Rule { role: Role::Bos, keys: &["bos_token_id"], texts: &[] },
    Rule { role: Role::Eos, keys: &["eos_token_id"], texts: &[] },
    Rule {
        role: Role::Eot,
        keys: &["eot_token_id"],
        texts: &[
            "<|eot_id|>",
            "<|im_end|>",
            "<|end|>",
            "<end_of_turn>",
            "<|endoftext|>",
            "<|end_of_text|>",
            "<EOT>",
            "_<EOT>",
            "[EOT]",
            "<｜end▁of▁sentence｜>",
            "<end_of_utterance>",
        ],
    },
    Rule { role: Role::Eom, keys: &["eom_token_id"], texts: &["<|eom_id|>"] },
    Rule { role: Role::Unknown, keys: &["unknown_token_id"], texts: &[] },
    Rule { role: Role::Separator, keys: &["seperator_token_id"], texts: &[] }, // spelled so in the format
    Rule { role: Role::Padding, keys: &["padding_token_id"], texts: &[] },
    Rule { role: Role::Cls, keys: &["cls_token_id"], texts: &[] },
    Rule { role: Role::Mask, keys: &["mask_token_id"], texts: &[] },
    Rule {
        role: Role::FimPrefix,
        keys: &["fim_pre_token_id", "prefix_token_id"],
        texts: &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
        ],
    },
    Rule {
        role: Role::FimSuffix,
        keys: &["fim_suf_token_id", "suffix_token_id"],
        texts: &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
        ],
    },
    Rule {
        role: Role::FimMiddle,
        keys: &["fim_mid_token_id", "middle_token_id"],
        texts: &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
        ],
    },
    Rule {
        role: Role::FimPad,
        keys: &["fim_pad_token_id"],
        texts: &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
    },
    Rule {
        role: Role::FimRepo,
        keys: &["fim_rep_token_id"],
        texts: &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"],
    },
    Rule { role: Role::FimFile, keys: &["fim_sep_token_id"], texts: &["<|file_sep|>"] },
];

/// Texts that end a generation wherever a vocabulary has them.
const END_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// The end texts that some format uses inside a message; see [`spare_inner_ends`].
const SPARED_TEXTS: &[&str] = &["<|end|>", "</s>"];

/// Texts of the Harmony format that are always shown.
const SHOWN_TEXTS: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// Texts of Solar's format that are shown where a vocabulary has all of them, and its end.
const SOLAR_TEXTS: &[&str] = &["<|begin|>", "<|content|>", "<|think|>"];

/// Token ids by [`Role`], and the ends of a generation beyond those that have a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialIds {
    by_role: [Option<u32>; RULES.len()],
    further_ends: Vec<u32>,
}

impl SpecialIds {
    /// The token with `role`.
    pub fn get(&self, role: Role) -> Option<u32> {
        self.by_role[role as usize]
    }

    /// Gives `role` to a token, or to none.
    pub fn set(&mut self, role: Role, id: Option<u32>) {
        self.by_role[role as usize] = id;
    }

    /// Tokens that end a generation though they have no role and no text that tells.
    pub fn further_ends(&self) -> &[u32] {
        &self.further_ends
    }

    /// Takes `ids` as the further ends.
    pub(super) fn set_further_ends(&mut self, ids: Vec<u32>) {
        self.further_ends = ids;
    }

    /// Makes every token of `listed` (id and text) end a generation: by a role that other programs
    /// read where its text does not tell them, and where roles run out, as a further end.
    pub(super) fn add_ends(&mut self, listed: &[(u32, &str)]) {
        for role in [Role::Eot, Role::Eom] {
            let id = best_by_text(role, listed);
            self.set(role, id.filter(|&id| self.get(Role::Eos) != Some(id)));
        }
        for &(id, text) in listed {
            let ends = [Role::Eos, Role::Eot, Role::Eom];
            if ends.iter().any(|&role| self.get(role) == Some(id)) || tells_an_end(text) {
                continue;
            }
            match ends.into_iter().find(|&role| self.get(role).is_none()) {
                Some(free) => self.set(free, Some(id)),
                None if !self.further_ends.contains(&id) => self.further_ends.push(id),
                None => {}
            }
        }
    }

    /// Every role with the keys it may have in a GGUF (without `tokenizer.ggml.`); the first key is
    /// the one to write.
    pub fn keys() -> impl Iterator<Item = (Role, &'static [&'static str])> {
        RULES.iter().map(|rule| (rule.role, rule.keys))
    }
}

/// Whether a text alone ends a generation in every vocabulary.
fn tells_an_end(text: &str) -> bool {
    END_TEXTS.contains(&text) && !SPARED_TEXTS.contains(&text)
}

/// The token among `candidates` whose text tells best that it has `role`.
pub(super) fn best_by_text(role: Role, candidates: &[(u32, &str)]) -> Option<u32> {
    let texts = RULES[role as usize].texts;
    texts
        .iter()
        .find_map(|text| candidates.iter().find(|(_, candidate)| candidate == text))
        .map(|&(id, _)| id)
}

/// Roles, types and ends of generation as the runtime uses them.
pub(super) struct Resolved {
    pub(super) ids: SpecialIds,
    pub(super) types: Vec<TokenType>,
    /// Control tokens that a generated text shows all the same. What people write is not read as one.
    pub(super) shown: HashSet<u32>,
    pub(super) end_of_generation: HashSet<u32>,
}

impl Resolved {
    /// Has texts show token `id`, which stays a control token if the file's `types` say so.
    fn show(&mut self, id: u32, types: &[TokenType]) {
        let is_control = types[id as usize] == TokenType::Control;
        self.types[id as usize] = if is_control { TokenType::Control } else { TokenType::UserDefined };
        self.shown.insert(id);
    }
}

/// Completes `ids` by text, corrects `types` of tokens whose text gives their role away, and collects
/// the tokens that end a generation. Where `knows_words`, what has the type of a word is one, whatever its text;
/// else files often mark such tokens as words.
pub(super) fn resolve(
    tokens: &[String],
    types: &[TokenType],
    ids: &SpecialIds,
    knows_words: bool,
) -> Resolved {
    let may_tell = |id: usize| !knows_words || types[id] != TokenType::Normal;
    let known = find_known_texts(tokens, may_tell);
    let mut resolved = Resolved {
        ids: ids.clone(),
        types: types.to_vec(),
        shown: HashSet::new(),
        end_of_generation: HashSet::new(),
    };
    for rule in RULES.iter().filter(|rule| ids.get(rule.role).is_none()) {
        if let Some(&id) = rule.texts.iter().find_map(|text| known.get(text)) {
            resolved.ids.set(rule.role, Some(id));
            resolved.types[id as usize] = TokenType::Control;
        }
    }
    for id in END_TEXTS.iter().filter_map(|text| known.get(text)) {
        resolved.end_of_generation.insert(*id);
        resolved.types[*id as usize] = TokenType::Control;
    }
    for &id in SHOWN_TEXTS.iter().filter_map(|text| known.get(text)) {
        resolved.show(id, types);
    }
    // Where files have these as control tokens they are shown all the same: by them thoughts are told from answers.
    let of_thoughts = answer_marks::THOUGHTS
        .iter()
        .flat_map(|marks| [marks.open, marks.close].map(|text| (text, marks.stays)));
    let is_solar = SOLAR_TEXTS.iter().chain(&["<|flush|>"]).all(|text| known.contains_key(text));
    let of_solar = SOLAR_TEXTS.iter().map(|text| (*text, false)).filter(|_| is_solar);
    for (text, stays) in of_thoughts.chain(of_solar) {
        let Some(&id) = known.get(text) else { continue };
        if resolved.types[id as usize] == TokenType::Control {
            resolved.show(id, types);
            // What comes back to the model in what it said is to be read there.
            if stays {
                resolved.types[id as usize] = TokenType::UserDefined;
            }
        }
    }
    let ending = [Role::Eos, Role::Eot, Role::Eom, Role::FimPad, Role::FimRepo, Role::FimFile];
    resolved.end_of_generation.extend(ending.iter().filter_map(|&role| resolved.ids.get(role)));
    spare_inner_ends(&known, types, &mut resolved);
    // What a file lists by id ends a generation, whatever its text is elsewhere used for.
    resolved.end_of_generation.extend(ids.further_ends());
    resolved
}

/// Some vocabularies use a text inside a message that elsewhere ends one: Harmony's (and Solar's) `<|end|>`, Gemma 4's
/// `</s>`; Qwen's have `</s>` as an ordinary word, by `types`, beside an end of their own.
fn spare_inner_ends(known: &HashMap<&'static str, u32>, types: &[TokenType], resolved: &mut Resolved) {
    let has = |text: &str| known.contains_key(text);
    let has_messages = (has("<|call|>") || has("<|calls|>")) && (has("<|return|>") || has("<|flush|>"));
    if let Some(&id) = known.get("<|end|>").filter(|_| has_messages) {
        resolved.end_of_generation.remove(&id);
        resolved.show(id, types);
    }
    let is_word = known.get("</s>").is_some_and(|&id| {
        types[id as usize] == TokenType::Normal && resolved.ids.get(Role::Eos) != Some(id)
    });
    if let Some(&id) =
        known.get("</s>").filter(|_| has("<|tool_response>") || has("<|endoftext|>") && is_word)
    {
        resolved.end_of_generation.remove(&id);
        resolved.types[id as usize] = TokenType::Normal;
    }
}

/// The ids of all texts that the tables above mention, among those that `may_tell`.
fn find_known_texts(tokens: &[String], may_tell: impl Fn(usize) -> bool) -> HashMap<&'static str, u32> {
    let further = [END_TEXTS, SHOWN_TEXTS].into_iter().flatten();
    let texts = RULES.iter().flat_map(|rule| rule.texts).chain(further).copied();
    let texts: HashSet<&'static str> = texts.chain(answer_marks::all()).collect();
    let mut known = HashMap::new();
    for (id, token) in tokens.iter().enumerate() {
        if let Some(text) = texts.get(token.as_str()).filter(|_| may_tell(id)) {
            known.entry(*text).or_insert(id as u32);
        }
    }
    known
}

#[cfg(test)]
mod tests;
