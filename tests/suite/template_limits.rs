//! A chat template cannot end the program, hang it or take its memory.
//!
//! Each of these ends with an error or a text, in bounded steps and bytes; the test would not come back
//! from a template that overflows the stack or fills the memory.

use gguf_kit::Error;
use gguf_kit::chat::{Message, RenderError, SpecialTokens, Template};

use crate::random::Random;

fn render(source: &str) -> Result<String, RenderError> {
    let messages = [Message::new("user", "x")];
    Template::new(source, SpecialTokens::default()).map_err(RenderError::Failed)?.render(&messages, true)
}

#[track_caller]
fn assert_exceeds_a_limit(source: &str) {
    let shown: String = source.chars().take(100).collect();
    match render(source) {
        Err(RenderError::Failed(Error::Limit { what })) => {
            assert!(what.contains("line") && what.len() < 2000, "{shown}: {what}");
        }
        other => panic!("{shown}: {:?}", other.map(|text| text.len())),
    }
}

/// A namespace's attribute `s`, changed by `step` so many times.
fn grown(times: usize, step: &str, then: &str) -> String {
    format!(
        "{{% set ns = namespace(s=[1]) %}}{{% for i in range({times}) %}}{step}{{% endfor %}}{{{{ {then} }}}}"
    )
}

#[test]
fn values_that_hold_themselves_end() {
    for shown in ["ns", "ns|string", "ns|pprint", "[ns]|join", "ns ~ ''"] {
        assert_exceeds_a_limit(&format!(
            "{{% set ns = namespace() %}}{{% set ns.a = ns %}}{{{{ {shown} }}}}"
        ));
    }
    let two = "{% set a = namespace() %}{% set b = namespace(x=a) %}{% set a.x = b %}";
    assert_eq!(render(&format!("{two}{{{{ a == b }}}}")).unwrap(), "False");
    assert!(render("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns|tojson }}").is_err());
    assert!(render("{% set ns = namespace() %}{% set ns.a = ns %}{{ [ns, ns]|sort }}").is_err());
    assert!(render("{% for x in [1] %}{{ loop.changed([loop]) }}{% endfor %}").is_ok());
}

#[test]
fn long_rows_of_operators_are_no_depth() {
    for part in ["+1", "~1", " and 1", "|abs", ".a", "**1", "<2", "|string"] {
        let source = format!("{{{{ 1{} }}}}", part.repeat(100_000));
        let is_limit = |result| matches!(result, Err(RenderError::Failed(Error::Limit { .. })));
        assert!(!is_limit(render(&source)), "{part}");
    }
    let _ = render(&format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(50_000)));
    let _ = render(&format!("{{{{ 'a'{} }}}}", "[0]".repeat(100_000)));
    let _ = render(&format!("{{{{ range{} }}}}", "()".repeat(100_000)));
}

#[test]
fn sources_that_nest_too_deep_are_refused() {
    for (open, close) in
        [("(", ")"), ("[", "]"), ("{1:", "}"), ("not ", ""), ("-", ""), ("1 if ", " else 1"), ("f(", ")")]
    {
        let source = format!("{{{{ {}1{} }}}}", open.repeat(100_000), close.repeat(100_000));
        assert!(render(&source).is_err(), "{open}");
    }
    assert!(render(&"{% if 1 %}".repeat(50_000)).is_err());
    assert!(render(&format!("{{% set {}a = 1 %}}", "(".repeat(100_000))).is_err());
    assert!(render(&format!("{{{{ 1{} }}}}", " if 1 else 1".repeat(50_000))).is_err());
    assert_eq!(render(&format!("{{{{ {}1{} }}}}", "(".repeat(50), ")".repeat(50))).unwrap(), "1");
}

#[test]
fn values_nest_no_deeper_than_they_can_be_dropped() {
    for step in ["[ns.s]", "{1: ns.s}", "(ns.s,)", "cycler(ns.s)", "[ns.s].index", "[ns.s]|batch(1)"] {
        assert_exceeds_a_limit(&grown(90_000, &format!("{{% set ns.s = {step} %}}"), "1"));
    }
    assert_exceeds_a_limit(&grown(90_000, "{% for j in [ns.s] %}{% set ns.s = loop %}{% endfor %}", "1"));
    assert_eq!(render(&grown(90_000, "{% set ns.s = namespace(s=ns.s) %}", "1")).unwrap(), "1");
}

#[test]
fn shared_values_cost_what_they_show() {
    for then in ["ns.s", "ns.s|tojson"] {
        assert_exceeds_a_limit(&grown(40, "{% set ns.s = [ns.s, ns.s] %}", then));
    }
    let both = "{% set ns.s = [ns.s, ns.s] %}{% set ns.t = [ns.t or [1], ns.t or [1]] %}";
    assert_exceeds_a_limit(&grown(40, both, "ns.s == ns.t"));
    assert_exceeds_a_limit(&grown(40, "{% set ns.s = (ns.s, ns.s) %}", "{ns.s: 1}").replace("[1]", "1"));
}

