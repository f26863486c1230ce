//! What sentence-transformers puts behind a model: modules.json lists modules one after the other, whose files lie in
//! folders of their own.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::Config;
use super::folder::Folder;
use crate::error::{Error, Result};
use crate::limits::MAX_CONFIG_BYTES;
use crate::paths::stays_inside;

/// Files in which the module of the model says how it takes texts, of which there is one.
const TRANSFORMER: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// The name of the list.
const NAME: &str = "modules.json";

/// The file beside it that names prompts.
const SETTINGS: &str = "config_sentence_transformers.json";

/// How a folder of sentence-transformers says that the vectors of tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolingMode {
    /// Their mean.
    Mean,
    /// The first.
    Cls,
    /// The last.
    Last,
}

/// A matrix behind the pooling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenseModule {
    /// The file with its weights: `linear.weight`, and `linear.bias` if it has one.
    pub weights: PathBuf,
    /// Elements that it takes.
    pub n_in: usize,
    /// Elements that it gives.
    pub n_out: usize,
}

/// The modules behind a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    /// How the vectors of tokens become one.
    pub pooling: Option<PoolingMode>,
    /// Matrices, in their order; at most two.
    pub dense: Vec<DenseModule>,
    /// The tokens whose logits score a pair of texts, the one that says yes first.
    pub answers: Vec<u32>,
    /// How texts are made ready.
    pub texts: TextRules,
}

/// How texts are made ready for the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextRules {
    /// What is put in front of texts, by what they are: names and texts.
    pub prompts: Vec<(String, String)>,
    /// The name of the one that is put there where nothing else is said.
    pub default_prompt: Option<String>,
    /// Whether the mean is that of the text behind it alone.
    pub leaves_out_prompt: bool,
    /// Whether texts lose their capitals, whatever the tokenizer does.
    pub lowercases: bool,
    /// Tokens that are read of a text, where that is less than the model could.
    pub max_tokens: Option<usize>,
}

