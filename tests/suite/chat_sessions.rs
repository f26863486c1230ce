//! What was said to `gguf-run chat --session` is on disk, whatever ends the program.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::fairytale;
#[cfg(unix)]
use crate::program::let_hang_ups_end_children;
use crate::program::{assert_failed, command, run_with_input, stderr, stdout};
use crate::random::Random;
use gguf_kit::chat::Conversation;
use gguf_kit::runtime::{Engine, EngineOptions, Sequence};

/// A session file in a folder of its own.
pub(crate) struct Diary {
    folder: tempfile::TempDir,
}

impl Diary {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("diary")
    }

    /// A chat that is kept in this file, with short answers.
    pub(crate) fn chat(&self, more: &[&str]) -> Command {
        let mut command = self.any_chat();
        command.args(["-n", "4", "--temp", "0"]).args(more);
        command
    }

    /// A chat that is kept in this file, with answers that fill the context, slowly.
    pub(crate) fn long_chat(&self) -> Command {
        let mut command = self.any_chat();
        command.args(["--isa", "scalar", "--threads", "1", "--quiet"]);
        command.args(["--temp", "1000", "--top-k", "0", "--top-p", "1", "--min-p", "0", "--seed", "1"]);
        command
    }

    fn any_chat(&self) -> Command {
        let mut command = command(["chat"]);
        command.arg(fairytale()).args(["--type", "Q8_0", "--session"]);
        command.arg(self.path()).stdin(Stdio::piped());
        command
    }

    /// What a chat that is given `lines` says; it must succeed.
    pub(crate) fn talk(&self, more: &[&str], lines: &str) -> Output {
        run_with_input(self.chat(more).get_args(), lines)
    }

    /// The conversation, after a chat has written it in order.
    pub(crate) fn conversation(&self) -> Conversation {
        self.talk(&[], "/exit\n");
        attached(&self.path())
    }

    /// What the user has said, without the answers.
    pub(crate) fn said(&self) -> Vec<String> {
        let conversation = self.conversation();
        let messages = conversation.messages().iter().filter(|message| message.role == "user");
        messages.map(|message| message.content.clone()).collect()
    }
}

/// The conversation in a session file that ends with no journal.
pub(crate) fn attached(path: &Path) -> Conversation {
    let bytes = fs::read(path).expect("a session file");
    let n = Sequence::attached_bytes(path).expect("a session file").expect("it exists") as usize;
    Conversation::from_json(&bytes[bytes.len() - 32 - n..bytes.len() - 32]).expect("a conversation")
}

/// Far beyond what any end here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A chat by pipe.
struct Talk {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Talk {
    fn begin(mut command: Command) -> Self {
        #[cfg(unix)]
        let_hang_ups_end_children();
        let mut child = command.spawn().expect("gguf-run starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, out }
    }

    fn say(&mut self, message: &str) {
        let input = self.child.stdin.as_mut().expect("a pipe");
        writeln!(input, "{message}").expect("the message is taken");
    }

    /// Waits until an answer is over.
    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("UTF-8");
        assert!(line.ends_with('\n'), "the answer {line:?} is over");
        line
    }

    /// Sends a signal, by its name.
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill starts").success());
    }

