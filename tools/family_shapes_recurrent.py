"""The tiny models of tools/family_fixtures.py that have recurrent mixers: see tools/family_shapes.py."""

from family_shapes import rope, shape

LFM2 = dict(rms_norm_eps=None, norm_eps=0.01, layer_types=["conv", "full_attention", "conv"], num_hidden_layers=3)
SHAPES = {
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
        routed_scaling_factor=1.7,
        tie_word_embeddings=True,
    ),
}
