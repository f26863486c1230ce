//! Vocabularies from tokenizer files written here, and from the bundled checkpoint.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use prost::Message;
use serde_json::{Value, json};

use super::*;
use crate::tokenizer::special_ids::Role;
use crate::tokenizer::{Kind, Tokenizer};

pub(super) const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// The vocabulary in a folder with the given files, for a model of `n_vocab` rows.
pub(super) fn import(files: &[(&str, Value)], n_vocab: usize) -> Result<Vocabulary> {
    in_folder(files, |folder, config| Vocabulary::from_checkpoint(folder, config, n_vocab))
}

/// What `read` makes of a folder with the given files.
pub(super) fn in_folder<T>(files: &[(&str, impl Display)], read: impl Fn(&Folder, &Config) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content.to_string()).unwrap();
    }
    let config =
        files.iter().find(|(name, _)| *name == "config.json").map_or("{}".to_owned(), |(_, c)| c.to_string());
    let config = Config::parse(Path::new("config.json"), &config).unwrap();
    read(&Folder::new(dir.path()), &config)
}

pub(super) fn byte_level_json(expression: &str) -> Value {
    json!({
        "added_tokens": [
            {"id": 5, "content": "<s>", "special": true},
            {"id": 6, "content": "<tool>", "special": false},
            {"id": 7, "content": "<|x|>", "special": false},
        ],
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "post_processor": {"type": "Sequence", "processors": [
            {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
            {"type": "TemplateProcessing", "single": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
            ]},
        ]},
        "decoder": {"type": "ByteLevel"},
        "model": {
            "type": "BPE", "ignore_merges": true,
            "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4},
            "merges": [["a", "b"], [" ", "ab"]],
        },
    })
}

#[test]
fn byte_level_tokenizers_are_read_with_types_merges_and_flags() {
    let files = [
        ("tokenizer.json", byte_level_json(LLAMA3)),
        ("tokenizer_config.json", json!({"bos_token": "<s>", "eos_token": {"content": "<|x|>"}})),
    ];
    let vocabulary = import(&files, 9).unwrap();
    assert_eq!(vocabulary.kind(), Kind::ByteLevelBpe);
    assert_eq!(vocabulary.pre_tokenizer(), "llama-bpe");
    assert_eq!(vocabulary.tokens(), ["a", "b", "Ġ", "ab", "Ġab", "<s>", "<tool>", "<|x|>", "[PAD8]"]);
    let (normal, control) = (TokenType::Normal, TokenType::Control);
    let added = [control, TokenType::UserDefined, control, TokenType::Unused];
    assert_eq!(vocabulary.types(), [[normal; 5].as_slice(), &added].concat());
    assert_eq!(vocabulary.merges, ["a b", "Ġ ab"]);
    assert_eq!((vocabulary.add_bos, vocabulary.add_eos), (Some(true), Some(false)));
    assert_eq!(vocabulary.ids.get(Role::Bos), Some(5));
    assert_eq!(vocabulary.ids.get(Role::Eos), Some(7));
    assert!(vocabulary.notes().is_empty(), "{:?}", vocabulary.notes());
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(tokenizer.encode("ab ab<tool>b", true, true).unwrap(), [5, 3, 4, 6, 1]);
}

#[test]
fn pre_tokenizers_are_told_apart_by_flags_where_expressions_are_equal() {
    let mut file = byte_level_json(LLAMA3);
    file["model"]["ignore_merges"] = json!(false);
    assert_eq!(import(&[("tokenizer.json", file)], 8).unwrap().pre_tokenizer(), "dbrx");
}

#[test]
fn a_known_behaviour_in_other_words_is_recognised_and_said_so() {
    let other = concat!(
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\n\r\p{L}\p{N}]?[\p{L}]+",
        r"|\p{N}{1,3}| ?[^\p{N}\s\p{L}]+[\n\r]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    );
    let vocabulary = import(&[("tokenizer.json", byte_level_json(other))], 8).unwrap();
    assert_eq!(vocabulary.pre_tokenizer(), "llama-bpe");
    assert!(vocabulary.notes()[0].contains("behaves like llama-bpe"), "{:?}", vocabulary.notes());
}