impl TextRules {
    /// Takes over what the module of the model says, whose files lie in `path` of `folder`.
    fn read_transformer(&mut self, folder: &Folder, path: &str) -> Result<()> {
        for name in TRANSFORMER {
            let name = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            if let Some(config) = folder.read_config(&name)? {
                self.lowercases = config.bool("do_lower_case")? == Some(true);
                self.max_tokens = config.count("max_seq_length")?.filter(|&n| n > 0);
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Modules {
    /// Reads the list in `folder`, or in the one above if that names `folder` as the model's; there are no modules if there
    /// is none.
    ///
    /// # Errors
    /// [`Error::Malformed`] for files of another form, [`Error::Unsupported`] for modules that GGUF cannot express.
    pub(super) fn open(folder: &Folder) -> Result<Self> {
        if let Some(text) = folder.read_text(NAME, MAX_CONFIG_BYTES)? {
            return Self::of(folder, &text);
        }
        // Files of older versions have the model itself in a folder of its own, as in 0_Transformer.
        let whole = fs::canonicalize(folder.path()).unwrap_or_default();
        let (Some(above), Some(name)) = (whole.parent(), whole.file_name()) else {
            return Ok(Self::default());
        };
        let above = Folder::new(above);
        let Ok(Some(text)) = above.read_text(NAME, MAX_CONFIG_BYTES) else { return Ok(Self::default()) };
        let list: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        let is_here =
            list.first().is_some_and(|first| first["path"].as_str().is_some_and(|path| name == path));
        if is_here { Self::of(&above, &text) } else { Ok(Self::default()) }
    }

    /// What the list `text` in `folder` says.
    fn of(folder: &Folder, text: &str) -> Result<Self> {
        let (mut modules, mut is_normalized) = (Self::default(), false);
        let malformed = |what: String| Error::malformed(folder.join(NAME), what);
        let list: Vec<Value> =
            serde_json::from_str(text).map_err(|e| malformed(format!("not a list of modules: {e}")))?;
        for module in &list {
            let (Some(path), Some(ty)) = (module["path"].as_str(), module["type"].as_str()) else {
                return Err(malformed("a module without path or type".into()));
            };
            if !path.is_empty() && !stays_inside(path) {
                return Err(malformed(format!("the module {path:?} lies outside of the folder")));
            }
            let config = || {
                let name = format!("{path}/config.json");
                folder.read_config(&name)?.ok_or_else(|| malformed(format!("{name} is missing")))
            };
            match ty.rsplit('.').next().unwrap_or_default() {
                "Transformer" => modules.texts.read_transformer(folder, path)?,
                "Normalize" => is_normalized = true,
                "Dropout" => {}
                "Pooling" => {
                    let config = config()?;
                    modules.pooling = Some(pooling(&config)?);
                    modules.texts.leaves_out_prompt = config.bool("include_prompt")? == Some(false);
                }
                "LogitScore" | "CausalScoreHead" => modules.answers = answers(&config()?)?,
                "Dense" => {
                    let config = config()?;
                    if is_normalized && config.bool("bias")? != Some(false) {
                        let what = "a dense module with biases behind vectors of one length, which GGUF cannot express";
                        return Err(Error::unsupported(config.path(), what));
                    }
                    modules.dense.push(dense(&config, &folder.join(path))?);
                }
                other => {
                    let what = format!(
                        "the module {other:?}, which GGUF cannot express; supported are Transformer, Pooling, Dense, Normalize and LogitScore"
                    );
                    return Err(Error::unsupported(folder.join(NAME), what));
                }
            }
        }
        if !modules.dense.is_empty() && modules.pooling.is_none() {
            let what = "dense modules without a pooling: a model with a vector for each token, as ColBERT's, which GGUF \
                        cannot express";
            return Err(Error::unsupported(folder.join(NAME), what));
        }
        if modules.dense.len() > 2 {
            let what = format!("{} dense modules; GGUF has room for two", modules.dense.len());
            return Err(Error::unsupported(folder.join(NAME), what));
        }
        if let Some(settings) = folder.read_config(SETTINGS)? {
            if let Some(prompts) = settings.object("prompts")? {
                for name in prompts.keys() {
                    let text = prompts.string(name)?.unwrap_or_default();
                    modules.texts.prompts.push((name.to_owned(), text.to_owned()));
                }
            }
            modules.texts.default_prompt = settings.string("default_prompt_name")?.map(str::to_owned);
        }
        Ok(modules)
    }
}

fn pooling(config: &Config) -> Result<PoolingMode> {
    let modes = [
        (PoolingMode::Mean, "pooling_mode_mean_tokens", "mean"),
        (PoolingMode::Cls, "pooling_mode_cls_token", "cls"),
        (PoolingMode::Last, "pooling_mode_lasttoken", "lasttoken"),
    ];
    let named = match config.value("pooling_mode") {
        Some(Value::Array(_)) => config.strings("pooling_mode")?.unwrap_or_default(),
        _ => config.string("pooling_mode")?.into_iter().collect(),
    };
    if let Some(other) = named.iter().find(|named| modes.iter().all(|(.., name)| name != *named)) {
        let what = format!("the pooling {other:?}; supported are mean, cls and lasttoken");
        return Err(Error::unsupported(config.path(), what));
    }
    let mut chosen = Vec::new();
    for (mode, flag, name) in modes {
        if config.bool(flag)?.unwrap_or(false) || named.contains(&name) {
            chosen.push(mode);
        }
    }
    // Without a word it is the mean, as in the library.
    if chosen.is_empty() && modes.iter().all(|(_, flag, _)| config.value(flag).is_none()) {
        chosen.push(PoolingMode::Mean);
    }
    for other in ["max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens"] {
        if config.bool(&format!("pooling_mode_{other}"))?.unwrap_or(false) {
            let what = format!("the pooling {other}; supported are mean_tokens, cls_token and lasttoken");
            return Err(Error::unsupported(config.path(), what));
        }
    }
    match chosen[..] {
        [mode] => Ok(mode),
        _ => {
            let what =
                "not one pooling but several, or none; supported are mean_tokens, cls_token and lasttoken";
            Err(Error::unsupported(config.path(), what))
        }
    }
}

/// The tokens of a head that scores pairs by their logits: the first alone, or less that of the second.
fn answers(config: &Config) -> Result<Vec<u32>> {
    let mut tokens = vec![config.required_count("true_token_id")?];
    tokens.extend(config.count("false_token_id")?);
    let id = |token: usize| {
        let what = format!("the token {token}, which no vocabulary has");
        u32::try_from(token).map_err(|_| Error::malformed(config.path(), what))
    };
    tokens.into_iter().map(id).collect()
}

fn dense(config: &Config, folder: &Path) -> Result<DenseModule> {
    // The library's own, where a file is silent.
    let activation = config.string("activation_function")?.unwrap_or("torch.nn.modules.activation.Tanh");
    if !activation.ends_with("Identity") {
        let what = format!("a dense module with {activation}; GGUF has none behind such matrices");
        return Err(Error::unsupported(config.path(), what));
    }
    if config.bool("use_residual")? == Some(true) {
        let what = "a dense module that is added to what it sees (use_residual), which GGUF cannot express";
        return Err(Error::unsupported(config.path(), what));
    }
    let [safe, pickled] = ["model.safetensors", "pytorch_model.bin"].map(|name| folder.join(name));
    Ok(DenseModule {
        weights: if !safe.is_file() && pickled.is_file() { pickled } else { safe },
        n_in: config.required_count("in_features")?,
        n_out: config.required_count("out_features")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Modules> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut modules = Modules::open(&Folder::new(dir.path()));
        for dense in modules.iter_mut().flat_map(|modules| &mut modules.dense) {
            dense.weights = dense.weights.strip_prefix(dir.path()).unwrap().to_owned();
        }
        modules
    }

    const LIST: &str = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Dense", "type": "sentence_transformers.models.Dense"},
        {"path": "3_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;
    const DENSE: &str =
        r#"{"in_features": 8, "out_features": 4, "activation_function": "torch.nn.modules.linear.Identity"}"#;

    #[test]
    fn pooling_and_matrices_are_read_in_their_order() {
        assert_eq!(read(&[]).unwrap(), Modules::default());
        let pooling = r#"{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}"#;
        let files =
            [("modules.json", LIST), ("1_Pooling/config.json", pooling), ("2_Dense/config.json", DENSE)];
        let dense = DenseModule { weights: "2_Dense/model.safetensors".into(), n_in: 8, n_out: 4 };
        assert_eq!(
            read(&files).unwrap(),
            Modules { pooling: Some(PoolingMode::Mean), dense: vec![dense], ..Modules::default() }
        );
        let named =
            [("modules.json", LIST), ("1_Pooling/config.json", r#"{"pooling_mode": "lasttoken"}"#), files[2]];
        assert_eq!(read(&named).unwrap().pooling, Some(PoolingMode::Last));
        for pooling in ["{}", r#"{"pooling_mode": ["mean"]}"#] {
            let silent = [("modules.json", LIST), ("1_Pooling/config.json", pooling), files[2]];
            assert_eq!(read(&silent).unwrap().pooling, Some(PoolingMode::Mean), "{pooling}");
        }
    }

    #[test]
    fn prompts_are_read_in_the_order_of_the_file() {
        let settings =
            r#"{"prompts": {"query": "Query: ", "document": null}, "default_prompt_name": "query"}"#;
        let pooling = r#"{"pooling_mode": "mean", "include_prompt": false}"#;
        let list = LIST.split("},").take(2).collect::<Vec<_>>().join("},") + "}]";
        let files = [("modules.json", &*list), ("1_Pooling/config.json", pooling), (SETTINGS, settings)];
        let named = [("query", "Query: "), ("document", "")];
        let named = named.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec();
        let expected = TextRules {
            prompts: named,
            default_prompt: Some("query".into()),
            leaves_out_prompt: true,
            ..TextRules::default()
        };
        assert_eq!(read(&files).unwrap().texts, expected);
    }

    #[test]
    fn the_folder_above_a_model_may_have_its_modules() {
        let list = LIST.replace(r#""path": """#, r#""path": "0_Transformer""#);
        let list = list.split("},").take(2).collect::<Vec<_>>().join("},") + "}]";
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("modules.json", &*list),
            ("1_Pooling/config.json", r#"{"pooling_mode_cls_token": true}"#),
            ("0_Transformer/sentence_bert_config.json", r#"{"max_seq_length": 7}"#),
            ("other/config.json", "{}"),
        ];
        for (name, text) in files {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::write(dir.path().join(name), text).unwrap();
        }
        let modules = Modules::open(&Folder::new(dir.path().join("0_Transformer"))).unwrap();
        assert_eq!((modules.pooling, modules.texts.max_tokens), (Some(PoolingMode::Cls), Some(7)));
        assert_eq!(Modules::open(&Folder::new(dir.path().join("other"))).unwrap(), Modules::default());
    }

    #[test]
    fn how_texts_are_changed_and_cut_stands_beside_the_model() {
        let list = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"}]"#;
        let read_with = |name, settings| read(&[("modules.json", list), (name, settings)]).unwrap().texts;
        let settings = r#"{"max_seq_length": 256, "do_lower_case": true}"#;
        for name in ["sentence_bert_config.json", "sentence_xlm-roberta_config.json"] {
            let texts = read_with(name, settings);
            assert_eq!((texts.lowercases, texts.max_tokens), (true, Some(256)), "{name}");
        }
        let plain =
            read_with("sentence_bert_config.json", r#"{"max_seq_length": null, "do_lower_case": false}"#);
        assert_eq!(plain, TextRules::default());
    }

    #[test]
    fn what_gguf_cannot_express_is_named() {
        let complaint = |pooling: &str, dense: &str, list: &str| {
            let files =
                [("modules.json", list), ("1_Pooling/config.json", pooling), ("2_Dense/config.json", dense)];
            read(&files).unwrap_err().to_string()
        };
        let mean = r#"{"pooling_mode_mean_tokens": true}"#;
        assert!(complaint(r#"{"pooling_mode_max_tokens": true}"#, DENSE, LIST).contains("max_tokens"));
        let several = r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}"#;
        assert!(complaint(several, DENSE, LIST).contains("several, or none"));
        assert!(complaint(r#"{"pooling_mode": "weightedmean"}"#, DENSE, LIST).contains("weightedmean"));
        assert!(
            complaint(mean, &DENSE.replace("Identity\"", "Identity\", \"use_residual\": true"), LIST)
                .contains("use_residual")
        );
        let turned = r#"[{"path": "1_Pooling", "type": "Pooling"}, {"path": "3_Normalize", "type": "Normalize"},
            {"path": "2_Dense", "type": "Dense"}]"#;
        assert!(complaint(mean, DENSE, turned).contains("of one length"));
        let bare = LIST.replace(".Pooling", ".Dropout");
        assert!(complaint(mean, DENSE, &bare).contains("ColBERT"));
        assert!(complaint(mean, &DENSE.replace("Identity", "Tanh"), LIST).contains("Tanh"));
        assert!(complaint(mean, DENSE, &LIST.replace("models.Dense", "models.LSTM")).contains("LSTM"));
        assert!(complaint(mean, DENSE, &LIST.replace("2_Dense", "../2_Dense")).contains("outside"));
        assert!(complaint(mean, DENSE, "{}").contains("not a list"));
    }
}
