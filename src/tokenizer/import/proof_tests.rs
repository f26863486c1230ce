//! Tokenizers with what published ones have and small ones lack, proven.

use serde_json::{Value, json};

use super::tests::{LLAMA3, byte_level_json, import, in_folder, sentencepiece_json};
use super::{Proof, Result, Vocabulary};
use crate::checkpoint::{Config, Folder};
use crate::tokenizer::{Tokenizer, byte_chars};

/// The vocabulary in `folder`, for a model of `n_vocab` rows, and its proof, which shows no difference.
pub(super) fn proven(folder: &Folder, config: &Config, n_vocab: usize) -> Result<(Vocabulary, Proof)> {
    let vocabulary = Vocabulary::from_checkpoint(folder, config, n_vocab)?;
    let proof = Proof::of(&Tokenizer::new(vocabulary.clone()).unwrap(), folder, config)?;
    assert_eq!((&proof.unchecked, proof.differences.as_slice()), (&None, &[][..]));
    assert!(proof.n_texts > 150, "{}", proof.n_texts);
    Ok((vocabulary, proof))
}

/// The tokenizer of this tokenizer.json, which reads all probes as the file does.
fn proven_json(mut json: Value) -> Tokenizer {
    let vocab = json["model"]["vocab"].as_object().unwrap().clone();
    json["post_processor"] = Value::Null;
    json["decoder"] = Value::Null;
    // The library wants every flag to be said, and numbers tokens beyond the model itself.
    let mut n_vocab = vocab.len();
    for token in json["added_tokens"].as_array_mut().unwrap() {
        let known = vocab.get(token["content"].as_str().unwrap()).cloned();
        token["id"] = known.unwrap_or_else(|| {
            n_vocab += 1;
            json!(n_vocab - 1)
        });
        for flag in ["lstrip", "rstrip", "single_word"] {
            token[flag] = json!(false);
        }
        if token.get("normalized").is_none() {
            token["normalized"] = json!(token["special"] == json!(false));
        }
    }
    let files = [("tokenizer.json", json)];
    let (vocabulary, _) = in_folder(&files, |folder, config| proven(folder, config, n_vocab)).unwrap();
    Tokenizer::new(vocabulary).unwrap()
}

/// Adds `tokens` behind the vocabulary of a tokenizer.json.
fn extend(json: &mut Value, tokens: impl IntoIterator<Item = String>) {
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    for text in tokens {
        let next = vocab.len();
        vocab.entry(text).or_insert(json!(next));
    }
}

/// As [`byte_level_json`], with all bytes.
fn all_bytes() -> Value {
    let mut json = byte_level_json(LLAMA3);
    json["model"]["merges"] = json!(["a b", "Ġ ab"]);
    extend(&mut json, (0..=255).map(|byte| byte_chars::char_of(byte).to_string()));
    json
}

#[test]
fn words_that_look_like_special_tokens_are_words() {
    let words = ["</s>", "<|im_end|>", "<EOT>", "<PAD>", "<|start|>"];
    // With an end of its own, as Qwen 2 has, and with none but the words.
    for last_added in ["<|endoftext|>", "<|x|>"] {
        let mut json = all_bytes();
        extend(&mut json, words.map(str::to_owned));
        json["added_tokens"][2]["content"] = json!(last_added);
        let tokenizer = proven_json(json);
        for word in words {
            let ids = tokenizer.encode(&format!("a{word}b"), false, true).unwrap();
            assert_eq!(ids, tokenizer.encode(&format!("a{word}b"), false, false).unwrap());
        }
        let ends = (0..266).filter(|&id| tokenizer.is_end_of_generation(id)).count();
        assert_eq!(ends, usize::from(last_added == "<|endoftext|>"));
    }
}

