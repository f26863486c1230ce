//! The recipes, against the tables of llama-quantize.

mod importance;

use super::*;
use crate::convert::FileType;
use crate::gguf::Value;
use crate::model::arch::{self, Keys};
use crate::model::spec::layer::MixerSpec;

/// A `llama` of this shape.
fn model(n_layer: usize, n_head: usize, n_head_kv: usize, n_expert: usize) -> ModelSpec {
    let counts = [
        ("block_count", n_layer),
        ("embedding_length", 256),
        ("attention.head_count", n_head),
        ("attention.head_count_kv", n_head_kv),
        ("attention.key_length", 32),
        ("attention.value_length", 32),
        ("feed_forward_length", 512),
        ("vocab_size", 1000),
        ("context_length", 128),
        ("expert_count", n_expert),
        ("expert_used_count", n_expert.min(2)),
    ];
    let key = |name: &str| format!("llama.{name}");
    let mut pairs: Vec<(String, Value)> =
        counts.iter().map(|&(name, n)| (key(name), Value::U32(n as u32))).collect();
    pairs.push((key("attention.layer_norm_rms_epsilon"), Value::F32(1e-5)));
    let family = arch::by_gguf_name("llama").expect("a family");
    let path = std::path::Path::new("config.json");
    (family.spec)(Keys::made("llama", path, &pairs, &|_| false)).expect("a sound model")
}

/// A model's tensors with rows of `n_in` elements, tied unless `Role::Output` is among `extra`.
fn tensors(model: &ModelSpec, n_in: usize, extra: &[Role]) -> Vec<Candidate> {
    let candidate = |role: Role, layer, shape: &[usize]| Candidate {
        name: TensorId::weight(role, layer).gguf_name(),
        id: TensorId::weight(role, layer),
        shape: shape.to_vec(),
        kept: None,
        held: None,
        block_type: None,
    };
    let mut all = vec![candidate(Role::TokenEmbd, None, &[1000, n_in])];
    for layer in 0..model.n_layer() {
        let layer = Some(layer);
        all.push(candidate(Role::AttnNorm, layer, &[n_in]));
        for role in [Role::AttnQ, Role::AttnK, Role::AttnV, Role::AttnOutput] {
            all.push(candidate(role, layer, &[64, n_in]));
        }
        if model.experts().0 > 0 {
            all.push(candidate(Role::FfnGateInp, layer, &[model.experts().0, n_in]));
            for role in [Role::FfnGateExps, Role::FfnUpExps, Role::FfnDownExps] {
                all.push(candidate(role, layer, &[model.experts().0, 64, n_in]));
            }
        } else {
            for role in [Role::FfnGate, Role::FfnUp, Role::FfnDown] {
                all.push(candidate(role, layer, &[64, n_in]));
            }
        }
    }
    all.extend(extra.iter().map(|&role| candidate(role, None, &[1000, n_in])));
    all
}

struct Chosen(Vec<(Candidate, Choice)>);

impl Chosen {
    fn new(file_type: FileType, model: &ModelSpec, overrides: &Overrides, tensors: Vec<Candidate>) -> Self {
        let options = PlanOptions { overrides: overrides.clone(), ..PlanOptions::new(file_type) };
        let choices = choose(&options, (model, "llama"), &tensors).expect("types that fit");
        Self(tensors.into_iter().zip(choices).collect())
    }

    /// The layers in which `role` has type `ty`.
    fn layers(&self, role: Role, ty: BlockType) -> Vec<usize> {
        let hits = self.0.iter().filter(|(tensor, choice)| tensor.id.role == role && choice.block_type == ty);
        hits.map(|(tensor, _)| tensor.id.layer.expect("a layer's role")).collect()
    }

    /// The types of `role` in order of the layers.
    fn types(&self, role: Role) -> Vec<BlockType> {
        self.0
            .iter()
            .filter(|(tensor, _)| tensor.id.role == role)
            .map(|(_, choice)| choice.block_type)
            .collect()
    }

