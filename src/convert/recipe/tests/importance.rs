//! What an importance matrix changes, and the mixtures that need one.

use super::*;

/// As [`plain`], with an importance matrix.
fn with_importance(file_type: FileType, model: &ModelSpec) -> Chosen {
    let matrix = std::sync::Arc::new(crate::quantize::ImportanceMatrix::default());
    let importance = Some(crate::convert::ImportanceFile { path: "imatrix.gguf".into(), matrix });
    let options = PlanOptions { importance, ..PlanOptions::new(file_type) };
    let tensors = tensors(model, 256, &[Role::Output]);
    let choices = choose(&options, (model, "llama"), &tensors).expect("types that fit");
    Chosen(tensors.into_iter().zip(choices).collect())
}

#[test]
fn importance_changes_the_first_ffn_downs() {
    let model = model(32, 32, 8, 0);
    for (file_type, raised) in [(FileType::Q4_0, BlockType::Q4_1), (FileType::Q5_0, BlockType::Q5_1)] {
        let chosen = with_importance(file_type, &model);
        assert_eq!(chosen.layers(Role::FfnDown, raised), [0, 1, 2, 3], "{file_type}");
        assert_eq!(plain(file_type, &model).only(Role::FfnDown), file_type.base());
    }
    for file_type in [FileType::IQ4_NL, FileType::IQ4_XS] {
        assert_eq!(with_importance(file_type, &model).only(Role::FfnDown), file_type.base());
    }
}

#[test]
fn codebook_mixtures_are_those_of_llama_quantize() {
    use BlockType::{IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, Q2_K, Q4_K, Q5_K, Q6_K};
    let (shared, apart) = (model(32, 32, 8, 0), model(32, 32, 16, 0));
    // Base, embedding, output, first feed-forward outputs, attention outputs, values that few queries share.
    for (file_type, expected) in [
        (FileType::IQ1_S, [IQ1_S, Q2_K, Q5_K, Q2_K, IQ2_XXS, Q2_K]),
        (FileType::IQ1_M, [IQ1_M, Q2_K, Q5_K, Q2_K, IQ2_XXS, Q2_K]),
        (FileType::IQ2_XXS, [IQ2_XXS, Q2_K, Q5_K, Q2_K, IQ2_XXS, Q2_K]),
        (FileType::IQ2_XS, [IQ2_XS, Q2_K, Q5_K, Q2_K, IQ2_XS, Q2_K]),
        (FileType::IQ2_S, [IQ2_XS, IQ3_S, Q5_K, IQ3_S, IQ3_S, IQ3_S]),
        (FileType::IQ2_M, [IQ2_S, IQ3_S, Q5_K, IQ3_S, IQ3_S, IQ3_S]),
        (FileType::IQ3_XXS, [IQ3_XXS, IQ3_S, Q5_K, IQ3_XXS, IQ3_S, IQ3_XXS]),
        (FileType::IQ3_XS, [IQ3_S, IQ3_S, Q6_K, IQ3_S, IQ3_S, IQ3_S]),
        (FileType::IQ3_S, [IQ3_S, IQ3_S, Q6_K, IQ3_S, IQ3_S, IQ3_S]),
        (FileType::IQ3_M, [IQ3_S, IQ3_S, Q6_K, Q4_K, Q4_K, Q4_K]),
    ] {
        let chosen = with_importance(file_type, &shared);
        let values = with_importance(file_type, &apart).only(Role::AttnV);
        let found = [
            file_type.base(),
            chosen.only(Role::TokenEmbd),
            chosen.only(Role::Output),
            chosen.types(Role::FfnDown)[0],
            chosen.only(Role::AttnOutput),
            values,
        ];
        assert_eq!(found, expected, "{file_type}");
        assert_eq!(chosen.only(Role::AttnV), Q4_K, "{file_type}");
        let last_down = *chosen.types(Role::FfnDown).last().expect("layers");
        assert_eq!(last_down, file_type.base(), "{file_type}");
    }
    let chosen = with_importance(FileType::IQ3_XS, &shared);
    assert_eq!(chosen.layers(Role::FfnUp, IQ3_S), [0, 1, 2, 3, 28, 29, 30, 31]);
    assert_eq!(chosen.only(Role::AttnQ), IQ3_XXS);
    assert_eq!(with_importance(FileType::IQ3_XXS, &shared).only(Role::AttnK), IQ2_S);
}

#[test]
fn the_smallest_types_are_refused_without_an_importance_matrix() {
    let model = model(8, 8, 4, 0);
    let tensors = tensors(&model, 256, &[Role::Output]);
    for (file_type, is_refused) in [
        (FileType::IQ2_XS, true),
        (FileType::IQ3_XXS, true),
        (FileType::IQ3_XS, true),
        (FileType::IQ3_S, false),
    ] {
        let outcome = choose(&PlanOptions::new(file_type), (&model, "llama"), &tensors);
        assert_eq!(outcome.is_err(), is_refused, "{file_type}");
        if let Err(error) = outcome {
            assert!(error.to_string().contains("--imatrix"), "{error}");
        }
    }
}
