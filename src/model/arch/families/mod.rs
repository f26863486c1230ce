//! One file for each family, and the list of all.

mod afmoe;
mod apertus;
mod arcee;
mod arctic;
mod arwkv7;
mod baichuan;
mod bailingmoe;
mod bailingmoe2;
mod bailingmoe3;
mod bert;
mod bitnet;
mod bloom;
mod chameleon;
mod chatglm;
mod codeshell;
mod cogvlm;
mod cohere2;
mod cohere2moe;
mod command_r;
mod dbrx;
mod deci;
mod deepseek;
mod deepseek2;
mod deepseek2_ocr;
mod deepseek32;
mod dots1;
mod dots3note;
mod ernie4_5;
mod ernie4_5_moe;
mod eurobert;
mod exaone;
mod exaone4;
mod exaone_moe;
mod falcon;
mod falcon_h1;
mod gemma;
mod gemma2;
mod gemma3;
mod gemma3n;
mod gemma4;
mod gemma_embedding;
mod glm4;
mod glm4moe;
mod glm5_next;
mod glm_dsa;
mod gpt2;
mod gpt_oss;
mod gptj;
mod gptneox;
mod granite;
mod granite_swa;
mod granitehybrid;
mod granitemoe;
mod grok;
mod grovemoe;
mod gte;
mod hunyuan_dense;
mod hunyuan_moe;
mod hunyuan_vl;
mod hy_v3;
mod internlm2;
mod jais;
mod jais2;
mod jamba;
mod jina_bert_v2;
mod jina_bert_v3;
mod kimi_linear;
mod laguna;
mod lfm2;
mod lfm2moe;
mod llama;
mod llama4;
mod llama_embed;
mod maincoder;
mod mamba;
mod mamba2;
mod maple;
mod mellum;
mod mimo2;
mod minicpm;
mod minicpm3;
mod minimax_01;
mod minimax_m2;
mod minimax_m3;
mod mistral3;
mod mistral4;
mod modern_bert;
mod mpnet;
mod mpt;
mod muse_glimmer;
mod nanbeige;
mod nemotron;
mod nemotron_h;
mod nemotron_h_moe;
mod neo_bert;
mod nomic_bert;
mod nomic_bert_moe;
mod olmo;
mod olmo2;
mod olmoe;
mod openelm;
mod orion;
mod paddleocr;
mod pangu_embedded;
mod phi2;
mod phi3;
mod phimoe;
mod plamo;
mod plamo2;
mod plamo3;
mod plm;
mod qwen;
mod qwen2;
mod qwen2moe;
mod qwen2vl;
mod qwen3;
mod qwen35;
mod qwen35moe;
mod qwen3moe;
mod qwen3next;
mod qwen3vl;
mod qwen3vlmoe;
mod qwen4exp;
mod refact;
mod rwkv6;
mod rwkv6qwen2;
mod rwkv7;
mod seed_oss;
mod smallthinker;
mod smollm3;
mod spark2_5;
mod stablelm;
mod starcoder;
mod starcoder2;
mod step35;
mod t5encoder;
mod talkie;
mod xverse;

use super::Family;
use crate::checkpoint::Config;
use crate::error::Result;

