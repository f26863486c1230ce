//! `gguf-run chat`: talks with a model.

mod commands;
mod lines;

use std::path::PathBuf;

use super::args::{ContextArgs, ModelArgs, SamplingArgs};
use super::input::read_file;
use super::load::{Model, load};
use super::statistics::Environment;
use crate::chat::{Conversation, SpecialTokens, Template};
use crate::cli::compute::ComputeArgs;
use crate::cli::interrupt::Busy;
use crate::cli::output::{note, plural, say, show, show_generated};
use crate::error::{Error, Result};
use crate::runtime::generate::{Finish, Generation, Generator, Request};
use crate::runtime::{Sampler, Sequence};
use commands::{HELP, Line, parse};
use lines::{Input, Lines};

/// Talk with a model.
///
/// Reads a message, shows the answer as it is computed, and so on; /help shows the commands. Lines
/// come from the terminal, with editing and a history, or from a pipe. The chat template is the model
/// file's own unless --template gives another.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// What the model is told about its part before the conversation begins
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// A chat template in Jinja, instead of the model file's
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// Answer with at most so many tokens [default: until the answer ends or the context is full]
    #[arg(short = 'n', long = "tokens", visible_alias = "n-predict", value_name = "N")]
    max_tokens: Option<usize>,
    /// End an answer before this text comes up; may be given several times
    #[arg(long = "stop", value_name = "TEXT")]
    stop_strings: Vec<String>,
    /// No greeting, notes, statistics or progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
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

/// Runs the subcommand.
///
/// # Errors
/// Any.
pub(super) fn run(args: &Args) -> Result<()> {
    if args.stop_strings.iter().any(String::is_empty) {
        return Err(Error::usage(
            "--stop \"\" would end every answer at once; give some text, or leave it out",
        ));
    }
    args.context.n_batch()?;
    args.context.check_session_file()?;
    let given_template = args.template.as_deref().map(read_file).transpose()?;
    let model = load(&args.model, &args.compute, args.quiet)?;
    let template = template(&model, given_template)?;
    let n_ctx = args.context.n_ctx(model.engine.hparams().n_ctx_train);
    let sampler = Sampler::new(args.sampling.resolve(model.engine.metadata(), n_ctx)?)?;
    let session = args.context.open_session(&model.engine, n_ctx)?;
    model.settle(session.free_bytes(), session.n_batch(), args.quiet)?;
    let conversation = conversation(args, session.sequence())?;
    let mut lines = Lines::open()?;
    let environment = Environment::new(&model, &session, sampler.options().seed);
    let mut chat = Chat {
        args,
        model: &model,
        template,
        conversation,
        generator: Generator::new(session, &model.tokenizer),
        sampler,
        environment,
        n_dropped: 0,
        total: None,
    };
    chat.greet(lines.is_terminal());
    let ended = chat.talk(&mut lines);
    // What was said is kept even if the talk ended with an error.
    args.context.save_session(chat.generator.session(), &chat.conversation.to_json())?;
    ended?;
    if !args.quiet {
        chat.show_statistics();
    }
    Ok(())
}

fn template(model: &Model, given: Option<String>) -> Result<Template> {
    let tokenizer = &model.tokenizer;
    let own = || tokenizer.chat_template().map(str::to_owned);
    let source = given.or_else(own).ok_or_else(|| {
        Error::unsupported(
            model.engine.file().path(),
            "it has no chat template; give one by --template FILE, or use `gguf-run complete`",
        )
    })?;
    Template::new(&source, SpecialTokens::of(tokenizer))
}

/// The conversation that the session's file kept, or a new one; with the system message that is asked for.
fn conversation(args: &Args, sequence: &Sequence<'_>) -> Result<Conversation> {
    let (Some(path), false) = (&args.context.session, sequence.attached().is_empty()) else {
        return Ok(Conversation::new(args.system.clone()));
    };
    let mut kept = Conversation::from_json(sequence.attached()).map_err(|e| {
        Error::malformed(path, format!("its conversation cannot be read: {e}; name another file (--session)"))
    })?;
    if args.system.is_some() {
        kept.set_system(args.system.clone());
    }
    Ok(kept)
}

/// A conversation under way.
struct Chat<'a> {
    args: &'a Args,
    model: &'a Model,
    template: Template,
    conversation: Conversation,
    generator: Generator<'a>,
    sampler: Sampler,
    environment: Environment,
    // The oldest messages that the last prompt left out.
    n_dropped: usize,
    total: Option<Generation>,
}

