//! `gguf-run chat` at a terminal: one that this test plays, a pseudo-terminal.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::chat_sessions::{Diary, attached};
use crate::program::let_hang_ups_end_children;

/// Far beyond what anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A chat at a terminal.
struct Talk {
    child: Child,
    keyboard: File,
    /// The program's side, whose settings are looked at.
    line: File,
    shown: Vec<u8>,
    /// Bytes of it that were waited for already.
    n_seen: usize,
    settings: String,
}

impl Talk {
    /// Begins a chat, as the leader of the terminal's session if it `owns` it: closing the terminal hangs up.
    fn begin(chat: &Command, owns: bool) -> Self {
        let_hang_ups_end_children();
        let keyboard =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&keyboard).expect("ours");
        unlockpt(&keyboard).expect("unlocked");
        let name = ptsname(&keyboard, Vec::new()).expect("a name").into_string().expect("ASCII");
        let line = File::options().read(true).write(true).open(name).expect("the other side");
        tcsetwinsize(&line, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).expect("sized");
        let settings = settings(&line);
        let mut command = if owns { Command::new("setsid") } else { Command::new(chat.get_program()) };
        if owns {
            command.arg("--ctty").arg(chat.get_program());
        }
        command.args(chat.get_args()).env("TERM", "xterm");
        for (name, value) in chat.get_envs().filter_map(|(name, value)| Some((name, value?))) {
            command.env(name, value);
        }
        let side = || Stdio::from(line.try_clone().expect("a handle"));
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().expect("it starts");
        Self { child, keyboard: keyboard.into(), line, shown: Vec::new(), n_seen: 0, settings }
    }

    fn type_in(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("typed");
    }

    /// Takes what is shown, and waits a little for it.
    fn look(&mut self) {
        let little = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        let mut ready = [PollFd::new(&self.keyboard, PollFlags::IN)];
        if poll(&mut ready, Some(&little)).is_ok_and(|n| n > 0) {
            let mut bytes = [0; 4096];
            let n = self.keyboard.read(&mut bytes).unwrap_or(0);
            self.shown.extend_from_slice(&bytes[..n]);
        }
    }

    /// Waits until `text` is shown, after what was waited for before.
    fn wait_for(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            let new = &self.shown[self.n_seen..];
            if let Some(at) = new.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.n_seen += at + text.len();
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{text:?} is not in {:?}", String::from_utf8_lossy(new));
            self.look();
        }
    }

    /// Types a line, and waits until it is taken.
    fn say(&mut self, text: &str) {
        self.type_in(format!("{text}\r").as_bytes());
        // The editor ends, and then the line.
        self.wait_for("\x1b[?2004l");
        self.wait_for("\n");
    }

    /// Waits until anything more is shown.
    fn wait_for_more(&mut self) {
        let start = Instant::now();
        while self.shown.len() == self.n_seen {
            assert!(start.elapsed() < PATIENCE, "nothing is shown");
            self.look();
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill starts").success());
    }

    /// Waits for the end, and gives the exit status.
    fn end(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            self.look();
        }
    }

    fn is_restored(&self) -> bool {
        settings(&self.line) == self.settings
    }
}

/// All settings of a terminal.
fn settings(line: &File) -> String {
    format!("{:?}", tcgetattr(line).expect("a terminal"))
}

#[test]
fn signals_at_the_prompt_keep_the_conversation_and_restore_the_terminal() {
    for (name, status) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let diary = Diary::new();
        let mut talk = Talk::begin(&diary.chat(&["--quiet"]), false);
        talk.wait_for("> ");
        talk.say("My name is Hans.");
        talk.wait_for("> ");
        talk.type_in(b"half a line");
        talk.wait_for("half a line");
        assert!(!talk.is_restored(), "a line is being edited");
        talk.signal(name);
        assert_eq!(talk.end(), Some(status), "{name}");
        assert!(talk.is_restored(), "{name}");
        assert_eq!(attached(&diary.path()).messages().len(), 2, "{name}");
    }
}

