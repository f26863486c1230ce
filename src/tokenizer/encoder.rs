//! The ways to turn ordinary text into ids, behind one name.

use std::borrow::Cow;
use std::path::Path;

use super::bpe::Bpe;
use super::character_bpe::CharacterBpe;
use super::charsmap::CharsMap;
use super::merge::Merger;
use super::normalizer::Normalizer;
use super::plamo::Plamo;
use super::pre_tokenizer::Splitter;
use super::special_ids::{Resolved, Role};
use super::spm::{Before, SPACE, Spaces, Spm};
use super::unigram::{Blanks, Unigram};
use super::vocabulary::{Kind, SpacePrefix, Vocabulary};
use super::wordpiece::WordPiece;
use super::world::World;
use crate::error::{Error, Result};

/// What a vocabulary encodes text with.
pub(super) enum Encoder {
    Bpe { normalizer: Normalizer, bpe: Box<Bpe>, adds_bos: bool },
    Spm(Box<Spm>, CharsMap, Spaces),
    Characters(Box<CharacterBpe>),
    WordPiece(Box<WordPiece>),
    Unigram(Box<Unigram>, Blanks),
    World(Box<World>),
    Plamo(Box<Plamo>),
}

impl Encoder {
    /// The encoder of `vocabulary`, with roles and types as `resolved`.
    ///
    /// # Errors
    /// `Usage` for a pre-tokenizer that is not known; `Malformed` for an invalid table of normalisation.
    pub(super) fn new(vocabulary: &Vocabulary, resolved: &Resolved) -> Result<Self> {
        let (tokens, scores) = (&vocabulary.tokens, &vocabulary.scores);
        let types = vocabulary.types_of_words(&resolved.types);
        let unknown = resolved.ids.get(Role::Unknown);
        let prefix = Some(vocabulary.space_prefix).filter(|_| vocabulary.add_space_prefix != Some(false));
        let charsmap = || CharsMap::parse(Path::new("the model's metadata"), &vocabulary.charsmap);
        Ok(match vocabulary.kind {
            Kind::ByteLevelBpe => {
                let splitter = Splitter::by_name(&vocabulary.pre).ok_or_else(|| {
                    Error::usage(format!("the pre-tokenizer {:?} is not supported", vocabulary.pre))
                })?;
                let adds_bos = splitter.adds_bos();
                let bpe = Bpe::new(tokens, &types, vocabulary.merge_pairs(), splitter, unknown);
                let normalizer = vocabulary.normalizer.clone();
                Self::Bpe { normalizer, bpe: Box::new(bpe), adds_bos }
            }
            Kind::SentencePiece => {
                let removes_extra = vocabulary.remove_extra_whitespaces == Some(true);
                let spm = Spm::new(tokens, &types, scores, unknown);
                Self::Spm(Box::new(spm), charsmap()?, Spaces { prefix, removes_extra })
            }
            Kind::CharacterBpe => Self::Characters(Box::new(CharacterBpe::new(
                tokens,
                &types,
                vocabulary.merge_pairs(),
                unknown,
            ))),
            Kind::WordPiece => {
                Self::WordPiece(Box::new(WordPiece::new(tokens, &types, vocabulary.case, unknown)))
            }
            Kind::World => Self::World(Box::new(World::new(tokens, &types, unknown))),
            Kind::Plamo => Self::Plamo(Box::new(Plamo::new(tokens, &types, scores))),
            Kind::Unigram => {
                let removes_extra = vocabulary.remove_extra_whitespaces == Some(true);
                // Where a file does not say, nothing is put in front.
                let prefix = prefix.filter(|_| vocabulary.add_space_prefix == Some(true));
                let blanks = Blanks { prefix, removes_extra };
                let unigram = Unigram::new(tokens, &types, scores, unknown, charsmap()?, blanks);
                Self::Unigram(Box::new(unigram), blanks)
            }
        })
    }