impl Chat<'_> {
    /// Says how to go about it, to a terminal, and whether it goes on from an earlier conversation.
    fn greet(&self, is_terminal: bool) {
        if self.args.quiet {
            return;
        }
        if is_terminal {
            let name = self.model.engine.file().path().file_name().unwrap_or_default().to_string_lossy();
            let n_ctx = self.generator.session().n_ctx();
            say(format_args!("{name}, {n_ctx} tokens of context; /help shows the commands, Ctrl-D ends"));
        }
        let n_messages = self.conversation.messages().len();
        if n_messages > 0 {
            let kept = plural(n_messages, "message");
            note(format_args!("the conversation goes on after {kept}; /clear starts anew"));
        }
    }

    fn talk(&mut self, lines: &mut Lines) -> Result<()> {
        let mut interrupted = false;
        loop {
            let line = match lines.read("> ")? {
                Input::End => return Ok(()),
                Input::Interrupted if interrupted => return Ok(()),
                Input::Interrupted => {
                    note("Ctrl-C once more, Ctrl-D or /exit ends");
                    interrupted = true;
                    continue;
                }
                Input::Text(line) => line,
            };
            interrupted = false;
            match parse(&line) {
                Line::Exit => return Ok(()),
                Line::Say(message) => {
                    self.conversation.push_user(message);
                    self.answer()?;
                }
                Line::Regenerate => {
                    if self.conversation.pop_assistant() {
                        self.answer()?;
                    } else {
                        note("there is no answer yet");
                    }
                }
                other => self.command(&other),
            }
        }
    }

    /// The commands that need no model.
    fn command(&mut self, line: &Line) {
        match line {
            Line::Help => say(HELP),
            Line::Clear => {
                self.conversation.clear();
                self.n_dropped = 0;
                note("the conversation is forgotten");
            }
            Line::Undo => {
                self.conversation.pop_assistant();
                let taken_back = self.conversation.pop_user();
                note(if taken_back { "the last message is taken back" } else { "there is no message yet" });
            }
            Line::System(None) => match self.conversation.system() {
                Some(system) => say(system),
                None => note("there is no system message"),
            },
            Line::System(Some(text)) => {
                self.conversation.set_system((!text.is_empty()).then(|| text.clone()));
                note("the system message is changed");
            }
            Line::Stats => self.show_statistics(),
            Line::Unknown(name) => {
                note(format_args!("there is no command /{name}; /help shows those there are"));
            }
            Line::Empty | Line::Say(_) | Line::Regenerate | Line::Exit => {}
        }
    }

    /// Lets the model answer the last message. A message too long for the context is taken back.
    fn answer(&mut self) -> Result<()> {
        let n_ctx = self.generator.session().n_ctx();
        let max_tokens = n_ctx - room_for_answer(n_ctx);
        let prompt = match self.conversation.prompt(&self.template, &self.model.tokenizer, max_tokens) {
            Err(Error::Limit { what }) => {
                note(what);
                self.conversation.pop_user();
                return Ok(());
            }
            prompt => prompt?,
        };
        if prompt.n_dropped > self.n_dropped && !self.args.quiet {
            note(format_args!(
                "the context of {n_ctx} tokens is full: the model no longer sees the oldest {}; /clear starts anew, \
                 a longer --ctx keeps more",
                plural(prompt.n_dropped, "message"),
            ));
        }
        self.n_dropped = prompt.n_dropped;
        let (generation, text) = self.generate(&prompt.ids)?;
        self.conversation.push_assistant(text);
        if !self.args.quiet {
            let remark = match generation.finish {
                Finish::ContextFull => {
                    "the answer is cut off: the context is full; a longer --ctx makes room"
                }
                Finish::MaxTokens => "the answer is cut off: it has the tokens that -n allows",
                Finish::Interrupted => "stopped",
                Finish::EndOfText(_) | Finish::StopString(_) => "",
            };
            if !remark.is_empty() {
                note(remark);
            }
        }
        self.total = Some(add(self.total, generation));
        Ok(())
    }

    /// Shows an answer as it comes; returns it whole.
    fn generate(&mut self, ids: &[u32]) -> Result<(Generation, String)> {
        let busy = Busy::begin();
        let request = Request {
            prompt: ids,
            max_tokens: self.args.max_tokens,
            stop_strings: &self.args.stop_strings,
            stop: busy.stop(),
        };
        let mut text = String::new();
        let generation = self.generator.run(&request, &mut self.sampler, &mut |piece| {
            text.push_str(piece);
            show_generated(piece)
        })?;
        show("\n")?;
        Ok((generation, text))
    }

    fn show_statistics(&self) {
        match &self.total {
            Some(total) => say(self.environment.lines(total, &self.args.stop_strings)),
            None => note("nothing was generated yet"),
        }
    }
}

/// Tokens kept free for an answer.
fn room_for_answer(n_ctx: usize) -> usize {
    const MOST: usize = 256;
    (n_ctx / 4).min(MOST)
}

/// The sum of two generations, ended as the later one.
fn add(total: Option<Generation>, last: Generation) -> Generation {
    let Some(total) = total else { return last };
    Generation {
        finish: last.finish,
        n_prompt: total.n_prompt + last.n_prompt,
        n_reused: total.n_reused + last.n_reused,
        prompt_time: total.prompt_time + last.prompt_time,
        n_generated: total.n_generated + last.n_generated,
        n_steps: total.n_steps + last.n_steps,
        generation_time: total.generation_time + last.generation_time,
    }
}
