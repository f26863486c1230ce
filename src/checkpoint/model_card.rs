//! The front matter of a model card (README.md): what the converter writes into `general.*`.
//!
//! Front matter is YAML. Read here is the part of YAML that model cards use for these keys: plain and
//! quoted scalars, `[a, b]` lists and `- a` lists at the top level. Deeper structures are passed over.
//! Source: the Hugging Face Hub's model card specification.

use std::collections::HashMap;

/// What a model card says of its model. Empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelCard {
    /// The model's name (`model_name`, or the first name in `model-index`).
    pub name: Option<String>,
    /// The licence's identifier, such as `apache-2.0` or `other`.
    pub license: Option<String>,
    /// The licence's name, where the identifier is `other`.
    pub license_name: Option<String>,
    /// Where the licence's text is.
    pub license_link: Option<String>,
    /// Languages, as codes.
    pub languages: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// The models this one was made from, as `owner/name`.
    pub base_models: Vec<String>,
}

/// The entries of front matter: each top-level key with its scalars.
type Entries = HashMap<String, Vec<String>>;

impl ModelCard {
    /// Reads the front matter of `text`; `Ok(None)` if it has none.
    ///
    /// # Errors
    /// A sentence saying what is wrong with it. A card is a courtesy: nothing but a note should
    /// come of a broken one.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let Some(lines) = front_matter(text)? else { return Ok(None) };
        let mut entries = parse_entries(&lines)?;
        let in_index =
            entries.get("model-index").and_then(|items| items.iter().find_map(|item| name_in(item)));
        let first =
            |entries: &mut Entries, key: &str| entries.remove(key).and_then(|all| all.into_iter().next());
        Ok(Some(Self {
            name: first(&mut entries, "model_name").or(in_index),
            license: first(&mut entries, "license"),
            license_name: first(&mut entries, "license_name"),
            license_link: first(&mut entries, "license_link"),
            languages: entries.remove("language").unwrap_or_default(),
            tags: entries.remove("tags").unwrap_or_default(),
            base_models: entries.remove("base_model").unwrap_or_default(),
        }))
    }
}

/// The lines between the first two `---`.
fn front_matter(text: &str) -> Result<Option<Vec<&str>>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines();
    if lines.next().map(str::trim_end) != Some("---") {
        return Ok(None);
    }
    let mut inside = Vec::new();
    for line in lines {
        if line.trim_end() == "---" {
            return Ok(Some(inside));
        }
        inside.push(line);
    }
    Err("its front matter has no closing line of ---".into())
}

fn parse_entries(lines: &[&str]) -> Result<Entries, String> {
    let mut entries = Entries::new();
    let mut lines = lines.iter().enumerate().peekable();
    while let Some((i, line)) = lines.next() {
        if is_blank(line) {
            continue;
        }
        let broken = |what: &str| format!("line {} of its front matter {what}", i + 2);
        if line.starts_with([' ', '\t', '-']) {
            return Err(broken("belongs to no key"));
        }
        let (key, rest) = split_key(line).ok_or_else(|| broken("is no `key: value`"))?;
        let rest = strip_comment(rest);
        // The indented lines below, and list items even where they are not indented.
        let mut below = Vec::new();
        while let Some((_, next)) =
            lines.next_if(|(_, next)| is_blank(next) || next.starts_with([' ', '\t', '-']))
        {
            below.push(*next);
        }
        let values = if rest.is_empty() {
            list_items(&below)
        } else if rest.starts_with('[') {
            let flow = below.iter().fold(rest.to_owned(), |flow, next| flow + " " + strip_comment(next));
            flow_items(&flow).ok_or_else(|| broken("opens a list that is not closed"))?
        } else if rest.starts_with(['|', '>', '{', '&', '*', '!']) {
            Vec::new()
        } else {
            vec![unquote(rest).ok_or_else(|| broken("opens a quotation that is not closed"))?]
        };
        entries.insert(key.to_owned(), values);
    }
    Ok(entries)
}

fn is_blank(line: &str) -> bool {
    strip_comment(line).is_empty()
}

/// Splits `key: value`; a colon counts only at the end or before a blank.
fn split_key(line: &str) -> Option<(&str, &str)> {
    let at = line.match_indices(':').map(|(at, _)| at).find(|at| {
        let after = &line[at + 1..];
        after.is_empty() || after.starts_with([' ', '\t'])
    })?;
    Some((line[..at].trim().trim_matches(['"', '\'']), &line[at + 1..]))
}

