//! Lists of ranks written here, as tokenizers that prove themselves.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::*;
use crate::tokenizer::import::Proof;
use crate::tokenizer::import::proof_tests::proven;
use crate::tokenizer::import::tests::in_folder;
use crate::tokenizer::vocabulary::{TokenType, Vocabulary};
use crate::tokenizer::{Kind, Tokenizer};

/// Every byte, then these tokens, in tiktoken's lines.
const WORDS: [&str; 12] = ["th", "he", "the", " t", " th", " the", "ab", "bab", "aba", "  ", "12", "123"];

fn lines() -> String {
    let bytes = (0..=255u8).map(|byte| vec![byte]);
    let tokens = bytes.chain(WORDS.iter().map(|word| word.as_bytes().to_vec()));
    tokens.enumerate().map(|(i, bytes)| format!("{} {i}\n", BASE64_STANDARD.encode(bytes))).collect()
}

struct Imported {
    vocabulary: Vocabulary,
    proof: Proof,
}

/// The vocabulary of a folder of these files, which must prove itself.
fn import(files: &[(&str, &str)], n_vocab: usize) -> Result<Imported> {
    let (vocabulary, proof) = in_folder(files, |folder, config| proven(folder, config, n_vocab))?;
    Ok(Imported { vocabulary, proof })
}

/// Joins the neighbours of the lowest rank, over and over: what tiktoken does with a piece.
fn joined(piece: &[u8]) -> Vec<usize> {
    let rank = |bytes: &[u8]| match bytes {
        [byte] => Some(usize::from(*byte)),
        _ => WORDS.iter().position(|word| word.as_bytes() == bytes).map(|i| 256 + i),
    };
    let mut parts: Vec<Vec<u8>> = piece.iter().map(|&byte| vec![byte]).collect();
    let best = |parts: &[Vec<u8>]| {
        let joint = |i: usize| rank(&parts[i..i + 2].concat()).map(|rank| (rank, i));
        (0..parts.len().saturating_sub(1)).filter_map(joint).min()
    };
    while let Some((_, at)) = best(&parts) {
        let right = parts.remove(at + 1);
        parts[at].extend(right);
    }
    parts.iter().filter_map(|part| rank(part)).collect()
}

#[test]
fn metas_vocabulary_has_the_special_tokens_of_its_generation() {
    let text = lines();
    let n = 256 + WORDS.len();
    let old = import(&[("tokenizer.model", &text)], n + 256).unwrap().vocabulary;
    assert_eq!((old.kind(), old.pre_tokenizer()), (Kind::ByteLevelBpe, "llama-bpe"));
    let special = |vocabulary: &Vocabulary, i: usize| vocabulary.tokens()[n + i].clone();
    // What Llama 3's own files have at these places.
    for (i, text) in [
        (0, "<|begin_of_text|>"),
        (2, "<|reserved_special_token_0|>"),
        (8, "<|reserved_special_token_4|>"),
        (9, "<|eot_id|>"),
        (10, "<|reserved_special_token_5|>"),
        (255, "<|reserved_special_token_250|>"),
    ] {
        assert_eq!(special(&old, i), text);
    }
    assert!(old.types()[n..].iter().all(|ty| *ty == TokenType::Control));
    assert_eq!((old.add_bos, old.ids.get(Role::Bos)), (Some(true), Some(n as u32)));
    assert_eq!(old.ids.get(Role::Eos), Some(n as u32 + 1));
    let config = r#"{"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}"#;
    let newer = import(&[("tokenizer.model", &text), ("config.json", config)], n + 256).unwrap().vocabulary;
    // What those of Llama 3.1 have.
    for (i, text) in [
        (4, "<|finetune_right_pad_id|>"),
        (5, "<|reserved_special_token_2|>"),
        (8, "<|eom_id|>"),
        (10, "<|python_tag|>"),
        (11, "<|reserved_special_token_3|>"),
        (255, "<|reserved_special_token_247|>"),
    ] {
        assert_eq!(special(&newer, i), text);
    }
    assert_eq!(newer.ids.get(Role::Padding), Some(n as u32 + 4));
}

#[test]
fn pieces_are_joined_as_tiktoken_joins_them() {
    let vocabulary = import(&[("tokenizer.model", &lines())], 600).unwrap().vocabulary;
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    for piece in ["the", " the", " then", "bathe", "ababab", "babab", "aaba", "thhe", "1234", "é"] {
        let whole = WORDS.iter().position(|word| *word == piece);
        let pieces: Vec<&str> = if piece == "1234" { vec!["123", "4"] } else { vec![piece] };
        let expected: Vec<u32> = match whole {
            Some(i) => vec![256 + i as u32],
            None => pieces.iter().flat_map(|piece| joined(piece.as_bytes())).map(|id| id as u32).collect(),
        };
        assert_eq!(tokenizer.encode(piece, false, false).unwrap(), expected, "{piece}");
    }
}