    fn only(&self, role: Role) -> BlockType {
        let types = self.types(role);
        assert!(types.windows(2).all(|pair| pair[0] == pair[1]), "{role:?} has {types:?}");
        types[0]
    }
}

fn plain(file_type: FileType, model: &ModelSpec) -> Chosen {
    Chosen::new(file_type, model, &Overrides::default(), tensors(model, 256, &[Role::Output]))
}

const MORE_BITS_OF_32: [usize; 16] = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31];

#[test]
fn medium_mixtures_of_32_layers_raise_sixteen() {
    let chosen = plain(FileType::Q4_K_M, &model(32, 32, 8, 0));
    assert_eq!(chosen.layers(Role::AttnV, BlockType::Q6_K), MORE_BITS_OF_32);
    assert_eq!(chosen.layers(Role::FfnDown, BlockType::Q6_K), MORE_BITS_OF_32);
    assert_eq!(chosen.layers(Role::AttnV, BlockType::Q4_K).len(), 16);
    for role in [Role::AttnQ, Role::AttnK, Role::AttnOutput, Role::FfnGate, Role::FfnUp, Role::TokenEmbd] {
        assert_eq!(chosen.only(role), BlockType::Q4_K, "{role:?}");
    }
    assert_eq!(chosen.only(Role::Output), BlockType::Q6_K);
    assert_eq!(chosen.only(Role::AttnNorm), BlockType::F32);

    let chosen = plain(FileType::Q5_K_M, &model(32, 32, 8, 0));
    assert_eq!(chosen.layers(Role::AttnV, BlockType::Q6_K), MORE_BITS_OF_32);
    assert_eq!(chosen.layers(Role::FfnDown, BlockType::Q6_K), MORE_BITS_OF_32);
    assert_eq!(chosen.only(Role::FfnUp), BlockType::Q5_K);
}

#[test]
fn small_mixtures_raise_the_first_layers_only() {
    let chosen = plain(FileType::Q4_K_S, &model(40, 40, 10, 0));
    assert_eq!(chosen.layers(Role::AttnV, BlockType::Q5_K), [0, 1, 2, 3]);
    assert_eq!(chosen.layers(Role::FfnDown, BlockType::Q5_K), [0, 1, 2, 3, 4]);
    let chosen = plain(FileType::Q5_K_S, &model(32, 32, 8, 0));
    assert_eq!(chosen.only(Role::AttnV), BlockType::Q5_K);
    assert_eq!(chosen.only(Role::FfnDown), BlockType::Q5_K);
    assert_eq!(chosen.only(Role::Output), BlockType::Q6_K);
}

#[test]
fn three_bit_mixtures_raise_values_attention_outputs_and_ffn_downs() {
    let model = model(32, 32, 8, 0);
    let chosen = plain(FileType::Q3_K_M, &model);
    assert_eq!(chosen.layers(Role::AttnV, BlockType::Q5_K), [0, 1]);
    assert_eq!(chosen.layers(Role::AttnV, BlockType::Q4_K).len(), 30);
    assert_eq!(chosen.layers(Role::FfnDown, BlockType::Q5_K), [0, 1]);
    assert_eq!(chosen.layers(Role::FfnDown, BlockType::Q4_K).len(), 30);
    assert_eq!(chosen.only(Role::AttnOutput), BlockType::Q4_K);
    let chosen = plain(FileType::Q3_K_L, &model);
    for role in [Role::AttnV, Role::FfnDown, Role::AttnOutput] {
        assert_eq!(chosen.only(role), BlockType::Q5_K, "{role:?}");
        assert_eq!(plain(FileType::Q3_K_S, &model).only(role), BlockType::Q3_K, "{role:?}");
    }
    for file_type in [FileType::Q3_K_L, FileType::Q3_K_M, FileType::Q3_K_S] {
        for role in [Role::AttnQ, Role::AttnK, Role::FfnGate, Role::FfnUp, Role::TokenEmbd] {
            assert_eq!(plain(file_type, &model).only(role), BlockType::Q3_K, "{file_type} {role:?}");
        }
        assert_eq!(plain(file_type, &model).only(Role::Output), BlockType::Q6_K, "{file_type}");
    }
}