#[test]
fn an_unknown_pre_tokenizer_is_refused_with_its_expression_and_the_reason() {
    let message =
        import(&[("tokenizer.json", byte_level_json(r"\p{L}{1,4}|.+"))], 8).unwrap_err().to_string();
    assert!(message.contains(r"\\p{L}{1,4}|.+") && message.contains("that GGUF files can name"), "{message}");
}

#[test]
fn ignoring_merges_under_another_name_is_accepted_only_where_it_makes_no_difference() {
    let qwen2 = LLAMA3.replace("{1,3}", "");
    let mut file = byte_level_json(&qwen2);
    assert_eq!(import(&[("tokenizer.json", file.clone())], 8).unwrap().pre_tokenizer(), "qwen2");
    file["model"]["merges"] = json!([["a", "b"]]);
    let message = import(&[("tokenizer.json", file)], 8).unwrap_err().to_string();
    assert!(message.contains("ignore_merges"), "{message}");
}

#[test]
fn gpt_2_and_digit_splits_are_recognised_without_an_expression() {
    let mut file = byte_level_json("");
    file["model"]["ignore_merges"] = json!(false);
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
    file["pre_tokenizer"] = byte_level.clone();
    assert_eq!(import(&[("tokenizer.json", file.clone())], 8).unwrap().pre_tokenizer(), "gpt-2");
    let digits = json!({"type": "Digits", "individual_digits": true});
    file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [digits, byte_level]});
    assert_eq!(import(&[("tokenizer.json", file)], 8).unwrap().pre_tokenizer(), "smollm");
}