#[test]
fn models_have_expressions_and_special_tokens_of_their_own() {
    let (text, n) = (lines(), 256 + WORDS.len());
    let qwen = import(&[("qwen.tiktoken", &text)], n + 300).unwrap().vocabulary;
    assert_eq!((qwen.pre_tokenizer(), qwen.tokens()[n + 2].as_str()), ("qwen2", "<|im_end|>"));
    assert_eq!((qwen.add_bos, qwen.tokens()[n + 207].as_str()), (Some(false), "<|extra_204|>"));
    let hunyuan = import(&[("hy.tiktoken", &text)], n + 5).unwrap().vocabulary;
    assert_eq!(hunyuan.tokens()[n + 3], "<|eos|>");
    assert_eq!(hunyuan.ids.get(Role::Eos), Some(n as u32 + 3));
    let refused = import(&[("tiktoken.model", &text)], n + 5).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("tokenizer_config.json"), "{refused}");
    let decoder = format!(
        r#"{{"added_tokens_decoder": {{"{n}": {{"content": "[BOS]", "special": true}},
            "{}": {{"content": "[EOS]", "special": true}}}}, "bos_token": "[BOS]", "eos_token": "[EOS]"}}"#,
        n + 1
    );
    let files = [("tiktoken.model", text.as_str()), ("tokenizer_config.json", &decoder)];
    let kimi = import(&files, n + 5).unwrap().vocabulary;
    assert_eq!((kimi.pre_tokenizer(), kimi.ids.get(Role::Eos)), ("kimi-k2", Some(n as u32 + 1)));
    assert_eq!(kimi.add_bos, Some(false));
}

fn tekken(specials: Option<Value>) -> String {
    let vocab = |(i, bytes): (usize, Vec<u8>)| json!({"rank": i, "token_bytes": BASE64_STANDARD.encode(bytes), "token_str": null});
    let words = WORDS.iter().map(|word| word.as_bytes().to_vec());
    let tokens = (0..=255u8).map(|byte| vec![byte]).chain(words).chain([b"left out".to_vec()]);
    let mut file = json!({
        "config": {
            "pattern": concat!(
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
                r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
                r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
            "num_vocab_tokens": 269,
            "default_vocab_size": 24 + 256 + WORDS.len(),
            "default_num_special_tokens": 24,
            "version": "v3",
        },
        "vocab": tokens.enumerate().map(vocab).collect::<Vec<_>>(),
    });
    if let Some(specials) = specials {
        file["special_tokens"] = specials;
    }
    file.to_string()
}

#[test]
fn mistrals_file_is_read_with_and_without_special_tokens() {
    let n_vocab = 24 + 256 + WORDS.len();
    let Imported { vocabulary, proof } = import(&[("tekken.json", &tekken(None))], n_vocab).unwrap();
    assert!(proof.n_texts > 0);
    assert_eq!(vocabulary.pre_tokenizer(), "tekken");
    assert_eq!(vocabulary.tokens()[..3], ["<unk>", "<s>", "</s>"]);
    assert_eq!(
        vocabulary.tokens()[19..25],
        ["[TOOL_CONTENT]", "<SPECIAL_20>", "<SPECIAL_21>", "<SPECIAL_22>", "<SPECIAL_23>", "Ā"]
    );
    assert!(!vocabulary.tokens().iter().any(|text| text.contains("left")), "beyond the vocabulary's size");
    assert_eq!((vocabulary.add_bos, vocabulary.ids.get(Role::Eos)), (Some(true), Some(2)));
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(tokenizer.encode("the[INST]", true, true).unwrap(), [1, 24 + 258, 3]);
    let listed = json!([
        {"rank": 0, "token_str": "<unk>", "is_control": true},
        {"rank": 1, "token_str": "<s>", "is_control": true},
        {"rank": 2, "token_str": "</s>", "is_control": true},
        {"rank": 5, "token_str": "[THINK]", "is_control": true},
    ]);
    let vocabulary = import(&[("tekken.json", &tekken(Some(listed)))], n_vocab).unwrap().vocabulary;
    assert_eq!(vocabulary.tokens()[3..6], ["<SPECIAL_3>", "<SPECIAL_4>", "[THINK]"]);
}

#[test]
fn damaged_lists_are_refused_with_their_place() {
    let refused =
        |name: &str, text: &str| import(&[(name, text)], 600).map(|_| ()).expect_err("refused").to_string();
    let text = lines();
    let message = refused("tokenizer.model", &text.replacen(" 7\n", " seven\n", 1));
    assert!(message.contains("line 8 is not a token in base64"), "{message}");
    let twice = format!("{text}{} 999\n", BASE64_STANDARD.encode("the"));
    assert!(refused("tokenizer.model", &twice).contains("same bytes"));
    let long = format!("{text}{} 300\n", BASE64_STANDARD.encode([b'a'; 600]));
    assert!(refused("tokenizer.model", &long).contains("600 bytes"));
    assert!(refused("tekken.json", "{}").contains("not a tekken.json"));
    let far = tekken(Some(json!([{"rank": 24, "token_str": "x"}])));
    assert!(refused("tekken.json", &far).contains("special token 24"));
}
