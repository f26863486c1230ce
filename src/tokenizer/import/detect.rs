//! Finds the pre-tokenizer that GGUF has a name for.
//!
//! First by its expressions: if a table row has the same ones, it is that row. Else by behaviour: the
//! file's own pre-tokenizer runs, in the `tokenizers` library, over some thousand probes, and a row
//! that cuts each of them alike is taken, with a note. A list of fingerprints of known files would
//! fail on every new one.

use serde_json::Value;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper};

use super::token_list::Tokens;
use super::tokenizer_json::{TokenizerJson, flatten, type_of};
use crate::error::{Error, Result};
use crate::tokenizer::bpe::Bpe;
use crate::tokenizer::byte_chars;
use crate::tokenizer::pre_tokenizer::{self, Splitter};
use crate::tokenizer::pre_tokenizer_table::{ROWS, Row, Stage};
use crate::tokenizer::vocabulary::{TokenType, split_merge};

/// What the vocabulary itself asks of the row.
pub(super) struct Wanted<'a> {
    pub(super) tokens: &'a Tokens,
    pub(super) merges: &'a [String],
    pub(super) ignore_merges: bool,
}

/// The GGUF name of the pre-tokenizer in `json`; adds to `notes` how it was found if not by its
/// expressions.
///
/// # Errors
/// `Unsupported` if no row behaves like it, with its expressions and the supported names.
pub(super) fn pre_tokenizer(
    json: &TokenizerJson,
    wanted: &Wanted<'_>,
    notes: &mut Vec<String>,
) -> Result<&'static str> {
    let theirs = expressions(&json.pre_tokenizer);
    let same: Vec<&Row> = ROWS.iter().filter(|row| theirs.as_ref() == Some(&expressions_of(row))).collect();
    let mut found = if same.is_empty() { alike(&json.pre_tokenizer) } else { same.clone() };
    if found.is_empty() {
        found = alike_but_for_numbers(&theirs.unwrap_or_default());
    }
    if found.is_empty() {
        let what = format!(
            "the pre-tokenizer {}; it cuts text unlike each of the {} that GGUF files can name, and a file that names \
             another would read texts as other tokens",
            json.pre_tokenizer,
            pre_tokenizer::supported_names().len()
        );
        return Err(Error::unsupported(&json.path, what));
    }
    let name = choose(&found, wanted).ok_or_else(|| {
        let what = format!(
            "a pre-tokenizer like {:?} with ignore_merges = {}, which GGUF has no name for and \
             this vocabulary depends on",
            found[0].names[0], wanted.ignore_merges
        );
        Error::unsupported(&json.path, what)
    })?;
    if same.is_empty() {
        notes.push(format!(
            "tokenizer: the pre-tokenizer is written unlike any known one and behaves like {name}"
        ));
    }
    Ok(name)
}

/// The row that treats whole words as the file does; another one if that makes no difference because
/// the merges reach every token anyway.
fn choose(rows: &[&'static Row], wanted: &Wanted<'_>) -> Option<&'static str> {
    let agrees = rows.iter().find(|row| row.ignores_merges == wanted.ignore_merges);
    agrees.or_else(|| rows.first().filter(|_| merges_reach_all(wanted))).map(|row| row.names[0])
}

fn merges_reach_all(wanted: &Wanted<'_>) -> bool {
    let Some(splitter) = Splitter::by_name("gpt-2") else { return false };
    let pairs = wanted.merges.iter().filter_map(|merge| split_merge(merge));
    let bpe = Bpe::new(&wanted.tokens.texts, &wanted.tokens.types, pairs, splitter, None);
    let normal = |id: &usize| wanted.tokens.types[*id] == TokenType::Normal;
    (0..wanted.tokens.texts.len()).filter(normal).all(|id| bpe.reaches(id as u32, &wanted.tokens.texts[id]))
}

const CONTRACTIONS: &str = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]";

/// The expressions of a table row, in full.
fn expressions_of(row: &Row) -> Vec<String> {
    let full = |stage: &Stage| {
        let expression = stage.look_ahead.unwrap_or(stage.pattern);
        format!("{expression}{}", stage.tail.expression())
    };
    row.stages.iter().map(full).collect()
}

