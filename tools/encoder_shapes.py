"""What tools/encoder_fixtures.py makes: a model type, the arguments of its configuration, and whether it scores pairs."""

N_VOCAB = 320
BERT = dict(
    vocab_size=N_VOCAB, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
    max_position_embeddings=80, type_vocab_size=2,
)
NO_IDS = dict(pad_token_id=1, bos_token_id=0, eos_token_id=2)
ROBERTA = BERT | dict(pad_token_id=1, max_position_embeddings=82, type_vocab_size=1)



def ROPE(theta):
    return {"rope_type": "default", "rope_theta": theta}


SHAPES = {
    "bert": ("bert", BERT, False),
    "bert-rank": ("bert", BERT | dict(num_labels=1), True),
    "bert-roberta": ("roberta", ROBERTA, False),
    "bert-xlm-roberta-rank": ("xlm-roberta", ROBERTA | dict(num_labels=3), True),
    "bert-distilbert": (
        "distilbert",
        dict(vocab_size=N_VOCAB, dim=64, n_layers=2, n_heads=4, hidden_dim=96, max_position_embeddings=80),
        False,
    ),
}


LIKE_LLAMA = dict(
    vocab_size=N_VOCAB, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
    max_position_embeddings=80,
)
MPNET = LIKE_LLAMA | NO_IDS | dict(max_position_embeddings=142)
NEO_BERT = dict(
    vocab_size=N_VOCAB, hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=80,
    hidden_act="SwiGLU", max_length=80, norm_eps=0.01, rms_norm=True, rope=True,
)
GTE = dict(
    vocab_size=N_VOCAB, hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=64,
    max_position_embeddings=96, type_vocab_size=0, hidden_act="gelu", layer_norm_type="layer_norm", layer_norm_eps=1e-12,
    position_embedding_type="rope", rope_theta=100.0, pack_qkv=True, logn_attention_scale=False,
    logn_attention_clip1=False,
)
# Tokens of texts, where they are not the usual ones: far enough for the last bucket of relative positions.
LENGTHS = dict.fromkeys(("mpnet", "t5encoder", "t5encoder-gated", "t5encoder-umt5"), [29, 1, 140, 12])
T5 = dict(
    vocab_size=N_VOCAB, d_model=48, d_kv=12, d_ff=64, num_layers=2, num_heads=3, relative_attention_num_buckets=32,
    layer_norm_epsilon=0.01,
)
SHAPES |= {
    "t5encoder": ("t5", T5, False),
    "t5encoder-gated": ("mt5", T5 | dict(feed_forward_proj="gated-gelu"), False),
    "t5encoder-umt5": ("umt5", T5 | dict(feed_forward_proj="gated-gelu"), False),
    "mpnet": ("mpnet", MPNET, False),
    "mpnet-rank": ("mpnet", MPNET | dict(num_labels=2), True),
    "nomic-bert": ("nomic_bert", BERT | dict(max_position_embeddings=96, rope_parameters=ROPE(1000.0)), False),
    "modern-bert": (
        "modernbert",
        LIKE_LLAMA | dict(num_hidden_layers=4, hidden_size=32, intermediate_size=48, local_attention=16, **NO_IDS),
        False,
    ),
    "modern-bert-rank": (
        "modernbert",
        LIKE_LLAMA
        | dict(num_hidden_layers=3, hidden_size=32, intermediate_size=48, local_attention=16, num_labels=2)
        | dict(classifier_pooling="mean", **NO_IDS),
        True,
    ),
    "gemma-embedding": (
        "gemma3_text",
        LIKE_LLAMA
        | dict(num_hidden_layers=3, hidden_size=32, num_key_value_heads=2, head_dim=16, sliding_window=16)
        | dict(layer_types=["sliding_attention", "sliding_attention", "full_attention"])
        | dict(use_bidirectional_attention=True, query_pre_attn_scalar=16),
        False,
    ),
    # Decoders with scores in place of their output matrix.
    "qwen3-rank": ("qwen3", LIKE_LLAMA | dict(num_key_value_heads=2, head_dim=32, num_labels=1, **NO_IDS), True),
    "llama-rank": ("llama", LIKE_LLAMA | dict(num_key_value_heads=2, num_labels=3, **NO_IDS), True),
    "eurobert": ("eurobert", LIKE_LLAMA | dict(num_key_value_heads=2, mask_token_id=4, **NO_IDS), False),
    # A twin: see tools/encoder_fixtures.py.
    "llama-embed": ("eurobert", LIKE_LLAMA | dict(num_key_value_heads=2, mask_token_id=4, **NO_IDS), False),
    "neo-bert": ("neobert", NEO_BERT, False),
    "neo-bert-rank": ("neobert_rank", NEO_BERT | dict(id2label={"0": "LABEL_0"}), True),
    "lfm2-bidirectional": (
        "lfm2_bidirectional",
        dict(
            vocab_size=N_VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=2, layer_types=["conv", "full_attention", "conv", "full_attention"], conv_L_cache=3,
            conv_bias=False, block_auto_adjust_ff_dim=False, norm_eps=0.01, rope_theta=300.0, max_position_embeddings=96,
        ),
        False,
    ),
    "nomic-bert-moe": (
        "nomic_bert_moe",
        dict(
            vocab_size=N_VOCAB, n_embd=48, n_layer=3, n_head=3, num_attention_heads=3, n_inner=40, n_positions=96,
            type_vocab_size=2, layer_norm_epsilon=1e-5, rotary_emb_base=1000.0, activation_function="gelu",
            moe_every_n_layers=2, num_experts=4, moe_top_k=2, qkv_proj_bias=True, mlp_fc1_bias=True,
            mlp_fc2_bias=True, causal=False, prenorm=False,
        ),
        False,
    ),
    "gte": ("new", GTE | dict(rope_scaling=dict(type="ntk", factor=4.0)), False),
    "gte-rank": ("gte", BERT | dict(num_labels=2, rope_parameters=ROPE(100.0)), True),
    "gte-new-rank": (
        "new_rank",
        GTE | dict(type_vocab_size=2, pack_qkv=False, rope_scaling=None, id2label={"0": "LABEL_0"}),
        True,
    ),
    "jina-bert-v2": ("jina_bert_v2", BERT | dict(intermediate_size=64), False),
    "jina-bert-v3": ("jina_embeddings_v3", ROBERTA | dict(max_position_embeddings=96), False),
}
