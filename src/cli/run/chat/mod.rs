//! `gguf-run chat`: talks with a model.
//!
//! `reader` reads messages in a thread, `lines` waits for them and for signals, `commands` says what
//! they mean, `talk` answers them.

mod commands;
mod lines;
mod reader;
mod talk;
mod terminal;

use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};

use super::args::{ContextArgs, ModelArgs, SamplingArgs};
use super::input::read_file;
use super::load::{Model, load};
use super::speculation::SpeculationArgs;
use crate::chat::diary::{self, Diary};
use crate::chat::{Change, Conversation, SpecialTokens, Template};
use crate::cli::compute::ComputeArgs;
use crate::cli::interrupt;
use crate::cli::output::{also, note};
use crate::cli::values::{MaxTokens, max_tokens};
use crate::error::{Error, Result};
use crate::runtime::{Sampler, Session, SessionFile, SessionOptions};
use lines::Lines;
use talk::Chat;

/// Talk with a model.
///
/// Reads a message, shows the answer as it is computed, and so on; /help shows the commands. Lines
/// come from the terminal, with editing and a history, or from a pipe. The chat template is the model
/// file's own unless --template gives another. With --session, every message is on disk before the next
/// is read.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// What the model is told about its part before the conversation begins; "" removes what a session has
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,
    /// A chat template in Jinja, or a tokenizer_config.json that has one, instead of the model file's
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// Give the chat template this besides the messages, as enable_thinking=false or reasoning_effort=low; VALUE is JSON, or
    /// else a text; may be given several times
    #[arg(long = "template-var", value_name = "NAME=VALUE", allow_hyphen_values = true, value_parser = template_variable)]
    template_variables: Vec<(String, serde_json::Value)>,
    /// Answer with at most so many tokens [default: -1, until the answer ends or the context is full]
    #[arg(short = 'n', long = "tokens", visible_alias = "n-predict", value_name = "N",
        allow_negative_numbers = true, value_parser = max_tokens)]
    max_tokens: Option<MaxTokens>,
    /// End an answer before this text comes up; may be given several times
    #[arg(long = "stop", value_name = "TEXT", allow_hyphen_values = true)]
    stop_strings: Vec<String>,
    /// Do not keep what is typed for other chats to go back to: by default it goes to chat-history.txt in the folder
    /// gguf-kit of the user's data, with or without --session
    #[arg(long)]
    no_history: bool,
    /// No greeting, notes, statistics or progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    speculation: SpeculationArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

const EXAMPLES: &str = "\
Examples:
  gguf-run chat model.gguf
  gguf-run chat model.gguf --system \"Answer in one sentence.\" --temp 0.2
  gguf-run chat model.gguf --session diary.session
  echo \"Tell me a story.\" | gguf-run chat path/to/checkpoint --type Q8_0 --quiet";

