"""More tiny models of tools/family_fixtures.py: see tools/family_shapes.py."""

from family_shapes import COMMON, GEMMA_ROPES, N_VOCAB, WINDOWS, YARN, experts, longrope, rope, shape

ROPE_HALF = rope(partial_rotary_factor=0.5)
FALCON = {
    "rms_norm_eps": None,
    "layer_norm_epsilon": 0.01,
    "intermediate_size": None,
    "num_key_value_heads": None,
    "ffn_hidden_size": 64,
    "tie_word_embeddings": True,
}
FALCON_40B = FALCON | {"num_kv_heads": 2, "new_decoder_architecture": True, "num_ln_in_parallel_attn": 2}
LAYER_NORM = dict(rms_norm_eps=None, layer_norm_eps=0.01)
MOE = dict(
    moe_intermediate_size=12,
    num_experts_per_tok=3,
    n_shared_experts=1,
    n_routed_experts=8,
    routed_scaling_factor=1.7,
    first_k_dense_replace=1,
    norm_topk_prob=True,
)
GEMMA4 = dict(
    head_dim=8,
    layer_types=WINDOWS,
    sliding_window=8,
    rope_parameters={
        "sliding_attention": rope(100.0),
        "full_attention": rope(2000.0, rope_type="proportional", partial_rotary_factor=0.25),
    },
    global_head_dim=16,
    final_logit_softcapping=5.0,
    tie_word_embeddings=True,
)


def old_shape(model_type, **own):
    """A model whose config class has names of its own for what `COMMON` says."""
    nothing = dict.fromkeys(("rms_norm_eps", "rope_parameters", *COMMON))
    ours = {"vocab_size": N_VOCAB, "bos_token_id": 262, "eos_token_id": 263}
    return shape(model_type, **{**nothing, **ours, **own})


def multimodal(model_type, text, vision, **own):
    """A model with a part for images, whose weights are there and say nothing of texts."""
    text_type, arguments = text
    tie = arguments["tie_word_embeddings"]
    arguments = {"model_type": text_type, **arguments}
    return model_type, dict(text_config=arguments, vision_config=vision, tie_word_embeddings=tie, **own)


VISION = dict(
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    image_size=8,
    patch_size=4,
)
QWEN_VISION = dict(depth=1, num_heads=2, patch_size=2, temporal_patch_size=1, spatial_merge_size=2)
QWEN3_VISION = dict(
    **QWEN_VISION,
    hidden_size=16,
    intermediate_size=16,
    out_hidden_size=32,
    num_position_embeddings=4,
    deepstack_visual_indexes=[0],
)
QWEN3_VL_MOE = multimodal(
    "qwen3_vl_moe",
    shape(
        "qwen3_vl_moe_text",
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=12,
        rope_parameters=rope(mrope_section=[2, 1, 1], mrope_interleaved=True),
    ),
    QWEN3_VISION,
)
MULTIMODAL_SHAPES = {
    "gemma3-multimodal": multimodal(
        "gemma3",
        shape(
            "gemma3_text",
            head_dim=16,
            layer_types=WINDOWS,
            sliding_window=8,
            query_pre_attn_scalar=11,
            rope_parameters={
                "sliding_attention": rope(100.0),
                "full_attention": rope(500.0, rope_type="linear", factor=8.0),
            },
            tie_word_embeddings=True,
        ),
        {"model_type": "siglip_vision_model", **VISION},
        mm_tokens_per_image=4,
    ),
    "gemma4-multimodal": multimodal(
        "gemma4",
        shape("gemma4_text", **GEMMA4, hidden_size_per_layer_input=0, pad_token_id=0),
        None,
        audio_config=None,
    ),
    "llama4-multimodal": multimodal(
        "llama4",
        shape(
            "llama4_text",
            head_dim=8,
            intermediate_size=16,
            intermediate_size_mlp=24,
            num_local_experts=4,
            num_experts_per_tok=1,
            interleave_moe_layer_step=2,
            no_rope_layers=[1, 1],
            attention_chunk_size=8,
            floor_scale=8,
            attn_scale=0.1,
            use_qk_norm=False,
        ),
        {
            "model_type": "llama4_vision_model",
            **VISION,
            "vision_output_dim": 16,
            "projector_input_dim": 16,
            "projector_output_dim": 16,
        },
    ),
    "qwen2vl": multimodal(
        "qwen2_vl",
        shape("qwen2_vl_text", rope_parameters=rope(mrope_section=[1, 1, 2]), tie_word_embeddings=True),
        {**QWEN_VISION, "embed_dim": 16, "hidden_size": 32, "mlp_ratio": 1},
    ),
    "qwen2vl-2.5": multimodal(
        "qwen2_5_vl",
        shape("qwen2_5_vl_text", rope_parameters=rope(mrope_section=[1, 1, 2])),
        {**QWEN_VISION, "hidden_size": 16, "intermediate_size": 16, "out_hidden_size": 32},
    ),
    "qwen3vl": multimodal(
        "qwen3_vl",
        shape(
            "qwen3_vl_text",
            head_dim=16,
            rope_parameters=rope(mrope_section=[4, 2, 2], mrope_interleaved=True),
            tie_word_embeddings=True,
        ),
        QWEN3_VISION,
    ),
    "qwen3vlmoe": QWEN3_VL_MOE,
    "mistral3-multimodal": multimodal(
        "mistral3",
        shape("ministral3", head_dim=16, rope_parameters={**YARN, "llama_4_scaling_beta": 0.1}),
        {"model_type": "pixtral", **VISION, "head_dim": 8},
    ),
}

