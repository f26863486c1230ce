//! Small vocabularies, encoded and decoded.

use super::*;
use crate::tokenizer::byte_chars;
use crate::tokenizer::vocabulary::tests::{bpe_vocabulary, spm_vocabulary};

/// Every byte as a token (id = byte), then `more`.
fn byte_level(more: &[(&str, TokenType)], merges: &[&str]) -> Vocabulary {
    let bytes: Vec<String> = (0..=255).map(|byte| byte_chars::char_of(byte).to_string()).collect();
    let tokens: Vec<(&str, TokenType)> =
        bytes.iter().map(|text| (text.as_str(), TokenType::Normal)).chain(more.iter().copied()).collect();
    bpe_vocabulary(&tokens, merges)
}

#[test]
fn merges_apply_in_their_order_within_words() {
    let more = [("ab", TokenType::Normal), ("bc", TokenType::Normal), ("Ġab", TokenType::Normal)];
    let tokenizer = Tokenizer::new(byte_level(&more, &["b c", "a b", "Ġ ab"])).unwrap();
    assert_eq!(tokenizer.encode("abc ab", false, false).unwrap(), [97, 257, 258]);
    assert_eq!(tokenizer.encode("é\n", false, false).unwrap(), [0xC3, 0xA9, 10]);
    assert_eq!(tokenizer.decode(&[97, 257, 258, 0xC3], false), "abc ab\u{fffd}");
}

#[test]
fn only_control_tokens_are_found_as_such() {
    let more = [("ab", TokenType::Normal), ("<|sep|>", TokenType::Control)];
    let tokenizer = Tokenizer::new(byte_level(&more, &["a b"])).unwrap();
    assert_eq!(["<|sep|>", "ab", "<|sep"].map(|text| tokenizer.control_token(text)), [Some(257), None, None]);
}

#[test]
fn merges_that_yield_no_token_are_spelled_in_bytes() {
    let more = [("abc", TokenType::Normal)];
    let tokenizer = Tokenizer::new(byte_level(&more, &["a b", "ab c"])).unwrap();
    assert_eq!(tokenizer.encode("abc ab", false, false).unwrap(), [256, 32, 97, 98]);
}

#[test]
fn bytes_without_a_token_become_the_unknown_one_or_an_error() {
    let mut vocabulary = bpe_vocabulary(&[("a", TokenType::Normal), ("<unk>", TokenType::Unknown)], &[]);
    let refusal = Tokenizer::new(vocabulary.clone()).unwrap().encode("ab", false, false).unwrap_err();
    assert!(refusal.to_string().contains("0x62 in \"ab\""), "{refusal}");
    vocabulary.ids.set(Role::Unknown, Some(1));
    assert_eq!(Tokenizer::new(vocabulary).unwrap().encode("ab", false, false).unwrap(), [0, 1]);
}

#[test]
fn whole_words_that_are_control_tokens_are_spelled() {
    let more = [("the", TokenType::Control)];
    let mut vocabulary = byte_level(&more, &["t h", "th e"]);
    for pre in ["gpt-2", "llama-bpe"] {
        vocabulary.pre = pre.into();
        let tokenizer = Tokenizer::new(vocabulary.clone()).unwrap();
        assert_eq!(tokenizer.encode("the", false, false).unwrap(), [116, 104, 101], "{pre}");
        assert_eq!(tokenizer.encode("the", false, true).unwrap(), [256], "{pre}");
    }
}

#[test]
fn whole_words_bypass_the_merges_where_the_family_wants_it() {
    let more = [("the", TokenType::Normal)];
    let mut vocabulary = byte_level(&more, &[]);
    assert_eq!(Tokenizer::new(vocabulary.clone()).unwrap().encode("the", false, false).unwrap().len(), 3);
    vocabulary.pre = "llama-bpe".into();
    assert_eq!(Tokenizer::new(vocabulary).unwrap().encode("the", false, false).unwrap(), [256]);
}

