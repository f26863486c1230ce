//! The front matter of a model card (README.md): what the converter writes into `general.*`.
//!
//! Front matter is YAML, read here event by event, so that its depth is limited and an alias never
//! multiplies what it stands for. Source: the Hugging Face Hub's model card specification.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::folder::Folder;
use crate::limits::{MAX_MODEL_CARD_BYTES, MAX_MODEL_CARD_DEPTH};

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

impl ModelCard {
    /// Reads the front matter of `text`; `Ok(None)` if it has none.
    ///
    /// # Errors
    /// A sentence saying what is wrong with it. A card is a courtesy: nothing but a note should
    /// come of a broken one.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let Some(yaml) = front_matter(text)? else { return Ok(None) };
        let root = Reader::new(Parser::new_from_str(&yaml)).document()?;
        if !matches!(root, Node::Map(_) | Node::Null) {
            return Err("its front matter is not a mapping of keys to values".into());
        }
        let first = |key: &str| root.get(key).texts().into_iter().next();
        let in_index = || root.get("model-index").items().iter().find_map(|item| item.get("name").text());
        Ok(Some(Self {
            name: first("model_name").or_else(in_index),
            license: first("license"),
            license_name: first("license_name"),
            license_link: first("license_link"),
            languages: root.get("language").texts(),
            tags: root.get("tags").texts(),
            base_models: root.get("base_model").texts(),
        }))
    }
}

/// Reads the model card, and its first heading; whatever is wrong with it becomes a note.
pub(super) fn read_model_card(
    folder: &Folder,
    notes: &mut Vec<String>,
) -> (Option<ModelCard>, Option<String>) {
    const NAME: &str = "README.md";
    let read = folder.read_text(NAME, MAX_MODEL_CARD_BYTES).map_err(|e| e.to_string());
    let heading = read.as_ref().ok().and_then(|text| heading(text.as_deref()?));
    match read.and_then(|text| text.map_or(Ok(None), |text| ModelCard::parse(&text))) {
        Ok(card) => (card, heading),
        Err(reason) => {
            notes.push(format!("{} is left aside: {reason}", folder.join(NAME).display()));
            (None, heading)
        }
    }
}

/// The first heading of the first rank in `text`, behind its front matter.
fn heading(text: &str) -> Option<String> {
    let front = front_matter(text).ok().flatten().map_or(0, |yaml| yaml.lines().count() + 1);
    let found = text.lines().skip(front).find_map(|line| line.strip_prefix("# "))?;
    Some(found.trim().to_owned())
}

/// The lines between the first two `---`.
fn front_matter(text: &str) -> Result<Option<String>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines();
    if lines.next().map(str::trim_end) != Some("---") {
        return Ok(None);
    }
    // A first line in place of the marker, so that the parser counts lines as the file does.
    let mut inside = "\n".to_owned();
    for line in lines {
        if line.trim_end() == "---" {
            return Ok(Some(inside));
        }
        inside.push_str(line);
        inside.push('\n');
    }
    Err("its front matter has no closing line of ---".into())
}

/// A value of front matter, as far as cards use them: scalars stay text.
#[derive(Debug)]
enum Node {
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The value of a key; the last one where it comes twice.
    fn get(&self, key: &str) -> &Self {
        let Self::Map(pairs) = self else { return &Self::Null };
        let found = pairs.iter().rev().find(|(name, _)| matches!(name, Self::Text(name) if name == key));
        found.map_or(&Self::Null, |(_, value)| value)
    }

    fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            _ => None,
        }
    }

    /// The texts of a list, or the one text that stands for it.
    fn texts(&self) -> Vec<String> {
        match self {
            Self::List(items) => items.iter().filter_map(Self::text).collect(),
            one => one.text().into_iter().collect(),
        }
    }
}

/// Puts events together.
struct Reader<E> {
    events: E,
    /// Scalars with an anchor, which an alias may repeat. Lists and mappings are not repeated.
    anchored: HashMap<usize, String>,
    /// Bytes that aliases repeated.
    n_repeated: usize,
}

impl<'t, E: Iterator<Item = Result<(Event<'t>, Span), ScanError>>> Reader<E> {
    fn new(events: E) -> Self {
        Self { events, anchored: HashMap::new(), n_repeated: 0 }
    }