# Under the names of tools/family_twins.py.
TWIN_SHAPES = {
    "bailingmoe2": shape(
        "glm4_moe",
        **MOE,
        head_dim=8,
        use_qk_norm=True,
        n_group=4,
        topk_group=2,
        num_nextn_predict_layers=0,
        rope_parameters=ROPE_HALF,
    ),
    "baichuan": shape("llama", num_key_value_heads=4),
    "deepseek": shape(
        "qwen2_moe",
        num_key_value_heads=4,
        num_experts=8,
        num_experts_per_tok=3,
        moe_intermediate_size=12,
        shared_expert_intermediate_size=24,
        mlp_only_layers=[0],
        norm_topk_prob=False,
        qkv_bias=False,
    ),
    "chatglm-own": shape("glm", head_dim=16, attention_bias=True, rope_parameters=ROPE_HALF),
    "codeshell": shape("starcoder2", rms_norm_eps=None, norm_epsilon=0.01, rope_parameters=rope(10000.0)),
    "exaone": shape("llama", head_dim=8),
    "internlm2": shape("llama"),
    "maincoder": shape("hunyuan_v1_dense", head_dim=16),
    "minicpm": shape(
        "granite",
        embedding_multiplier=3.0,
        residual_multiplier=1.4 / 2**0.5,
        logits_scaling=2.0,
        attention_multiplier=8**-0.5,
        tie_word_embeddings=True,
    ),
    "pangu-embedded": shape("llama", attention_bias=True),
    "orion": shape("stablelm", **LAYER_NORM, rope_parameters=rope(partial_rotary_factor=1.0)),
    "qwen": shape("qwen2", num_key_value_heads=4),
    "xverse": shape("llama", num_key_value_heads=4),
}

