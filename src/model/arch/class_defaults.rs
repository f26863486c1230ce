//! What transformers' configuration classes assume where config.json is silent, by `model_type`.
//!
//! Published files leave out what equals these: Gemma 3's say little more than the width and the number of layers.
//! class_defaults.json is made by tools/class_defaults.py.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::checkpoint::Config;

#[derive(Deserialize)]
struct Class {
    defaults: Map<String, Value>,
    /// Other names, and the parameters that they stand for.
    names: HashMap<String, String>,
}

static CLASSES: LazyLock<HashMap<String, Class>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("class_defaults.json")).expect("the file is made by a program")
});

/// Whether transformers has a class for a `model_type`.
pub(super) fn are_known(model_type: &str) -> bool {
    CLASSES.contains_key(model_type)
}

/// `config`, whose absent keys count as what the class of this `model_type` assumes.
pub(super) fn assumed(config: Config, model_type: &str) -> Config {
    match CLASSES.get(model_type) {
        Some(class) => config.with_defaults(class.defaults.clone(), &class.names),
        None => config,
    }
}
