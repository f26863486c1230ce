//! adapter_config.json: how an adapter is applied, as a whole and to single modules.

use super::config::Config;
use super::name_pattern::NamePattern;
use crate::error::{Error, Result};

/// The setting that names parameters, as in `mlp.experts.down_proj`.
pub(super) const TARGETS: &str = "target_parameters";

/// Settings that change what an adapter computes in a way that is not known here, if they are set.
const UNKNOWN_SETTINGS: [&str; 7] = [
    "layer_replication",
    "use_qalora",
    "lora_bias",
    "alora_invocation_tokens",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
];

/// Ways of initialising that change the base as well: `init_lora_weights` begins so.
const CHANGES_OF_BASES: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// Numbers of single modules; the first that fits counts.
type Patterns = Vec<(NamePattern, f32)>;

/// The settings of an adapter that is applied `scale` times.
#[derive(Debug)]
pub(super) struct AdapterSettings {
    pub(super) config: Config,
    pub(super) scale: f32,
    ranks: Patterns,
    alphas: Patterns,
}

impl AdapterSettings {
    /// # Errors
    /// [`Error::Unsupported`] for an adapter of another kind than LoRA, or with settings that are not known here;
    /// [`Error::Malformed`] for patterns that are none.
    pub(super) fn new(config: Config, scale: f32) -> Result<Self> {
        check(&config)?;
        let (ranks, alphas) = (patterns(&config, "rank_pattern")?, patterns(&config, "alpha_pattern")?);
        Ok(Self { config, scale, ranks, alphas })
    }

    /// What the user should know of it.
    pub(super) fn notes(&self) -> Vec<String> {
        let way = self.config.value("init_lora_weights").and_then(|way| way.as_str()).unwrap_or_default();
        let way = way.to_ascii_lowercase();
        if !CHANGES_OF_BASES.iter().any(|start| way.starts_with(start)) {
            return Vec::new();
        }
        vec![format!(
            "{}: it was initialised by {way}, which changes the base as well: the base must be the one that was saved \
             with it, unless it was converted to a plain LoRA",
            self.config.path().display()
        )]
    }

    /// What the product of a module's matrices of some rank is multiplied with.
    pub(super) fn scale_of(&self, module: &str, rank: usize) -> Result<f32> {
        let alpha = self.of_module(module, &self.alphas, "lora_alpha")?.unwrap_or(8.0);
        let by_root = self.config.bool("use_rslora")?.unwrap_or(false);
        let rank = rank as f32;
        Ok(self.scale * (alpha / if by_root { rank.sqrt() } else { rank }))
    }

    /// The parameters of a module that are adapted by themselves, in the order of their wrappers.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the setting is not a list of names.
    pub(super) fn parameters_of(&self, module: &str) -> Result<Vec<&str>> {
        let Some(targets) = self.config.value(TARGETS).filter(|targets| !targets.is_null()) else {
            return Ok(Vec::new());
        };
        let names = targets.as_array().map(|targets| targets.iter().map(|target| target.as_str()));
        let Some(names) = names.and_then(|names| names.collect::<Option<Vec<&str>>>()) else {
            let what = format!("{TARGETS} is {targets}; a list of names is needed");
            return Err(Error::malformed(self.config.path(), what));
        };
        let of_module = names.into_iter().filter_map(|name| {
            let (head, parameter) = name.rsplit_once('.')?;
            let is_of = module.strip_suffix(head).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            is_of.then_some(parameter)
        });
        let mut found: Vec<&str> = Vec::new();
        for parameter in of_module {
            if !found.contains(&parameter) {
                found.push(parameter);
            }
        }
        // Modules have what leads back behind what leads up, in whatever order they are named.
        found.sort_by_key(|parameter| parameter.contains("down"));
        Ok(found)
    }

    /// The rank that is stated for a module.
    pub(super) fn rank_of(&self, module: &str) -> Result<Option<f32>> {
        self.of_module(module, &self.ranks, "r")
    }

    /// A number of a module: that of the first of the `patterns` that fit its name, or the `common` one.
    fn of_module(&self, module: &str, patterns: &Patterns, common: &str) -> Result<Option<f32>> {
        match patterns.iter().find(|(pattern, _)| pattern.matches(module)) {
            Some((_, number)) => Ok(Some(*number)),
            None => self.config.f32(common),
        }
    }
}

/// The numbers in the table `key`.
///
/// # Errors
/// [`Error::Malformed`] for what is not a pattern, or not a number.
fn patterns(config: &Config, key: &str) -> Result<Patterns> {
    let Some(numbers) = config.object(key)? else { return Ok(Vec::new()) };
    let of_key = |name: &str| {
        let pattern = NamePattern::of_ends(name).map_err(|_| {
            let what = format!("{key}: {} is not a pattern of names", name.escape_debug());
            Error::malformed(config.path(), what)
        })?;
        Ok((pattern, numbers.required_f32(name)?))
    };
    numbers.keys().map(of_key).collect()
}

/// Whether this program can apply the adapter.
///
/// # Errors
/// [`Error::Unsupported`] for one of another kind, or with settings that are not known here.
fn check(config: &Config) -> Result<()> {
    let path = config.path();
    let kind = config.string("peft_type")?.unwrap_or("LORA");
    if kind != "LORA" {
        let what = format!("an adapter of the kind {kind}; LoRA, rsLoRA and DoRA can be read");
        return Err(Error::unsupported(path, what));
    }
    let is_set = |key: &&&str| {
        config.value(key).is_some_and(|value| match value {
            serde_json::Value::Bool(is_set) => *is_set,
            serde_json::Value::Array(list) => !list.is_empty(),
            serde_json::Value::Object(map) => !map.is_empty(),
            _ => true,
        })
    };
    match UNKNOWN_SETTINGS.iter().find(is_set) {
        Some(key) => Err(Error::unsupported(
            path,
            format!(
                "{key} is set, which this program cannot apply; merge the adapter with PEFT, and convert that"
            ),
        )),
        None => Ok(()),
    }
}
