//! Added tokens, duplicates and files that contradict each other.

use serde_json::{Value, json};

use super::tests::{LLAMA3, byte_level_json, import, import_model, sentencepiece_json, sentencepiece_model};
use super::*;
use crate::tokenizer::Tokenizer;

fn byte_level(changes: &[(&str, Value)]) -> Value {
    let mut file = byte_level_json(LLAMA3);
    for (pointer, value) in changes {
        *file.pointer_mut(pointer).unwrap() = value.clone();
    }
    file
}

fn special(id: usize, content: &str) -> Value {
    json!({"id": id, "content": content, "special": true})
}

#[test]
fn two_tokens_of_one_id_and_one_text_with_two_ids_are_refused_by_name() {
    let vocab = |vocab: &str| {
        let text = byte_level_json(LLAMA3).to_string();
        let own = json!({"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4}).to_string();
        assert!(text.contains(&own));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tokenizer.json"), text.replace(&own, vocab)).unwrap();
        let config = Config::parse("config.json".as_ref(), "{}").unwrap();
        Vocabulary::from_checkpoint(&Folder::new(dir.path()), &config, 8).unwrap_err().to_string()
    };
    let message = vocab(r#"{"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 3}"#);
    assert!(message.contains("have id 3: \"ab\" and \"Ġab\""), "{message}");
    let message = vocab(r#"{"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4, "a": 4}"#);
    assert!(message.contains("have id 4: \"Ġab\" and \"a\""), "{message}");
    let refusal = |added: Value| {
        let file = byte_level(&[("/added_tokens", added)]);
        import(&[("tokenizer.json", file)], 8).unwrap_err().to_string()
    };
    let message = refusal(json!([special(1, "<s>")]));
    assert!(message.contains("have id 1: \"b\" and \"<s>\""), "{message}");
    let message = refusal(json!([special(5, "<s>"), special(6, "<s>")]));
    assert!(message.contains("\"<s>\" has two ids, 5 and 6"), "{message}");
    let files = [("tokenizer.json", byte_level(&[])), ("added_tokens.json", json!({"<other>": 6}))];
    let message = import(&files, 8).unwrap_err().to_string();
    assert!(message.contains("have id 6: \"<tool>\" and \"<other>\""), "{message}");
    let pieces = vec![("<unk>", 2), ("a", 1), ("a", 1)];
    let bytes = sentencepiece_model(2, &pieces);
    let message = import_model(&bytes, &[], 8).unwrap_err().to_string();
    assert!(message.contains("\"a\" has two ids, 1 and 2"), "{message}");
}

#[test]
fn an_added_token_that_repeats_an_entry_of_the_vocabulary_is_that_entry() {
    let file = byte_level(&[("/added_tokens", json!([special(3, "ab"), special(5, "<s>")]))]);
    let vocabulary = import(&[("tokenizer.json", file)], 8).unwrap();
    assert_eq!(vocabulary.types()[3], TokenType::Control);
}

#[test]
fn an_empty_added_token_is_left_out_with_a_note() {
    for special in [true, false] {
        let empty = json!([{"id": 5, "content": "", "special": special}]);
        let vocabulary = import(&[("tokenizer.json", byte_level(&[("/added_tokens", empty)]))], 8).unwrap();
        assert!(vocabulary.notes().join(" ").contains("without text"), "{:?}", vocabulary.notes());
        let tokenizer = Tokenizer::new(vocabulary).unwrap();
        assert_eq!(tokenizer.encode("ab ab", false, true).unwrap(), [3, 4]);
    }
}

#[test]
fn tokens_of_the_files_beside_get_their_ids_or_the_next() {
    let bare = byte_level(&[("/added_tokens", json!([special(5, "<s>")]))]);
    let list = json!(["<x>", {"content": "<y>", "lstrip": true}, "<s>"]);
    for (name, settings) in [
        ("tokenizer_config.json", json!({"additional_special_tokens": list})),
        ("tokenizer_config.json", json!({"extra_special_tokens": list})),
        ("tokenizer_config.json", json!({"extra_special_tokens": {"image_token": "<x>", "mark": "<y>"}})),
        (
            "tokenizer_config.json",
            json!({"model_specific_special_tokens": {"a_token": "<x>", "b_token": "<y>"}}),
        ),
        ("tokenizer_config.json", json!({"image_token": "<x>", "audio_token": {"content": "<y>"}})),
        ("special_tokens_map.json", json!({"additional_special_tokens": list})),
        ("tokenizer_config.json", json!({"eos_token": "<x>", "pad_token": "<y>"})),
        ("added_tokens.json", json!({"<y>": 7, "<x>": 6})),
        (
            "tokenizer_config.json",
            json!({"added_tokens_decoder": {"6": {"content": "<x>", "special": true}, "7": {"content": "<y>"}}}),
        ),
    ] {
        let files = [("tokenizer.json", bare.clone()), (name, settings.clone())];
        let vocabulary = import(&files, 9).unwrap();
        assert_eq!(vocabulary.tokens()[5..], ["<s>", "<x>", "<y>", "[PAD8]"], "{settings}");
        let tokenizer = Tokenizer::new(vocabulary).unwrap();
        assert_eq!(tokenizer.encode("ab<y>", false, true).unwrap(), [3, 7], "{settings}");
    }
}

#[test]
fn a_special_token_without_a_row_is_left_out_with_a_note_and_words_stay_words() {
    let files = [
        ("tokenizer.json", byte_level(&[])),
        ("tokenizer_config.json", json!({"pad_token": "[PAD]", "unk_token": "ab"})),
    ];
    let vocabulary = import(&files, 8).unwrap();
    assert!(
        vocabulary.notes().join(" ").contains("\"[PAD]\" is not in the vocabulary"),
        "{:?}",
        vocabulary.notes()
    );
    assert_eq!(vocabulary.types()[3], TokenType::Normal);
}

#[test]
fn an_entry_of_the_vocabulary_that_looks_added_and_is_named_as_special_is_special() {
    let mut json = sentencepiece_json();
    let texts = ["▁<PRE>", "▁<EOT>", "▁ab", "<MID>"];
    for text in texts {
        let vocab = json["model"]["vocab"].as_object_mut().unwrap();
        let next = vocab.len();
        vocab.entry(text).or_insert(json!(next));
    }
    let settings = json!({"additional_special_tokens": texts});
    let files = [("tokenizer.json", json.clone()), ("tokenizer_config.json", settings)];
    let vocabulary = import(&files, 268).unwrap();
    let (normal, control) = (TokenType::Normal, TokenType::Control);
    assert_eq!(
        [265, 266, 260, 267].map(|id: usize| vocabulary.types()[id]),
        [control, control, normal, control]
    );
    // Not named, it is a word.
    let vocabulary = import(&[("tokenizer.json", json)], 268).unwrap();
    assert_eq!([265, 266, 260, 267].map(|id: usize| vocabulary.types()[id]), [normal; 4]);
}

#[test]
fn the_ids_of_tokenizer_json_come_before_those_beside_it() {
    let files = [("tokenizer.json", byte_level(&[])), ("added_tokens.json", json!({"<tool>": 7}))];
    let vocabulary = import(&files, 8).unwrap();
    assert_eq!(vocabulary.tokens()[6], "<tool>");
    assert!(vocabulary.notes().join(" ").contains("\"<tool>\" has id 6"), "{:?}", vocabulary.notes());
}

#[test]
fn the_template_alone_names_beginning_and_end() {
    let single = json!([
        {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "<|x|>", "type_id": 0}},
    ]);
    let file = byte_level(&[("/post_processor/processors/1/single", single)]);
    let vocabulary = import(&[("tokenizer.json", file)], 8).unwrap();
    assert_eq!((vocabulary.add_bos, vocabulary.add_eos), (Some(true), Some(true)));
    assert_eq!((vocabulary.ids.get(Role::Bos), vocabulary.ids.get(Role::Eos)), (Some(5), Some(7)));
}

#[test]
fn what_no_key_can_hold_is_refused_or_noted_by_name() {
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        let mut file = byte_level(&[]);
        file["model"][key] = json!("##");
        let message = import(&[("tokenizer.json", file.clone())], 8).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains("##"), "{message}");
        file["model"][key] = json!("");
        assert!(import(&[("tokenizer.json", file)], 8).is_ok());
    }
    let mut file = byte_level(&[]);
    file["model"]["dropout"] = json!(0.1);
    let vocabulary = import(&[("tokenizer.json", file)], 8).unwrap();
    assert!(vocabulary.notes().join(" ").contains("dropout 0.1"), "{:?}", vocabulary.notes());
}

/// The pieces of [`sentencepiece_json`], with scores of their own.
fn model_of_the_json(json: &Value) -> Vec<u8> {
    let mut pieces: Vec<(&str, i32)> = Vec::new();
    for (text, _) in json["model"]["vocab"].as_object().unwrap() {
        let ty = match text.as_str() {
            "<unk>" => 2,
            "<s>" | "</s>" => 3,
            text if crate::tokenizer::spm::byte_of_token(text).is_some() => 6,
            _ => 1,
        };
        pieces.push((text, ty));
    }
    sentencepiece_model(2, &pieces)
}

#[test]
fn an_agreeing_tokenizer_model_gives_the_scores_and_another_is_noted() {
    let mut file = sentencepiece_json();
    let bytes = model_of_the_json(&file);
    let vocabulary = import_model(&bytes, &[("tokenizer.json", file.clone())], 267).unwrap();
    assert_eq!(vocabulary.scores[259], -259.0);
    assert!(vocabulary.notes().is_empty(), "{:?}", vocabulary.notes());
    file["model"]["vocab"]["▁abb"] = json!(265);
    file["model"]["merges"] = json!(["a b", "▁ ab", "▁a b", "▁ a", "▁ab b"]);
    let vocabulary = import_model(&bytes, &[("tokenizer.json", file.clone())], 267).unwrap();
    assert_eq!(vocabulary.scores[259], 0.0);
    let notes = vocabulary.notes().join(" ");
    assert!(notes.contains("tokenizer.json decides") && notes.contains("\"▁abb\", id 265"), "{notes}");
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(tokenizer.encode("abb", false, false).unwrap(), [265]);
    file["normalizer"] = json!({"type": "NFKC"});
    let vocabulary = import_model(&bytes, &[("tokenizer.json", file)], 267).unwrap();
    let notes = vocabulary.notes().join(" ");
    assert!(notes.contains("tokenizer.model is read") && notes.contains("NFKC"), "{notes}");
}

#[test]
fn an_added_token_may_take_the_place_of_a_piece_of_tokenizer_model() {
    let bytes = sentencepiece_model(2, &[("<unk>", 2), ("<s>", 3), ("</s>", 3), ("[UNUSED_1]", 1)]);
    let files = [("added_tokens.json", json!({"<|im_start|>": 3}))];
    let vocabulary = import_model(&bytes, &files, 4).unwrap();
    assert_eq!(vocabulary.tokens()[3], "<|im_start|>");
    assert!(vocabulary.notes().join(" ").contains("replaces \"[UNUSED_1]\""), "{:?}", vocabulary.notes());
    let files = [("added_tokens.json", json!({"<|im_start|>": 1}))];
    let message = import_model(&bytes, &files, 4).unwrap_err().to_string();
    assert!(message.contains("have id 1: \"<s>\" and \"<|im_start|>\""), "{message}");
}

#[test]
fn flags_of_tokenizer_config_decide_with_a_note_and_files_without_flags_change_none() {
    let with_flag = |key: &str| {
        let mut token = special(5, "<s>");
        token[key] = json!(true);
        token["normalized"] = json!(false);
        token
    };
    let file = byte_level(&[("/added_tokens", json!([with_flag("rstrip")]))]);
    let flags = |vocabulary: &Vocabulary| vocabulary.added.clone().unwrap()[0].1;
    let decoder = json!({"added_tokens_decoder": {"5": with_flag("lstrip")}});
    let vocabulary =
        import(&[("tokenizer.json", file.clone()), ("tokenizer_config.json", decoder)], 8).unwrap();
    assert!(flags(&vocabulary).lstrip && !flags(&vocabulary).rstrip);
    assert!(vocabulary.notes()[0].contains("rstrip") && vocabulary.notes()[0].contains("<s>"));
    for beside in
        [("added_tokens.json", json!({"<s>": 5})), ("tokenizer_config.json", json!({"bos_token": "<s>"}))]
    {
        let vocabulary = import(&[("tokenizer.json", file.clone()), beside], 8).unwrap();
        assert!(flags(&vocabulary).rstrip && !flags(&vocabulary).lstrip);
        assert_eq!(vocabulary.notes().len(), 1, "{:?}", vocabulary.notes());
    }
}

#[test]
fn the_end_that_a_template_writes_is_the_end_of_texts_and_the_named_one_that_of_turns() {
    let mut file = byte_level_json(LLAMA3);
    let special = |text: &str| json!({"SpecialToken": {"id": text, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    file["post_processor"] = json!({"type": "TemplateProcessing", "single": [text, special("<|x|>")]});
    let import = |flag: Value| {
        let config = json!({"eos_token": "<tool>", "add_eos_token": flag});
        import(&[("tokenizer.json", file.clone()), ("tokenizer_config.json", config)], 8).unwrap()
    };
    let found = import(Value::Null);
    let id = |text: &str| found.id_of(text);
    assert_eq!(found.special_ids().get(Role::Eos), id("<|x|>"));
    assert_eq!(found.special_ids().get(Role::Eot), id("<tool>"));
    assert_eq!(found.add_eos, Some(true));
    // Where the end is not added, the named one is meant.
    let found = import(json!(false));
    assert_eq!((found.special_ids().get(Role::Eos), found.add_eos), (id("<tool>"), Some(false)));
}