SHAPES = TWIN_SHAPES | MULTIMODAL_SHAPES | {
    "gemma4": shape(
        "gemma4_text",
        **{**GEMMA4, "layer_types": WINDOWS * 2},
        num_hidden_layers=4,
        intermediate_size=16,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=N_VOCAB,
        num_kv_shared_layers=2,
        use_double_wide_mlp=True,
    ),
    "gemma4-moe": shape(
        "gemma4_text",
        **GEMMA4,
        num_global_key_value_heads=1,
        intermediate_size=24,
        attention_k_eq_v=True,
        hidden_size_per_layer_input=0,
        enable_moe_block=True,
        num_experts=8,
        top_k_experts=3,
        moe_intermediate_size=12,
    ),
    "phi2": shape("phi", **LAYER_NORM, rope_parameters=ROPE_HALF, num_key_value_heads=4),
    "stablelm": shape("stablelm", **LAYER_NORM, rope_parameters=ROPE_HALF, use_qkv_bias=True),
    "stablelm-parallel": shape(
        "stablelm", **LAYER_NORM, rope_parameters=ROPE_HALF, qk_layernorm=True, use_parallel_residual=True
    ),
    "starcoder2": shape("starcoder2", rms_norm_eps=None, norm_epsilon=0.01, tie_word_embeddings=True),
    "gpt2": old_shape("gpt2", n_positions=64, n_embd=32, n_layer=2, n_head=2, layer_norm_epsilon=0.01),
    "starcoder": old_shape(
        "gpt_bigcode", n_positions=64, n_embd=32, n_layer=2, n_head=2, layer_norm_epsilon=0.01
    ),
    "gptneox": shape("gpt_neox", **LAYER_NORM, rope_parameters=ROPE_HALF, num_key_value_heads=None),
    "gptneox-serial": shape(
        "gpt_neox",
        **LAYER_NORM,
        rope_parameters=ROPE_HALF,
        num_key_value_heads=None,
        use_parallel_residual=False,
    ),
    "gptj": old_shape(
        "gptj", n_positions=64, n_embd=32, n_layer=2, n_head=2, rotary_dim=8, layer_norm_epsilon=0.01
    ),
    "falcon": shape("falcon", **FALCON, multi_query=True, parallel_attn=True),
    "falcon-40b": shape("falcon", **FALCON_40B),
    "falcon-heads": shape("falcon", **FALCON, multi_query=False, bias=True),
    "falcon-40b-bias": shape("falcon", **FALCON_40B, bias=True),
    "command-r": shape("cohere", **LAYER_NORM, logit_scale=0.3, tie_word_embeddings=True),
    "command-r-qk-norm": shape(
        "cohere", **LAYER_NORM, logit_scale=0.3, use_qk_norm=True, tie_word_embeddings=True
    ),
    "cohere2": shape(
        "cohere2",
        **LAYER_NORM,
        head_dim=8,
        logit_scale=0.3,
        num_hidden_layers=4,
        intermediate_size=24,
        sliding_window=8,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
        tie_word_embeddings=True,
    ),
    "exaone4": shape(
        "exaone4",
        head_dim=8,
        num_hidden_layers=4,
        intermediate_size=16,
        sliding_window=8,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
        tie_word_embeddings=True,
    ),
    "exaone4-global": shape("exaone4", head_dim=8, sliding_window=None, layer_types=["full_attention"] * 2),
    "ernie4_5": shape("ernie4_5", head_dim=16, tie_word_embeddings=True),
    "ernie4_5-moe": shape(
        "ernie4_5_moe",
        moe_intermediate_size=12,
        moe_k=3,
        moe_num_experts=8,
        moe_num_shared_experts=2,
        moe_layer_start_index=1,
        moe_layer_end_index=1,
        tie_word_embeddings=True,
    ),
    "hunyuan-dense": shape("hunyuan_v1_dense", head_dim=16, tie_word_embeddings=True),
    "hunyuan-moe": shape(
        "hunyuan_v1_moe", head_dim=8, intermediate_size=16, num_experts=4, moe_topk=2, tie_word_embeddings=True
    ),
    "seed_oss": shape(
        "seed_oss", head_dim=16, attention_bias=True, attention_dropout=0.0, residual_dropout=0.0
    ),
    "nemotron": shape("nemotron", rms_norm_eps=None, norm_eps=0.01, head_dim=8, rope_parameters=ROPE_HALF),
    "arcee": shape("arcee", head_dim=16),
    "olmo": shape("olmo", rms_norm_eps=None),
    "olmo-clipped": shape("olmo", rms_norm_eps=None, clip_qkv=1.5),
    "dots1": shape("dots1", **MOE, head_dim=8, sliding_window=None, num_key_value_heads=4),
    "llama4": shape(
        "llama4_text",
        head_dim=8,
        intermediate_size=16,
        intermediate_size_mlp=24,
        num_hidden_layers=4,
        num_local_experts=4,
        num_experts_per_tok=1,
        interleave_moe_layer_step=2,
        no_rope_layers=[1, 1, 1, 0],
        attention_chunk_size=8,
        floor_scale=8,
        attn_scale=0.1,
        use_qk_norm=True,
    ),
    "mellum": shape(
        "mellum",
        head_dim=8,
        moe_intermediate_size=12,
        **experts(8, 3),
        norm_topk_prob=True,
        sliding_window=8,
        layer_types=WINDOWS,
        rope_parameters={"sliding_attention": rope(100.0), "full_attention": YARN},
        mlp_layer_types=["sparse", "sparse"],
    ),
    "phimoe": shape(
        "phimoe",
        intermediate_size=24,
        **experts(4, 2),
        rms_norm_eps=0.01,
        attention_bias=True,
        lm_head_bias=True,
        sliding_window=8,
        # transformers 5.24 takes the short factors for any length.
        max_position_embeddings=2048,
        original_max_position_embeddings=512,
        rope_parameters={**longrope(512, 4), "short_mscale": 1.2, "long_mscale": 1.2},
    ),
    "gemma3n": shape(
        "gemma3n_text",
        head_dim=8,
        intermediate_size=[24, 24, 40, 40],
        num_hidden_layers=4,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"] * 2,
        num_kv_shared_layers=2,
        activation_sparsity_pattern=[0.95, 0.8, 0.0, 0.0],
        hidden_size=20,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=250,
        laurel_rank=64,
        altup_num_inputs=4,
        rope_parameters=GEMMA_ROPES,
        final_logit_softcapping=4.0,
        tie_word_embeddings=True,
    ),
    "bitnet": shape("bitnet", tie_word_embeddings=True),
    # The activation that llama.cpp computes.
    "bitnet-silu": shape("bitnet", hidden_act="silu", tie_word_embeddings=True),
    "laguna": shape(
        "laguna",
        head_dim=8,
        num_hidden_layers=3,
        intermediate_size=24,
        num_attention_heads_per_layer=[4, 2, 6],
        moe_intermediate_size=12,
        shared_expert_intermediate_size=20,
        num_experts=6,
        num_experts_per_tok=2,
        moe_routed_scaling_factor=1.7,
        sliding_window=8,
        layer_types=["full_attention", "sliding_attention", "sliding_attention"],
        mlp_layer_types=["dense", "sparse", "sparse"],
        rope_parameters={
            "sliding_attention": rope(100.0, partial_rotary_factor=1.0),
            "full_attention": {**YARN, "partial_rotary_factor": 0.5},
        },
    ),
    "hy_v3": shape(
        "hy_v3",
        head_dim=8,
        moe_intermediate_size=12,
        num_experts=8,
        num_experts_per_tok=3,
        num_shared_experts=2,
        router_scaling_factor=1.7,
        mlp_layer_types=["dense", "sparse"],
    ),
    "cohere2moe": shape(
        "cohere2_moe",
        **LAYER_NORM,
        head_dim=8,
        num_hidden_layers=3,
        intermediate_size=12,
        prefix_dense_intermediate_size=32,
        num_experts=6,
        num_experts_per_tok=2,
        num_shared_experts=1,
        expert_selection_fn="sigmoid",
        sliding_window=8,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
        mlp_layer_types=["dense", "sparse", "sparse"],
        logit_scale=0.3,
        rope_theta=300.0,
        rope_parameters=None,
        tie_word_embeddings=True,
    ),
    "bailingmoe": shape(
        "qwen2_moe",
        num_experts=6,
        num_experts_per_tok=2,
        moe_intermediate_size=12,
        shared_expert_intermediate_size=24,
        norm_topk_prob=True,
        qkv_bias=False,
    ),
    "apertus": shape(
        "apertus",
        hidden_act="xielu",
        rope_parameters=rope(
            rope_type="llama3",
            factor=4.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=16,
        ),
    ),
    "dbrx": old_shape(
        "dbrx",
        d_model=32,
        n_heads=4,
        n_layers=2,
        max_seq_len=64,
        attn_config={"clip_qkv": 1.5, "kv_n_heads": 2, "rope_theta": 300.0},
        ffn_config={
            "ffn_act_fn": {"name": "silu"},
            "ffn_hidden_size": 24,
            "hidden_size": 32,
            "moe_num_experts": 4,
            "moe_top_k": 2,
        },
        rope_parameters=rope(),
        tie_word_embeddings=False,
    ),
    "bloom": old_shape("bloom", hidden_size=32, n_layer=2, n_head=4, layer_norm_epsilon=0.01),
    "mpt": old_shape("mpt", d_model=32, n_heads=4, n_layers=2, max_seq_len=64),
    "jais2": shape("jais2", rms_norm_eps=None, layer_norm_eps=0.01, head_dim=16, intermediate_size=32),
    "chatglm": shape("glm", head_dim=16, attention_bias=True, rope_parameters=ROPE_HALF),
    "afmoe": shape(
        "afmoe",
        head_dim=8,
        moe_intermediate_size=8,
        num_dense_layers=3,
        num_experts=8,
        num_experts_per_tok=3,
        num_shared_experts=1,
        route_scale=1.7,
        sliding_window=8,
        # llama.cpp knows no other order of layers with positions and without.
        num_hidden_layers=4,
        intermediate_size=24,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
        mup_enabled=True,
    ),
    "exaone-moe": shape(
        "exaone_moe",
        head_dim=8,
        moe_intermediate_size=12,
        num_experts=8,
        num_experts_per_tok=3,
        num_shared_experts=1,
        routed_scaling_factor=1.7,
        sliding_window=8,
        layer_types=WINDOWS,
        mlp_layer_types=["dense", "sparse"],
        n_group=1,
        topk_group=1,
    ),
    "minimax-m2": shape(
        "minimax_m2",
        head_dim=16,
        intermediate_size=12,
        **experts(8, 3),
        rope_parameters=ROPE_HALF,
    ),
    "granite_swa": shape(
        "granite_swa",
        num_hidden_layers=3,
        intermediate_size=24,
        layer_types=["full_attention", "sliding_attention", "sliding_attention"],
        layer_rope_theta=[300.0, 0.0, 300.0],
        sliding_window=8,
        tie_word_embeddings=True,
        embedding_multiplier=3.0,
        logits_scaling=0.7,
        residual_multiplier=0.6,
        attention_multiplier=0.3,
    ),
    "minicpm3": shape(
        "minicpm3",
        num_key_value_heads=4,
        kv_lora_rank=16,
        q_lora_rank=12,
        qk_nope_head_dim=8,
        qk_rope_head_dim=8,
        v_head_dim=8,
        head_dim=8,
        scale_emb=3.0,
        scale_depth=1.4,
        dim_model_base=16,
        rope_parameters=longrope(16, 4),
        tie_word_embeddings=True,
    ),
}