#[test]
fn long_blanks_are_parted_by_the_merges_where_a_file_lists_them_as_added() {
    const LONGEST: usize = 9;
    let run = |n: usize| "▁".repeat(n);
    let mut json = sentencepiece_json();
    json["normalizer"] = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    extend(&mut json, (2..=LONGEST).map(run).chain(["\n\n".into(), "\n".into()]));
    // As Gemma 2's files: the shortest run first, from all its halves.
    let mut merges: Vec<Value> = Vec::new();
    for n in 2..=LONGEST {
        merges.extend((1..n).map(|left| json!([run(left), run(n - left)])));
    }
    merges.push(json!(["\n", "\n"]));
    let own = json["model"]["merges"].as_array().unwrap().clone();
    let own = own.iter().map(|merge| json!(merge.as_str().unwrap().split(' ').collect::<Vec<_>>()));
    json["model"]["merges"] = merges.into_iter().chain(own).collect();
    for text in (2..=LONGEST).map(run).chain(["\n\n".into()]) {
        let added = json!({"content": text, "special": false, "normalized": false});
        json["added_tokens"].as_array_mut().unwrap().push(added);
    }
    let tokenizer = proven_json(json);
    let lengths = |n: usize| {
        let ids = tokenizer.encode(&" ".repeat(n), false, true).unwrap();
        assert_eq!(tokenizer.decode(&ids, false), " ".repeat(n));
        ids.iter().map(|&id| tokenizer.token_text(id).unwrap().chars().count()).collect::<Vec<_>>()
    };
    assert_eq!(lengths(9), [9]);
    // The longest token first would leave seven spaces.
    assert_eq!(lengths(16), [8, 8]);
    assert_eq!(tokenizer.encode("a\n\nb", false, true).unwrap(), [263, 273, 264]);
}

#[test]
fn texts_are_normalised_as_the_file_says() {
    for (normalizer, text, same) in [
        (json!({"type": "NFC"}), "e\u{301} ﬁ", "é ﬁ"),
        (json!({"type": "NFKC"}), "e\u{301} ﬁ", "é fi"),
        (
            json!({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]}),
            "É",
            "e\u{301}",
        ),
    ] {
        let mut json = all_bytes();
        let plain = proven_json(json.clone());
        json["normalizer"] = normalizer;
        let tokenizer = proven_json(json);
        assert_eq!(tokenizer.encode(text, false, false).unwrap(), plain.encode(same, false, false).unwrap());
    }
    let mut json = all_bytes();
    json["normalizer"] = json!({"type": "Strip", "strip_left": true});
    let message = import(&[("tokenizer.json", json)], 261).unwrap_err().to_string();
    assert!(message.contains("\"Strip\"; supported are NFC, NFD, NFKC"), "{message}");
}

/// Puts added tokens that are looked for in the normalised text into a tokenizer.json, by their texts and whether they
/// are special.
fn add_normalized(json: &mut Value, tokens: &[(&str, bool)]) {
    let added = json["added_tokens"].as_array_mut().unwrap();
    added.extend(
        tokens.iter().map(|(text, special)| json!({"content": text, "special": special, "normalized": true})),
    );
}

#[test]
fn tokens_looked_for_in_normalised_texts_take_the_space_that_is_put_in_front() {
    let mut json = sentencepiece_json();
    add_normalized(&mut json, &[("<tool>", false), ("<|x|>", true), ("<a b>", false)]);
    let tokenizer = proven_json(json);
    let encode = |text: &str| tokenizer.encode(text, false, true).unwrap();
    let [tool, x, space_ab, ab] = ["<tool>", "<|x|>", "▁ab", "ab"].map(|text| {
        (0..tokenizer.n_vocab() as u32).find(|&id| tokenizer.token_text(id) == Some(text)).unwrap()
    });
    assert_eq!(encode("<tool>ab"), [tool, ab]);
    assert_eq!(encode("ab <tool>ab <|x|>"), [space_ab, tool, ab, x]);
    // Behind a letter there is no space to be part of the token.
    assert!(!encode("ab<tool>").contains(&tool));
    // What people wrote stays text, here too, wherever the space in front comes from.
    let mark = '\u{f8a3}';
    for text in ["<|x|>", " <|x|>", "▁<|x|>", "a <|x|>\n▁<|x|> "] {
        let ids = tokenizer.encode_marked(&tokenizer.mark(text, mark), mark).unwrap();
        assert!(!ids.contains(&x), "{text}: {ids:?}");
        let marked = format!("ab {} <|x|>", tokenizer.mark(text, mark));
        let ids = tokenizer.encode_marked(&marked, mark).unwrap();
        assert_eq!((ids.iter().filter(|&&id| id == x).count(), ids.last()), (1, Some(&x)), "{text}");
    }
    // A prompt's control tokens are read, and those of the text behind it are not.
    let ids = tokenizer.encode_behind("<|x|>ab ", "<|x|>").unwrap();
    assert_eq!((ids.iter().filter(|&&id| id == x).count(), ids.iter().find(|&&id| id == x)), (1, Some(&x)));
    assert!(ids.starts_with(&encode("<|x|>ab")), "{ids:?}");
}

