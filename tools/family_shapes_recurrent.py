"""The tiny models of tools/family_fixtures.py that have recurrent mixers: see tools/family_shapes.py."""

from family_shapes import rope, shape
from family_shapes_more import multimodal

LFM2 = dict(rms_norm_eps=None, norm_eps=0.01, layer_types=["conv", "full_attention", "conv"], num_hidden_layers=3)
DELTA_NET = dict(
    head_dim=16,
    num_hidden_layers=3,
    layer_types=["linear_attention", "linear_attention", "full_attention"],
    linear_conv_kernel_dim=4,
    linear_key_head_dim=8,
    linear_value_head_dim=8,
    linear_num_key_heads=2,
    linear_num_value_heads=4,
    rms_norm_eps=1e-6,
)
DELTA_MOE = dict(
    moe_intermediate_size=8,
    shared_expert_intermediate_size=12,
    num_experts=4,
    num_experts_per_tok=2,
)
MROPE = rope(partial_rotary_factor=0.5, mrope_section=[2, 1, 1], mrope_interleaved=True)


def qwen35_moe(**more):
    keys = {**DELTA_NET, **DELTA_MOE, "intermediate_size": None, "rope_parameters": MROPE, **more}
    return shape("qwen3_5_moe_text", **keys)


QWEN_VISION = dict(
    depth=1,
    hidden_size=8,
    intermediate_size=8,
    num_heads=2,
    patch_size=4,
    out_hidden_size=32,
    num_position_embeddings=4,
)
GRANITE = dict(
    num_hidden_layers=3,
    layer_types=["linear_attention", "full_attention", "linear_attention"],
    mamba_n_heads=8,
    mamba_d_head=8,
    mamba_n_groups=2,
    mamba_d_state=12,
    mamba_expand=2,
    shared_intermediate_size=24,
    embedding_multiplier=3.0,
    residual_multiplier=0.6,
    attention_multiplier=0.4,
    logits_scaling=2.0,
    head_dim=None,
)
NEMOTRON_MOE = dict(
    rms_norm_eps=None,
    rope_parameters=None,
    num_hidden_layers=None,
    intermediate_size=None,
    layers_block_type=["linear_attention", "moe", "full_attention", "moe"],
    head_dim=8,
    mamba_num_heads=4,
    mamba_head_dim=12,
    n_groups=2,
    ssm_state_size=8,
    layer_norm_epsilon=0.01,
    n_routed_experts=8,
    num_experts_per_tok=3,
    moe_intermediate_size=12,
    moe_shared_expert_intermediate_size=20,
    routed_scaling_factor=1.7,
)
MAMBA = dict(
    **dict.fromkeys(("rms_norm_eps", "rope_parameters", "intermediate_size", "num_attention_heads")),
    **dict.fromkeys(("num_key_value_heads", "max_position_embeddings")),
    hidden_size=24,
    state_size=5,
    expand=2,
    time_step_rank=6,
    tie_word_embeddings=True,
)
SHAPES = {
    "mamba": shape("mamba", **MAMBA, layer_norm_epsilon=0.01),
    # Its mixers have an epsilon of their own, which GGUF has no place for.
    "mamba-falcon": shape("falcon_mamba", **MAMBA, layer_norm_epsilon=1e-6, mixer_rms_eps=1e-6),
    "jamba": shape(
        "jamba",
        rope_parameters=None,
        num_hidden_layers=3,
        attn_layer_offset=1,
        attn_layer_period=3,
        expert_layer_offset=1,
        expert_layer_period=2,
        num_experts=4,
        num_experts_per_tok=2,
        intermediate_size=24,
        mamba_d_state=6,
        mamba_d_conv=4,
        mamba_dt_rank=5,
        # llama.cpp takes no other.
        mamba_expand=2,
        hidden_size=24,
    ),
    "falcon-h1": shape(
        "falcon_h1",
        head_dim=8,
        mamba_d_ssm=40,
        mamba_n_heads=4,
        mamba_d_head=10,
        mamba_n_groups=2,
        mamba_d_state=12,
        mamba_norm_before_gate=False,
        mamba_rms_norm=True,
        embedding_multiplier=3.0,
        lm_head_multiplier=0.3,
        mlp_multipliers=[0.8, 0.6],
        key_multiplier=0.7,
        attention_in_multiplier=1.3,
        attention_out_multiplier=0.9,
        ssm_multipliers=[0.9, 0.8, 1.3, 0.7, 1.2],
        ssm_in_multiplier=1.25,
        ssm_out_multiplier=0.6,
    ),
    "nemotron_h_moe": shape("nemotron_h", **NEMOTRON_MOE),
    "nemotron_h_moe-latent": shape("nemotron_h", **NEMOTRON_MOE, moe_latent_size=20),
    "lfm2": shape(
        "lfm2", **LFM2, conv_L_cache=3, block_multiple_of=8, tie_word_embeddings=True, intermediate_size=72
    ),
    "lfm2moe": shape(
        "lfm2_moe",
        **LFM2,
        conv_L_cache=4,
        num_dense_layers=1,
        moe_intermediate_size=12,
        num_experts=8,
        num_experts_per_tok=3,
        tie_word_embeddings=True,
    ),
    "qwen3next": shape(
        "qwen3_next", **DELTA_NET, **DELTA_MOE, rope_parameters=rope(partial_rotary_factor=0.5)
    ),
    "qwen35": shape("qwen3_5_text", **DELTA_NET, rope_parameters=MROPE, tie_word_embeddings=True),
    "qwen35moe": qwen35_moe(),
    "qwen35moe-multimodal": multimodal(
        "qwen3_5_moe",
        qwen35_moe(num_hidden_layers=2, layer_types=["linear_attention", "full_attention"]),
        QWEN_VISION,
    ),
    "granitehybrid": shape(
        "granitemoehybrid", **GRANITE, num_local_experts=0, intermediate_size=24, tie_word_embeddings=True
    ),
    "granitehybrid-moe": shape(
        "granitemoehybrid",
        **GRANITE | dict(num_hidden_layers=2, layer_types=["linear_attention", "full_attention"]),
        num_local_experts=4,
        num_experts_per_tok=2,
        intermediate_size=12,
        position_embedding_type="rope",
    ),
    "mamba2": shape(
        "mamba2",
        **dict.fromkeys(("rms_norm_eps", "rope_parameters", "intermediate_size", "num_attention_heads")),
        **dict.fromkeys(("num_key_value_heads", "max_position_embeddings")),
        num_heads=8,
        head_dim=8,
        n_groups=2,
        state_size=12,
        expand=2,
        layer_norm_epsilon=0.01,
    ),
    "nemotron_h": shape(
        "nemotron_h",
        rms_norm_eps=None,
        rope_parameters=None,
        num_hidden_layers=None,
        layers_block_type=["linear_attention", "mlp", "full_attention", "linear_attention", "mlp"],
        head_dim=8,
        mamba_num_heads=4,
        mamba_head_dim=20,
        n_groups=2,
        ssm_state_size=12,
        layer_norm_epsilon=0.01,
    ),
}