#[test]
fn memory_is_bounded() {
    for step in ["ns.s ~ ns.s", "ns.s + ns.s", "ns.s * 2"] {
        assert_exceeds_a_limit(&grown(80, &format!("{{% set ns.s = {step} %}}"), "1"));
    }
    for expression in [
        "'{:999999999}'.format(3)",
        "'{:.99999999f}'.format(3)",
        "'%999999999d' % 3",
        "'%.999999999d' % 3",
        "'%*d' % (999999999, 3)",
        "messages|slice(1000000000)|list",
        "messages|batch(1000000000, 0)",
        "'a\\nb'|indent(2000000000)",
        "[[1]]|tojson(indent=2000000000)",
        "('a' * 100000).replace('a', 'b' * 100000)",
        "('a' * 100000)|replace('', 'b' * 100000)",
        "('a' * 100000000)|list",
        "('a ' * 50000000).split()",
        "('a,' * 50000000).split(',')",
        "'a' * 10000000000",
        "[1] * 10000000000",
        "'a'.center(10000000000)",
        "'a'.zfill(10000000000)",
        "'\\t'.expandtabs(10000000000)",
        "range(99999)|join('a' * 100000)",
        "('ΐ' * 100000000).upper()",
        "10 ** 1000000",
        "('a' * 40000000)|wordwrap(1)",
    ] {
        assert_exceeds_a_limit(&format!("{{{{ {expression} }}}}"));
    }
    let cyclers = "{% set ns.l = ns.l + [cycler(*r)] %}";
    assert_exceeds_a_limit(&format!(
        "{{% set r = range(99999)|list %}}{{% set ns = namespace(l=[]) %}}{{% for i in range(9000) %}}{cyclers}{{% endfor %}}"
    ));
    assert_eq!(
        render("{{ '' * 100000000000 }}{{ [] * 100000000000 }}{{ '{:.9999999999}'.format('abc') }}").unwrap(),
        "[]abc"
    );
}

#[test]
fn comments_may_end_in_any_character() {
    assert_eq!(render("{# 工具#}a{#é#}b{# é -#} c{##}").unwrap(), "abc");
}

#[test]
fn calls_are_bounded() {
    for source in [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}",
        "{% macro f(a=f()) %}{% endmacro %}{{ f() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% macro f() %}{{ f(**kwargs) }}{% endmacro %}{{ f(**{'a' * 1000000: 1}) }}",
    ] {
        assert_exceeds_a_limit(source);
    }
    // Loops and macros that outlive their place are no way out.
    let kept = "{% set ns = namespace() %}{% with %}{% for x in [1] recursive %}{% set ns.l = loop %}{% endfor %}{% endwith %}{{ ns.l([1]) }}";
    let _ = render(kept);
}

#[test]
fn messages_of_a_template_are_short() {
    let Err(RenderError::Refused { what }) = render("{{ raise_exception('x' * 10000000) }}") else {
        panic!("the template raises");
    };
    assert!(what.len() < 2000, "{}", what.len());
}

#[test]
fn long_conversations_are_rendered() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/chat/snippets.json");
    let file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let source = file["cases"].as_array().unwrap().iter().rev().find_map(|case| {
        let source = case["template"].as_str()?;
        source.contains("last_query_index").then_some(source)
    });
    let template = Template::new(source.unwrap(), SpecialTokens::default()).unwrap();
    // 10 MB: three thousand turns with thoughts to be cut off.
    let messages: Vec<Message> = (0..6000)
        .map(|i| {
            let role = if i % 2 == 0 { "user" } else { "assistant" };
            Message::new(role, format!("<think>hm</think>\n\n{}", "All work and no play. ".repeat(80)))
        })
        .collect();
    let text = template.render(&messages, true).unwrap();
    assert!(text.len() > 10 << 20 && text.ends_with("<|im_start|>assistant\n"), "{}", text.len());
}

#[test]
fn mutated_templates_end() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/chat/snippets.json");
    let file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut sources: Vec<&str> =
        file["cases"].as_array().unwrap().iter().filter_map(|case| case["template"].as_str()).collect();
    sources.dedup();
    let pieces: Vec<&str> = sources.iter().flat_map(|source| source.split(' ')).collect();
    let mut random = Random::new(11);
    let mut n_rendered = 0;
    for round in 0..4 * sources.len() {
        let source = sources[round % sources.len()];
        let mut chars: Vec<char> = source.chars().collect();
        for _ in 0..1 + random.below(3) {
            let at = random.below(chars.len() + 1);
            match random.below(3) {
                0 => drop(chars.drain(at..(at + random.below(5)).min(chars.len()))),
                1 => drop(chars.splice(at..at, pieces[random.below(pieces.len())].chars())),
                _ => drop(chars.splice(at..at, "{}%#()[]|.~-'\"".chars().skip(random.below(14)).take(1))),
            }
        }
        n_rendered += usize::from(render(&chars.into_iter().collect::<String>()).is_ok());
    }
    assert!(n_rendered > sources.len() / 4, "{n_rendered}");
}