/// The expressions of a pre-tokenizer, in the table's spelling; `None` if one of its components is
/// not simply an expression whose matches become pieces.
fn expressions(pre_tokenizer: &Value) -> Option<Vec<String>> {
    let mut list = Vec::new();
    for part in flatten(pre_tokenizer) {
        match type_of(part) {
            "Split" if part["behavior"] == "Isolated" && part["invert"] != true => {
                list.push(normalized(part["pattern"]["Regex"].as_str()?));
            }
            "Digits" => {
                let digits = if part["individual_digits"] == true { r"\p{N}" } else { NUMBERS };
                list.push(digits.to_owned());
            }
            "Punctuation" if part["behavior"] == "Contiguous" => list.push(PUNCTUATION.to_owned()),
            "ByteLevel" if part["add_prefix_space"] != true => {
                if part["use_regex"] != false {
                    list.extend(expressions_of(ROWS.iter().find(|row| row.names.contains(&"gpt-2"))?));
                }
            }
            _ => return None,
        }
    }
    Some(list)
}

/// Runs of what the library takes for punctuation.
const PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|`]+";

/// Runs of numbers.
const NUMBERS: &str = r"\p{N}+";

/// The rows with these expressions, but for that of numbers. Falcon's parts numbers from the space in front of them,
/// which its merges do not join and its GGUF files do not say; whether that holds is for the proof to show.
fn alike_but_for_numbers(expressions: &[String]) -> Vec<&'static Row> {
    let others: Vec<&String> = expressions.iter().filter(|expression| *expression != NUMBERS).collect();
    ROWS.iter().filter(|row| expressions_of(row).iter().eq(others.iter().copied())).collect()
}

/// `expression` with the spellings that vary between files brought to the table's.
fn normalized(expression: &str) -> String {
    let group = format!("(?:{CONTRACTIONS})");
    let spelled = expression.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", &group).replace(r"\p{N}{1}|", r"\p{N}|");
    match spelled.strip_prefix(&group) {
        Some(rest) if rest.starts_with('|') => format!("{CONTRACTIONS}{rest}"),
        _ => spelled,
    }
}

/// The rows that cut every probe as the pre-tokenizer does.
fn alike(pre_tokenizer: &Value) -> Vec<&'static Row> {
    let Ok(theirs) = serde_json::from_value::<PreTokenizerWrapper>(pre_tokenizer.clone()) else {
        return Vec::new();
    };
    let mut rows: Vec<(&Row, Splitter)> = ROWS.iter().map(|row| (row, Splitter::of(row))).collect();
    for probe in probes() {
        let Some(expected) = pieces(&theirs, &probe) else { return Vec::new() };
        rows.retain(|(_, splitter)| {
            let mut ours = Vec::with_capacity(expected.len());
            splitter.split(&probe, |word| ours.push(word.as_bytes().to_vec()));
            ours == expected
        });
        if rows.is_empty() {
            break;
        }
    }
    rows.into_iter().map(|(row, _)| row).collect()
}

/// The pieces, in bytes, that the library's pre-tokenizer cuts `text` into; `None` if it fails.
fn pieces(pre_tokenizer: &PreTokenizerWrapper, text: &str) -> Option<Vec<Vec<u8>>> {
    let mut cut = PreTokenizedString::from(text);
    pre_tokenizer.pre_tokenize(&mut cut).ok()?;
    let splits = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
    splits.into_iter().map(|(piece, ..)| byte_chars::bytes_of(piece)).collect()
}

/// Parts of probes: every class of characters that pre-tokenizers tell apart, and some traps.
const ATOMS: &[&str] = &[
    "a",
    "b",
    "E",
    "Q",
    "é",
    "É",
    "ß",
    "ǅ",
    "ʰ",
    "Ж",
    "猫",
    "か",
    "カ",
    "한",
    "ก",
    "ิ",
    "ह",
    "ी",
    "ا",
    "1",
    "2",
    "3",
    "9",
    "٣",
    "Ⅷ",
    "²",
    " ",
    " ",
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\n",
    "\r\n",
    "\u{a0}",
    "\u{3000}",
    "\u{2003}",
    "'s",
    "'S",
    "'t",
    "'re",
    "'VE",
    "'m",
    "'ll",
    "'LL",
    "'d",
    "'x",
    "'",
    "\"",
    ".",
    ",",
    "!",
    "?",
    "/",
    "//",
    "_",
    "-",
    "$",
    "+",
    "<",
    "=",
    "`",
    "^",
    "~",
    "|",
    "(",
    ")",
    "[",
    "]",
    "{",
    "\\",
    "#",
    "@",
    "%",
    "&",
    "*",
    ":",
    ";",
    "…",
    "。",
    "，",
    "！",
    "।",
    "«",
    "“",
    "🦙",
    "👩\u{200d}👧",
    "\u{301}",
    "€",
    "°",
    "\u{200b}",
    "\u{0}",
    "\u{7f}",
];