    /// The first document.
    fn document(mut self) -> Result<Node, String> {
        loop {
            match self.next()? {
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
                Event::StreamEnd | Event::DocumentEnd => return Ok(Node::Null),
                event => return self.node(event, 0),
            }
        }
    }

    fn next(&mut self) -> Result<Event<'t>, String> {
        let event = self.events.next().ok_or("its front matter ends in the middle of a value")?;
        let (event, _) = event.map_err(|e| {
            format!("line {} of its front matter is not valid YAML: {}", e.marker().line(), e.info())
        })?;
        Ok(event)
    }

    /// The node that begins with `event`, `depth` lists and mappings deep.
    fn node(&mut self, event: Event<'t>, depth: usize) -> Result<Node, String> {
        if depth > MAX_MODEL_CARD_DEPTH {
            return Err(format!("its front matter is nested more than {MAX_MODEL_CARD_DEPTH} deep"));
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                if anchor != 0 {
                    self.anchored.insert(anchor, text.clone().into_owned());
                }
                let is_null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                Ok(if is_null { Node::Null } else { Node::Text(text.into_owned()) })
            }
            Event::Alias(anchor) => {
                let Some(text) = self.anchored.get(&anchor) else { return Ok(Node::Null) };
                self.n_repeated += text.len();
                if self.n_repeated as u64 > MAX_MODEL_CARD_BYTES {
                    return Err("its front matter repeats too much by aliases".into());
                }
                Ok(Node::Text(text.clone()))
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Ok(Node::List(items)),
                        event => items.push(self.node(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut pairs = Vec::new();
                loop {
                    let key = match self.next()? {
                        Event::MappingEnd => return Ok(Node::Map(pairs)),
                        event => self.node(event, depth + 1)?,
                    };
                    let value = self.next()?;
                    pairs.push((key, self.node(value, depth + 1)?));
                }
            }
            _ => Ok(Node::Null),
        }
    }
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
        assert_eq!(heading("# Title\n---\n").as_deref(), Some("Title"));
        assert_eq!(
            heading("---\n# no title: 1\n---\n\n## Small\n#none\n# A title \n# B").as_deref(),
            Some("A title")
        );
        assert_eq!(heading(""), None);
    }

    #[test]
    fn yaml_beyond_plain_lists_is_read() {
        let card = card(
            "license: &l apache-2.0\nlicense_name: *l\nlanguage: [\n  en,\n  # a comment\n  no ]\n\
             tags:\n- >-\n  two\n  lines\n- null\n- {a: b}\n- 1.5\nbase_model: !!str a/b\nextra: {x: [1, 2]}\n\
             ? model_name\n: \"T\\u00e4le\"",
        );
        assert_eq!(card.license.as_deref(), Some("apache-2.0"));
        assert_eq!(card.license_name.as_deref(), Some("apache-2.0"));
        assert_eq!(card.languages, ["en", "no"]);
        assert_eq!(card.tags, ["two lines", "1.5"]);
        assert_eq!(card.base_models, ["a/b"]);
        assert_eq!(card.name.as_deref(), Some("Täle"));
    }

    #[test]
    fn bombs_are_errors_or_small() {
        let parse = |front_matter: &str| ModelCard::parse(&format!("---\n{front_matter}\n---\n"));
        let deep = format!("tags: {}{}", "[".repeat(200), "]".repeat(200));
        assert!(parse(&deep).unwrap_err().contains("front matter"));
        let laughs = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\ntags: [*c, *c]";
        assert_eq!(parse(laughs).unwrap().unwrap().tags, [""; 0]);
        let long = format!("a: &a {}\ntags: [{}]", "x".repeat(50_000), "*a, ".repeat(1000));
        assert!(parse(&long).unwrap_err().contains("aliases"));
        assert!(parse("tags: [*nowhere]").is_err());
    }

    #[test]
    fn broken_front_matter_is_an_error_with_a_reason() {
        for (text, reason) in [
            ("---\nlicense: mit\n", "closing"),
            ("---\n- a\n---\n", "not a mapping"),
            ("---\ntags: [a, b\n---\n", "line 3"),
            ("---\nlicense: \"mit\n---\n", "not valid YAML"),
            ("---\nhello\n---\n", "not a mapping"),
        ] {
            let message = ModelCard::parse(text).unwrap_err();
            assert!(message.contains(reason), "{message} should say {reason}");
        }
    }
}
