//! What settings of single modules are for: a module's name, or a pattern of some.

use regex::Regex;

/// Characters of patterns; a dot stands in every name.
const OF_PATTERNS: [char; 10] = ['*', '+', '?', '[', '(', '|', '\\', '^', '$', '{'];

/// A name or a pattern that names of modules are compared with.
#[derive(Debug)]
pub enum NamePattern {
    /// The whole name.
    Whole(String),
    /// The last parts of a name.
    End(String),
    /// What a name holds.
    Regex(Regex),
}

impl NamePattern {
    /// A key of PEFT's patterns, which names end with.
    ///
    /// # Errors
    /// That of a pattern which is not a regular expression.
    pub fn of_ends(key: &str) -> Result<Self, regex::Error> {
        match key.contains(OF_PATTERNS) {
            true => Regex::new(&format!("^(?:.*\\.)?(?:{key})$")).map(Self::Regex),
            false => Ok(Self::End(key.to_owned())),
        }
    }

    /// A key of a quantiser's table, a pattern of which may stand behind `+:`, as GPTQModel has it. What is not a
    /// regular expression is a name.
    pub fn of_table(key: &str) -> Self {
        let key = key.trim_start_matches("+:");
        let regex = key.contains(OF_PATTERNS).then(|| Regex::new(key).ok()).flatten();
        regex.map_or_else(|| Self::Whole(key.to_owned()), Self::Regex)
    }

    /// Whether it is meant for the module of this name.
    pub fn matches(&self, module: &str) -> bool {
        match self {
            Self::Whole(name) => name == module,
            Self::End(end) => {
                module.strip_suffix(&**end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            Self::Regex(regex) => regex.is_match(module),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_are_told_apart() {
        let peft = |key: &str, module: &str| NamePattern::of_ends(key).expect("a pattern").matches(module);
        assert!(peft("q_proj", "model.layers.1.q_proj") && peft("q_proj", "q_proj"));
        assert!(!peft("q_proj", "model.layers.1.new_q_proj"));
        assert!(peft(r"layers\.[01]\.q_proj", "model.layers.1.q_proj"));
        assert!(!peft(r"layers\.[01]\.q_proj", "model.layers.2.q_proj"));
        assert!(NamePattern::of_ends("(").is_err());
        let table = |key: &str, module: &str| NamePattern::of_table(key).matches(module);
        assert!(table("model.layers.1", "model.layers.1") && !table("layers.1", "model.layers.1"));
        assert!(table(r"+:.*\.1\..*gate", "model.layers.1.mlp.gate_proj"));
        assert!(table("(", "("));
    }
}