    /// `text` as those special tokens are looked for in it, and written themselves, that are looked for after
    /// normalisation. Where that puts a space in front, what is left of the text comes behind
    /// [`Before::NormalizedToken`].
    ///
    /// # Errors
    /// `Limit` for a text that its normalisation makes too long.
    pub(super) fn normalized<'t>(&self, text: &'t str) -> Result<Cow<'t, str>> {
        Ok(match self {
            Self::Bpe { normalizer, .. } => normalizer.apply(text),
            Self::WordPiece(wordpiece) => wordpiece.normalized(text),
            Self::Unigram(unigram, _) => unigram.normalized(text)?,
            Self::Spm(_, charsmap, _) if !charsmap.is_empty() => charsmap.normalize_longest(text)?.into(),
            Self::Spm(..) if self.normalizes_spaces() => format!(" {}", text.replace(SPACE, " ")).into(),
            Self::Spm(..) | Self::Characters(_) | Self::World(_) | Self::Plamo(_) => Cow::Borrowed(text),
        })
    }

    /// Whether normalisation puts a space in front of a text, and makes of spaces what is not a blank any more.
    pub(super) fn normalizes_spaces(&self) -> bool {
        const ALWAYS: Spaces = Spaces { prefix: Some(SpacePrefix::Always), removes_extra: false };
        matches!(self, Self::Spm(_, charsmap, spaces) if charsmap.is_empty() && *spaces == ALWAYS)
    }

    /// Appends the ids of `text`, which has no special tokens and comes behind `before`, to `ids`.
    ///
    /// # Errors
    /// `Usage` for what the vocabulary has no way to spell.
    pub(super) fn encode(
        &self,
        text: &str,
        before: Before,
        merger: &mut Merger,
        ids: &mut Vec<u32>,
    ) -> Result<()> {
        match self {
            Self::Bpe { normalizer, bpe, .. } => bpe.encode(&normalizer.apply(text), merger, ids),
            Self::Characters(bpe) => bpe.encode(text, merger, ids),
            Self::WordPiece(wordpiece) => wordpiece.encode(text, ids),
            Self::Unigram(unigram, _) => unigram.encode(text, before == Before::Nothing, ids),
            Self::World(world) => world.encode(text, ids),
            Self::Plamo(plamo) => plamo.encode(text, ids),
            Self::Spm(spm, charsmap, spaces) => {
                let normal;
                let text = if charsmap.is_empty() {
                    text
                } else {
                    normal = charsmap.normalize_longest(text)?;
                    &normal
                };
                let (text, space) = spaces.prepare(text, before);
                spm.encode(&text, space, merger, ids)
            }
        }
    }

    /// The kind of tokenizer.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Bpe { .. } => Kind::ByteLevelBpe,
            Self::Spm(..) => Kind::SentencePiece,
            Self::Characters(_) => Kind::CharacterBpe,
            Self::WordPiece(_) => Kind::WordPiece,
            Self::Unigram(..) => Kind::Unigram,
            Self::World(_) => Kind::World,
            Self::Plamo(_) => Kind::Plamo,
        }
    }

    /// Whether texts start with the beginning-of-sequence token where a file does not say.
    pub(super) fn adds_bos(&self) -> bool {
        match self {
            Self::Bpe { adds_bos, .. } => *adds_bos,
            Self::Spm(..) | Self::Characters(_) | Self::WordPiece(_) => true,
            Self::Unigram(..) | Self::World(_) | Self::Plamo(_) => false,
        }
    }

    /// Whether texts end with a token where a file does not say.
    pub(super) fn adds_eos(&self) -> bool {
        matches!(self, Self::WordPiece(_) | Self::Unigram(..))
    }

    /// Whether a space in front of a decoded text was put there by encoding.
    pub(super) fn drops_space(&self) -> bool {
        match self {
            Self::Spm(.., spaces) => spaces.prefix.is_some(),
            Self::Unigram(_, blanks) => blanks.prefix.is_some(),
            Self::WordPiece(_) => true,
            Self::Bpe { .. } | Self::Characters(_) | Self::World(_) | Self::Plamo(_) => false,
        }
    }
}