#[test]
fn two_bit_mixtures_raise_values_more_where_four_queries_share_one() {
    let (shared, apart) = (model(32, 32, 8, 0), model(32, 32, 16, 0));
    let chosen = plain(FileType::Q2_K, &shared);
    assert_eq!(chosen.only(Role::AttnV), BlockType::Q4_K);
    assert_eq!(chosen.only(Role::FfnDown), BlockType::Q3_K);
    assert_eq!(chosen.only(Role::AttnOutput), BlockType::Q3_K);
    assert_eq!(chosen.only(Role::FfnUp), BlockType::Q2_K);
    assert_eq!(plain(FileType::Q2_K, &apart).only(Role::AttnV), BlockType::Q3_K);

    let chosen = plain(FileType::Q2_K_S, &shared);
    assert_eq!(chosen.only(Role::AttnV), BlockType::Q4_K);
    assert_eq!(chosen.layers(Role::FfnDown, BlockType::Q4_K), [0, 1, 2, 3]);
    assert_eq!(chosen.layers(Role::FfnDown, BlockType::Q2_K).len(), 28);
    assert_eq!(chosen.only(Role::AttnOutput), BlockType::Q2_K);
    assert_eq!(plain(FileType::Q2_K_S, &apart).only(Role::AttnV), BlockType::Q2_K);
}

#[test]
fn table_types_raise_values_that_four_queries_share_and_the_first_ffn_downs() {
    for file_type in [FileType::IQ4_NL, FileType::IQ4_XS] {
        let chosen = plain(file_type, &model(32, 32, 8, 0));
        assert_eq!(chosen.only(Role::AttnV), BlockType::Q5_K, "{file_type}");
        assert_eq!(chosen.layers(Role::FfnDown, BlockType::Q5_K), [0, 1, 2, 3], "{file_type}");
        for role in [Role::AttnQ, Role::AttnK, Role::AttnOutput, Role::FfnUp, Role::TokenEmbd] {
            assert_eq!(chosen.only(role), file_type.base(), "{file_type} {role:?}");
        }
        assert_eq!(chosen.only(Role::Output), BlockType::Q6_K, "{file_type}");
        let apart = plain(file_type, &model(32, 32, 16, 0));
        assert_eq!(apart.only(Role::AttnV), file_type.base(), "{file_type}");
        assert_eq!(plain(file_type, &model(32, 32, 8, 8)).only(Role::AttnOutput), BlockType::Q5_K);
    }
}

#[test]
fn types_of_few_values_keep_the_embedding_in_four_bits() {
    for file_type in [FileType::TQ1_0, FileType::TQ2_0, FileType::Q1_0, FileType::Q2_0] {
        let chosen = plain(file_type, &model(8, 8, 4, 0));
        assert_eq!(chosen.only(Role::TokenEmbd), BlockType::Q4_K, "{file_type}");
        assert_eq!(chosen.only(Role::Output), BlockType::Q6_K, "{file_type}");
        for role in [Role::AttnQ, Role::AttnV, Role::FfnDown] {
            assert_eq!(chosen.only(role), file_type.base(), "{file_type} {role:?}");
        }
    }
}

#[test]
fn microscaled_floats_are_for_stacks_of_experts() {
    let chosen = plain(FileType::MXFP4_MOE, &model(8, 8, 4, 4));
    for role in [Role::FfnGateExps, Role::FfnUpExps, Role::FfnDownExps] {
        assert_eq!(chosen.only(role), BlockType::MXFP4, "{role:?}");
    }
    for role in [Role::TokenEmbd, Role::AttnQ, Role::AttnV, Role::AttnOutput, Role::Output] {
        assert_eq!(chosen.only(role), BlockType::Q8_0, "{role:?}");
    }
    assert_eq!(plain(FileType::MXFP4_MOE, &model(8, 8, 4, 0)).only(Role::FfnDown), BlockType::Q8_0);
}