    /// Waits for the end, with standard input still open.
    fn end(mut self) -> Output {
        let input = self.child.stdin.take();
        let start = Instant::now();
        while self.child.try_wait().expect("it is ours").is_none() {
            if start.elapsed() > PATIENCE {
                self.child.kill().expect("it is ours");
                panic!("it does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = self.child.wait_with_output().expect("it ends");
        drop(input);
        output
    }
}

#[test]
#[cfg(unix)]
fn signals_at_any_moment_keep_what_was_said_and_give_their_status() {
    for (name, status) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        // Between two messages.
        let diary = Diary::new();
        let mut talk = Talk::begin(diary.chat(&[]));
        talk.say("My name is Hans.");
        talk.answer();
        talk.signal(name);
        let output = talk.end();
        assert_eq!(output.status.code(), Some(status), "{name}: {}", stderr(&output));
        assert_eq!(attached(&diary.path()).messages().len(), 2, "{name}");

        // In the middle of an answer, slow enough for the signal to come there.
        let mut talk = Talk::begin(diary.long_chat());
        talk.say("And yours?");
        let mut first = [0];
        std::io::Read::read_exact(&mut talk.out, &mut first).expect("the answer begins");
        talk.signal(name);
        let output = talk.end();
        assert_eq!(output.status.code(), Some(status), "{name}: {}", stderr(&output));
        let conversation = attached(&diary.path());
        let messages = conversation.messages();
        assert_eq!(messages.len(), 4, "{name}: {messages:?}");
        assert!(
            messages[2].content == "And yours?" && messages[3].content.as_bytes()[0] == first[0],
            "{name}"
        );
        assert!(stderr(&diary.talk(&[], "")).contains("goes on after 4 messages"));
    }
}

#[test]
fn a_chat_killed_at_random_loses_no_message() {
    let diary = Diary::new();
    let mut random = Random::new(7);
    let mut expected = Vec::new();
    for round in 0..12 {
        let mut talk = Talk::begin(diary.chat(&["--quiet"]));
        // A message that was answered has been written.
        for n in 0..random.below(3) {
            let message = format!("This is message {n} of round {round}.");
            talk.say(&message);
            talk.answer();
            expected.push(message);
        }
        // This one may be heard or not.
        talk.say("Maybe.");
        std::thread::sleep(Duration::from_millis(random.below(40) as u64));
        talk.child.kill().expect("it is running");
        talk.child.wait().expect("it ends");
    }
    let said = diary.said();
    assert!(said.iter().all(|message| message == "Maybe." || expected.contains(message)), "{said:?}");
    let kept: Vec<_> = said.into_iter().filter(|message| message != "Maybe.").collect();
    assert_eq!(kept, expected);
}

#[test]
fn a_reader_that_goes_away_leaves_a_success_and_the_conversation() {
    let diary = Diary::new();
    let mut talk = Talk::begin(diary.long_chat());
    talk.say("Tell me a story.");
    let mut first = [0];
    std::io::Read::read_exact(&mut talk.out, &mut first).expect("the answer begins");
    let (child, out) = (talk.child, talk.out);
    drop(out);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(attached(&diary.path()).messages()[0].content, "Tell me a story.");
}

#[test]
fn an_unanswered_message_is_told_and_can_be_answered_or_gone_on_from() {
    let diary = Diary::new();
    diary.talk(&[], "One.\n");
    append(&diary.path(), r#"{"asked":"Two."}"#, &mut sum_of(&diary.path()));
    let output = diary.talk(&[], "/regen\n");
    assert!(stderr(&output).contains("no answer yet: /regen answers it"), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 1);
    append(&diary.path(), r#"{"asked":"Three."}"#, &mut sum_of(&diary.path()));
    // A template that wants user and assistant in turn sees them in turn.
    let template = diary.folder.path().join("strict.jinja");
    let strict = "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}\
                  {{ raise_exception('not in turn') }}{% endif %}{{ m.content }}\n{% endfor %}";
    fs::write(&template, strict).expect("written");
    let output = diary.talk(&["--template", template.to_str().expect("UTF-8")], "Four.\n");
    assert_eq!(stdout(&output).lines().count(), 1, "{}", stderr(&output));
    assert_eq!(diary.said(), ["One.", "Two.", "Three.", "Four."]);
}

/// What the next record of a session file goes on from; it ends with its digest.
fn sum_of(path: &Path) -> [u8; 32] {
    let bytes = fs::read(path).expect("a session file");
    bytes[bytes.len() - 32..].try_into().expect("32 bytes")
}

/// Appends a record to a session file, as the format has it.
fn append(path: &Path, text: &str, sum: &mut [u8; 32]) {
    use sha2::{Digest, Sha256};
    *sum = Sha256::new().chain_update(*sum).chain_update(text).finalize().into();
    let digits: String = sum[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let line = format!("{} {digits} {text}\n", text.len());
    let mut file = fs::File::options().append(true).open(path).expect("a session file");
    file.write_all(line.as_bytes()).expect("written");
}

#[test]
fn a_torn_record_is_left_out_with_a_note_and_a_damaged_one_refused_as_it_is() {
    let diary = Diary::new();
    diary.talk(&[], "One.\n");
    let mut sum = sum_of(&diary.path());
    append(&diary.path(), r#"{"asked":"Two."}"#, &mut sum);
    append(&diary.path(), r#"{"answered":"Yes."}"#, &mut sum);
    append(&diary.path(), r#"{"asked":"Three."}"#, &mut sum);
    let whole = fs::read(diary.path()).expect("a session file");

    fs::write(diary.path(), &whole[..whole.len() - 5]).expect("written");
    let output = diary.talk(&[], "Four.\n");
    let notes = stderr(&output);
    assert!(
        notes.contains("ends in the middle of a message") && notes.contains("after 4 messages"),
        "{notes}"
    );
    assert_eq!(diary.said(), ["One.", "Two.", "Four."]);

    let mut damaged = whole.clone();
    damaged[whole.len() - 5] ^= 1;
    fs::write(diary.path(), &damaged).expect("written");
    let output = diary.chat(&[]).stdin(Stdio::null()).output().expect("gguf-run starts");
    assert_failed(&output, 1, &["diary", "record 3", "checksum", "--session"]);
    assert!(fs::read(diary.path()).expect("it is there") == damaged, "a damaged file is left as it is");
}

#[test]
fn two_chats_on_one_session_do_not_mix() {
    let diary = Diary::new();
    let mut first = Talk::begin(diary.chat(&[]));
    first.say("I was here first.");
    first.answer();
    let second = diary.chat(&[]).stdin(Stdio::null()).output().expect("gguf-run starts");
    assert_failed(&second, 2, &["another chat is using", "diary", "--session"]);
    first.say("And still am.");
    first.answer();
    drop(first.child.stdin.take());
    assert!(first.end().status.success());
    assert_eq!(diary.said(), ["I was here first.", "And still am."]);
}

#[test]
fn complete_and_chat_leave_each_others_sessions_alone() {
    let diary = Diary::new();
    diary.talk(&[], "My name is Hans.\n");
    let model = fairytale();
    let complete = |prompt: &str| {
        let mut command = command(["complete"]);
        command.arg(&model).args(["--type", "Q8_0", "-p", prompt, "-n", "2", "--quiet", "--session"]);
        command.arg(diary.path()).output().expect("gguf-run starts")
    };
    let before = fs::read(diary.path()).expect("a session file");
    assert_failed(&complete("Once"), 2, &["diary", "conversation of a chat", "--session"]);
    assert!(fs::read(diary.path()).expect("it is there") == before);

    fs::remove_file(diary.path()).expect("removed");
    assert!(complete("Once").status.success());
    let before = fs::read(diary.path()).expect("a session file");
    let output = diary.chat(&[]).stdin(Stdio::null()).output().expect("gguf-run starts");
    assert_failed(&output, 2, &["diary", "text of `complete`", "--session"]);
    assert!(fs::read(diary.path()).expect("it is there") == before);
    assert!(complete("Once upon").status.success());
}

#[test]
fn a_session_of_the_first_version_goes_on() {
    let diary = Diary::new();
    let model = diary.folder.path().join("tale.gguf");
    let mut convert = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    let converted = convert.arg(fairytale()).args(["--type", "Q8_0", "--quiet", "-o"]).arg(&model).status();
    assert!(converted.expect("gguf-convert starts").success());
    let engine = Engine::load(&model, EngineOptions::default()).expect("a model");
    let kept = br#"{"system":"Be brief.","messages":[{"role":"user","content":"One."},{"role":"assistant","content":"Yes."}]}"#;
    let sequence = Sequence::new(&engine, crate::common::options(16, 16)).expect("room");
    sequence.save(&diary.path(), kept).expect("written");
    let mut chat = command(["chat"]);
    chat.arg(&model).args(["-n", "2", "--session"]).arg(diary.path());
    let output = run_with_input(chat.get_args(), "Two.\n");
    assert!(stderr(&output).contains("goes on after 2 messages"), "{}", stderr(&output));
    let conversation = attached(&diary.path());
    assert_eq!((conversation.system(), conversation.messages().len()), (Some("Be brief."), 4));
}

#[test]
#[cfg(unix)]
fn a_file_that_may_not_grow_keeps_the_messages_it_has() {
    let diary = Diary::new();
    // The model is converted, if it has to be, before there is a limit.
    Diary::new().talk(&[], "/exit\n");
    // Room for a few records, not for keys and values.
    let mut limited = Command::new("sh");
    let chat = diary.chat(&["--quiet"]);
    limited.args(["-c", "ulimit -f 2; exec \"$0\" \"$@\""]).arg(chat.get_program()).args(chat.get_args());
    for (name, value) in chat.get_envs() {
        if let Some(value) = value {
            limited.env(name, value);
        }
    }
    limited.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut talk = Talk::begin(limited);
    talk.say("One.");
    talk.answer();
    talk.say(&"very ".repeat(300));
    drop(talk.child.stdin.take());
    let output = talk.end();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("error: cannot write"), "{}", stderr(&output));
    assert_eq!(diary.said()[0], "One.");
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_started_to_outlive_its_terminal_does() {
    let diary = Diary::new();
    let chat = diary.chat(&["--quiet"]);
    let mut deaf = Command::new("sh");
    deaf.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(chat.get_program()).args(chat.get_args());
    deaf.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, value) in chat.get_envs() {
        if let Some(value) = value {
            deaf.env(name, value);
        }
    }
    let mut talk = Talk::begin(deaf);
    talk.say("One.");
    talk.answer();
    talk.signal("HUP");
    talk.say("Two.");
    talk.answer();
    drop(talk.child.stdin.take());
    assert!(talk.end().status.success());
}
