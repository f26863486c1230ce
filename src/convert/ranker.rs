//! Decoders that score pairs of texts: which checkpoints are some, by which words, and with which prompt.
//!
//! Qwen 3's rerankers are published as plain language models: that they are to answer "yes" or "no" stands in their model
//! card. They are known by their names, as llama.cpp's converter knows them; by the module LogitScore of
//! sentence-transformers, which names the tokens; or because the user says so.

use std::str::FromStr;

use crate::checkpoint::Checkpoint;
use crate::convert::keys::KeyChanges;
use crate::convert::naming::folder_identifier;
use crate::error::{Error, Result};
use crate::model::arch::{self, Configured, Family};
use crate::tokenizer::Vocabulary;

/// The words a model answers with, as its vocabulary spells them: the one that says yes, and the one that says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers(Vec<String>);

impl FromStr for Answers {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let words: Vec<String> = text.split(',').map(str::to_owned).collect();
        match &words[..] {
            [yes] if !yes.is_empty() => Ok(Self(words)),
            [yes, no] if !yes.is_empty() && !no.is_empty() && yes != no => Ok(Self(words)),
            _ => Err(format!("\"{text}\" is not one word, or two with a comma between, as in yes,no")),
        }
    }
}

/// What the names of checkpoints of Qwen's rerankers hold.
const NAMES: [&str; 2] = ["qwen3-reranker", "qwen3-vl-reranker"];

/// The classes that they have.
const CLASSES: [&str; 3] = ["Qwen3ForCausalLM", "Qwen3Model", "Qwen3VLForConditionalGeneration"];

/// What Qwen's rerankers were trained to read; programs put query and document in.
const PROMPT: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the \
     Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n<Instruct>: \
     Given a web search query, retrieve relevant passages that answer the query\n<Query>: {query}\n<Document>: \
     {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";

/// The name and the key of the prompt.
const TEMPLATE: &str = "rerank";
const TEMPLATE_KEY: &str = "tokenizer.chat_template.rerank";

/// How a checkpoint scores pairs of texts, if it does.
#[derive(Debug)]
pub(super) struct Ranker {
    by: Option<By>,
    is_qwens: bool,
}

#[derive(Debug)]
enum By {
    Words(Answers),
    Ids(Vec<u32>),
}

impl Ranker {
    /// What the folder of a checkpoint tells, or `answers` if a user names some.
    ///
    /// # Errors
    /// [`Error::Usage`] for answers of a checkpoint that has classes; [`Error::Malformed`] for a configuration that
    /// cannot be read.
    pub(super) fn of(checkpoint: &Checkpoint, answers: Option<&Answers>) -> Result<Self> {
        let classes = checkpoint.config().strings("architectures")?.unwrap_or_default();
        let is_qwens = is_named(checkpoint);
        let ids = &checkpoint.modules().answers;
        let is_of_class = classes.iter().any(|class| CLASSES.contains(class));
        let default = || Answers(["yes", "no"].map(str::to_owned).into());
        let by = match answers {
            Some(_) if classes.iter().any(|class| arch::is_classifier(class)) => {
                return Err(Error::usage(format!(
                    "{} has classes of its own, which score texts; leave --reranker out",
                    checkpoint.dir().display()
                )));
            }
            Some(answers) => Some(By::Words(answers.clone())),
            None if !ids.is_empty() => Some(By::Ids(ids.clone())),
            None if is_qwens && is_of_class => Some(By::Words(default())),
            None => None,
        };
        // Other rerankers of these classes answer with other words.
        let is_qwens = is_qwens || is_of_class && answers.is_some_and(|answers| *answers == default());
        Ok(Self { by, is_qwens })
    }

    /// How many words the model answers with; 0 if it does not answer.
    pub(super) fn n_answers(&self) -> usize {
        match &self.by {
            None => 0,
            Some(By::Words(Answers(words))) => words.len(),
            Some(By::Ids(ids)) => ids.len(),
        }
    }

    /// Tells `configured` which tokens the words are; returns the vocabulary if that had to be made for it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for words that are not tokens, or for one alone where scores are probabilities; those of
    /// making a vocabulary.
    pub(super) fn find_words(
        &self,
        checkpoint: &Checkpoint,
        family: &Family,
        configured: &mut Configured,
    ) -> Result<Option<Vocabulary>> {
        let Some(by) = &self.by else { return Ok(None) };
        let n_vocab = configured.spec.n_vocab;
        let refused = |what: String| Error::unsupported(checkpoint.dir(), what);
        if self.n_answers() == 1 && configured.spec.pooled.classifier.is_some_and(|of| of.is_softmax) {
            let arch = family.gguf_name;
            return Err(refused(format!(
                "a reranker with one answer: scores of the {arch} architecture are probabilities, which takes two; \
                 name the other as well, as in --reranker yes,no"
            )));
        }
        let words = match by {
            By::Words(Answers(words)) => words,
            By::Ids(ids) => {
                if let Some(id) = ids.iter().find(|&&id| id as usize >= n_vocab) {
                    return Err(refused(format!("modules.json: token {id} of {n_vocab} is to score texts")));
                }
                configured.answers.clone_from(ids);
                return Ok(None);
            }
        };
        let vocabulary = Vocabulary::from_checkpoint(checkpoint.folder(), checkpoint.config(), n_vocab)?;
        let id = |word: &String| {
            vocabulary.id_of(word).ok_or_else(|| {
                refused(format!(
                    "its vocabulary has no token \"{}\" to score texts by; name the words that it answers with, as \
                     its vocabulary spells them: --reranker YES,NO",
                    word.escape_debug()
                ))
            })
        };
        configured.answers = words.iter().map(id).collect::<Result<_>>()?;
        Ok(Some(vocabulary))
    }

    /// Adds the prompt of pairs, if it is known and the vocabulary has none. `notes` gets what the user should know.
    pub(super) fn add_prompt(&self, vocabulary: &mut Vocabulary, keys: &KeyChanges, notes: &mut Vec<String>) {
        if vocabulary.named_template(TEMPLATE).is_some() || keys.sets(TEMPLATE_KEY) {
            return;
        }
        if self.is_qwens {
            vocabulary.add_template(TEMPLATE, PROMPT);
        } else if self.by.is_some() {
            notes.push(format!(
                "the prompt that the reranker was trained with is not known: put it into a file, with {{query}} and \
                 {{document}} in it, and give it by --override-kv {TEMPLATE_KEY}=file:FILE"
            ));
        }
    }
}

/// Whether a checkpoint is one of Qwen's rerankers, or made of one, by its names: those of its folder, its configuration
/// and its model card.
fn is_named(checkpoint: &Checkpoint) -> bool {
    let config = checkpoint.config();
    let text = |key: &str| config.string(key).ok().flatten().map(str::to_owned);
    let card = checkpoint.model_card();
    let bases = card.into_iter().flat_map(|card| card.base_models.iter().cloned());
    let names = [Some(folder_identifier(checkpoint.dir())), text("_name_or_path"), text("model_type")];
    let mut names = names.into_iter().flatten().chain(bases).map(|name| name.to_lowercase());
    let heading = checkpoint.heading().unwrap_or_default().to_lowercase();
    names.any(|name| NAMES.iter().any(|known| name.contains(known)))
        || NAMES.iter().any(|known| heading.starts_with(known))
}
