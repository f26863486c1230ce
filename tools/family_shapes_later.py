"""The tiny models of tools/family_fixtures.py whose families came later: see tools/family_shapes.py."""

from family_shapes import MLA, rope, shape
from family_shapes_more import multimodal

VISION = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, patch_size=4)
SECTIONS = rope(mrope_section=[2, 1, 1])

GLM_VISION = dict(
    depth=1, hidden_size=16, intermediate_size=16, num_heads=2, patch_size=2, temporal_patch_size=1,
    spatial_merge_size=2, image_size=8, out_hidden_size=32,
)
GLM_ROPE = rope(mrope_section=[2, 1, 1], partial_rotary_factor=0.5)
GLM_SHORT_ROPE = rope(mrope_section=[1, 1, 0], partial_rotary_factor=0.5)
SIGLIP = dict(model_type="siglip_vision_model", **VISION, image_size=8)

# All positions of the fixtures' texts are chosen.
INDEXER = dict(q_lora_rank=12, index_n_heads=2, index_head_dim=64, index_topk=2048)

SHAPES = {
    # The text parts of models that see.
    "glm4-multimodal": multimodal(
        "glm4v", shape("glm4v_text", intermediate_size=24, rope_parameters=GLM_SHORT_ROPE), GLM_VISION
    ),
    "glm4-ocr": multimodal(
        "glm_ocr", shape("glm_ocr_text", head_dim=16, intermediate_size=24, rope_parameters=GLM_ROPE), GLM_VISION
    ),
    "glm4moe-multimodal": multimodal(
        "glm4v_moe",
        shape(
            "glm4v_moe_text",
            head_dim=16,
            intermediate_size=24,
            moe_intermediate_size=8,
            n_routed_experts=6,
            n_shared_experts=1,
            num_experts_per_tok=2,
            n_group=1,
            topk_group=1,
            routed_scaling_factor=1.7,
            first_k_dense_replace=1,
            rope_parameters=GLM_ROPE,
        ),
        GLM_VISION,
    ),
    "llama-smolvlm": multimodal("smolvlm", shape("llama", head_dim=16), dict(**VISION, image_size=8), scale_factor=1),
    "qwen2-llava": multimodal("llava", shape("qwen2"), SIGLIP),
    "paddleocr": multimodal(
        "paddleocr_vl",
        shape("paddleocr_vl_text", head_dim=8, rope_parameters=SECTIONS, tie_word_embeddings=True),
        dict(**VISION, image_size=8),
    ),
    "hunyuan_vl": multimodal(
        "hunyuan_vl",
        shape(
            "hunyuan_vl_text",
            head_dim=16,
            rope_parameters=rope(rope_type="dynamic", alpha=3.0, factor=1.0, mrope_section=[2, 2, 2, 2]),
            tie_word_embeddings=True,
        ),
        dict(**VISION, out_hidden_size=32, text_hidden_size=32, max_image_size=16, min_image_size=8, max_vit_seq_len=16),
    ),
    # A twin: see tools/family_twins.py.
    "deepseek2-ocr": shape(
        "qwen2_moe",
        num_experts=8,
        num_experts_per_tok=3,
        moe_intermediate_size=12,
        shared_expert_intermediate_size=24,
        mlp_only_layers=[0],
        norm_topk_prob=False,
        qkv_bias=False,
        num_key_value_heads=4,
        rope_parameters=rope(1e4),
    ),
    "muse-glimmer": multimodal(
        "muse_glimmer",
        shape(
            "muse_glimmer_text",
            head_dim=8,
            num_hidden_layers=4,
            intermediate_size=20,
            sliding_window=8,
            final_logit_softcapping=4.0,
            qk_scale_factor=1.9,
            output_multiplier=0.4,
        ),
        dict(**VISION, pos_emb_height=2, pos_emb_width=2, max_position_embeddings=4),
        out_hidden_size=32,
        projector_hidden_size=16,
    ),
    "kimi-linear": shape(
        "kimi_linear",
        **{key: value for key, value in MLA.items() if key not in ("n_routed_experts", "head_dim", "num_key_value_heads")},
        num_key_value_heads=2,
        rope_parameters=None,
        num_local_experts=6,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=10,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
        mlp_layer_types=["dense", "sparse", "sparse"],
        linear_head_dim=8,
        linear_num_heads=2,
        q_lora_rank=None,
    ),
    "mistral4": multimodal(
        "mistral3",
        shape(
            "mistral4",
            **MLA | dict(n_routed_experts=6, n_shared_experts=1, num_experts_per_tok=2, head_dim=24),
            q_lora_rank=12,
            first_k_dense_replace=1,
            rope_parameters=rope(
                rope_type="yarn",
                factor=4.0,
                original_max_position_embeddings=16,
                beta_fast=4.0,
                beta_slow=1.0,
                mscale=1.0,
                mscale_all_dim=1.0,
                llama_4_scaling_beta=0.1,
            ),
        ),
        dict(model_type="pixtral", **VISION, image_size=8),
    ),
    "deepseek32": shape(
        "deepseek_v32",
        **MLA | dict(n_routed_experts=6, n_shared_experts=1, moe_intermediate_size=8),
        **INDEXER,
        num_attention_heads=4,
        intermediate_size=24,
        n_group=2,
        topk_group=1,
        first_k_dense_replace=1,
        rope_parameters=rope(
            rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=4.0, beta_slow=1.0,
            mscale=1.0, mscale_all_dim=1.0,
        ),
    ),
    "glm-dsa": shape(
        "glm_moe_dsa",
        **MLA | dict(n_routed_experts=6, n_shared_experts=1, moe_intermediate_size=8),
        **INDEXER,
        intermediate_size=24,
        first_k_dense_replace=1,
        indexer_types=["full", "shared"],
    ),
    # A twin: the part that thinks of a model that speaks as well.
    "qwen3vlmoe-omni": multimodal(
        "qwen3_omni_moe_thinker",
        shape(
            "qwen3_omni_moe_text",
            head_dim=8,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=12,
            rope_parameters=SECTIONS,
        ),
        dict(
            depth=1, hidden_size=8, intermediate_size=8, num_heads=2, patch_size=2, temporal_patch_size=1,
            spatial_merge_size=2, out_hidden_size=32, num_position_embeddings=4, deepstack_visual_indexes=[0],
        ),
        audio_config=dict(
            num_mel_bins=8, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=8, d_model=8, output_dim=32,
            downsample_hidden_size=4, max_source_positions=8, n_window=4,
        ),
    ),
    "step35": multimodal(
        "step3p7",
        shape(
            "step3p5",
            head_dim=16,
            pad_token_id=0,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_sliding_attention_heads=4,
            intermediate_size=12,
            moe_intermediate_size=8,
            share_expert_dim=12,
            n_routed_experts=4,
            num_experts_per_tok=2,
            moe_router_scaling_factor=1.7,
            sliding_window=8,
            swiglu_limits=[None, 0.5, 0.0],
            swiglu_limits_shared=[0.4, None, 0.6],
            layer_types=["full_attention", "sliding_attention", "sliding_attention"],
            mlp_layer_types=["dense", "sparse", "sparse"],
            rope_parameters={
                "full_attention": rope(
                    2000.0, partial_rotary_factor=0.5, rope_type="llama3", factor=4.0, low_freq_factor=1.0,
                    high_freq_factor=4.0, original_max_position_embeddings=16,
                ),
                "sliding_attention": rope(100.0, partial_rotary_factor=1.0),
            },
        ),
        dict(hidden_size=4, num_hidden_layers=1, num_attention_heads=1, patch_size=4, image_size=8, rope_parameters=None),
    ),
    "mimo2": shape(
        "mimo_v2_flash",
        head_dim=12,
        v_head_dim=8,
        num_hidden_layers=3,
        num_key_value_heads=1,
        intermediate_size=32,
        moe_intermediate_size=12,
        n_routed_experts=6,
        num_experts_per_tok=2,
        routed_scaling_factor=1.3,
        sliding_window=8,
        layer_types=["full_attention", "sliding_attention", "sliding_attention"],
        mlp_layer_types=["dense", "sparse", "sparse"],
        rope_parameters={
            "full_attention": rope(2000.0, partial_rotary_factor=0.334),
            "sliding_attention": rope(100.0, partial_rotary_factor=0.334),
        },
    ),
}
