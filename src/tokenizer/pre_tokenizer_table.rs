//! The table behind [`super::pre_tokenizer`].

/// A way to cut texts into words.
pub(super) struct Row {
    /// What GGUF files call it; the first is the one written.
    pub(super) names: &'static [&'static str],
    /// Applied one after the other.
    pub(super) stages: &'static [Stage],
    /// Whether whole words that are tokens bypass the merges.
    pub(super) ignores_merges: bool,
    /// Whether texts start with the beginning-of-sequence token where a file does not say.
    pub(super) adds_bos: bool,
}

/// One expression.
pub(super) struct Stage {
    /// In the syntax of the `regex` crate, without the whitespace alternatives at its end.
    pub(super) pattern: &'static str,
    /// Those alternatives.
    pub(super) tail: Tail,
    /// What becomes of a match.
    pub(super) cut: Cut,
    /// What the pattern and the cut are in one expression that looks ahead, if they are.
    pub(super) look_ahead: Option<&'static str>,
}

/// Alternatives for whitespace at the end of an expression, which look ahead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// None.
    None,
    /// A run, without its last character before a word.
    Run,
    /// As much of that as the greatest power of two has, up to 512.
    PowersOfTwo,
}

/// What becomes of a match.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// It is a piece.
    Piece,
    /// Its groups of three characters, counted from its end, are pieces.
    Threes,
    /// The text is cut before each of those that are whole.
    BeforeThrees,
}

impl Tail {
    /// The alternatives, in the syntax of tokenizer files.
    pub(super) fn expression(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Run => r"|\s+(?!\S)|\s+",
            Self::PowersOfTwo => concat!(
                r"|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)",
                r"|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"
            ),
        }
    }
}

const fn stage(pattern: &'static str) -> Stage {
    Stage { pattern, tail: Tail::None, cut: Cut::Piece, look_ahead: None }
}

const fn with_space_tail(pattern: &'static str) -> Stage {
    Stage { tail: Tail::Run, ..stage(pattern) }
}

const fn row(names: &'static [&'static str], stages: &'static [Stage]) -> Row {
    Row { names, stages, ignores_merges: false, adds_bos: false }
}

