//! Classes around a language model of another class: models that see or hear, whose text part is converted by its own
//! `model_type`.

use super::pooled::is_classifier;
use super::{Family, by_checkpoint_class, by_model_type, missing, text_part};
use crate::checkpoint::Config;
use crate::error::{Error, Result};

/// The classes, and the `model_type` that their text part has where config.json is silent.
const WRAPPERS: &[(&str, &str)] = &[
    ("AudioFlamingo3ForConditionalGeneration", "qwen2"),
    ("AyaVisionForConditionalGeneration", "cohere2"),
    ("BailingMoeV3VLForConditionalGeneration", "bailing_hybrid"),
    ("Cohere2VisionForConditionalGeneration", "cohere2"),
    ("DeepseekVLForConditionalGeneration", "llama"),
    ("DeepseekVLHybridForConditionalGeneration", "llama"),
    ("Emu3ForConditionalGeneration", "emu3_text_model"),
    ("Exaone4_5_ForConditionalGeneration", "exaone4"),
    ("FastVlmForConditionalGeneration", "qwen2"),
    ("FunAsrNanoForConditionalGeneration", "qwen3"),
    ("Glm5vForConditionalGeneration", "glm_moe_dsa"),
    ("GlmAsrForConditionalGeneration", "llama"),
    ("GotOcr2ForConditionalGeneration", "qwen2"),
    ("Granite4VisionForConditionalGeneration", "granite"),
    ("GraniteDoclingForConditionalGeneration", "granite"),
    ("GraniteSpeechForConditionalGeneration", "granite"),
    ("GraniteSpeechPlusForConditionalGeneration", "granite"),
    ("Idefics2ForConditionalGeneration", "mistral"),
    ("Idefics3ForConditionalGeneration", "llama"),
    ("InternVLChatModel", "qwen2"),
    ("InternVLForConditionalGeneration", "qwen2"),
    ("JanusForConditionalGeneration", "llama"),
    ("KimiK25ForConditionalGeneration", "deepseek_v3"),
    ("Kimi_K25ForConditionalGeneration", "deepseek_v3"),
    ("Lfm2AudioForConditionalGeneration", "lfm2"),
    ("LightOnOCRForConditionalGeneration", "qwen3"),
    ("LightOnOcrForConditionalGeneration", "qwen3"),
    ("LlavaForConditionalGeneration", "llama"),
    ("LlavaNextForConditionalGeneration", "llama"),
    ("LlavaNextVideoForConditionalGeneration", "llama"),
    ("LlavaOnevisionForConditionalGeneration", "qwen2"),
    ("MERaLiON2ForConditionalGeneration", "gemma2"),
    ("MiniCPMOcrForConditionalGeneration", "qwen3_5_text"),
    ("MiniCPMV4_6ForConditionalGeneration", "qwen3_5_text"),
    ("MiniCPMV4_7ForConditionalGeneration", "qwen3_5_text"),
    ("MossTranscribeDiarizeForConditionalGeneration", "qwen3"),
    ("MusicFlamingoForConditionalGeneration", "qwen2"),
    ("NemotronH_Nano_VL_V2", "nemotron_h"),
    ("NemotronH_Omni_Reasoning_V3", "nemotron_h"),
    ("OmniASRForConditionalGeneration", "llama"),
    ("Ovis2ForConditionalGeneration", "qwen2"),
    ("PerceptionLMForConditionalGeneration", "llama"),
    ("QianfanOCRForConditionalGeneration", "qwen3"),
    ("Qwen2AudioForConditionalGeneration", "qwen2"),
    ("Qwen3ASRForConditionalGeneration", "qwen3"),
    ("Sarashina2VisionForCausalLM", "llama"),
    ("SmolVLMForConditionalGeneration", "llama"),
    ("StepVLForConditionalGeneration", "qwen3"),
    ("VLlama3ForCausalLM", "llama"),
    ("VibeVoiceAsrForConditionalGeneration", "qwen2"),
    ("VideoLlama3ForConditionalGeneration", "qwen2"),
    ("VideoLlavaForConditionalGeneration", "llama"),
    ("VipLlavaForConditionalGeneration", "llama"),
    ("VoxtralForConditionalGeneration", "llama"),
    ("YoutuVLForConditionalGeneration", "youtu"),
];

/// The first of the classes of a configuration that is known, and its family; a class around a language model, or with
/// scores in place of its output matrix, counts if no other is.
///
/// # Errors
/// [`Error::Unsupported`] for a text part that this program does not compute.
pub fn by_classes<'c>(classes: &[&'c str], config: &Config) -> Result<Option<(&'c str, &'static Family)>> {
    if let Some(found) = classes.iter().find_map(|class| Some((*class, by_checkpoint_class(class)?))) {
        return Ok(Some(found));
    }
    for class in classes {
        if let Some(family) = by_wrapper_class(class, config)? {
            return Ok(Some((class, family)));
        }
    }
    let with_score = classes.iter().find(|class| is_classifier(class));
    let model_type = config.string("model_type")?;
    Ok(with_score.and_then(|class| Some((*class, by_model_type(model_type?)?))))
}

/// The `model_type` that the text part of a configuration has where that is silent; `None` for another class.
///
/// # Errors
/// [`Error::Malformed`] for classes that are not a list of strings.
pub(super) fn text_model_type(config: &Config) -> Result<Option<&'static str>> {
    let classes = config.strings("architectures")?.unwrap_or_default();
    Ok(WRAPPERS.iter().find(|(name, _)| classes.contains(name)).map(|&(_, model_type)| model_type))
}

/// The family of the text part of a model of such a class; `None` for another class.
///
/// # Errors
/// [`Error::Unsupported`] for a text part that this program does not compute.
fn by_wrapper_class(class: &str, config: &Config) -> Result<Option<&'static Family>> {
    let Some(&(_, default)) = WRAPPERS.iter().find(|(name, _)| *name == class) else { return Ok(None) };
    let text = text_part(config)?;
    // Without a part of its own for the text, that of the whole is the wrapper's.
    let of_whole = config.string("model_type")?;
    let model_type = text.string("model_type")?.filter(|own| Some(*own) != of_whole).unwrap_or(default);
    match by_model_type(model_type) {
        Some(family) => Ok(Some(family)),
        None => {
            let what = format!("the text part of {class}: {}", missing::model_type(model_type));
            Err(Error::unsupported(config.path(), what))
        }
    }
}