/// Words of scripts, each behind a space: some pre-tokenizers know one by its name or its range.
const SCRIPTS: &str = concat!(
    "x Ελληνικά Русский Հայերեն ქართული עברית العربية فارسی हिन्दी বাংলা ਪੰਜਾਬੀ ગુજરાતી ଓଡ଼ିଆ தமிழ் తెలుగు ಕನ್ನಡ മലയാളം සිංහල ไทย ລາວ ",
    "བོད་ཡིག မြန်မာ አማርኛ ᏣᎳᎩ ខ្មែរ ᠮᠣᠩᠭᠣᠯ ㄅㄆㄇ ᚠᚢᚦ ދިވެހި ߒߞߏ ⵜⴰⵎⴰⵣⵉⵖⵜ ꦗꦮ 𐌰𐌱 中文 かな カナ 한국어 ᄀᄂ ｶﾅ"
);

const N_RANDOM_PROBES: usize = 3000;
const MAX_PROBE_ATOMS: u64 = 14;

/// The texts to compare on: ordinary ones and random mixtures, the same each time.
pub(super) fn probes() -> impl Iterator<Item = String> {
    const TEXTS: [&str; 8] = [
        SCRIPTS,
        "α1β ש2 ա3 ა4 গ5 ਕ6 ક7 ଓ8 த9 త1 ಕ2 മ3 ක4 ລ5 མ6 မ7 አ8 Ꭰ9 ខ1 ᠮ2 ㄅ3 ᚠ4 ދ5 ߒ6 ⴰ7 ꦲ8 𐍈9",
        "Hello, world! It's 2024-11-21; I'll pay $1,234,567.89 (or 50%).",
        "fn main() {\n\tlet x = vec![1, 22, 333, 4444];\r\n    println!(\"{}\", x.len());\n\n}\n  ",
        "Ünïcödé naïve café — «déjà vu» … CamelCaseWord ALLCAPS mixedCASE",
        "日本語のテキスト、中文文本。한국어 텍스트 ภาษาไทย हिन्दी पाठ العربية",
        "   leading, trailing   \n\n\n  and\tinner   runs \u{a0}\u{a0} x  ",
        "🦙🦙 👩\u{200d}👩\u{200d}👧 e\u{301}e\u{301} ½ ¾ ² ³ Ⅳ 12345678901",
    ];
    let mut state = 0u64;
    let mut below = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let random = (0..N_RANDOM_PROBES).map(move |_| {
        let n = 1 + below(MAX_PROBE_ATOMS);
        (0..n).map(|_| ATOMS[below(ATOMS.len() as u64) as usize]).collect()
    });
    TEXTS.into_iter().map(str::to_owned).chain(random)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_script_that_is_cut_by_itself_is_not_overlooked() {
        for range in ["\u{980}-\u{9ff}", "\u{370}-\u{3ff}", "\u{e80}-\u{eff}"] {
            let split = |expression: String| {
                let pattern = json!({"Regex": expression});
                json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false})
            };
            let qwen2 = ROWS.iter().find(|row| row.names.contains(&"qwen2")).map(expressions_of).unwrap();
            let in_bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false});
            let mut parts = vec![split(format!("[{range}]+"))];
            parts.extend(qwen2.into_iter().map(split));
            parts.push(in_bytes);
            assert!(alike(&json!({"type": "Sequence", "pretokenizers": parts})).is_empty(), "{range}");
        }
    }

    #[test]
    fn falcons_pre_tokenizer_is_known_as_it_is_published() {
        let theirs = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Punctuation", "behavior": "Contiguous"},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            {"type": "Digits", "individual_digits": false},
            {"type": "Split", "pattern": {"Regex": "[0-9][0-9][0-9]"}, "behavior": "Isolated", "invert": false},
        ]});
        let found = alike_but_for_numbers(&expressions(&theirs).unwrap());
        assert_eq!(found.iter().map(|row| row.names[0]).collect::<Vec<_>>(), ["falcon"]);
    }

    #[test]
    fn every_row_cuts_as_the_library_does_with_its_expressions() {
        for row in ROWS {
            let split = |expression: &String| {
                let pattern = json!({"Regex": expression});
                json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false})
            };
            let mut parts: Vec<Value> = expressions_of(row).iter().map(split).collect();
            let in_bytes = json!({
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
            });
            parts.push(in_bytes);
            let theirs = json!({"type": "Sequence", "pretokenizers": parts});
            assert_eq!(expressions(&theirs), Some(expressions_of(row)));
            let found = alike(&theirs);
            assert!(found.iter().any(|found| found.names == row.names), "{:?}", row.names);
            for other in found {
                let same = expressions_of(other) == expressions_of(row);
                assert!(same, "the probes do not tell {:?} from {:?}", other.names, row.names);
            }
        }
    }
}