#[test]
fn tokens_around_texts_are_those_that_the_file_adds() {
    let mut file = byte_level_json(LLAMA3);
    file["post_processor"] = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false});
    let bos = ("tokenizer_config.json", json!({"bos_token": "<s>"}));
    let vocabulary = import(&[("tokenizer.json", file.clone()), bos.clone()], 8).unwrap();
    assert_eq!((vocabulary.pre_tokenizer(), vocabulary.add_bos), ("llama-bpe", Some(false)));
    assert!(!Tokenizer::new(vocabulary).unwrap().adds_bos());
    let special = |text: &str| json!({"SpecialToken": {"id": text, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    file["post_processor"] =
        json!({"type": "TemplateProcessing", "single": [special("<tool>"), special("<s>"), text]});
    let vocabulary = import(&[("tokenizer.json", file.clone()), bos.clone()], 8).unwrap();
    assert_eq!(vocabulary.add_bos, Some(false));
    file["post_processor"]["special_tokens"] = json!({"<s>": {"id": "<s>", "ids": [6], "tokens": ["<s>"]}});
    let message = import(&[("tokenizer.json", file), bos], 8).unwrap_err().to_string();
    assert!(message.contains("puts \"<tool>\" around texts"), "{message}");
    let notes = vocabulary.notes().join("\n");
    assert!(notes.contains("[\"<tool>\", \"<s>\"] come before every text and [] behind"), "{notes}");
}

#[test]
fn further_ends_of_a_generation_come_from_the_list() {
    let mut file = byte_level_json(LLAMA3);
    file["added_tokens"][1] = json!({"id": 6, "content": "<|eot_id|>", "special": true});
    let files = [
        ("tokenizer.json", file),
        ("config.json", json!({"bos_token_id": 5, "eos_token_id": [7, 6]})),
        ("generation_config.json", json!({"eos_token_id": [7, 6]})),
    ];
    let vocabulary = import(&files, 8).unwrap();
    assert_eq!(vocabulary.ids.get(Role::Bos), Some(5));
    assert_eq!(vocabulary.ids.get(Role::Eos), Some(7));
    assert_eq!(vocabulary.ids.get(Role::Eot), Some(6));
}

#[test]
fn chat_templates_come_as_text_as_list_and_as_file() {
    let json = ("tokenizer.json", byte_level_json(LLAMA3));
    let text = ("tokenizer_config.json", json!({"chat_template": "one"}));
    assert_eq!(import(&[json.clone(), text], 8).unwrap().chat_template(), Some("one"));
    let list = json!([{"name": "default", "template": "one"}, {"name": "Tool-Use", "template": "two"}]);
    let list = ("tokenizer_config.json", json!({"chat_template": list}));
    let vocabulary = import(&[json.clone(), list.clone()], 8).unwrap();
    assert_eq!(vocabulary.chat_template(), Some("one"));
    assert_eq!(vocabulary.named_templates, [("tool_use".to_owned(), "two".to_owned())]);
    let files = [
        json,
        list,
        ("chat_template.jinja", json!(3)),
        ("additional_chat_templates/rag.jinja", json!(4)),
        ("additional_chat_templates/tool_use.jinja", json!(5)),
        ("additional_chat_templates/notes.txt", json!(6)),
    ];
    let vocabulary = import(&files, 8).unwrap();
    assert_eq!(vocabulary.chat_template(), Some("3"));
    let named = [("rag".to_owned(), "4".to_owned()), ("tool_use".to_owned(), "5".to_owned())];
    assert_eq!(vocabulary.named_templates, named);
}

#[test]
fn tokens_beyond_the_embedding_missing_files_and_other_models_are_refused() {
    let refusal = |files: &[(&str, Value)], n| import(files, n).unwrap_err().to_string();
    assert!(refusal(&[("tokenizer.json", byte_level_json(LLAMA3))], 7).contains("has id 7"));
    assert!(refusal(&[], 8).contains("neither tokenizer.json nor tokenizer.model"));
    let unigram = json!({"model": {"type": "Unigram", "vocab": [["a", -1.0]]}});
    assert!(refusal(&[("tokenizer.json", unigram)], 8).contains("Unigram"));
    assert!(refusal(&[("tokenizer.json", json!({"model": 1}))], 8).contains("not a tokenizer.json"));
}

/// A tokenizer.json as Llama 2 has it: `<unk>`, `<s>`, `</s>`, bytes, pieces, characters.
pub(super) fn sentencepiece_json() -> Value {
    let mut vocab = serde_json::Map::new();
    let bytes = (0..=255).map(crate::tokenizer::spm::byte_token);
    let pieces = ["ab", "▁ab", "▁a", "▁", "a", "b"].map(str::to_owned);
    let all = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter().chain(bytes).chain(pieces);
    for (id, text) in all.enumerate() {
        vocab.insert(text, json!(id));
    }
    let special = |id: usize, text: &str| json!({"id": id, "content": text, "special": true});
    json!({
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        ]},
        "model": {
            "type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true, "vocab": vocab,
            "merges": ["a b", "▁ ab", "▁a b", "▁ a"],
        },
    })
}

#[test]
fn sentencepiece_scores_come_back_from_the_order_of_merges() {
    let files = [
        ("tokenizer.json", sentencepiece_json()),
        ("tokenizer_config.json", json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})),
    ];
    let vocabulary = import(&files, 266).unwrap();
    assert_eq!(vocabulary.kind(), Kind::SentencePiece);
    assert_eq!(&vocabulary.scores[259..265], [0.0, -1.0, -2.0, -3.0, -4.0, -5.0]);
    assert_eq!(
        vocabulary.types[..4],
        [TokenType::Unknown, TokenType::Control, TokenType::Control, TokenType::Byte]
    );
    assert_eq!(vocabulary.types[265], TokenType::Unused);
    assert_eq!((vocabulary.add_bos, vocabulary.add_space_prefix), (Some(true), None));
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(tokenizer.encode("ab ac", true, false).unwrap(), [1, 260, 261, 3 + 0x63]);
    // Without a template it adds nothing, which files of this kind have to say.
    let [(_, mut json), settings] = files;
    json["post_processor"] = Value::Null;
    let vocabulary = import(&[("tokenizer.json", json), settings], 266).unwrap();
    assert_eq!((vocabulary.add_bos, vocabulary.add_eos), (Some(false), Some(false)));
}

