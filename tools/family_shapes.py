"""The tiny models of tools/family_fixtures.py: for each folder, what transformers makes it of.

A folder is named after the architecture in GGUF, and a suffix for a variant. An entry is (model type in
transformers, arguments of its config class). What all have in common is `COMMON`; entries change it.

Every number is small, and every feature is felt within 40 positions: windows of 8, original contexts of 16,
bases of a few hundred, epsilons that are not negligible, multipliers away from 1.
"""

N_VOCAB = 264

COMMON = dict(
    vocab_size=N_VOCAB,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    bos_token_id=262,
    eos_token_id=263,
    pad_token_id=None,
    tie_word_embeddings=False,
)


def rope(theta=300.0, **more):
    return {"rope_type": "default", "rope_theta": theta, **more}


def shape(model_type, **own):
    """`COMMON` and what is said here; None as a value leaves a key to the config class."""
    keys = {"rms_norm_eps": 0.01, "rope_parameters": rope(), **COMMON, **own}
    kept = {"pad_token_id", "q_lora_rank", "sliding_window"}
    return model_type, {key: value for key, value in keys.items() if value is not None or key in kept}


WINDOWS = ["sliding_attention", "full_attention"]
GEMMA_ROPES = {"sliding_attention": rope(100.0), "full_attention": rope(2000.0)}
YARN = rope(
    rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=4.0, beta_slow=1.0
)
MLA = dict(
    num_key_value_heads=4,
    # Its norms of compressed queries and keys always have this one, and those of GGUF the model's.
    rms_norm_eps=1e-6,
    kv_lora_rank=16,
    qk_nope_head_dim=16,
    qk_rope_head_dim=8,
    v_head_dim=12,
    head_dim=8,
    n_routed_experts=8,
    n_shared_experts=2,
    num_experts_per_tok=3,
    moe_intermediate_size=12,
    routed_scaling_factor=1.7,
)
# Factors of the halves of a rotated head of 16.
LONG = [1.0, 1.3, 1.9, 2.4, 3.1, 3.3, 3.9, 4.5]
SHORT = [1.0, 1.1, 1.2, 1.25, 1.3, 1.4, 1.5, 1.6]


def longrope(original, n=8):
    return rope(
        rope_type="longrope",
        short_factor=SHORT[:n],
        long_factor=LONG[:n],
        original_max_position_embeddings=original,
    )


def experts(n=4, used=2, **more):
    return dict(num_local_experts=n, num_experts_per_tok=used, **more)


