//! Chat templates render as Python's Jinja renders them, and hostile ones are stopped.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use gguf_kit::Error;
use gguf_kit::chat::{Message, RenderError, SpecialTokens, Template};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    conversations: HashMap<String, Vec<Said>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Said {
    role: String,
    content: String,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    conversation: String,
    add_generation_prompt: bool,
    text: Option<String>,
    refusal: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chat")
}

fn special_tokens() -> SpecialTokens {
    [("bos_token", "<s>"), ("eos_token", "</s>")].into_iter().collect()
}

fn user(content: &str) -> Vec<Message> {
    vec![Message::new("user", content)]
}

/// As SmolVLM's and LLaVA's: contents are lists of parts.
#[test]
fn templates_that_want_lists_of_parts_get_them() {
    let source = "{% for m in messages %}{{ m.role }}:{% for part in m.content %}{% if part.type == 'text' %} \
                  {{ part.text }}{% endif %}{% endfor %};{% endfor %}";
    let template = Template::new(source, special_tokens()).expect("a template");
    assert!(template.shows_messages());
    assert_eq!(template.render(&user("Hi"), true).expect("a text"), "user: Hi;");
    let both = "{% for m in messages %}{{ m.content if m.content is string else m.content[0].text ~ '!' }}{% endfor %}";
    let template = Template::new(both, special_tokens()).expect("a template");
    assert_eq!(template.render(&user("Hi"), true).expect("a text"), "Hi");
    let silent = Template::new("always the same", special_tokens()).expect("a template");
    assert!(!silent.shows_messages());
}

#[test]
fn templates_render_as_pythons_jinja_does() {
    let expected = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    let expected: Expected = serde_json::from_str(&expected).unwrap();
    assert!(expected.cases.len() >= 80, "{}", expected.cases.len());
    for case in &expected.cases {
        let source = std::fs::read_to_string(folder().join(&case.template)).unwrap();
        let template = Template::new(&source, special_tokens()).unwrap();
        let messages: Vec<Message> = expected.conversations[&case.conversation]
            .iter()
            .map(|said| Message::new(&said.role, said.content.clone()))
            .collect();
        let place = format!("{} {} {}", case.template, case.conversation, case.add_generation_prompt);
        let rendered = template.render(&messages, case.add_generation_prompt);
        match (&case.text, &case.refusal) {
            (Some(text), None) => assert_eq!(&rendered.expect(&place), text, "{place}"),
            (None, Some(refusal)) => {
                let error = rendered.expect_err(&place);
                assert!(
                    matches!(&error, RenderError::Refused { what } if what.contains(refusal)),
                    "{place}: {error:?}"
                );
            }
            _ => panic!("{place}: neither a text nor a refusal is expected"),
        }
    }
}

#[test]
fn errors_name_the_line() {
    let syntax = Template::new("{{ 1 }}\n{% if %}", special_tokens()).unwrap_err();
    assert!(matches!(syntax, Error::Malformed { .. }), "{syntax}");
    assert!(syntax.to_string().contains("line 2"), "{syntax}");
    let named = Template::new("{{ 1 }}\n\n{{ messages|no_such_filter }}", special_tokens()).unwrap_err();
    assert!(named.to_string().contains("line 3") && named.to_string().contains("no_such_filter"), "{named}");
    let template =
        Template::new("{{ 1 }}\n\n{% if true %}{{ messages|no_such_filter }}{% endif %}", special_tokens());
    let error = Error::from(template.unwrap().render(&user("x"), true).unwrap_err()).to_string();
    assert!(error.contains("line 3") && error.contains("no_such_filter"), "{error}");
}

#[test]
fn endless_templates_run_out_of_steps() {
    let source =
        "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = j %}{% endfor %}{% endfor %}";
    let error =
        Error::from(Template::new(source, special_tokens()).unwrap().render(&user("x"), true).unwrap_err());
    assert!(matches!(error, Error::Limit { .. }) && error.to_string().contains("steps"), "{error}");
    let source = "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}";
    assert!(Template::new(source, special_tokens()).unwrap().render(&user("x"), true).is_err());
}

#[test]
fn flooding_templates_are_stopped() {
    let source = "{% for i in range(9999) %}{{ messages[0].content }}{% endfor %}";
    let error = Error::from(
        Template::new(source, special_tokens())
            .unwrap()
            .render(&user(&"x".repeat(1 << 16)), true)
            .unwrap_err(),
    );
    assert!(matches!(error, Error::Limit { .. }) && error.to_string().contains("bytes"), "{error}");
    let long = " ".repeat(2 << 20);
    assert!(matches!(Template::new(&long, special_tokens()), Err(Error::Limit { .. })));
}

#[test]
fn the_date_is_todays() {
    let template = Template::new("{{ strftime_now('%Y') }}", special_tokens()).unwrap();
    let year: i32 = template.render(&user("x"), true).unwrap().parse().unwrap();
    assert!((2024..3000).contains(&year), "{year}");
}