#[test]
fn tokens_looked_for_in_normalised_texts_are_found_in_any_case_where_case_goes() {
    let mut json = all_bytes();
    json["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]});
    add_normalized(&mut json, &[("Naïve", false), ("<|K|>", true)]);
    let tokenizer = proven_json(json);
    // What becomes a control token by its normalisation (the Kelvin sign) does not where people wrote it.
    let mark = '\u{f8a3}';
    let encode = |text: &str| tokenizer.encode_marked(text, mark).unwrap();
    for text in ["<|K|>", "<|k|>", "<|\u{212a}|>"] {
        assert_eq!(encode(text).len(), 1, "{text}");
        assert!(encode(&tokenizer.mark(text, mark)).len() > 1, "{text}");
    }
    let id = (0..tokenizer.n_vocab() as u32).find(|&id| tokenizer.token_text(id) == Some("Naïve")).unwrap();
    for text in ["Naïve", "naïve", "NAÏVE", "nai\u{308}ve"] {
        assert_eq!(tokenizer.encode(text, false, false).unwrap(), [id], "{text}");
    }
}

/// MPNet's tokenizer.json, as transformers 5.24 writes it, of a few words.
fn mpnet_json() -> Value {
    let words = ["<s>", "<pad>", "</s>", "<unk>", "a", "##b", "naive", "b", "[UNK]", "<mask>"];
    let vocab: serde_json::Map<String, Value> =
        words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let special = |id: usize| {
        json!({
            "id": id, "content": words[id], "single_word": false, "lstrip": words[id] == "<mask>", "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    let added = [0, 1, 2, 8, 9].map(special);
    json!({
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": true,
            "add_prefix_space": false,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        },
    })
}

#[test]
fn wordpiece_of_mpnet_has_the_ends_of_roberta_and_two_separators_between_texts() {
    let files = [("tokenizer.json", mpnet_json())];
    let (vocabulary, _) = in_folder(&files, |folder, config| proven(folder, config, 10)).unwrap();
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(tokenizer.encode("Ab naïve c", true, false).unwrap(), [0, 4, 5, 6, 8, 2]);
    let pair = tokenizer.encode_pair("ab", "b").unwrap();
    assert_eq!(pair, (vec![0, 4, 5, 2, 2, 7, 2], 5));
    assert_eq!(tokenizer.encode("a <mask>b", false, true).unwrap(), [4, 9, 7]);
}

#[test]
fn wordpiece_finds_added_words_in_any_case_and_the_file_says_so() {
    let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "co", "##vid", "a", "naive", "x", "##x"];
    let vocab: serde_json::Map<String, Value> =
        words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let mut json = json!({
        "added_tokens": words[..4].iter().map(|word| json!({"content": word, "special": true})).collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        },
    });
    add_normalized(&mut json, &[("COVID", false), ("Naïve X", false)]);
    let notes = import(&[("tokenizer.json", json.clone())], 12).unwrap().notes().join("\n");
    assert!(notes.contains("in the normalised text (COVID, Naïve X)"), "{notes}");
    let tokenizer = proven_json(json);
    assert_eq!(tokenizer.encode("a covid xCovid naive x", false, false).unwrap(), [6, 10, 8, 10, 11]);
}