#[test]
fn unmixed_types_raise_the_output_only() {
    for (file_type, output) in [
        (FileType::Q4_0, BlockType::Q6_K),
        (FileType::Q4_1, BlockType::Q6_K),
        (FileType::Q5_0, BlockType::Q6_K),
        (FileType::Q5_1, BlockType::Q6_K),
        (FileType::Q6_K, BlockType::Q6_K),
        (FileType::Q8_0, BlockType::Q8_0),
        (FileType::F16, BlockType::F16),
        (FileType::BF16, BlockType::BF16),
        (FileType::F32, BlockType::F32),
    ] {
        let chosen = plain(file_type, &model(8, 8, 4, 0));
        assert_eq!(chosen.only(Role::Output), output, "{file_type}");
        for role in [Role::TokenEmbd, Role::AttnQ, Role::AttnV, Role::FfnDown] {
            assert_eq!(chosen.only(role), file_type.base(), "{file_type} {role:?}");
        }
    }
}

#[test]
fn a_tied_embedding_is_the_output() {
    let model = model(8, 8, 4, 0);
    let tied = |file_type| {
        Chosen::new(file_type, &model, &Overrides::default(), tensors(&model, 256, &[])).only(Role::TokenEmbd)
    };
    assert_eq!(tied(FileType::Q4_K_M), BlockType::Q6_K);
    assert_eq!(tied(FileType::Q8_0), BlockType::Q8_0);
    assert_eq!(tied(FileType::F16), BlockType::F16);
}

#[test]
fn eighty_layers_with_grouped_queries_raise_values() {
    let chosen = plain(FileType::Q4_K_M, &model(80, 64, 8, 0));
    assert!(chosen.layers(Role::AttnV, BlockType::Q4_K).is_empty());
    assert_eq!(chosen.layers(Role::AttnV, BlockType::Q5_K).len(), 40);
    assert_eq!(chosen.layers(Role::FfnDown, BlockType::Q4_K).len(), 40);
    let chosen = plain(FileType::Q4_K_S, &model(80, 64, 8, 0));
    assert_eq!(chosen.only(Role::AttnV), BlockType::Q5_K);
    assert_eq!(plain(FileType::Q3_K_S, &model(80, 64, 8, 0)).only(Role::AttnV), BlockType::Q5_K);
    let chosen = plain(FileType::Q4_K_M, &model(80, 64, 64, 0));
    assert_eq!(chosen.layers(Role::AttnV, BlockType::Q4_K).len(), 40);
}

#[test]
fn seventy_billion_weights_have_other_numbers_of_layers_by_architecture() {
    let values = |architecture: &str, n_layer| {
        let model = model(n_layer, 8, 2, 0);
        let tensors = tensors(&model, 256, &[Role::Output]);
        let options = PlanOptions::new(FileType::Q3_K_S);
        let choices = choose(&options, (&model, architecture), &tensors).expect("types that fit");
        let all = tensors.iter().zip(choices).filter(|(tensor, _)| tensor.id.role == Role::AttnV);
        all.map(|(_, choice)| choice.block_type).collect::<Vec<_>>()
    };
    for (architecture, n_layer, ty) in [
        ("qwen2", 80, BlockType::Q5_K),
        ("jais2", 68, BlockType::Q5_K),
        ("jais2", 80, BlockType::Q3_K),
        ("qwen3", 80, BlockType::Q3_K),
    ] {
        assert_eq!(values(architecture, n_layer), vec![ty; n_layer], "{architecture}");
    }
}