#[test]
fn a_character_that_is_not_utf8_spoils_its_line_alone() {
    let diary = Diary::new();
    let mut talk = Talk::begin(&diary.chat(&["--quiet"]), false);
    talk.wait_for("> ");
    talk.type_in(b"H\xe4nsel\r");
    talk.wait_for("not UTF-8");
    talk.wait_for("> ");
    talk.say("Gretel");
    talk.wait_for("> ");
    talk.type_in(b"/exit\r");
    assert_eq!(talk.end(), Some(0));
    assert!(talk.is_restored());
    assert_eq!(diary.said(), ["Gretel"]);
}

#[test]
fn lines_that_are_typed_ahead_are_all_read() {
    let diary = Diary::new();
    let mut talk = Talk::begin(&diary.chat(&["--quiet", "--no-history"]), false);
    talk.wait_for("> ");
    talk.type_in(b"Hansel\rGretel\r/exit\r");
    assert_eq!(talk.end(), Some(0));
    assert_eq!(diary.said(), ["Hansel", "Gretel"]);
}

#[test]
fn ctrl_c_stops_an_answer_and_twice_at_the_prompt_the_program() {
    let diary = Diary::new();
    let mut talk = Talk::begin(&diary.long_chat(), false);
    talk.wait_for("> ");
    talk.say("Tell me a story.");
    talk.wait_for_more();
    talk.signal("INT");
    talk.wait_for("\x1b[?2004h");
    talk.type_in(b"\x03");
    talk.wait_for("Ctrl-C once more");
    talk.wait_for("\x1b[?2004h");
    talk.type_in(b"\x03");
    assert_eq!(talk.end(), Some(0));
    assert!(talk.is_restored());
    assert_eq!(diary.conversation().messages().len(), 2, "what there was of the answer is kept");
}

/// What a shell does for Ctrl-Z and `fg`: it puts its own settings in place while the program stands still.
#[test]
fn a_line_is_edited_again_after_a_stop() {
    let diary = Diary::new();
    let mut talk = Talk::begin(&diary.chat(&["--quiet"]), false);
    let cooked = tcgetattr(&talk.line).expect("a terminal");
    talk.wait_for("> ");
    talk.type_in(b"half a line");
    talk.wait_for("half a line");
    talk.signal("STOP");
    tcsetattr(&talk.line, OptionalActions::Now, &cooked).expect("set");
    assert!(talk.is_restored());
    talk.signal("CONT");
    let start = Instant::now();
    while talk.is_restored() {
        assert!(start.elapsed() < PATIENCE, "the line is not edited any more");
        talk.look();
    }
    talk.say(" and the rest");
    talk.wait_for("> ");
    talk.type_in(b"/exit\r");
    assert_eq!(talk.end(), Some(0));
    assert_eq!(diary.said(), ["half a line and the rest"]);
}

#[test]
fn ctrl_c_while_a_prompt_is_read_takes_the_message_back() {
    let diary = Diary::new();
    let mut talk = Talk::begin(&diary.chat(&["--isa", "scalar", "--threads", "1", "--ctx", "8192"]), false);
    talk.wait_for("> ");
    let n_bytes = || fs::metadata(diary.path()).expect("a session file").len();
    let before = n_bytes();
    // Pasted: typed, every character would be shown.
    talk.say(&format!("\x1b[200~{}\x1b[201~", "Once upon a time there was a fox. ".repeat(600)));
    // A message is written down when it can be stopped.
    let start = Instant::now();
    while n_bytes() == before {
        assert!(start.elapsed() < PATIENCE, "the message is not written down");
        talk.look();
    }
    talk.signal("INT");
    talk.wait_for("stopped before the answer began");
    talk.say("My name is Hans.");
    talk.wait_for("> ");
    talk.type_in(b"/exit\r");
    assert_eq!(talk.end(), Some(0));
    assert_eq!(diary.said(), ["My name is Hans."]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_that_is_closed_leaves_the_conversation() {
    let diary = Diary::new();
    let mut talk = Talk::begin(&diary.chat(&["--quiet"]), true);
    talk.wait_for("> ");
    talk.say("My name is Hans.");
    talk.wait_for("> ");
    let Talk { mut child, keyboard, line, .. } = talk;
    drop((keyboard, line));
    assert_eq!(child.wait().expect("it ends").code(), Some(129));
    assert_eq!(attached(&diary.path()).messages().len(), 2);
}
