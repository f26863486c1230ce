//! The kinds of tokenizers and tokens, and the small rules that differ between them.

use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// The key that names the kind.
pub(super) const MODEL: &str = "tokenizer.ggml.model";

/// The key of the tokens' texts.
pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";

/// The key of the pre-tokenizer.
pub(super) const PRE: &str = "tokenizer.ggml.pre";

/// Pre-tokenizers of BPE over characters, in files that call its kind by the name of byte-level BPE.
const PRE_OF_CHARACTERS: [&str; 2] = ["granite-embed-multi-311m", "sarvam-moe"];

/// What files name where a kind of tokenizer would stand, if they have no vocabulary.
const NO_VOCABULARY: [&str; 2] = ["none", "no_vocab"];

/// Whether a file has a vocabulary. Models without one take the numbers of tokens alone.
pub fn has_vocabulary(metadata: &Metadata) -> bool {
    [MODEL, TOKENS].iter().all(|key| metadata.contains(key))
        && !metadata.string(MODEL).ok().flatten().is_some_and(is_none)
}

fn is_none(model: &str) -> bool {
    NO_VOCABULARY.contains(&model)
}

/// The kind of tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Byte-level BPE; `gpt2` in GGUF.
    ByteLevelBpe,
    /// SentencePiece BPE; `llama` in GGUF.
    SentencePiece,
    /// BPE over characters with SentencePiece's spelling of spaces and bytes; `gemma4` in GGUF.
    CharacterBpe,
    /// WordPiece, as BERT has it; `bert` in GGUF.
    WordPiece,
    /// SentencePiece's choice of the likeliest tokens; `t5` in GGUF.
    Unigram,
    /// The longest tokens from the left, as RWKV has it; `rwkv` in GGUF.
    World,
    /// The likeliest tokens by whole numbers, as PLaMo 2 has it; `plamo2` in GGUF.
    Plamo,
}

impl Kind {
    /// All kinds.
    pub(super) const ALL: [Self; 7] = [
        Self::ByteLevelBpe,
        Self::SentencePiece,
        Self::CharacterBpe,
        Self::WordPiece,
        Self::Unigram,
        Self::World,
        Self::Plamo,
    ];

    /// The value of `tokenizer.ggml.model`.
    pub fn gguf_name(self) -> &'static str {
        match self {
            Self::ByteLevelBpe => "gpt2",
            Self::SentencePiece => "llama",
            Self::CharacterBpe => "gemma4",
            Self::WordPiece => "bert",
            Self::Unigram => "t5",
            Self::World => "rwkv",
            Self::Plamo => "plamo2",
        }
    }

    /// The kind that a file names.
    ///
    /// # Errors
    /// `Unsupported` for another kind or none, or a file that is not a model; `Malformed` for another type of value.
    pub(super) fn of_metadata(metadata: &Metadata) -> Result<Self> {
        let model = metadata.string(MODEL)?;
        if let Some(kind) = Self::ALL.into_iter().find(|kind| model == Some(kind.gguf_name())) {
            let pre = metadata.string(PRE)?.unwrap_or_default();
            let is_of_characters = kind == Self::ByteLevelBpe && PRE_OF_CHARACTERS.contains(&pre);
            return Ok(if is_of_characters { Self::CharacterBpe } else { kind });
        }
        metadata.check_is_model()?;
        let what = match model.filter(|model| !is_none(model)) {
            None => {
                let found = model.map_or("is missing".to_owned(), |model| format!("is {model:?}"));
                format!(
                    "text, as the file has no vocabulary ({MODEL} {found}); `gguf-run bench` needs none, and neither do \
                     `gguf-run logits --ids`, nor perplexity, divergence, sensitivity and imatrix with --ids. For text, get a file of the model with its tokenizer"
                )
            }
            Some(model) => format!(
                "the tokenizer {model:?} ({MODEL}); supported are \"gpt2\" (byte-level BPE), \"llama\" (SentencePiece \
                 BPE), \"gemma4\" (BPE over characters), \"bert\" (WordPiece), \"t5\" (Unigram), \"rwkv\" (World) and \
                 \"plamo2\" (PLaMo)"
            ),
        };
        Err(Error::unsupported(metadata.path(), what))
    }

    /// Whether tokens have scores.
    pub(super) fn has_scores(self) -> bool {
        matches!(self, Self::SentencePiece | Self::Unigram | Self::Plamo)
    }

    /// Whether tokens are made by merges.
    pub(super) fn has_merges(self) -> bool {
        matches!(self, Self::ByteLevelBpe | Self::CharacterBpe)
    }
}

/// The type of a token, with GGUF's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum TokenType {
    /// No known type; such tokens are neither matched nor shown.
    Undefined = 0,
    /// Ordinary text.
    Normal = 1,
    /// Stands for what the vocabulary cannot spell.
    Unknown = 2,
    /// Steers the model and is not shown.
    Control = 3,
    /// Added as a whole, matched before everything else, and shown.
    UserDefined = 4,
    /// Fills a row of the embedding; never occurs.
    Unused = 5,
    /// A single byte, like `<0x0A>`.
    Byte = 6,
}

impl TokenType {
    /// The type with GGUF's number `code`; unknown numbers are [`TokenType::Undefined`].
    pub fn from_code(code: i32) -> Self {
        match code {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Undefined,
        }
    }
}

/// How an added token is matched in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AddedFlags {
    /// Blanks before it go with it.
    pub(super) lstrip: bool,
    /// Blanks behind it go with it.
    pub(super) rstrip: bool,
    /// Only where no letter or digit is next to it.
    pub(super) single_word: bool,
    /// Looked for in the normalised text, after the tokens that are not.
    pub(super) normalized: bool,
}

impl AddedFlags {
    /// From the number that [`AddedFlags::code`] gives.
    pub(super) fn from_code(code: i32) -> Self {
        let has = |bit: i32| code & bit != 0;
        Self { lstrip: has(1), rstrip: has(2), single_word: has(4), normalized: has(8) }
    }

    /// As a number: a bit for each flag, in their order.
    pub(super) fn code(self) -> i32 {
        let flags = [self.lstrip, self.rstrip, self.single_word, self.normalized];
        flags.iter().rev().fold(0, |code, &flag| 2 * code + i32::from(flag))
    }

    /// Whether the token is matched otherwise than by its text alone.
    pub(super) fn change_matches(self) -> bool {
        self.lstrip || self.rstrip || self.single_word
    }
}

/// Where a SentencePiece vocabulary that puts a space in front of texts does so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SpacePrefix {
    /// In front of every stretch between special tokens, as SentencePiece does.
    #[default]
    Always,
    /// As that, unless the stretch begins with a space.
    UnlessBlank,
    /// In front of the whole text, unless it begins with a space or a special token.
    FirstUnlessBlank,
}

impl SpacePrefix {
    /// All rules.
    pub(super) const ALL: [Self; 3] = [Self::Always, Self::UnlessBlank, Self::FirstUnlessBlank];

    /// Its name in files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::UnlessBlank => "unless_blank",
            Self::FirstUnlessBlank => "first_unless_blank",
        }
    }
}

/// What WordPiece does to letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CaseRules {
    /// Makes them small.
    pub(super) lowercase: bool,
    /// Takes their accents.
    pub(super) strip_accents: bool,
}

impl Default for CaseRules {
    /// As for models without case, which is what files that do not say have.
    fn default() -> Self {
        Self { lowercase: true, strip_accents: true }
    }
}