const GPT2: Stage = with_space_tail(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+");

const LLAMA3: Stage = with_space_tail(concat!(
    r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
));

const QWEN2: Stage = with_space_tail(concat!(
    r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
));

/// Numbers in groups of three from their end, as they are written with commas.
const THREES: Stage =
    Stage { cut: Cut::Threes, look_ahead: Some(r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"), ..stage(r"\p{N}+") };

/// The same of digits alone, and of none that a letter follows.
const THREES_OF_WORDS: Stage =
    Stage { cut: Cut::Threes, look_ahead: Some(r"\d{1,3}(?=(?:\d{3})*\b)"), ..stage(r"\d+\b") };

/// Cuts before each three digits that no others follow but in threes.
const BEFORE_THREES: Stage =
    Stage { cut: Cut::BeforeThrees, look_ahead: Some(r"(?=(\d{3})+(?!\d))"), ..stage(r"\d+") };

const DIGIT: Stage = stage(r"\p{N}");
const LINE_BREAK: Stage = stage(r"[\r\n]");
const THREE_DIGITS: Stage = stage("[0-9][0-9][0-9]");

/// Han, most scripts of South and East Asia, and Hangul, as DeepSeek's first tokenizers range them.
const DEEPSEEK_CJK: Stage = stage(r"[\u{4E00}-\u{9FA5}\u{0800}-\u{4E00}\u{AC00}-\u{D7FF}]+");

/// DeepSeek-LLM's letters: those with case, spelled out by its authors.
const DEEPSEEK_LETTERS: Stage = stage(concat!(
    r"\s?[A-Za-z",
    r"\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}\u{295}-\u{2AF}",
    r"\u{370}-\u{373}\u{376}\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-\u{38A}\u{38C}",
    r"\u{38E}-\u{3A1}\u{3A3}-\u{3F5}\u{3F7}-\u{481}\u{48A}-\u{52F}\u{531}-\u{556}\u{10A0}-\u{10C5}",
    r"\u{13A0}-\u{13F5}\u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}\u{1CBD}-\u{1CBF}\u{1D00}-\u{1D2B}",
    r"\u{1D6B}-\u{1D77}\u{1D79}-\u{1D9A}\u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}",
    r"\u{1F48}-\u{1F4D}\u{1F50}-\u{1F57}\u{1F59}\u{1F5B}\u{1F5D}\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}",
    r"\u{1FB6}-\u{1FBC}\u{1FBE}\u{1FC2}-\u{1FC4}\u{1FC6}-\u{1FCC}\u{1FD0}-\u{1FD3}",
    r"\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}\u{1FF2}-\u{1FF4}\u{1FF6}-\u{1FFC}\u{2102}\u{2107}",
    r"\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}\u{2124}\u{2126}\u{2128}\u{212A}-\u{212D}",
    r"\u{212F}-\u{2134}\u{2139}\u{213C}-\u{213F}\u{2145}-\u{2149}\u{214E}\u{2183}\u{2184}",
    r"\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}\u{2CEB}-\u{2CEE}\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}",
    r"\u{A680}-\u{A69B}\u{A722}-\u{A76F}\u{A771}-\u{A787}\u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}",
    r"\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}\u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}\u{10400}-\u{1044F}",
    r"\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}\u{10C80}-\u{10CB2}\u{10CC0}-\u{10CF2}",
    r"\u{118A0}-\u{118DF}\u{1E900}-\u{1E943}",
    r"]+"
));

const TEKKEN: Stage = with_space_tail(concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
));

const GPT4O: Stage = with_space_tail(concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
));

/// All rows. Names share one where their models' expressions cut alike however they are written
/// (Bailing's `\s*[\r\n]` and possessive quantifiers are Qwen2's in effect). Where several rows behave
/// alike, the converter writes the first name of the first.
pub(super) static ROWS: &[Row] = &[
    Row {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        stages: &[LLAMA3],
        ignores_merges: true,
        adds_bos: true,
    },
    row(
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "gigachat",
            "mellum",
            "a.x-4.0",
            "modern-bert",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "jina-v1-en",
            "roberta-bpe",
        ],
        &[GPT2],
    ),
    row(
        &[
            "qwen2",
            "stablelm2",
            "deepseek-r1-qwen",
            "megrez",
            "hunyuan",
            "grok-2",
            "solar-open",
            "kormo",
            "f2llmv2",
            "bailingmoe",
            "bailingmoe2",
            "llada-moe",
        ],
        &[QWEN2],
    ),
    row(&["default"], &[stage(r"[\p{P}\$\+<=>\^~\|]+"), GPT2, stage(r"\p{N}+"), THREE_DIGITS]),
    row(
        &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[DIGIT, GPT2],
    ),
    row(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[LLAMA3]),
    Row { names: &["glm4", "glm5"], stages: &[LLAMA3], ignores_merges: true, adds_bos: false },
    row(
        &["qwen35"],
        &[with_space_tail(concat!(
            r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
            r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
        ))],
    ),
    Row { names: &["tekken"], stages: &[TEKKEN], ignores_merges: true, adds_bos: true },
    row(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[GPT4O]),
    Row { names: &["granite-embed-multi-97m"], stages: &[GPT4O], ignores_merges: true, adds_bos: false },
    row(
        &["deepseek-llm"],
        &[
            LINE_BREAK,
            DEEPSEEK_LETTERS,
            stage(r"\s?[!-/:-~\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF5E}\u{2018}-\u{201F}\u{3000}-\u{3002}]+"),
            stage(r"\s+$"),
            DEEPSEEK_CJK,
            stage(r"\p{N}+"),
        ],
    ),
    row(&["deepseek-coder"], &[LINE_BREAK, stage(r"\s?\p{L}+"), stage(r"\s?\p{P}+"), DEEPSEEK_CJK, DIGIT]),
    row(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[stage(r"\p{N}{1,3}"), HAN_AND_KANA, DEEPSEEK_V3],
    ),
    row(&["falcon"], &[stage(r"[\p{P}\$\+<=>\^~\|`]+"), GPT2, THREE_DIGITS]),
    row(&["bloom", "poro-chat", "gpt3-finnish"], &[stage(BLOOM_WORD)]),
    row(&["viking"], &[stage(BLOOM_WORD), DIGIT]),
    row(
        &["seed-coder"],
        &[with_space_tail(concat!(
            r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
            r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+"
        ))],
    ),
    Row {
        names: &["minicpm5"],
        stages: &[
            stage(r"\p{N}{1,3}"),
            with_space_tail(concat!(
                r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
                r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
            )),
        ],
        ignores_merges: true,
        adds_bos: false,
    },
    row(
        &["exaone-moe"],
        &[with_space_tail(concat!(
            r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
            r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}",
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]"
        ))],
    ),
    row(
        &["ufakzeka"],
        &[with_space_tail(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+")],
    ),
    row(
        &["kimi-k2"],
        &[with_space_tail(concat!(
            r"[\p{Han}]+",
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*",
            r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?",
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+",
            r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?",
            r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        ))],
    ),
    row(
        &["afmoe"],
        &[
            THREES,
            stage(concat!(
                r"[\u{4E00}-\u{9FFF}\u{3400}-\u{4DBF}\u{F900}-\u{FAFF}\u{3040}-\u{309F}\u{30A0}-\u{30FF}",
                r"\u{FF65}-\u{FF9F}\u{2F00}-\u{2FDF}\u{E40}-\u{E7F}\u{E80}-\u{EFF}\u{1780}-\u{17FF}",
                r"\u{1000}-\u{109F}\u{AA60}-\u{AA7F}\u{A9E0}-\u{A9FF}\u{AC00}-\u{D7AF}\u{1100}-\u{11FF}]+"
            )),
            DEEPSEEK_V3,
        ],
    ),
    row(&["tiny_aya", "cohere2moe"], &[THREES_OF_WORDS, GPT4O]),
    row(&["superbpe"], &[stage(r"\p{N}+"), BEFORE_THREES]),
    row(&["jais-2"], &[Stage { tail: Tail::PowersOfTwo, ..LLAMA3 }]),
    row(
        &["spark2_5"],
        &[
            stage(r"\p{N}{1,3}"),
            HAN_AND_KANA,
            with_space_tail(concat!(
                r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
                r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]"
            )),
            DIGIT,
        ],
    ),
    Row {
        names: &["chameleon"],
        stages: &[
            stage("<sentinel:[0-9]+>"),
            stage("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
            stage(r"([\t\n]|    |  )"),
            DIGIT,
            stage(r"[\p{P}!-/:-@\[-`{-~]"),
            GPT2,
        ],
        ignores_merges: false,
        adds_bos: true,
    },
    row(&["laguna"], &[stage(r"[^\n]+|[\n]+"), QWEN2]),
    Row {
        names: &["youtu"],
        stages: &[
            stage(concat!(
                r"[\u{AC00}-\u{D7A3}\u{3131}-\u{318E}]+",
                r"|[\u{FF01}\u{2026}\u{201C}\u{201D}\u{2018}\u{2019}\u{2014}\u{FF1A}\u{FF1B}\u{FF0C}",
                r"\u{3001}-\u{303F}\u{FE30}-\u{FE4F}]+",
                r"|[\u{3105}-\u{312F}]+|[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+"
            )),
            YOUTU,
        ],
        ignores_merges: true,
        adds_bos: false,
    },
];

const HAN_AND_KANA: Stage = stage(r"[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+");

const DEEPSEEK_V3: Stage = with_space_tail(concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+"
));

/// GPT-4o's, with single digits.
const YOUTU: Stage = with_space_tail(concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
));

const BLOOM_WORD: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
