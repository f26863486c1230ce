//! Templates mean what Python's Jinja takes them to mean, snippet by snippet.

use gguf_kit::Error;
use gguf_kit::chat::{RenderError, SpecialTokens, Template};
use serde_json::{Map, Value};

/// What one case gives, and whether that is what Python gives.
fn compare(case: &Value, variables: &Map<String, Value>) -> Result<(), String> {
    let source = case["template"].as_str().unwrap();
    let mut variables = variables.clone();
    if let Some(more) = case.get("with").and_then(Value::as_object) {
        variables.extend(more.clone());
    }
    let rendered = Template::new(source, SpecialTokens::default())
        .map_err(RenderError::Failed)
        .and_then(|template| template.render_variables(variables));
    match (case.get("text").and_then(Value::as_str), rendered) {
        (Some(text), Ok(rendered)) if text == rendered => Ok(()),
        (Some(text), rendered) => Err(format!("{source}\n    expected {text:?}\n    rendered {rendered:?}")),
        (None, Ok(rendered)) => {
            Err(format!("{source}\n    raises {}\n    rendered {rendered:?}", case["raises"]))
        }
        (None, Err(error)) => {
            // What a template raises itself arrives word by word.
            let raised = case["raises"].as_str().unwrap();
            match (raised.strip_prefix("TemplateError: "), error) {
                (Some(words), RenderError::Refused { what }) if words == what => Ok(()),
                (Some(_), error) => Err(format!("{source}\n    raises {raised}\n    failed with {error:?}")),
                (None, _) => Ok(()),
            }
        }
    }
}

/// Compares all cases of a file, of which there are at least `n_least`.
fn compare_all(name: &str, n_least: usize) {
    let path = format!("{}/fixtures/chat/{name}", env!("CARGO_MANIFEST_DIR"));
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (variables, cases) = (file["variables"].as_object().unwrap(), file["cases"].as_array().unwrap());
    let differences: Vec<String> = cases.iter().filter_map(|case| compare(case, variables).err()).collect();
    assert!(cases.len() >= n_least, "{name}: {}", cases.len());
    assert!(
        differences.is_empty(),
        "{name}: {} of {} differ:\n{}",
        differences.len(),
        cases.len(),
        differences.join("\n")
    );
}

#[test]
fn snippets_render_as_pythons_jinja_renders_them() {
    compare_all("snippets.json", 500);
}

#[test]
fn more_snippets_and_odd_syntax_are_as_in_pythons_jinja() {
    compare_all("snippets_more.json", 380);
}

#[test]
fn tokens_that_a_model_lacks_are_undefined() {
    let tokens: SpecialTokens = [("bos_token", "<s>")].into_iter().collect();
    let source =
        "{{ bos_token }}{{ eos_token is defined }}{{ pad_token is defined }}{{ tools }}{{ documents }}";
    let text = Template::new(source, tokens).unwrap().render(&[], true).unwrap();
    assert_eq!(text, "<s>FalseFalseNoneNone");
}

#[test]
fn templates_that_are_broken_for_all_messages_fail_and_do_not_refuse() {
    for source in
        ["{% if true %}{{ 1 | nonsense }}{% endif %}", "{{ 1 if 1 is nonsense }}", "{{ [1] | random }}"]
    {
        let error = Template::new(source, SpecialTokens::default()).unwrap().render(&[], true).unwrap_err();
        assert!(matches!(error, RenderError::Failed(Error::Malformed { .. })), "{source}: {error:?}");
    }
    // Outside of branches it is told when the template is read, wherever it stands.
    for source in ["{{ 1 | nonsense }}", "a\n{% for x in [] %}{{ x is nonsense }}{% endfor %}"] {
        let error = Template::new(source, SpecialTokens::default()).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{source}: {error:?}");
        let line = format!("line {}: no ", source.lines().count());
        assert!(error.to_string().contains(&line), "{error}");
    }
    let template = Template::new("{{ messages[0].content + 1 }}", SpecialTokens::default()).unwrap();
    assert!(matches!(template.render(&[], true), Err(RenderError::Refused { .. })));
}