#[test]
fn tokens_around_a_text_follow_file_then_family() {
    let more = [("<s>", TokenType::Control), ("</s>", TokenType::Control)];
    let mut vocabulary = byte_level(&more, &[]);
    vocabulary.ids.set(Role::Bos, Some(256));
    vocabulary.ids.set(Role::Eos, Some(257));
    let ids = |vocabulary: &Vocabulary| {
        Tokenizer::new(vocabulary.clone()).unwrap().encode("a", true, false).unwrap()
    };
    assert_eq!(ids(&vocabulary), [97]);
    vocabulary.pre = "llama-bpe".into();
    assert_eq!(ids(&vocabulary), [256, 97]);
    (vocabulary.add_bos, vocabulary.add_eos) = (Some(false), Some(true));
    assert_eq!(ids(&vocabulary), [97, 257]);
    let tokenizer = Tokenizer::new(vocabulary.clone()).unwrap();
    assert_eq!(tokenizer.encode_prompt("a", false).unwrap(), [97]);
    // Files of other people say so, and name no such token.
    vocabulary.ids.set(Role::Eos, None);
    assert_eq!(ids(&vocabulary), [97]);
    vocabulary.ids.set(Role::Bos, None);
    vocabulary.add_bos = Some(true);
    assert_eq!(ids(&vocabulary), [97]);
}

#[test]
fn sentencepiece_puts_a_space_in_front_and_takes_it_off() {
    let vocabulary = spm_vocabulary(&[("▁a", -1.0), ("▁", -2.0), ("a", -3.0)]);
    let tokenizer = Tokenizer::new(vocabulary.clone()).unwrap();
    let ids = tokenizer.encode("a a<s>a", true, true).unwrap();
    assert_eq!(ids, [1, 259, 259, 1, 259]);
    assert_eq!(tokenizer.decode(&ids[..3], false), "a a");
    assert_eq!(tokenizer.encode(" a", false, false).unwrap(), [260, 259]);
    assert_eq!(tokenizer.decode(&[260, 259], false), " a");
    let mut continued = tokenizer.decoder();
    assert_eq!(continued.push(259), " a");
    let plain = Tokenizer::new(Vocabulary { add_space_prefix: Some(false), ..vocabulary }).unwrap();
    assert_eq!(plain.encode("a", false, false).unwrap(), [261]);
    assert_eq!(plain.decode(&[259], false), " a");
}

#[test]
fn pieces_and_types_are_there_for_every_token_and_no_other() {
    let tokenizer = Tokenizer::new(spm_vocabulary(&[("▁a", -1.0)])).unwrap();
    assert_eq!(tokenizer.n_vocab(), 260);
    assert_eq!(tokenizer.piece(259).unwrap(), " a");
    assert_eq!(tokenizer.token_text(259), Some("▁a"));
    assert_eq!(tokenizer.piece(1).unwrap(), "<s>");
    assert_eq!(tokenizer.token_type(3), Some(TokenType::Byte));
    assert_eq!((tokenizer.piece(260), tokenizer.token_type(260)), (None, None));
    assert!(tokenizer.is_end_of_generation(2) && !tokenizer.is_end_of_generation(259));
}

#[test]
fn a_million_equal_characters_are_encoded_and_come_back() {
    const N: usize = 1_000_000;
    let doubled: Vec<String> = (1..=10).map(|i| "a".repeat(1 << i)).collect();
    let more: Vec<(&str, TokenType)> = doubled.iter().map(|t| (t.as_str(), TokenType::Normal)).collect();
    let merges: Vec<String> = (0..10).map(|i| format!("{0} {0}", "a".repeat(1 << i))).collect();
    let merges: Vec<&str> = merges.iter().map(String::as_str).collect();
    let bpe = Tokenizer::new(byte_level(&more, &merges)).unwrap();
    let scored = doubled.iter().enumerate().map(|(i, t)| (t.as_str(), -(i as f32)));
    let scored: Vec<(&str, f32)> = scored.chain([("▁", -99.0)]).collect();
    let spm = Tokenizer::new(spm_vocabulary(&scored)).unwrap();
    for tokenizer in [&bpe, &spm] {
        for unit in ["a", " ", "\n", "é", "1", "<s>", " a"] {
            let text = unit.repeat(N / unit.len());
            let ids = tokenizer.encode(&text, false, true).unwrap();
            assert!(tokenizer.decode(&ids, true) == text, "{unit:?}");
        }
    }
    assert_eq!(bpe.encode(&"a".repeat(N), false, false).unwrap().len(), N / 1024 + 2);
}
