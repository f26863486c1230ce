//! Keys that are written and read back, absent or odd.

use super::*;
use crate::gguf::{GgufFile, GgufWriter, Layout};
use crate::tokenizer::vocabulary::tests::{bpe_vocabulary, spm_vocabulary};

/// What a file with these pairs (and an architecture) gives.
fn read(pairs: Vec<(String, Value)>) -> Result<Vocabulary> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vocab.gguf");
    let layout = Layout::new(pairs, Vec::new(), 32).unwrap();
    GgufWriter::create(&path, layout, false).unwrap().finish().unwrap();
    Vocabulary::from_metadata(GgufFile::open(&path).unwrap().metadata())
}

/// The pairs of a byte-level vocabulary of three tokens, with `changes` made: a value replaces or
/// adds, `None` removes.
fn changed(changes: &[(&str, Option<Value>)]) -> Vec<(String, Value)> {
    let tokens = [("a", TokenType::Normal), ("b", TokenType::Normal), ("ab", TokenType::Normal)];
    let mut pairs = bpe_vocabulary(&tokens, &["a b"]).to_metadata();
    for (key, value) in changes {
        pairs.retain(|(known, _)| known != key);
        pairs.extend(value.clone().map(|value| ((*key).to_owned(), value)));
    }
    pairs
}

#[test]
fn what_is_written_is_read_back() {
    let mut bpe = bpe_vocabulary(&[("a", TokenType::Normal), ("<s>", TokenType::Control)], &["a a"]);
    bpe.ids.set(Role::Bos, Some(1));
    bpe.ids.set(Role::Separator, Some(0));
    bpe.ids.set_further_ends(vec![1, 0]);
    bpe.add_bos = Some(true);
    bpe.normalizer = Normalizer::by_names(["NFKC", "Lowercase"]).unwrap();
    bpe.chat_template = Some("{{ x }}".into());
    bpe.named_templates = vec![("rag".into(), "r".into()), ("tool_use".into(), "t".into())];
    assert_eq!(read(bpe.to_metadata()).unwrap(), bpe);
    let mut spm = spm_vocabulary(&[("▁a", -1.5), ("a", 0.0)]);
    spm.add_space_prefix = Some(false);
    spm.space_prefix = SpacePrefix::FirstUnlessBlank;
    spm.added = Some(vec![(1, AddedFlags::from_code(0)), (2, AddedFlags::from_code(11))]);
    assert_eq!(read(spm.to_metadata()).unwrap(), spm);
    bpe.kind = Kind::CharacterBpe;
    bpe.pre = "gemma4".into();
    assert_eq!(read(bpe.to_metadata()).unwrap(), bpe);
}

#[test]
fn pre_tokenizers_tell_kinds_and_separators_where_files_do_not() {
    let bpe = bpe_vocabulary(&[("a", TokenType::Normal)], &["a a"]);
    let named = |pre: &str| {
        let mut pairs = bpe.to_metadata();
        pairs.retain(|(key, _)| key != PRE && key != ADD_SEP);
        pairs.push((PRE.into(), Value::String(pre.into())));
        let vocabulary = read(pairs).unwrap();
        (vocabulary.kind, vocabulary.add_sep)
    };
    assert_eq!(named("gpt-2"), (Kind::ByteLevelBpe, None));
    for pre in PRE_OF_TWO_SEPARATORS {
        assert_eq!(named(pre), (Kind::ByteLevelBpe, Some(true)), "{pre}");
    }
    for pre in ["granite-embed-multi-311m", "sarvam-moe"] {
        assert_eq!(named(pre), (Kind::CharacterBpe, None), "{pre}");
    }
    assert_eq!(named("granite-embed-multi-97m"), (Kind::ByteLevelBpe, None));
}

