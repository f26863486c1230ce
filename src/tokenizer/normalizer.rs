//! What a byte-level tokenizer does to a text before it splits it into words.

use std::borrow::Cow;

use unicode_normalization_alignments::{UnicodeNormalization, is_nfc, is_nfd, is_nfkc, is_nfkd};

/// One change of a text, by the name that the `tokenizers` library has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
    Lowercase,
}

impl Step {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Nfc, "NFC"),
        (Self::Nfd, "NFD"),
        (Self::Nfkc, "NFKC"),
        (Self::Nfkd, "NFKD"),
        (Self::Lowercase, "Lowercase"),
    ];

    fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Whether it leaves `text` as it is, as far as a quick look tells.
    fn keeps(self, text: &str) -> bool {
        match self {
            Self::Lowercase => false,
            _ if text.is_ascii() => true,
            Self::Nfc => is_nfc(text),
            Self::Nfd => is_nfd(text),
            Self::Nfkc => is_nfkc(text),
            Self::Nfkd => is_nfkd(text),
        }
    }

    fn apply(self, text: &str) -> String {
        match self {
            Self::Nfc => text.nfc().map(|(c, _)| c).collect(),
            Self::Nfd => text.nfd().map(|(c, _)| c).collect(),
            Self::Nfkc => text.nfkc().map(|(c, _)| c).collect(),
            Self::Nfkd => text.nfkd().map(|(c, _)| c).collect(),
            Self::Lowercase => text.chars().flat_map(char::to_lowercase).collect(),
        }
    }
}

/// Changes of a text, one after the other; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Normalizer(Vec<Step>);

impl Normalizer {
    /// From the names of its steps; the first name that is not known is the error.
    pub(super) fn by_names<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, &'n str> {
        let step =
            |name| Step::ALL.iter().find(|(_, known)| *known == name).map(|&(step, _)| step).ok_or(name);
        names.into_iter().map(step).collect::<Result<_, _>>().map(Self)
    }

    /// The names of its steps.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|step| step.name()).collect()
    }

    /// The names of all steps there are.
    pub(super) fn supported() -> String {
        Step::ALL.map(|(_, name)| name).join(", ")
    }

    /// `text`, normalised.
    pub(super) fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for step in &self.0 {
            if !step.keeps(&text) {
                text = Cow::Owned(step.apply(&text));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_in_the_order_of_their_names() {
        for (i, (step, _)) in Step::ALL.iter().enumerate() {
            assert_eq!(*step as usize, i);
        }
    }

    #[test]
    fn texts_are_normalised_step_by_step() {
        let applied = |names: &[&str], text: &str| {
            Normalizer::by_names(names.iter().copied()).unwrap().apply(text).into_owned()
        };
        let (composed, decomposed) = ("é한", "e\u{301}\u{1112}\u{1161}\u{11ab}");
        assert_eq!(applied(&[], decomposed), decomposed);
        assert_eq!(applied(&["NFC"], decomposed), composed);
        assert_eq!(applied(&["NFD"], composed), decomposed);
        assert_eq!(applied(&["NFC"], "ﬁ²"), "ﬁ²");
        assert_eq!(applied(&["NFKC"], "ﬁ²"), "fi2");
        assert_eq!(applied(&["NFKD", "Lowercase"], "ﬁÉ"), "fie\u{301}");
        assert!(matches!(Normalizer::by_names(["NFC"]).unwrap().apply(composed), Cow::Borrowed(_)));
        assert_eq!(Normalizer::by_names(["NFC", "Strip"]), Err("Strip"));
    }
}