#[test]
fn a_first_layer_without_attention_shares_no_values() {
    let with_first = |mixer| {
        let mut model = model(4, 8, 2, 0);
        model.layers[0].mixer = mixer;
        plain(FileType::Q2_K, &model).types(Role::AttnV)[1]
    };
    assert_eq!(with_first(model(1, 8, 2, 0).layers[0].mixer.clone()), BlockType::Q4_K);
    assert_eq!(with_first(MixerSpec::None), BlockType::Q3_K);
}

#[test]
fn a_rule_for_the_embedding_comes_before_the_type_of_the_output() {
    let model = model(2, 2, 2, 0);
    let rule = (Regex::new("token_embd").expect("sound"), BlockType::Q8_0);
    let overrides = Overrides { tensors: vec![rule], output: Some(BlockType::Q5_0), ..Overrides::default() };
    let chosen = Chosen::new(FileType::Q4_K_M, &model, &overrides, tensors(&model, 256, &[]));
    assert_eq!(chosen.only(Role::TokenEmbd), BlockType::Q8_0);
}

#[test]
fn eight_experts_keep_keys_and_values_precise() {
    let moe = model(32, 32, 8, 8);
    for file_type in [FileType::Q4_K_M, FileType::Q4_K_S, FileType::Q6_K, FileType::Q4_0] {
        let chosen = plain(file_type, &moe);
        assert_eq!(chosen.only(Role::AttnK), BlockType::Q8_0, "{file_type}");
        assert_eq!(chosen.only(Role::AttnV), BlockType::Q8_0, "{file_type}");
        assert_eq!(chosen.only(Role::FfnGateInp), BlockType::F32, "{file_type}");
        let output = if file_type.base() == BlockType::Q4_K { BlockType::Q5_K } else { file_type.base() };
        assert_eq!(chosen.only(Role::AttnOutput), output, "{file_type}");
    }
    for file_type in [FileType::Q5_K_M, FileType::Q3_K_M, FileType::Q3_K_S, FileType::Q2_K] {
        assert_eq!(plain(file_type, &moe).only(Role::AttnOutput), BlockType::Q5_K, "{file_type}");
    }
    assert_eq!(plain(FileType::Q3_K_L, &moe).only(Role::AttnOutput), BlockType::Q3_K);
    assert_eq!(plain(FileType::Q2_K_S, &moe).only(Role::AttnOutput), BlockType::Q2_K);
    assert_eq!(plain(FileType::Q4_K_M, &moe).layers(Role::FfnDownExps, BlockType::Q6_K), MORE_BITS_OF_32);
    assert_eq!(plain(FileType::Q4_K_M, &model(32, 32, 8, 4)).only(Role::AttnK), BlockType::Q4_K);
}

#[test]
fn rows_that_do_not_divide_fall_back() {
    let model = model(8, 14, 2, 0);
    let chosen = |file_type, n_in, extra: &[Role]| {
        Chosen::new(file_type, &model, &Overrides::default(), tensors(&model, n_in, extra))
    };
    let mixed = chosen(FileType::Q4_K_M, 896, &[Role::Output]);
    assert_eq!(mixed.only(Role::AttnQ), BlockType::Q5_0);
    assert_eq!(mixed.only(Role::Output), BlockType::Q8_0);
    assert_eq!(mixed.layers(Role::FfnDown, BlockType::Q8_0), [0, 3, 6, 7]);
    assert_eq!(chosen(FileType::Q5_K_S, 896, &[]).only(Role::AttnQ), BlockType::Q5_1);
    assert_eq!(chosen(FileType::Q3_K_S, 896, &[]).only(Role::AttnQ), BlockType::Q4_0);
    assert_eq!(chosen(FileType::Q2_K, 896, &[]).only(Role::AttnQ), BlockType::Q4_0);
    assert_eq!(chosen(FileType::TQ2_0, 896, &[]).only(Role::AttnQ), BlockType::Q4_0);
    assert_eq!(chosen(FileType::Q1_0, 896, &[]).only(Role::AttnQ), BlockType::Q1_0);
    assert_eq!(chosen(FileType::Q1_0, 960, &[]).only(Role::AttnQ), BlockType::Q4_0);
    assert_eq!(chosen(FileType::Q2_0, 960, &[]).only(Role::AttnQ), BlockType::Q2_0);
    assert_eq!(chosen(FileType::Q2_0, 992, &[]).only(Role::AttnQ), BlockType::Q4_0);
    assert_eq!(chosen(FileType::NVFP4, 992, &[]).only(Role::AttnQ), BlockType::IQ4_NL);
    assert_eq!(chosen(FileType::IQ4_XS, 896, &[]).only(Role::AttnQ), BlockType::IQ4_NL);
    assert_eq!(chosen(FileType::Q4_0, 896, &[Role::Output]).only(Role::Output), BlockType::Q8_0);
    for file_type in [FileType::Q4_K_M, FileType::Q8_0, FileType::Q4_0] {
        assert_eq!(chosen(file_type, 100, &[]).only(Role::AttnQ), BlockType::F16, "{file_type}");
    }
    let (_, choice) = &mixed.0[2];
    assert_eq!(choice.instead_of, Some(BlockType::Q4_K));
}

