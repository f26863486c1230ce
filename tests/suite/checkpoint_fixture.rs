//! The bundled checkpoint opens as what its files say it is.

use std::path::Path;

use gguf_kit::checkpoint::{Checkpoint, Shard, SourceType};

fn fairytale() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/fairytale")
}

#[test]
fn folder_and_file_open_as_the_same_checkpoint() {
    let by_folder = Checkpoint::open(&fairytale()).unwrap();
    let by_file = Checkpoint::open(&fairytale().join("model.safetensors")).unwrap();
    assert!(by_folder.tensor_names().eq(by_file.tensor_names()));
    assert!(by_folder.shards().iter().map(Shard::path).eq(by_file.shards().iter().map(Shard::path)));
    assert_eq!(by_folder.folder().asked_for(), by_file.folder().asked_for());
    assert_eq!(by_folder.tensor_names().len(), 1 + 8 * 9 + 1);
    let embedding = by_folder.tensor("model.embed_tokens.weight").unwrap().unwrap();
    assert_eq!((embedding.dtype, embedding.shape), (SourceType::BF16, [4096, 256].as_slice()));
    assert_eq!(embedding.n_bytes, 4096 * 256 * 2);
    assert!(by_folder.tensor("lm_head.weight").unwrap().is_none());
}

#[test]
fn neighbours_are_read() {
    let checkpoint = Checkpoint::open(&fairytale()).unwrap();
    let config = checkpoint.config();
    assert_eq!(config.strings("architectures").unwrap().unwrap(), ["LlamaForCausalLM"]);
    assert_eq!(config.required_f32("rms_norm_eps").unwrap(), 1e-5);
    assert!(config.value("rope_scaling").is_none());
    let generation = checkpoint.generation_config().unwrap();
    assert_eq!(generation.token_ids("eos_token_id").unwrap(), [4092, 4095]);
    assert_eq!(checkpoint.quantization_method(), None);
    assert!(checkpoint.notes().is_empty());
    assert_eq!(checkpoint.total_bytes(), 14_696_792);
}
