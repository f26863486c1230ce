//! What a line of the user means.

/// A line of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing.
    Empty,
    /// Something to say to the model.
    Say(String),
    /// Shows the commands.
    Help,
    /// Forgets the conversation.
    Clear,
    /// Answers the last message once more.
    Regenerate,
    /// Takes back the last message and its answer.
    Undo,
    /// Shows the system message, or replaces it; an empty one removes it.
    System(Option<String>),
    /// Shows the statistics.
    Stats,
    /// Ends the program.
    Exit,
    /// A command that does not exist.
    Unknown(String),
}

/// The commands, for the user.
pub(super) const HELP: &str = "\
/help           show this
/clear          forget the conversation, keep the system message
/regen          answer the last message once more
/undo           take back the last message and its answer
/system [TEXT]  show the system message, or replace it (\"\" removes it)
/stats          show speed and memory
/exit           end (also Ctrl-D, or Ctrl-C twice)
Ctrl-C stops an answer. A \\ at the end of a line goes on to the next. // begins a message with a slash.";

/// Reads a line. What is said to the model stays as it was typed.
pub(super) fn parse(line: &str) -> Line {
    let trimmed = line.trim();
    let Some(command) = trimmed.strip_prefix('/') else {
        return if trimmed.is_empty() { Line::Empty } else { Line::Say(line.to_owned()) };
    };
    if command.starts_with('/') {
        return Line::Say(command.to_owned());
    }
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    match (name, rest.trim()) {
        ("help" | "?", _) => Line::Help,
        ("clear" | "reset", _) => Line::Clear,
        ("regen", _) => Line::Regenerate,
        ("undo", _) => Line::Undo,
        ("system", "") => Line::System(None),
        ("system", "\"\"") => Line::System(Some(String::new())),
        ("system", text) => Line::System(Some(text.to_owned())),
        ("stats", _) => Line::Stats,
        ("exit" | "quit" | "bye", _) => Line::Exit,
        _ => Line::Unknown(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_begin_with_one_slash() {
        assert_eq!(parse("  hello /exit "), Line::Say("  hello /exit ".into()));
        assert_eq!(parse(" /exit "), Line::Exit);
        assert_eq!(parse("//exit"), Line::Say("/exit".into()));
        assert_eq!(parse("/nonsense x"), Line::Unknown("nonsense".into()));
        assert_eq!(parse(" \t"), Line::Empty);
    }

    #[test]
    fn system_message_is_shown_replaced_or_removed() {
        assert_eq!(parse("/system"), Line::System(None));
        assert_eq!(parse("/system Be  brief."), Line::System(Some("Be  brief.".into())));
        assert_eq!(parse("/system \"\""), Line::System(Some(String::new())));
    }
}