/// A tokenizer.json as Gemma 4 has it, with merges whose order the scores of their pieces would not give.
fn character_json() -> Value {
    let mut vocab = serde_json::Map::new();
    let bytes = (0..=255).map(crate::tokenizer::spm::byte_token);
    let pieces =
        ["▁", "a", "b", "c", "\n", "é", "ab", "bc", "abc", "▁a", "\n\n", "<|channel>"].map(str::to_owned);
    let all = ["<pad>", "<eos>", "<bos>", "<unk>"].map(str::to_owned).into_iter().chain(bytes).chain(pieces);
    for (id, text) in all.enumerate() {
        vocab.insert(text, json!(id));
    }
    let special = |id: usize, text: &str| {
        json!({
            "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    let pair = |left: &str, right: &str| json!([left, right]);
    json!({
        "added_tokens": [special(0, "<pad>"), special(1, "<eos>"), special(2, "<bos>"), special(271, "<|channel>")],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {
            "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false,
        },
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        ], "pair": [], "special_tokens": {"<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}}},
        "decoder": null, "truncation": null, "padding": null, "version": "1.0",
        "model": {
            "type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true, "vocab": vocab,
            "merges": [pair("ab", "c"), pair("b", "c"), pair("a", "b"), pair("a", "bc"), pair("▁", "a"), pair("\n", "\n")],
        },
    })
}

#[test]
fn merges_over_characters_are_kept_where_the_family_has_them() {
    let files = |model_type: &str| {
        [
            ("tokenizer.json", character_json()),
            ("config.json", json!({"model_type": model_type})),
            ("tokenizer_config.json", json!({"bos_token": "<bos>", "eos_token": "<eos>"})),
        ]
    };
    assert_eq!(import(&files("gemma3_text"), 272).unwrap().kind(), Kind::SentencePiece);
    let vocabulary = import(&files("gemma4_text"), 272).unwrap();
    assert_eq!(vocabulary.kind(), Kind::CharacterBpe);
    assert_eq!((vocabulary.pre_tokenizer(), vocabulary.add_bos), ("gemma4", Some(true)));
    assert_eq!(vocabulary.add_space_prefix, Some(false));
    assert_eq!(vocabulary.merges[0], "ab c");
    assert_eq!(vocabulary.types()[271], TokenType::UserDefined);
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    let reference = tokenizers::Tokenizer::from_bytes(character_json().to_string()).unwrap();
    let atoms =
        ["a", "b", "c", "ab", " ", "  ", "\n", "\n\n\n", "é", "ö", "🦙", "▁", "<bos>", "<|channel>", "x"];
    for i in 0..atoms.len().pow(4) {
        let text: String = (0..4).map(|at| atoms[i / atoms.len().pow(at) % atoms.len()]).collect();
        let expected = reference.encode(text.as_str(), true).unwrap();
        assert_eq!(tokenizer.encode(&text, true, true).unwrap(), expected.get_ids(), "{text:?}");
        let shown = text.replace("<bos>", "").replace('▁', " ");
        assert_eq!(tokenizer.decode(expected.get_ids(), false), shown, "{text:?}");
    }
}

/// A tokenizer.model of the given kind with these pieces and types; each scores minus its id.
pub(super) fn sentencepiece_model(model_type: i32, pieces: &[(&str, i32)]) -> Vec<u8> {
    let piece =
        |(id, &(text, ty)): (usize, &(&str, i32))| sentencepiece::tests::piece(text, -(id as f32), ty);
    let pieces = pieces.iter().enumerate().map(piece).collect();
    sentencepiece::tests::model(pieces, model_type).encode_to_vec()
}

/// The pieces `<unk>`, `<s>`, `</s>`, "▁a" and "a".
const PIECES: [(&str, i32); 5] = [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("▁a", 1), ("a", 1)];

pub(super) fn import_model(bytes: &[u8], files: &[(&str, Value)], n_vocab: usize) -> Result<Vocabulary> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tokenizer.model"), bytes).unwrap();
    for (name, content) in files {
        fs::write(dir.path().join(name), content.to_string()).unwrap();
    }
    let config = Config::parse(Path::new("config.json"), "{}").unwrap();
    Vocabulary::from_checkpoint(&Folder::new(dir.path()), &config, n_vocab)
}

#[test]
fn sentencepiece_models_are_read_with_added_tokens() {
    let files = [
        ("added_tokens.json", json!({"<tool>▁x": 5})),
        (
            "tokenizer_config.json",
            json!({
                "add_bos_token": true, "add_eos_token": false, "legacy": false,
                "added_tokens_decoder": {
                    "0": {"content": "<unk>", "special": true},
                    "6": {"content": "<|im_end|>", "special": true},
                },
            }),
        ),
    ];
    let vocabulary = import_model(&sentencepiece_model(2, &PIECES), &files, 8).unwrap();
    assert_eq!(vocabulary.tokens(), ["<unk>", "<s>", "</s>", "▁a", "a", "<tool> x", "<|im_end|>", "[PAD7]"]);
    assert_eq!(vocabulary.types()[0], TokenType::Unknown);
    assert_eq!(vocabulary.types()[5..], [TokenType::UserDefined, TokenType::Control, TokenType::Unused]);
    assert_eq!(vocabulary.scores[3..6], [-3.0, -4.0, -1000.0]);
    assert_eq!(vocabulary.ids.get(Role::Unknown), Some(0));
    assert_eq!((vocabulary.ids.get(Role::Bos), vocabulary.ids.get(Role::Eos)), (Some(1), Some(2)));
    assert_eq!((vocabulary.add_bos, vocabulary.add_eos), (Some(true), Some(false)));
}

#[test]
fn other_kinds_of_sentencepiece_and_damaged_models_are_refused() {
    let unigram = import_model(&sentencepiece_model(1, &PIECES), &[], 8).unwrap_err().to_string();
    assert!(unigram.contains("unigram") && unigram.contains("BPE"), "{unigram}");
    for bytes in [&b""[..], b"\xff\xff\xff", b"just text\n"] {
        let message = import_model(bytes, &[], 8).unwrap_err().to_string();
        assert!(message.contains("SentencePiece model"), "{message}");
    }
}

#[test]
fn the_bundled_checkpoint_gives_its_ids() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/fairytale");
    let config = Config::open(&dir.join("config.json")).unwrap();
    let vocabulary = Vocabulary::from_checkpoint(&Folder::new(&dir), &config, 4096).unwrap();
    assert_eq!(vocabulary.pre_tokenizer(), "llama-bpe");
    assert_eq!((vocabulary.add_bos, vocabulary.add_eos), (Some(true), Some(false)));
    assert_eq!(vocabulary.ids.get(Role::Eot), Some(4095));
    let reference = tokenizers::Tokenizer::from_file(dir.join("tokenizer.json")).unwrap();
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert!(tokenizer.is_end_of_generation(4092) && tokenizer.is_end_of_generation(4095));
    for text in detect::probes().take(500).chain(["<|begin_of_text|>x<|eot_id|>\n\n".to_owned()]) {
        let expected = reference.encode(text.as_str(), true).unwrap();
        assert_eq!(tokenizer.encode(&text, true, true).unwrap(), expected.get_ids(), "{text:?}");
    }
}

#[test]
fn a_pre_tokenizer_of_thousands_of_components_is_refused_before_any_is_compiled() {
    let mut file = byte_level_json(LLAMA3);
    let components = file["pre_tokenizer"]["pretokenizers"].as_array_mut().unwrap();
    components.splice(0..0, vec![components[0].clone(); 20_000]);
    let error = import(&[("tokenizer.json", file)], 8).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, Error::Limit { .. }) && message.contains("20002 components"), "{message}");
    assert!(message.len() < 300, "{message}");
}
