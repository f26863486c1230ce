//! Messages that cannot be answered, or not as before: a note, and the chat goes on.

use std::fs;
use std::process::Output;

use crate::chat_sessions::Diary;
use crate::program::{assert_failed, output_with_input, run_with_input, stderr, stdout};

/// The template of the bundled model, which answers it in lines.
const PLAIN: &str = "{{- bos_token }}{% for m in messages %}\
                     {{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content + '<|eot_id|>' }}\
                     {%- endfor %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}";

/// A diary whose chats use `template`.
struct Told {
    diary: Diary,
    template: tempfile::NamedTempFile,
}

impl Told {
    fn by(template: &str) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), template).expect("written");
        Self { diary: Diary::new(), template: file }
    }

    fn args(&self, more: &[&str]) -> Vec<String> {
        let template = self.template.path().to_str().expect("UTF-8");
        let chat = self.diary.chat(&["--template", template]);
        let args = chat.get_args().map(|arg| arg.to_str().expect("UTF-8").to_owned());
        args.chain(more.iter().map(|&arg| arg.to_owned())).collect()
    }

    /// A chat that must succeed.
    fn talk(&self, more: &[&str], lines: &str) -> Output {
        run_with_input(self.args(more), lines)
    }
}

fn n_answers(output: &Output) -> usize {
    stdout(output).lines().count()
}

#[test]
fn a_system_message_that_the_template_refuses_is_taken_back() {
    let template = format!(
        "{{% if messages[0].role == 'system' %}}{{{{ raise_exception('no system role here') }}}}{{% endif %}}{PLAIN}"
    );
    let told = Told::by(&template);
    let output = told.talk(&[], "Hello\n/system Be brief.\nAgain\n/system \"\"\nAnd again\n");
    assert_eq!(n_answers(&output), 3);
    let notes = stderr(&output);
    assert!(notes.contains("stays as it was") && notes.contains("no system role here"), "{notes}");
    assert_eq!(n_answers(&told.talk(&[], "Hello once more\n")), 1);
    assert_eq!(told.diary.conversation().system(), None);
    let refused = output_with_input(told.args(&["--system", "Be brief."]), "Hello\n");
    assert_failed(&refused, 2, &["no system role here", "--system"]);
}

#[test]
fn a_template_is_given_further_variables() {
    let told = Told::by(&format!(
        "{{% if enable_thinking is not defined %}}{{{{ raise_exception('not said') }}}}{{% endif %}}\
         {{% if enable_thinking or effort != 'low' %}}{{{{ raise_exception('thinking') }}}}{{% endif %}}{PLAIN}"
    ));
    let given = ["--template-var", "enable_thinking=false", "--template-var", "effort=low"];
    assert_eq!(n_answers(&told.talk(&given, "Hello\n")), 1);
    let notes = stderr(&output_with_input(told.args(&given[2..]), "Hello\n"));
    assert!(notes.contains("not said"), "{notes}");
    for wrong in ["enable_thinking", "=1", "a-b=1", "messages=[]"] {
        assert_failed(&output_with_input(told.args(&["--template-var", wrong]), ""), 2, &["--template-var"]);
    }
}

#[test]
fn tools_and_documents_that_are_given_reach_the_template() {
    let told = Told::by(&format!(
        "{{% if tools is none or documents[0].text != 'blue' %}}{{{{ raise_exception('none') }}}}{{% endif %}}{PLAIN}"
    ));
    let documents = r#"documents=[{"text": "blue"}]"#;
    let given = ["--template-var", "tools=[]", "--template-var", documents];
    assert_eq!(n_answers(&told.talk(&given, "Hello\n")), 1);
    assert!(stderr(&output_with_input(told.args(&given[..2]), "Hello\n")).contains("none"));
}

#[test]
fn a_template_is_taken_out_of_the_files_of_transformers() {
    let diary = Diary::new();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokenizer_config.json");
    let given = |json: serde_json::Value| {
        fs::write(&path, json.to_string()).expect("written");
        let template = path.to_str().expect("UTF-8");
        output_with_input(diary.chat(&["--template", template]).get_args(), "Hello\n")
    };
    assert_eq!(n_answers(&given(serde_json::json!({ "chat_template": PLAIN }))), 1);
    let several =
        serde_json::json!([{ "name": "tool", "template": "" }, { "name": "default", "template": PLAIN }]);
    assert_eq!(n_answers(&given(serde_json::json!({ "chat_template": several }))), 1);
    assert_failed(&given(serde_json::json!({})), 1, &["tokenizer_config.json", "without a chat_template"]);
    let named = output_with_input(diary.chat(&["--template", "chatml"]).get_args(), "");
    assert_failed(&named, 2, &["no file chatml", "Jinja"]);
}

#[test]
fn a_session_whose_system_message_is_refused_says_how_to_go_on() {
    let diary = Diary::new();
    diary.talk(&["--system", "- Be brief."], "One.\n");
    let told = Told {
        diary,
        ..Told::by(&format!(
            "{{% if messages[0].role == 'system' %}}{{{{ raise_exception('no') }}}}{{% endif %}}{PLAIN}"
        ))
    };
    assert_failed(
        &output_with_input(told.args(&[]), "Two.\n"),
        2,
        &["refuses the system message", "--system \"\""],
    );
    assert_eq!(n_answers(&told.talk(&["--system", ""], "Two.\n")), 1);
    assert_eq!(told.diary.conversation().system(), None);
}

