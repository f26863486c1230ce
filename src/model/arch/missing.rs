//! What is said of an architecture that this program does not have.

use std::collections::BTreeSet;

use super::families;

/// Architectures of GGUF files, and classes of checkpoints, that need more than this program computes, and what that is.
const NEEDS: &[(&[&str], &str)] = &[
    (&["kimi-k3"], "residuals that are mixed by attention over earlier layers"),
    (&["deepseek4", "DeepseekV4ForCausalLM"], "attention to compressed positions beside a window"),
    (
        &["hy_v4", "HYV4ForCausalLM"],
        "rotary positions on whose order transformers and llama.cpp do not agree",
    ),
    (&["graniteswitch"], "adapters that tokens switch"),
    (&["hrm_text"], "layers that run in nested cycles"),
    (
        &[
            "t5",
            "T5ForConditionalGeneration",
            "T5Model",
            "T5WithLMHeadModel",
            "MT5ForConditionalGeneration",
            "UMT5ForConditionalGeneration",
            "UMT5Model",
        ],
        "a decoder that attends to what an encoder makes of the prompt (embeddings of the encoder alone are there: the \
         class T5EncoderModel)",
    ),
    (&["MllamaForConditionalGeneration"], "layers that attend to images"),
    (&["AXK1ForCausalLM"], "norms behind experts beside attention over latent vectors"),
    (&["VaultGemmaForCausalLM"], "Gemma 2 without the norms behind its parts"),
    (&["NanoChatForCausalLM"], "norms of heads behind rotary positions, and none with weights"),
    (
        &["CwmForCausalLM", "MinistralForCausalLM"],
        "Llama with windows in some layers, for which GGUF has no keys",
    ),
    (&["RuGPT3XLForCausalLM"], "attention to blocks of positions in every second layer"),
    (
        &["MiMoV2ForCausalLM"],
        "matrices of queries, keys and values that are stored in the parts of several cards",
    ),
    (
        &["PaliGemmaForConditionalGeneration"],
        "prompts whose positions all see each other, in front of an answer that looks back",
    ),
];

/// Architectures and classes that are something else than a model which continues a text: what they are, and what to do.
const OTHER_THINGS: &[(&[&str], &str)] = &[
    (
        &["llada", "llada-moe", "dream", "rnd1", "LLaDAModelLM", "LLaDAMoEModelLM", "DreamModel", "RND1"],
        "a diffusion model, which fills in masked positions over many passes and cannot continue a text token by token: \
         run it with its authors' code or with llama-diffusion-cli of llama.cpp",
    ),
    (
        &["clip", "CLIPModel", "SiglipModel"],
        "the image part of another model and generates no text: give the file of the language model beside it",
    ),
    (
        &["wavtokenizer-dec"],
        "the decoder that makes sound of another model's tokens: give the file of the language model beside it",
    ),
    (
        &["pockettts", "qwen3tts"],
        "a model that speaks a text and does not continue it: run it with its authors' code",
    ),
    (
        &["eagle3", "dflash", "gemma4-assistant"],
        "a draft model, which guesses from the inner states of another and says nothing alone: give the file of the \
         model that it drafts for",
    ),
    (&["WhisperForConditionalGeneration"], "a model that writes down speech: run it with whisper.cpp"),
    (
        &["UltravoxModel"],
        "the part of a model that hears, without the language model: give the checkpoint that its config.json calls \
         text_model_id",
    ),
    (
        &["MambaLMHeadModel"],
        "a checkpoint as mamba_ssm has it, without a tokenizer: give the one for transformers, whose name ends in -hf",
    ),
];

/// Names listed as the nearest.
const MAX_NEAREST: usize = 3;

/// How alike a name must be to be called near, from 0 to 1.
const LEAST_LIKENESS: f64 = 0.7;

/// Says that `name` is not among the names of GGUF architectures that are supported, what it would need or is
/// instead if that is known, and which are the nearest.
pub fn architecture(name: &str) -> String {
    let names: Vec<&str> = families::ALL.iter().map(|family| family.gguf_name).collect();
    say("architecture", name, &names, known_of(&[name]))
}

/// As [`architecture`], of classes in the `architectures` of config.json.
pub fn classes(classes: &[&str]) -> String {
    let names: Vec<&str> =
        families::ALL.iter().flat_map(|family| family.checkpoint_classes.iter().copied()).collect();
    say("architecture", &classes.join(", "), &names, known_of(classes))
}

/// As [`architecture`], of the `model_type` of config.json.
pub fn model_type(name: &str) -> String {
    let names: Vec<&str> =
        families::ALL.iter().flat_map(|family| family.model_types.iter().copied()).collect();
    say("model_type", name, &names, None)
}

/// What is known of an architecture or of one of several classes, as a clause.
fn known_of(names: &[&str]) -> Option<String> {
    let find = |list: &'static [(&[&str], &str)]| {
        list.iter().find(|(known, _)| known.iter().any(|name| names.contains(name))).map(|(_, what)| *what)
    };
    let need = find(NEEDS).map(|need| format!("it needs {need}, which this program does not compute"));
    need.or_else(|| find(OTHER_THINGS).map(|what| format!("it is {what}")))
}

fn say(what: &str, name: &str, supported: &[&str], known: Option<String>) -> String {
    let known = known.map_or(String::new(), |known| format!("; {known}"));
    let mut nearest: Vec<(f64, &str)> =
        supported.iter().map(|other| (strsim::jaro_winkler(name, other), *other)).collect();
    nearest.sort_by(|a, b| b.0.total_cmp(&a.0));
    let nearest: Vec<&str> = nearest
        .iter()
        .take(MAX_NEAREST)
        .filter(|(likeness, _)| *likeness >= LEAST_LIKENESS)
        .map(|(_, name)| *name)
        .collect();
    let nearest = if nearest.is_empty() {
        String::new()
    } else {
        format!("; the nearest supported: {}", nearest.join(", "))
    };
    format!("{what} \"{name}\"{known}{nearest} (the README lists all {})", n_architectures())
}

/// How many architectures are supported; some have several spellings of their checkpoints.
fn n_architectures() -> usize {
    let names: BTreeSet<&str> = families::ALL.iter().map(|family| family.gguf_name).collect();
    names.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_be_missing_is_not_supported() {
        for name in NEEDS.iter().chain(OTHER_THINGS).flat_map(|(names, _)| *names) {
            assert!(super::super::by_gguf_name(name).is_none(), "{name}");
            assert!(super::super::by_checkpoint_class(name).is_none(), "{name}");
        }
    }

    #[test]
    fn what_cannot_continue_a_text_is_told_what_it_is_and_what_to_do() {
        for (name, words) in [
            ("llada", ["diffusion model", "llama-diffusion-cli"]),
            ("clip", ["image part", "give the file of the language model"]),
            ("eagle3", ["draft model", "give the file of the model"]),
        ] {
            let message = architecture(name);
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
        assert!(classes(&["DreamModel"]).contains("diffusion model"));
    }
}
