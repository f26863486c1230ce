//! Special tokens cut out of texts, by examples and by the definition.

use super::*;
use crate::tokenizer::literal::unmarked;
use crate::tokenizer::special_ids;
use crate::tokenizer::vocabulary::tests::bpe_vocabulary;

fn special_tokens(vocabulary: &Vocabulary) -> SpecialTokens {
    let resolved = special_ids::resolve(&vocabulary.tokens, &vocabulary.types, &vocabulary.ids, true);
    SpecialTokens::new(vocabulary, &vocabulary.types, &Encoder::new(vocabulary, &resolved).unwrap()).unwrap()
}

fn specials(tokens: &[(&str, TokenType)], name: Option<&str>) -> SpecialTokens {
    let mut vocabulary = bpe_vocabulary(tokens, &[]);
    vocabulary.model_name = name.map(str::to_owned);
    special_tokens(&vocabulary)
}

fn partition(specials: &SpecialTokens, text: &str, parse_special: bool) -> Vec<String> {
    let shown = |fragment| match fragment {
        Fragment::Text(range) => text[range].to_owned(),
        Fragment::Token(id) => format!("#{id}"),
    };
    specials.plain.partition(text, parse_special, &Vetoes::NONE).into_iter().map(shown).collect()
}

#[test]
fn control_tokens_are_text_unless_asked_for_and_user_defined_ones_never() {
    let specials = specials(&[("<s>", TokenType::Control), ("<u>", TokenType::UserDefined)], None);
    assert_eq!(partition(&specials, "a<s>b<u><u>", false), ["a<s>b", "#1", "#1"]);
    assert_eq!(partition(&specials, "a<s>b<u><u>", true), ["a", "#0", "b", "#1", "#1"]);
}

#[test]
fn the_longest_token_wins_even_where_a_shorter_one_starts_earlier() {
    let specials = specials(&[("ab", TokenType::Control), ("bcd", TokenType::Control)], None);
    assert_eq!(partition(&specials, "abcd ab", true), ["a", "#1", " ", "#0"]);
}

#[test]
fn normal_tokens_do_not_split_text() {
    let specials = specials(&[("x", TokenType::Normal), ("<s>", TokenType::Control)], None);
    assert_eq!(partition(&specials, "axb", true), ["axb"]);
}

#[test]
fn empty_text_has_no_fragments_and_empty_tokens_are_nowhere() {
    let specials = specials(&[("", TokenType::UserDefined), ("<s>", TokenType::Control)], None);
    assert!(partition(&specials, "", true).is_empty());
    assert_eq!(partition(&specials, "a<s>b", true), ["a", "#1", "b"]);
}

#[test]
fn a_vetoed_token_makes_room_for_a_shorter_one() {
    let tokens = [("<a>b", TokenType::Control), ("<a", TokenType::UserDefined), ("a>", TokenType::Control)];
    let specials = specials(&tokens, None);
    let (text, vetoes) = unmarked("<a>§b", '§');
    let fragments = specials.plain.partition(&text, true, &vetoes);
    assert_eq!(fragments, [Fragment::Token(1), Fragment::Text(2..4)]);
}

/// The definition: cuts every occurrence of each token out of what the longer ones left.
fn partition_slowly(specials: &SpecialTokens, text: &str, parse_special: bool) -> Vec<Fragment> {
    let mut fragments = between(text.len(), Vec::new());
    for token in specials.plain.tokens.iter().filter(|token| parse_special || !token.on_request) {
        let cut = |fragment| match fragment {
            Fragment::Text(range) => cut_slowly(text, range, token),
            Fragment::Token(_) => vec![fragment],
        };
        fragments = fragments.into_iter().flat_map(cut).collect();
    }
    fragments
}

