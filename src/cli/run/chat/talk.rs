//! A conversation under way: what the user says is answered or obeyed.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Args;
use super::commands::{HELP, Line, parse};
use super::lines::{Input, Lines};
use crate::chat::diary::Diary;
use crate::chat::{Answer, AnswerMarks, AnswerReader, Change, Prompt, PromptError, Template};
use crate::cli::interrupt::{self, Busy};
use crate::cli::output::{note, say, show, show_generated, warn};
use crate::cli::run::load::Model;
use crate::cli::run::statistics::Environment;
use crate::cli::values::MaxTokens;
use crate::error::{Error, Result};
use crate::printable::plural;
use crate::runtime::Sampler;
use crate::runtime::generate::{Finish, Generation, Generator, Request};

/// A conversation under way.
pub(super) struct Chat<'a> {
    args: &'a Args,
    model: &'a Model,
    template: Template,
    marks: AnswerMarks,
    diary: Diary,
    generator: Generator<'a>,
    sampler: Sampler,
    environment: Environment,
    total: Option<Generation>,
    is_terminal: bool,
    /// Messages that the model was given, and those that it could not be given.
    n_answered: usize,
    n_refused: usize,
    /// The last change could not be written.
    is_behind: bool,
}

impl<'a> Chat<'a> {
    /// Begins to talk, or goes on with what `diary` has.
    pub(super) fn new(
        args: &'a Args,
        model: &'a Model,
        template: Template,
        diary: Diary,
        generator: Generator<'a>,
        sampler: Sampler,
        is_terminal: bool,
    ) -> Self {
        Self {
            args,
            model,
            template,
            marks: AnswerMarks::of(&model.tokenizer),
            diary,
            environment: Environment::new(model, generator.session(), sampler.options().seed),
            generator,
            sampler,
            total: None,
            is_terminal,
            n_answered: 0,
            n_refused: 0,
            is_behind: false,
        }
    }

    /// Says how to go about it, to a terminal, and whether it goes on from an earlier conversation.
    pub(super) fn greet(&self) {
        if self.args.quiet {
            return;
        }
        if self.is_terminal {
            let name = self.model.engine.file().path().file_name().unwrap_or_default().to_string_lossy();
            let n_ctx = self.generator.session().n_ctx();
            say(format_args!("{name}, {n_ctx} tokens of context; /help shows the commands, Ctrl-D ends"));
        }
        let conversation = self.diary.conversation();
        let n_messages = conversation.messages().len();
        if n_messages > 0 {
            let kept = plural(n_messages, "message");
            note(format_args!("the conversation goes on after {kept}; /clear starts anew"));
        }
        if conversation.is_unanswered() {
            note("the last message has no answer yet: /regen answers it, /undo takes it back");
        }
    }

    /// Answers what the user says, until there is no more of it.
    ///
    /// # Errors
    /// Any that leaves nothing to go on with; [`Error::Interrupted`] if a signal ended it;
    /// [`Error::Limit`] if a pipe's messages were all refused.
    pub(super) fn talk(&mut self, lines: &Lines) -> Result<()> {
        let mut interrupted = false;
        loop {
            let line = match lines.read()? {
                Input::End => break,
                Input::Signal => return Err(Error::Interrupted),
                Input::Interrupted if interrupted => break,
                Input::Interrupted => {
                    note("Ctrl-C once more, Ctrl-D or /exit ends");
                    interrupted = true;
                    continue;
                }
                Input::Unusable(why) => {
                    self.refuse(&format!("the message is left out: {why}"));
                    continue;
                }
                Input::Text(line) => line,
            };
            interrupted = false;
            // What follows can be stopped from its beginning: also writing a message down, or a long prompt, takes time.
            let busy = Busy::begin();
            match parse(&line) {
                Line::Exit => break,
                Line::Say(message) => {
                    self.record(Change::Asked(message));
                    self.answer(&busy)?;
                }
                Line::Regenerate if self.diary.conversation().messages().is_empty() => {
                    note("there is no message yet");
                }
                Line::Regenerate => self.answer(&busy)?,
                other => self.command(&other),
            }
        }
        if self.n_refused > 0 && self.n_answered == 0 && !self.is_terminal {
            let refused = plural(self.n_refused, "message");
            return Err(Error::limit(format!(
                "nothing was answered: {refused} could not be, as noted above"
            )));
        }
        Ok(())
    }