SHAPES = {
    "llama": shape("llama", head_dim=16, tie_word_embeddings=True),
    "llama-mixtral": shape("mixtral", head_dim=16, intermediate_size=24, **experts()),
    "llama-llama3-rope": shape(
        "llama",
        head_dim=16,
        attention_bias=True,
        rope_parameters=rope(
            rope_type="llama3",
            factor=4.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=16,
        ),
    ),
    "qwen2": shape("qwen2", tie_word_embeddings=True),
    "qwen2-yarn": shape("qwen2", rope_parameters=YARN),
    "qwen3": shape("qwen3", head_dim=16, tie_word_embeddings=True),
    "gemma3": shape(
        "gemma3_text",
        head_dim=16,
        num_hidden_layers=4,
        intermediate_size=32,
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        sliding_window=8,
        query_pre_attn_scalar=11,
        rope_parameters=GEMMA_ROPES,
        tie_word_embeddings=True,
    ),
    "gemma3-linear-rope": shape(
        "gemma3_text",
        head_dim=16,
        num_hidden_layers=2,
        layer_types=WINDOWS,
        sliding_window=8,
        query_pre_attn_scalar=16,
        rope_parameters={
            "sliding_attention": rope(100.0),
            "full_attention": rope(500.0, rope_type="linear", factor=8.0),
        },
        tie_word_embeddings=True,
    ),
    "gemma2": shape(
        "gemma2",
        head_dim=16,
        layer_types=WINDOWS,
        sliding_window=8,
        query_pre_attn_scalar=11,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=5.0,
        tie_word_embeddings=True,
    ),
    "gemma": shape("gemma", head_dim=16, num_key_value_heads=1, tie_word_embeddings=True),
    "phi3": shape("phi3", head_dim=None, original_max_position_embeddings=64, sliding_window=8),
    "phi3-longrope": shape(
        "phi3",
        num_attention_heads=2,
        num_key_value_heads=1,
        original_max_position_embeddings=16,
        rope_parameters={**longrope(16, 6), "partial_rotary_factor": 0.75},
        tie_word_embeddings=True,
    ),
    "phi3-longrope-short": shape(
        "phi3",
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        original_max_position_embeddings=512,
        rope_parameters=longrope(512),
        tie_word_embeddings=True,
    ),
    "qwen2moe": shape(
        "qwen2_moe",
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=24,
        norm_topk_prob=False,
    ),
    "qwen3moe": shape(
        "qwen3_moe",
        head_dim=16,
        num_experts=8,
        num_experts_per_tok=3,
        moe_intermediate_size=12,
        norm_topk_prob=True,
    ),
    "gpt-oss": shape(
        "gpt_oss",
        head_dim=16,
        intermediate_size=32,
        **experts(3, 2),
        sliding_window=8,
        layer_types=WINDOWS,
        rope_parameters={**YARN, "truncate": False},
        swiglu_limit=1.5,
    ),
    # Its experts are in MXFP4, as OpenAI's are.
    "gpt-oss-mxfp4": shape(
        "gpt_oss",
        head_dim=16,
        intermediate_size=32,
        **experts(4, 2),
        sliding_window=8,
        layer_types=WINDOWS,
        rope_parameters={**YARN, "truncate": False},
    ),
    "mistral3": shape(
        "ministral3",
        head_dim=16,
        rope_parameters={
            **YARN,
            "llama_4_scaling_beta": 0.1,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "max_position_embeddings": 64,
        },
    ),
    "granite": shape(
        "granite",
        tie_word_embeddings=True,
        embedding_multiplier=3.0,
        logits_scaling=0.7,
        residual_multiplier=0.6,
        attention_multiplier=0.3,
    ),
    "granitemoe": shape(
        "granitemoe",
        intermediate_size=16,
        **experts(4, 2),
        tie_word_embeddings=True,
        embedding_multiplier=3.0,
        logits_scaling=0.7,
        residual_multiplier=0.6,
        attention_multiplier=0.3,
    ),
    "granitemoe-shared": shape(
        "granitemoeshared",
        intermediate_size=16,
        shared_intermediate_size=24,
        **experts(4, 2),
        tie_word_embeddings=True,
        embedding_multiplier=3.0,
        logits_scaling=0.7,
        residual_multiplier=0.6,
        attention_multiplier=0.3,
    ),
    "smollm3": shape("smollm3", num_hidden_layers=4, intermediate_size=24, tie_word_embeddings=True),
    "olmo2": shape("olmo2"),
    "olmo2-windows": shape(
        "olmo3",
        num_hidden_layers=4,
        intermediate_size=24,
        sliding_window=8,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
        rope_parameters=YARN,
    ),
    "olmoe": shape("olmoe", num_key_value_heads=4, num_experts=8, num_experts_per_tok=3, intermediate_size=12),
    "deepseek2": shape(
        "deepseek_v2", **MLA, q_lora_rank=12, first_k_dense_replace=1, topk_method="greedy",
    ),
    "deepseek2-lite": shape(
        "deepseek_v2",
        **{**MLA, "routed_scaling_factor": 1.0},
        q_lora_rank=None,
        first_k_dense_replace=1,
        topk_method="greedy",
        rope_parameters={**YARN, "mscale": 0.707, "mscale_all_dim": 0.707},
    ),
    "deepseek2-groups": shape(
        "deepseek_v2",
        **MLA,
        q_lora_rank=12,
        first_k_dense_replace=1,
        topk_method="group_limited_greedy",
        n_group=4,
        topk_group=2,
    ),
    "deepseek2-v3": shape(
        "deepseek_v3",
        **{**MLA, "n_shared_experts": 1},
        q_lora_rank=12,
        first_k_dense_replace=1,
        n_group=4,
        topk_group=2,
        norm_topk_prob=True,
        num_nextn_predict_layers=0,
        rope_parameters={**YARN, "mscale": 1.0, "mscale_all_dim": 1.0},
    ),
    "deepseek2-glm": shape(
        "glm4_moe_lite",
        **{**MLA, "n_shared_experts": 1},
        q_lora_rank=12,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        mlp_layer_types=["dense", "sparse"],
    ),
    "glm4": shape("glm4", head_dim=16, attention_bias=True, rope_parameters=rope(partial_rotary_factor=0.5)),
    "glm4moe": shape(
        "glm4_moe",
        head_dim=16,
        attention_bias=True,
        use_qk_norm=True,
        moe_intermediate_size=12,
        num_experts_per_tok=3,
        n_shared_experts=1,
        n_routed_experts=8,
        routed_scaling_factor=1.7,
        first_k_dense_replace=1,
        norm_topk_prob=True,
        num_nextn_predict_layers=0,
        rope_parameters=rope(partial_rotary_factor=0.5),
    ),
}