#[test]
fn overrides_win_in_their_order_and_do_not_count() {
    let model = model(8, 8, 4, 0);
    let pattern = |name: &str, ty| (Regex::new(name).expect("a pattern"), ty);
    let overrides = Overrides {
        tensors: vec![pattern(r"blk\.0\.attn_v", BlockType::F16), pattern("attn_v|output", BlockType::Q5_0)],
        output: Some(BlockType::Q4_K),
        token_embd: Some(BlockType::Q4_0),
        pure: false,
    };
    let chosen = Chosen::new(FileType::Q4_K_M, &model, &overrides, tensors(&model, 256, &[Role::Output]));
    assert_eq!(chosen.layers(Role::AttnV, BlockType::F16), [0]);
    assert_eq!(chosen.layers(Role::AttnV, BlockType::Q5_0), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(chosen.only(Role::Output), BlockType::Q4_K);
    assert_eq!(chosen.only(Role::TokenEmbd), BlockType::Q4_0);

    // Layer 0 is decided by the user, so the mixture sees layer 1 as the first value projection.
    let overrides =
        Overrides { tensors: vec![pattern(r"blk\.0\.", BlockType::Q5_0)], ..Overrides::default() };
    let chosen = Chosen::new(FileType::Q4_K_M, &model, &overrides, tensors(&model, 256, &[]));
    assert_eq!(chosen.layers(Role::AttnV, BlockType::Q6_K), [1, 4, 7]);
    assert_eq!(chosen.only(Role::AttnNorm), BlockType::F32);
}

#[test]
fn pure_skips_the_mixture_and_keeps_overrides() {
    let model = model(8, 8, 4, 8);
    let overrides = Overrides {
        tensors: vec![(Regex::new("attn_q").expect("a pattern"), BlockType::Q8_0)],
        pure: true,
        ..Overrides::default()
    };
    let chosen = Chosen::new(FileType::Q4_K_M, &model, &overrides, tensors(&model, 256, &[Role::Output]));
    for role in [Role::AttnV, Role::AttnK, Role::Output, Role::TokenEmbd, Role::FfnDownExps] {
        assert_eq!(chosen.only(role), BlockType::Q4_K, "{role:?}");
    }
    assert_eq!(chosen.only(Role::AttnQ), BlockType::Q8_0);
}

#[test]
fn an_explicit_output_type_that_misfits_is_refused() {
    let model = model(8, 14, 2, 0);
    let overrides = Overrides { output: Some(BlockType::Q4_K), ..Overrides::default() };
    let options = PlanOptions { overrides, ..PlanOptions::new(FileType::Q8_0) };
    let error = choose(&options, (&model, "llama"), &tensors(&model, 896, &[Role::Output]));
    let message = error.expect_err("896 is not a multiple of 256").to_string();
    assert!(
        message.contains("output.weight") && message.contains("896") && message.contains("Q5_0"),
        "{message}"
    );
}