    /// Writes the conversation anew, with the keys and values there are. The first signal lets this end.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub(super) fn save(&mut self) -> Result<()> {
        let _busy = Busy::begin();
        self.diary.save(self.generator.session().sequence())
    }

    pub(super) fn show_statistics(&self) {
        match &self.total {
            Some(total) => say(self.environment.lines(total, &self.args.stop_strings)),
            None => note("nothing was generated yet"),
        }
    }

    /// The commands that need no model.
    fn command(&mut self, line: &Line) {
        match line {
            Line::Help => say(HELP),
            Line::Clear => {
                self.record(Change::Cleared);
                note("the conversation is forgotten");
            }
            Line::Undo => {
                let is_there = !self.diary.conversation().messages().is_empty();
                if is_there {
                    self.record(Change::TakenBack);
                }
                note(if is_there { "the last message is taken back" } else { "there is no message yet" });
            }
            Line::System(None) => match self.diary.conversation().system() {
                Some(system) => say(system),
                None => note("there is no system message"),
            },
            Line::System(Some(text)) => self.set_system((!text.is_empty()).then(|| text.clone())),
            Line::Stats => self.show_statistics(),
            Line::Unknown(name) => {
                note(format_args!(
                    "there is no command /{name}; /help shows those there are, and // begins a message with a slash"
                ));
            }
            Line::Empty | Line::Say(_) | Line::Regenerate | Line::Exit => {}
        }
    }

    /// Replaces the system message, unless the template refuses it: then nothing could be said any more.
    fn set_system(&mut self, system: Option<String>) {
        if system.as_deref() == self.diary.conversation().system() {
            note("the system message is that already");
            return;
        }
        let mut changed = self.diary.conversation().clone();
        changed.apply(Change::System(system.clone()));
        match changed.system_refusal(&self.template) {
            Some(refusal) => note(format_args!(
                "the system message stays as it was: the chat template refuses the new one: {refusal}"
            )),
            None => {
                self.record(Change::System(system));
                note("the system message is changed");
            }
        }
    }

    /// Changes the conversation, on disk as well. Where that fails the talk goes on: what is missing is
    /// written with the next change, or at the end, which says so if it fails.
    fn record(&mut self, change: Change) {
        match self.diary.record(change) {
            Ok(()) if self.is_behind => {
                note("the session file is complete again");
                self.is_behind = false;
            }
            Ok(()) => {}
            Err(error) => {
                warn(format_args!("the session file lacks the last message: {error}"));
                self.is_behind = true;
            }
        }
    }

    /// Notes why a message cannot be answered.
    fn refuse(&mut self, why: &str) {
        note(why);
        self.n_refused += 1;
    }

    /// Lets the model answer the last message, which is taken back if it cannot be, or answer it anew.
    fn answer(&mut self, busy: &Busy) -> Result<()> {
        let is_new = self.diary.conversation().is_unanswered();
        let Some(prompt) = self.prompt(is_new)? else { return Ok(()) };
        let (outcome, answer) = self.generate(&prompt, busy.stop());
        let is_stopped = busy.stop().load(Ordering::SeqCst);
        // An empty answer is one.
        self.n_answered += 1;
        let is_empty = answer.content.trim().is_empty() && answer.thinking.is_none();
        if !is_empty {
            self.record(Change::Answered(answer));
        }
        let generation = outcome?;
        self.total = Some(add(self.total, generation));
        // Someone at a terminal stops an answer and goes on; else it is the program that is stopped.
        if interrupt::is_ending() || is_stopped && !self.is_terminal {
            interrupt::end_in_order();
            return Err(Error::Interrupted);
        }
        match (is_empty, is_new) {
            (true, true) => {
                self.record(Change::TakenBack);
                let why = if is_stopped { "stopped before the answer began" } else { "the answer is empty" };
                self.refuse(&format!("{why}; the message is taken back"));
            }
            (true, false) => note("the new answer is empty; the old one stays"),
            (false, _) if !self.args.quiet => remark(generation.finish),
            (false, _) => {}
        }
        Ok(())
    }

    /// The prompt for an answer; nothing if there can be none, as is then noted.
    fn prompt(&mut self, is_new: bool) -> Result<Option<Prompt>> {
        let n_ctx = self.generator.session().n_ctx();
        let max_tokens = n_ctx - room_for_answer(n_ctx);
        let conversation = self.diary.conversation();
        let refusal = match conversation.prompt(&self.template, &self.model.tokenizer, max_tokens) {
            Ok(prompt) => {
                if let Some(cut) = &prompt.cut {
                    self.record(cut.clone());
                    self.note_cut(prompt.n_dropped, n_ctx);
                }
                return Ok(Some(prompt));
            }
            Err(PromptError::Failed(error)) => return Err(error),
            Err(PromptError::Refused(what)) => format!("the message cannot be put to the model: {what}"),
            Err(PromptError::TooLong(what)) => what,
        };
        if is_new {
            self.record(Change::TakenBack);
            self.refuse(&format!("{refusal}; the message is taken back"));
        } else {
            self.refuse(&refusal);
        }
        Ok(None)
    }

    fn note_cut(&self, n_dropped: usize, n_ctx: usize) {
        if !self.args.quiet {
            note(format_args!(
                "the context of {n_ctx} tokens is full: the model no longer sees the oldest {}; /clear starts anew, \
                 a longer --ctx keeps more",
                plural(n_dropped, "message"),
            ));
        }
    }

    /// Shows an answer as it comes; returns it as far as it came.
    fn generate(&mut self, prompt: &Prompt, stop: &AtomicBool) -> (Result<Generation>, Answer) {
        let request = Request {
            prompt: &prompt.ids,
            max_tokens: self.args.max_tokens.and_then(MaxTokens::count),
            stop_strings: &self.args.stop_strings,
            stop,
            marked: Some(self.marks.ids()),
        };
        let mut reader = AnswerReader::new(&self.marks, prompt.opens);
        let show_next = &mut |piece: &str| show_generated(&reader.push(piece));
        let generation = self.generator.run(&request, &mut self.sampler, show_next);
        let is_whole = generation.as_ref().is_ok_and(|generation| {
            matches!(generation.finish, Finish::EndOfText(_) | Finish::StopString(_))
        });
        let (rest, answer) = reader.finish(is_whole);
        let ended = generation
            .and_then(|generation| show_generated(&rest).map(|()| generation))
            .and_then(|generation| show("\n").map(|()| generation));
        (ended, answer)
    }
}

/// Says why an answer ended, where that was not its own end.
fn remark(finish: Finish) {
    match finish {
        Finish::ContextFull => note("the answer is cut off: the context is full; a longer --ctx makes room"),
        Finish::MaxTokens => note("the answer is cut off: it has the tokens that -n allows"),
        Finish::Interrupted => note("stopped"),
        Finish::EndOfText(_) | Finish::StopString(_) => {}
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
        speculated: total.speculated.zip(last.speculated).map(|(total, last)| total + last),
    }
}