#[test]
fn absent_keys_have_their_defaults() {
    let vocabulary = read(changed(&[(PRE, None), (TYPES, None)])).unwrap();
    assert_eq!((vocabulary.pre.as_str(), vocabulary.types), ("default", vec![TokenType::Normal; 3]));
    assert_eq!(vocabulary.ids, SpecialIds::default());
    for none in [Value::I32(-1), Value::I64(-1), Value::U32(u32::MAX)] {
        let ids = read(changed(&[("tokenizer.ggml.eos_token_id", Some(none))])).unwrap().ids;
        assert_eq!(ids, SpecialIds::default());
    }
    let texts = |texts: &[&str]| Value::Strings(texts.iter().map(|&text| text.to_owned()).collect());
    let templates = [
        (Value::String(" \n".into()), None),
        (Value::String("{{ x }}".into()), Some("{{ x }}")),
        (texts(&["{{ x }}", "{{ y }}"]), None),
        (Value::U32(1), None),
    ];
    for (template, expected) in templates {
        let vocabulary = read(changed(&[(CHAT_TEMPLATE, Some(template))])).unwrap();
        assert_eq!(vocabulary.chat_template(), expected);
    }
    let mut pairs = spm_vocabulary(&[]).to_metadata();
    pairs.retain(|(key, _)| !key.ends_with("_token_id"));
    let ids = read(pairs).unwrap().ids;
    assert_eq!([Role::Unknown, Role::Bos, Role::Eos].map(|role| ids.get(role)), [Some(0), Some(1), Some(2)]);
}

#[test]
fn unknown_kinds_are_named_with_the_supported_ones() {
    let message = read(changed(&[(MODEL, Some(Value::String("hrm".into())))])).unwrap_err().to_string();
    assert!(message.contains("hrm") && message.contains("gpt2") && message.contains("llama"), "{message}");
}

#[test]
fn absent_or_unequal_arrays_are_refused() {
    for key in [MODEL, TOKENS, MERGES] {
        let message = read(changed(&[(key, None)])).unwrap_err().to_string();
        assert!(message.contains(key), "{key}: {message}");
    }
    assert!(read(changed(&[(MERGES, Some(Value::Strings(vec!["ab".into()])))])).is_err());
    let numbers = Value::I32s(vec![1, 2, 3]);
    let message = read(changed(&[(ADDED_TOKENS, Some(numbers))])).unwrap_err().to_string();
    assert!(message.contains("3 numbers"), "{message}");
    let steps = Value::Strings(vec!["NFC".into(), "Strip".into()]);
    let message = read(changed(&[(NORMALIZER, Some(steps))])).unwrap_err().to_string();
    assert!(message.contains("\"Strip\"; supported are NFC, NFD"), "{message}");
    let rule = Value::String("sometimes".into());
    let message = read(changed(&[(SPACE_PREFIX, Some(rule))])).unwrap_err().to_string();
    assert!(message.contains("sometimes") && message.contains("first_unless_blank"), "{message}");
}

#[test]
fn types_and_scores_may_be_short_long_or_absent() {
    let (normal, control) = (TokenType::Normal, TokenType::Control);
    let short = read(changed(&[(TYPES, Some(Value::I32s(vec![3])))])).unwrap();
    assert_eq!(short.types, [control, normal, normal]);
    let long = read(changed(&[(TYPES, Some(Value::I32s(vec![3, 1, 1, 3, 3])))])).unwrap();
    assert_eq!(long.types, [control, normal, normal]);
    let mut pairs = spm_vocabulary(&[("a", -1.5)]).to_metadata();
    pairs.retain(|(key, _)| key != SCORES);
    assert_eq!(read(pairs.clone()).unwrap().scores, [0.0; 260]);
    pairs.push((SCORES.into(), Value::F32s(vec![-2.0; 300])));
    assert_eq!(read(pairs).unwrap().scores, [-2.0; 260]);
}

#[test]
fn ids_outside_matter_only_for_the_beginning_and_the_end() {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let padding = read(changed(&[(&key("padding_token_id"), Some(Value::U32(3)))])).unwrap();
    assert_eq!(padding.ids.get(Role::Padding), None);
    let none = read(changed(&[(&key("bos_token_id"), Some(Value::U32(u32::MAX)))])).unwrap();
    assert_eq!(none.ids.get(Role::Bos), None);
    let message = read(changed(&[(&key("eos_token_id"), Some(Value::U32(3)))])).unwrap_err().to_string();
    assert!(message.contains("eos_token_id is 3"), "{message}");
    let older = read(changed(&[(&key("prefix_token_id"), Some(Value::U32(2)))])).unwrap();
    assert_eq!(older.ids.get(Role::FimPrefix), Some(2));
}

#[test]
fn empty_tokens_get_names() {
    let tokens = Value::Strings(vec![String::new(), "b".into(), String::new()]);
    assert_eq!(read(changed(&[(TOKENS, Some(tokens))])).unwrap().tokens, ["[EMPTY_0]", "b", "[EMPTY_2]"]);
}