fn cut_slowly(text: &str, mut rest: Range<usize>, token: &Special) -> Vec<Fragment> {
    let mut out = Vec::new();
    while let Some(offset) = text[rest.clone()].find(&token.text) {
        let (start, end) = (rest.start + offset, rest.start + offset + token.text.len());
        let (before, after) = (&text[rest.start..start], &text[end..rest.end]);
        let before = if token.flags.lstrip { before.trim_end_matches(is_blank) } else { before };
        let after = if token.flags.rstrip { after.trim_start_matches(is_blank) } else { after };
        if !before.is_empty() {
            out.push(Fragment::Text(rest.start..rest.start + before.len()));
        }
        out.push(Fragment::Token(token.id));
        rest.start = rest.end - after.len();
    }
    if !rest.is_empty() {
        out.push(Fragment::Text(rest));
    }
    out
}

#[test]
fn random_texts_are_cut_as_the_definition_says() {
    let mut state = 7u64;
    let mut below = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut word = move |max: u64| -> (String, u64) {
        let n = 1 + below(max);
        ((0..n).map(|_| ["a", "b", " ", "é"][below(4) as usize]).collect(), below(8))
    };
    for _ in 0..400 {
        let tokens: Vec<(String, u64)> = (0..8).map(|_| word(5)).collect();
        let typed = tokens.iter().map(|(text, flags)| {
            (text.as_str(), if flags & 1 == 0 { TokenType::Control } else { TokenType::UserDefined })
        });
        let mut specials = specials(&typed.collect::<Vec<_>>(), None);
        for token in &mut specials.plain.tokens {
            token.flags = AddedFlags::from_code((tokens[token.id as usize].1 >> 1) as i32 & 3);
        }
        for _ in 0..20 {
            let (text, flags) = word(40);
            let expected = partition_slowly(&specials, &text, flags & 1 == 0);
            let found = specials.plain.partition(&text, flags & 1 == 0, &Vetoes::NONE);
            assert_eq!(found, expected, "{text:?} with {tokens:?}");
        }
    }
}

#[test]
fn phi_3_takes_the_blanks_after_its_special_tokens() {
    let tokens = [("<|user|>", TokenType::Control), ("<s>", TokenType::Control)];
    let phi = specials(&tokens, Some("Phi-3-mini"));
    assert_eq!(partition(&phi, "<s> <|user|>\n a ", true), ["#1", " ", "#0", "a "]);
    let other = specials(&tokens, Some("Llama"));
    assert_eq!(partition(&other, "<|user|>\na", true), ["#0", "\na"]);
}

/// User-defined tokens, each with its flags in a key of the file.
fn flagged(tokens: &[(&str, i32)]) -> SpecialTokens {
    let typed: Vec<_> = tokens.iter().map(|&(text, _)| (text, TokenType::UserDefined)).collect();
    let mut vocabulary = bpe_vocabulary(&typed, &[]);
    let flags = tokens.iter().enumerate();
    vocabulary.added = Some(flags.map(|(id, &(_, code))| (id as u32, AddedFlags::from_code(code))).collect());
    vocabulary.model_name = Some("Phi-3".into());
    special_tokens(&vocabulary)
}

#[test]
fn flags_in_the_file_decide_and_take_every_blank_of_unicode() {
    let specials = flagged(&[("<l>", 1), ("<r>", 2), ("<n>", 0)]);
    let text = "a\u{a0} <l> b <r>\n\u{2003}c <n> d";
    assert_eq!(partition(&specials, text, false), ["a", "#0", " b ", "#1", "c ", "#2", " d"]);
}

#[test]
fn single_words_are_matched_only_between_others() {
    let specials = flagged(&[("day", 4)]);
    assert_eq!(
        partition(&specials, "day monday days day_ é day-", false).join("|"),
        "#0| monday days day_ é |#0|-"
    );
}

#[test]
fn normalised_tokens_are_looked_for_in_what_the_others_leave() {
    let specials = flagged(&[("abc", 8), ("b", 0)]);
    assert_eq!(partition(&specials, "abc", false), ["a", "#1", "c"]);
}