/// The items of a `- a` list, those of its outermost level.
fn list_items(lines: &[&str]) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_item = |line: &str| line.trim_start().starts_with("- ");
    let Some(outermost) = lines.iter().filter(|line| is_item(line)).map(|line| indent(line)).min() else {
        return Vec::new();
    };
    lines
        .iter()
        .filter(|line| is_item(line) && indent(line) == outermost)
        .filter_map(|line| unquote(strip_comment(&line.trim_start()[2..])))
        .collect()
}

/// The items of `[a, b]`; `None` if it is not closed.
fn flow_items(text: &str) -> Option<Vec<String>> {
    let inside = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    // A doubled quote inside quotes closes and opens again, which parts nothing; an apostrophe
    // inside a plain word opens nothing.
    let mut quote = None;
    let mut is_at_start = true;
    let items = inside.split(|c| {
        match (quote, c) {
            (None, '"' | '\'') if is_at_start => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            _ => {}
        }
        let parts = quote.is_none() && c == ',';
        // A quote that has just closed may open again.
        is_at_start = parts || quote.is_none() && (is_at_start && c == ' ' || matches!(c, '"' | '\''));
        parts
    });
    items.map(str::trim).filter(|item| !item.is_empty()).map(unquote).collect()
}

/// A scalar without its quotes; `None` if they do not close.
fn unquote(text: &str) -> Option<String> {
    match text.chars().next() {
        Some('"') => {
            let inside = text[1..].strip_suffix('"')?;
            Some(inside.replace("\\\"", "\"").replace("\\\\", "\\"))
        }
        Some('\'') => Some(text[1..].strip_suffix('\'')?.replace("''", "'")),
        _ => Some(text.to_owned()),
    }
}

/// A line without a comment and outer blanks. A `#` begins one at the start or after a blank, and
/// not inside quotes.
fn strip_comment(line: &str) -> &str {
    let line = line.trim();
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() => return line[..at].trim_end(),
            // A quote opens where a value may begin; the apostrophe of a plain word opens nothing.
            (None, '"' | '\'') if before.is_whitespace() || before == '[' || before == ',' => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            _ => {}
        }
        before = c;
    }
    line
}

/// The name in an item of `model-index`.
fn name_in(item: &str) -> Option<String> {
    let (key, value) = split_key(item)?;
    if key == "name" { unquote(value.trim()) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(front_matter: &str) -> ModelCard {
        ModelCard::parse(&format!("---\n{front_matter}\n---\n# Title\n")).unwrap().unwrap()
    }

    #[test]
    fn the_usual_forms_of_front_matter_are_read() {
        let card = card(
            "license: other # see below\nlicense_name: \"Tale's \\\"own\\\"\"\nlicense_link: https://example.org/a#b\n\
             language:\n- en\n- \"no\"\ntags: [text-generation, 'it''s', \"a, b\"]\nbase_model:\n  - owner/base # one\n\
             \nwidget:\n  - text: hi\n    name: not this\nmodel-index:\n- name: Fairy Tale\n  results:\n  - task:\n      name: deep",
        );
        assert_eq!(card.license.as_deref(), Some("other"));
        assert_eq!(card.license_name.as_deref(), Some("Tale's \"own\""));
        assert_eq!(card.license_link.as_deref(), Some("https://example.org/a#b"));
        assert_eq!(card.languages, ["en", "no"]);
        assert_eq!(card.tags, ["text-generation", "it's", "a, b"]);
        assert_eq!(card.base_models, ["owner/base"]);
        assert_eq!(card.name.as_deref(), Some("Fairy Tale"));
    }

    #[test]
    fn single_values_stand_for_lists_of_one() {
        let card = card("language: en\nbase_model: a/b\nmodel_name: Tale");
        assert_eq!((card.languages, card.base_models), (vec!["en".to_owned()], vec!["a/b".to_owned()]));
        assert_eq!(card.name.as_deref(), Some("Tale"));
    }

    #[test]
    fn a_card_without_front_matter_says_nothing() {
        assert_eq!(ModelCard::parse("# Title\n---\n").unwrap(), None);
        assert_eq!(ModelCard::parse("").unwrap(), None);
    }

    #[test]
    fn broken_front_matter_is_an_error_with_a_reason() {
        for (text, reason) in [
            ("---\nlicense: mit\n", "closing"),
            ("---\n- a\n---\n", "belongs to no key"),
            ("---\ntags: [a, b\n---\n", "not closed"),
            ("---\nlicense: \"mit\n---\n", "not closed"),
            ("---\nhello\n---\n", "no `key: value`"),
        ] {
            let message = ModelCard::parse(text).unwrap_err();
            assert!(message.contains(reason), "{message} should say {reason}");
        }
    }
}