#[test]
fn a_template_that_leaves_out_what_is_said_is_refused_before_anything_is() {
    for template in ["chatml", "", "{{ bos_token }}{% for m in messages %}{{ m.role }}: {% endfor %}"] {
        let refused = output_with_input(Told::by(template).args(&[]), "Hello\n");
        assert_failed(&refused, 2, &["nothing of what the user says", "--template"]);
    }
}

#[test]
fn a_message_that_the_template_refuses_is_taken_back() {
    let told = Told::by(&format!(
        "{{% if 'Rome' in messages[-1].content %}}{{{{ raise_exception('not of Rome') }}}}{{% endif %}}{PLAIN}"
    ));
    let output = told.talk(&[], "One.\nOf Rome.\nTwo.\n/regen\n");
    assert_eq!(n_answers(&output), 3);
    assert!(stderr(&output).contains("not of Rome; the message is taken back"), "{}", stderr(&output));
    assert_eq!(told.diary.said(), ["One.", "Two."]);
    // A script that got no answer at all has to know.
    let refused = output_with_input(told.args(&[]), "Of Rome.\nRome!\n");
    assert_failed(&refused, 1, &["nothing was answered", "2 messages"]);
    assert_eq!(told.diary.said(), ["One.", "Two."]);
}

#[test]
fn a_template_that_exceeds_its_limits_ends_the_chat() {
    let told = Told::by("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}");
    let output = output_with_input(told.args(&[]), "One.\nTwo.\n");
    assert_failed(&output, 1, &["error: the chat template", "--template"]);
    assert!(!stderr(&output).contains("taken back"), "{}", stderr(&output));
}

#[test]
fn an_empty_answer_spoils_nothing_and_an_old_answer_stays() {
    let told = Told::by(&format!(
        "{{% for m in messages %}}{{% if not m.content %}}{{{{ raise_exception('empty message') }}}}{{% endif %}}{{% endfor %}}{PLAIN}"
    ));
    let stop: Vec<String> = (' '..='~').map(String::from).collect();
    let stops: Vec<&str> = stop.iter().flat_map(|stop| ["--stop", stop]).collect();
    let output = told.talk(&stops, "One\nTwo\nThree\n");
    let notes = stderr(&output);
    assert_eq!(notes.matches("the answer is empty; the message is taken back").count(), 3, "{notes}");
    assert!(told.diary.said().is_empty());

    told.talk(&[], "One\n");
    let before = told.diary.conversation();
    assert_eq!(before.messages().len(), 2);
    let output = told.talk(&stops, "/regen\n");
    assert!(stderr(&output).contains("the old one stays"), "{}", stderr(&output));
    assert_eq!(told.diary.conversation(), before);
}

#[test]
fn regen_at_the_limit_of_the_context_keeps_message_and_answer() {
    let told = Told::by(PLAIN);
    told.talk(&[], "Tell me a story of a king and of a queen and of their daughter.\n");
    let before = told.diary.conversation();
    // It has become too long, by another template.
    fs::write(told.template.path(), format!("{}{PLAIN}", "word ".repeat(600))).expect("written");
    let output = output_with_input(told.args(&[]), "/regen\n");
    assert_failed(&output, 1, &["leave room for an answer"]);
    assert_eq!(told.diary.conversation(), before);
}

#[test]
fn bytes_that_are_not_utf8_spoil_their_message_alone() {
    let told = Told::by(PLAIN);
    let output = output_with_input(told.args(&[]), b"Hello\nH\xe4nsel\nGretel\n");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(n_answers(&output), 2);
    assert!(stderr(&output).contains("not UTF-8 text (byte 1)"), "{}", stderr(&output));
    assert_eq!(told.diary.said(), ["Hello", "Gretel"]);
}

#[test]
fn a_full_context_is_computed_anew_only_where_it_is_cut() {
    let told = Told::by(PLAIN);
    let lines: String = (0..40).map(|n| format!("Tell me {n} more about the king.\n")).collect();
    let output = told.talk(&["--ctx", "200"], &lines);
    let notes = stderr(&output);
    let n_cuts = notes.matches("no longer sees").count();
    assert!((2..14).contains(&n_cuts), "{n_cuts} cuts: {notes}");
    let prompt = notes.lines().find(|line| line.starts_with("prompt ")).expect("statistics");
    let numbers: Vec<usize> = prompt.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    let (computed, reused) = (numbers[0], *numbers.last().expect("two"));
    // Of each cut about half a context is computed anew, and of each turn its message.
    assert!(computed < 40 * 16 + n_cuts * 110, "{prompt}");
    assert!(reused > 2 * computed, "{prompt}");
    // The cut is remembered: the next start goes on with what is cached.
    let output = told.talk(&["--ctx", "200"], "And then?\n");
    assert!(stderr(&output).contains("were in the cache"), "{}", stderr(&output));
}