impl Args {
    fn check(&self) -> Result<()> {
        if self.stop_strings.iter().any(String::is_empty) {
            return Err(Error::usage(
                "--stop \"\" would end every answer at once; give some text, or leave it out",
            ));
        }
        if self.max_tokens == Some(MaxTokens::AtMost(0)) {
            return Err(Error::usage("-n 0 leaves every answer empty; give 1 or more, or leave it out"));
        }
        self.speculation.check()?;
        self.context.n_batch()?;
        self.context.check_session_file()
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Any; [`Error::Interrupted`] if a signal ended it.
pub(super) fn run(args: &Args) -> Result<()> {
    args.check()?;
    // Ours from here on, before the time is spent that it takes to load a model.
    let file = args.context.session.as_deref().map(SessionFile::open).transpose()?.flatten();
    let given_template = args.template.as_deref().map(read_template).transpose()?;
    let model = load(&args.model, &args.compute, args.quiet)?;
    let draft = args.speculation.load_draft(&args.model, &args.compute, args.quiet)?;
    model.engine.check_has_logits()?;
    let template =
        template(&model, given_template)?.with_variables(args.template_variables.iter().cloned().collect());
    let n_ctx = args.context.n_ctx(model.engine.spec().n_ctx_train);
    let sampler = Sampler::new(args.sampling.resolve(model.engine.metadata(), n_ctx)?)?;
    let (session, diary) = open(args, &model, file, n_ctx)?;
    check_system(args, &template, diary.conversation())?;
    let generator = args.speculation.generator(&model, draft.as_ref(), session, args.quiet)?;
    let lines = Lines::open(!args.no_history)?;
    let mut chat = Chat::new(args, &model, template, diary, generator, sampler, lines.is_terminal());
    chat.greet();
    let ended = chat.talk(&lines);
    // A signal that came with the end of the input counts: a closed terminal gives both.
    let ended = if interrupt::is_ending() { ended.and(Err(Error::Interrupted)) } else { ended };
    let saved = chat.save();
    lines.restore_terminal();
    also(ended, saved)?;
    if !args.quiet {
        chat.show_statistics();
    }
    Ok(())
}

/// A name and what a template finds under it.
fn template_variable(text: &str) -> std::result::Result<(String, serde_json::Value), String> {
    let (name, value) =
        text.split_once('=').ok_or("a name, = and a value are needed, as enable_thinking=false")?;
    let is_name =
        name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_numeric());
    if name.is_empty() || !is_name {
        return Err(format!("{name:?} is not a name that a template can use"));
    }
    if matches!(name, "messages" | "add_generation_prompt") {
        return Err(format!("{name} is what the conversation gives the template"));
    }
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

/// The template in a file: Jinja, or JSON that has it under the name that transformers uses.
fn read_template(path: &Path) -> Result<String> {
    let text = read_file(path).map_err(|error| match error {
        Error::Io { source, .. } if source.kind() == NotFound && path.extension().is_none() => {
            Error::usage(format!(
                "--template: there is no file {}; names of other programs' templates are not known here: give a file \
                 with the template's Jinja",
                path.display()
            ))
        }
        other => other,
    })?;
    let Ok(json) = serde_json::from_str::<serde_json::Value>(&text) else { return Ok(text) };
    let named = |named: &&serde_json::Value| named["name"] == "default";
    let found = match &json["chat_template"] {
        serde_json::Value::Array(several) => several.iter().find(named).map(|named| &named["template"]),
        one => Some(one),
    };
    found.and_then(|found| found.as_str()).map(str::to_owned).ok_or_else(|| {
        Error::malformed(path, "it is JSON without a chat_template; give the file that has the template")
    })
}

fn template(model: &Model, given: Option<String>) -> Result<Template> {
    let tokenizer = &model.tokenizer;
    const REMEDY: &str = "give one by --template FILE, or use `gguf-run complete`";
    let refused = |what: String| Error::unsupported(model.engine.file().path(), format!("{what}; {REMEDY}"));
    let is_own = given.is_none();
    let own = || tokenizer.chat_template().map(str::to_owned);
    let source = given.or_else(own).ok_or_else(|| {
        let named: Vec<&str> = tokenizer.template_names().collect();
        refused(match named[..] {
            _ if model.engine.metadata().string("tokenizer.chat_template").is_err() => {
                "its chat template (tokenizer.chat_template) is not a text".to_owned()
            }
            [] => "it has no chat template".to_owned(),
            _ => format!("it has no chat template but those for special purposes ({})", named.join(", ")),
        })
    })?;
    let template = Template::new(&source, SpecialTokens::of(tokenizer)).map_err(|error| match error {
        Error::Malformed { path, what } => Error::malformed(path, format!("{what}; {REMEDY}")),
        Error::Limit { what } => Error::limit(format!("{what}; {REMEDY}")),
        other => other,
    })?;
    if template.shows_messages() {
        return Ok(template);
    }
    const SHOWN_CHARS: usize = 40;
    let start: String = source.chars().take(SHOWN_CHARS).collect();
    Err(if is_own {
        refused(format!("its chat template writes nothing of what the user says ({start:?})"))
    } else {
        Error::usage(format!(
            "--template: it writes nothing of what the user says ({start:?}); give another file"
        ))
    })
}

/// The session and the conversation that the session's file has, or new ones, which the file then has.
fn open<'e>(
    args: &Args,
    model: &'e Model,
    file: Option<SessionFile>,
    n_ctx: usize,
) -> Result<(Session<'e>, Diary)> {
    let n_batch = args.context.n_batch()?;
    let options = SessionOptions { n_ctx, n_batch, kv_types: args.context.kv.kv_types };
    let system = args.system.clone().filter(|system| !system.is_empty());
    let Some(path) = &args.context.session else {
        return Ok((Session::new(&model.engine, options)?, Diary::new(Conversation::new(system), None)));
    };
    let Some(mut file) = file else {
        let session = Session::new(&model.engine, options)?;
        let conversation = Conversation::new(system);
        let file = SessionFile::create(path, session.sequence(), &conversation.to_json())?;
        return Ok((session, Diary::new(conversation, Some(file))));
    };
    let resumed = file.resume(&model.engine, options)?;
    if resumed.is_torn {
        note(format_args!(
            "{} ends in the middle of a message, because a program was ended while writing it; that message is lost",
            path.display()
        ));
    }
    let attached = resumed.session.sequence().attached();
    let mut diary = Diary::new(conversation(path, attached, &resumed.records)?, Some(file));
    if args.system.is_some() && diary.conversation().system() != system.as_deref() {
        diary.record(Change::System(system))?;
    }
    Ok((resumed.session, diary))
}

fn conversation(path: &Path, attached: &[u8], records: &[String]) -> Result<Conversation> {
    diary::restore(attached, records).map_err(|e| {
        Error::malformed(path, format!("its conversation cannot be read: {e}; name another file (--session)"))
    })
}

/// Whether the template takes the system message: it would refuse all that is said after it.
fn check_system(args: &Args, template: &Template, conversation: &Conversation) -> Result<()> {
    let Some(refusal) = conversation.system_refusal(template) else { return Ok(()) };
    Err(Error::usage(match &args.system {
        Some(_) => format!("the chat template refuses a system message: {refusal}; leave out --system"),
        None => format!(
            "the chat template refuses the system message of this session: {refusal}; remove it by --system \"\", or \
             give another template (--template FILE)"
        ),
    }))
}