/// The registry: a new family is one file and one row.
pub(super) const ALL: &[&Family] = &[
    &llama::FAMILY,
    &afmoe::FAMILY,
    &apertus::FAMILY,
    &arcee::FAMILY,
    &arctic::FAMILY,
    &arwkv7::FAMILY,
    &baichuan::FAMILY,
    &bailingmoe::FAMILY,
    &bailingmoe2::FAMILY,
    &bailingmoe3::FAMILY,
    &bert::FAMILY,
    &bert::ROBERTA,
    &bert::DISTILBERT,
    &bitnet::FAMILY,
    &bloom::FAMILY,
    &chameleon::FAMILY,
    &chatglm::FAMILY,
    &codeshell::FAMILY,
    &cogvlm::FAMILY,
    &cohere2::FAMILY,
    &cohere2moe::FAMILY,
    &command_r::FAMILY,
    &dbrx::FAMILY,
    &deci::FAMILY,
    &deepseek::FAMILY,
    &deepseek2::FAMILY,
    &deepseek2_ocr::FAMILY,
    &deepseek32::FAMILY,
    &dots1::FAMILY,
    &dots3note::FAMILY,
    &ernie4_5::FAMILY,
    &ernie4_5_moe::FAMILY,
    &eurobert::FAMILY,
    &exaone::FAMILY,
    &exaone4::FAMILY,
    &exaone_moe::FAMILY,
    &falcon::FAMILY,
    &falcon_h1::FAMILY,
    &gemma::FAMILY,
    &gemma2::FAMILY,
    &gemma3::FAMILY,
    &gemma3n::FAMILY,
    &gemma4::FAMILY,
    &gemma_embedding::FAMILY,
    &glm4::FAMILY,
    &glm4moe::FAMILY,
    &glm5_next::FAMILY,
    &glm_dsa::FAMILY,
    &gpt2::FAMILY,
    &gpt_oss::FAMILY,
    &gptj::FAMILY,
    &gptneox::FAMILY,
    &granite::FAMILY,
    &granite_swa::FAMILY,
    &granitehybrid::FAMILY,
    &granitehybrid::BAMBA,
    &granitemoe::FAMILY,
    &grok::FAMILY,
    &grovemoe::FAMILY,
    &gte::FAMILY,
    &gte::RENAMED,
    &hunyuan_dense::FAMILY,
    &hunyuan_moe::FAMILY,
    &hunyuan_vl::FAMILY,
    &hy_v3::FAMILY,
    &internlm2::FAMILY,
    &jais::FAMILY,
    &jais2::FAMILY,
    &jamba::FAMILY,
    &jina_bert_v2::FAMILY,
    &jina_bert_v3::FAMILY,
    &kimi_linear::FAMILY,
    &laguna::FAMILY,
    &lfm2::FAMILY,
    &lfm2moe::FAMILY,
    &llama4::FAMILY,
    &llama_embed::FAMILY,
    &maincoder::FAMILY,
    &mamba::FAMILY,
    &mamba2::FAMILY,
    &maple::FAMILY,
    &mellum::FAMILY,
    &mimo2::FAMILY,
    &minicpm::FAMILY,
    &minicpm3::FAMILY,
    &minimax_01::FAMILY,
    &minimax_m2::FAMILY,
    &minimax_m3::FAMILY,
    &mistral3::FAMILY,
    &mistral4::FAMILY,
    &modern_bert::FAMILY,
    &mpnet::FAMILY,
    &mpt::FAMILY,
    &muse_glimmer::FAMILY,
    &nanbeige::FAMILY,
    &nemotron::FAMILY,
    &nemotron_h::FAMILY,
    &nemotron_h_moe::FAMILY,
    &neo_bert::FAMILY,
    &nomic_bert::FAMILY,
    &nomic_bert_moe::FAMILY,
    &olmo::FAMILY,
    &olmo2::FAMILY,
    &olmoe::FAMILY,
    &openelm::FAMILY,
    &orion::FAMILY,
    &paddleocr::FAMILY,
    &pangu_embedded::FAMILY,
    &phi2::FAMILY,
    &phi3::FAMILY,
    &phimoe::FAMILY,
    &plamo::FAMILY,
    &plamo2::FAMILY,
    &plamo3::FAMILY,
    &plm::FAMILY,
    &qwen::FAMILY,
    &qwen2::FAMILY,
    &qwen2::KORMO,
    &qwen2moe::FAMILY,
    &qwen2vl::FAMILY,
    &qwen3::FAMILY,
    &qwen35::FAMILY,
    &qwen35moe::FAMILY,
    &qwen4exp::FAMILY,
    &qwen3moe::FAMILY,
    &qwen3next::FAMILY,
    &qwen3vl::FAMILY,
    &qwen3vlmoe::FAMILY,
    &refact::FAMILY,
    &rwkv6::FAMILY,
    &rwkv6qwen2::FAMILY,
    &rwkv7::FAMILY,
    &seed_oss::FAMILY,
    &smallthinker::FAMILY,
    &smollm3::FAMILY,
    &spark2_5::FAMILY,
    &stablelm::FAMILY,
    &starcoder::FAMILY,
    &starcoder2::FAMILY,
    &step35::FAMILY,
    &t5encoder::FAMILY,
    &talkie::FAMILY,
    &xverse::FAMILY,
];

/// Families that have the classes and types of another: which, how a configuration says that it means them, and they.
pub(super) const VARIANTS: &[(&Family, IsMeant, &Family)] = &[
    (&nemotron_h::FAMILY, nemotron_h_moe::is_meant, &nemotron_h_moe::FAMILY),
    (&nomic_bert::FAMILY, nomic_bert_moe::is_meant, &nomic_bert_moe::FAMILY),
    (&gemma3::FAMILY, gemma_embedding::is_meant, &gemma_embedding::FAMILY),
    (&mistral3::FAMILY, mistral4::is_meant, &mistral4::FAMILY),
    (&glm4moe::FAMILY, bailingmoe2::is_meant, &bailingmoe2::FAMILY),
    (&llama::FAMILY, llama::is_paired, &llama::PAIRED),
];

type IsMeant = fn(&Config) -> Result<bool>;

/// What the declarations take from the rest of `arch` and from the specs.
mod prelude {
    pub(super) use gguf_simd::ops::Gate;

    pub(super) use crate::checkpoint::Config;
    pub(super) use crate::error::Result;
    pub(super) use crate::gguf::Value;
    pub(super) use crate::model::arch::Family;
    pub(super) use crate::model::arch::base::Base;
    pub(super) use crate::model::arch::config::{FromConfig, promises};
    pub(super) use crate::model::arch::defaults::{Defaults, Partial};
    pub(super) use crate::model::arch::dialect::Dialect;
    pub(super) use crate::model::arch::keys::Keys;
    pub(super) use crate::model::arch::names::{BEHIND, Names, SANDWICH, Sources, plain};
    pub(super) use crate::model::arch::source::{Piece, RowMap, Source, ValueMap};
    pub(super) use crate::model::arch::{encoder, pooled};
    pub(super) use crate::model::spec::layer::*;
    pub(super) use crate::model::spec::{
        ClassifierActivation, ModelSpec, Pooling, Promise, Promises, Role, RopeFactors, RopeScaling,
        RopeSpec, Side, Slot, Suffix,
    };
}
