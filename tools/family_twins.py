"""Families that transformers does not have, as other names for models that it has.

A twin computes the same with its tensors renamed, split or joined; so the logits are transformers', and the names
and keys those of the family's own code on the Hub. `TWINS[name]` makes tensors and configuration of the twin's.
"""

import re

import torch

from family_shapes import COMMON


def rename(tensors, *rules):
    """Tensors by new names: the first rule whose pattern is in a name changes it."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, new in rules:
            if re.search(pattern, name):
                name = re.sub(pattern, new, name)
                break
        renamed[name] = tensor
    return renamed


def join(tensors, config, new, of, grouped):
    """Joins q, k and v of every layer: one after the other, or for each group of heads that share keys."""
    n_head, n_head_kv = config["num_attention_heads"], config["num_key_value_heads"]
    joined = dict(tensors)
    for name in tensors:
        if "q_proj" not in name:
            continue
        parts = [joined.pop(name.replace("q_proj", part)) for part in ("q_proj", "k_proj", "v_proj")]
        if grouped:
            heads = (n_head // n_head_kv, 1, 1)
            parts = [part.unflatten(0, (n_head_kv, n, -1)) for part, n in zip(parts, heads)]
            joined[name.replace(of, new)] = torch.cat(parts, 1).flatten(0, 2)
        else:
            joined[name.replace(of, new)] = torch.cat(parts)
    return joined


def rename_as_gpt(tensors, *rules):
    """Names with GPT-2's trunk; the rules are of names inside a layer."""
    layer, block = r"model\.layers\.(\d+)\.", r"transformer.h.\1."
    inner = [("input_layernorm", "ln_1"), ("post_attention_layernorm", "ln_2"), *rules]
    return rename(
        tensors,
        (r"model\.embed_tokens", "transformer.wte"),
        (r"model\.norm", "transformer.ln_f"),
        *((layer + old.replace(".", r"\."), block + new) for old, new in inner),
    )


def config_of(twin, classname, model_type, **more):
    kept = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads")
    kept += ("max_position_embeddings", "vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")
    config = {key: twin[key] for key in kept if key in twin}
    config |= {
        "architectures": [classname],
        "model_type": model_type,
        "rope_theta": twin["rope_parameters"]["rope_theta"],
        "tie_word_embeddings": twin["tie_word_embeddings"],
        "torch_dtype": "bfloat16",
    }
    return config | more


def exaone(tensors, twin):
    tensors = rename_as_gpt(
        tensors,
        ("self_attn.o_proj", "attn.attention.out_proj"),
        ("self_attn", "attn.attention"),
        ("mlp.gate_proj", "mlp.c_fc_0"),
        ("mlp.up_proj", "mlp.c_fc_1"),
        ("mlp.down_proj", "mlp.c_proj"),
    )
    config = config_of(
        twin,
        "ExaoneForCausalLM",
        "exaone",
        activation_function="silu",
        head_dim=twin["head_dim"],
        layer_norm_epsilon=twin["rms_norm_eps"],
    )
    config["num_layers"] = config.pop("num_hidden_layers")
    return tensors, config


def internlm2(tensors, twin):
    tensors = join(tensors, twin, "attention.wqkv", "self_attn.q_proj", grouped=True)
    tensors = rename(
        tensors,
        ("embed_tokens", "tok_embeddings"),
        ("lm_head", "output"),
        ("input_layernorm", "attention_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        (r"self_attn\.o_proj", "attention.wo"),
        (r"mlp\.gate_proj", "feed_forward.w1"),
        (r"mlp\.up_proj", "feed_forward.w3"),
        (r"mlp\.down_proj", "feed_forward.w2"),
    )
    more = dict(bias=False, hidden_act="silu", rms_norm_eps=twin["rms_norm_eps"], rope_scaling=None)
    return tensors, config_of(twin, "InternLM2ForCausalLM", "internlm2", **more)


def cogvlm(tensors, twin):
    tensors = join(tensors, twin, "self_attn.language_expert_query_key_value", "self_attn.q_proj", grouped=False)
    tensors = rename(
        tensors,
        (r"self_attn\.o_proj", "self_attn.language_expert_dense"),
        (r"mlp\.", "mlp.language_mlp."),
    )
    # Texts go without those of images.
    others = ((name, name.replace("language", "vision")) for name in tensors if "language" in name)
    tensors |= {other: tensors[name].clone() for name, other in list(others)}
    tensors["model.vision.boi"] = torch.ones(1, 1, 4, dtype=torch.bfloat16)
    config = config_of(twin, "CogVLMForCausalLM", None, hidden_act="silu", rms_norm_eps=twin["rms_norm_eps"])
    config["vision_config"] = dict(hidden_size=4, num_hidden_layers=1)
    del config["model_type"], config["rope_theta"], config["num_key_value_heads"]
    return tensors, config


def minicpm(tensors, twin):
    n_layer = twin["num_hidden_layers"]
    config = config_of(
        twin,
        "MiniCPMForCausalLM",
        "minicpm",
        hidden_act="silu",
        rms_norm_eps=twin["rms_norm_eps"],
        scale_emb=twin["embedding_multiplier"],
        scale_depth=twin["residual_multiplier"] * n_layer**0.5,
        dim_model_base=int(twin["hidden_size"] / twin["logits_scaling"]),
    )
    return tensors, config


def baichuan(tensors, twin):
    tensors = join(tensors, twin, "W_pack", "q_proj", grouped=False)
    config = config_of(
        twin, "BaichuanForCausalLM", "baichuan", hidden_act="silu", rms_norm_eps=twin["rms_norm_eps"]
    )
    del config["num_key_value_heads"]
    return tensors, config


def xverse(tensors, twin):
    more = dict(hidden_act="silu", rms_norm_eps=twin["rms_norm_eps"])
    return tensors, config_of(twin, "XverseForCausalLM", "xverse", **more)


def orion(tensors, twin):
    more = dict(hidden_act="silu", rms_norm_eps=twin["layer_norm_eps"])
    return tensors, config_of(twin, "OrionForCausalLM", "orion", **more)


def deepseek(tensors, twin):
    # The twin's gate, without a weight, is sigmoid(0): a half.
    tensors = {name: tensor for name, tensor in tensors.items() if "shared_expert_gate" not in name}
    for name, tensor in tensors.items():
        if "shared_expert.down_proj" in name:
            tensors[name] = tensor * 0.5
    tensors = rename(tensors, (r"shared_expert\.", "shared_experts."))
    config = config_of(
        twin,
        "DeepseekForCausalLM",
        "deepseek",
        attention_bias=False,
        first_k_dense_replace=1,
        hidden_act="silu",
        moe_intermediate_size=twin["moe_intermediate_size"],
        moe_layer_freq=1,
        n_routed_experts=twin["num_experts"],
        n_shared_experts=2,
        norm_topk_prob=False,
        num_experts_per_tok=twin["num_experts_per_tok"],
        rms_norm_eps=twin["rms_norm_eps"],
        rope_scaling=None,
        scoring_func="softmax",
    )
    return tensors, config


def deepseek2_ocr(tensors, twin):
    tensors, config = deepseek(tensors, twin)
    return tensors, config | dict(
        architectures=["DeepseekOCRForCausalLM"], model_type="deepseek_vl_v2", use_mla=False
    )


def bailingmoe(tensors, twin):
    tensors, config = deepseek(tensors, twin)
    tensors = join(tensors, twin, "attention.query_key_value", "self_attn.q_proj", grouped=False)
    tensors = rename(
        tensors, ("embed_tokens", "word_embeddings"), (r"self_attn\.o_proj", "attention.dense")
    )
    del config["n_routed_experts"], config["n_shared_experts"], config["scoring_func"]
    return tensors, config | dict(
        architectures=["BailingMoeForCausalLM"],
        model_type="bailing_moe",
        first_k_dense_replace=0,
        norm_head=False,
        norm_topk_prob=True,
        num_experts=twin["num_experts"],
        num_shared_experts=2,
        use_bias=False,
        use_qkv_bias=False,
    )


def bailingmoe2(tensors, twin):
    tensors = join(tensors, twin, "attention.query_key_value", "self_attn.q_proj", grouped=False)
    tensors = rename(
        tensors,
        ("embed_tokens", "word_embeddings"),
        (r"self_attn\.o_proj", "attention.dense"),
        (r"self_attn\.q_norm", "attention.query_layernorm"),
        (r"self_attn\.k_norm", "attention.key_layernorm"),
        ("e_score_correction_bias", "expert_bias"),
    )
    config = config_of(
        twin,
        "BailingMoeV2ForCausalLM",
        "bailing_moe",
        first_k_dense_replace=1,
        head_dim=twin["head_dim"],
        hidden_act="silu",
        moe_intermediate_size=twin["moe_intermediate_size"],
        moe_router_enable_expert_bias=True,
        moe_shared_expert_intermediate_size=twin["moe_intermediate_size"],
        n_group=twin["n_group"],
        norm_topk_prob=True,
        num_experts=twin["n_routed_experts"],
        num_experts_per_tok=twin["num_experts_per_tok"],
        num_nextn_predict_layers=0,
        num_shared_experts=1,
        partial_rotary_factor=twin["rope_parameters"]["partial_rotary_factor"],
        rms_norm_eps=twin["rms_norm_eps"],
        rope_scaling=None,
        routed_scaling_factor=twin["routed_scaling_factor"],
        score_function="sigmoid",
        topk_group=twin["topk_group"],
        use_bias=False,
        use_qk_norm=True,
        use_qkv_bias=False,
    )
    return tensors, config


def qwen(tensors, twin):
    tensors = join(tensors, twin, "c_attn", "q_proj", grouped=False)
    tensors = rename_as_gpt(
        tensors,
        ("self_attn.o_proj", "attn.c_proj"),
        ("self_attn", "attn"),
        ("mlp.gate_proj", "mlp.w2"),
        ("mlp.up_proj", "mlp.w1"),
        ("mlp.down_proj", "mlp.c_proj"),
    )
    config = config_of(
        twin,
        "QWenLMHeadModel",
        "qwen",
        kv_channels=twin["hidden_size"] // twin["num_attention_heads"],
        layer_norm_epsilon=twin["rms_norm_eps"],
        no_bias=True,
        rotary_emb_base=twin["rope_parameters"]["rope_theta"],
        rotary_pct=1.0,
        seq_length=COMMON["max_position_embeddings"],
        use_dynamic_ntk=False,
        use_logn_attn=False,
    )
    # Its feed-forward has two halves of this.
    config["intermediate_size"] *= 2
    del config["num_key_value_heads"], config["rope_theta"]
    return tensors, config


def stack_experts(tensors, config):
    """The experts of each layer in stacks, gates before the others, as the Hub's Qwen 3.5 has them."""
    stacked = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    stems = sorted({name.split(".experts.")[0] for name in tensors if ".experts." in name})
    for stem in stems:
        n = sum(name.startswith(f"{stem}.experts.") for name in tensors) // 3
        of = lambda part: torch.stack([tensors[f"{stem}.experts.{e}.{part}_proj.weight"] for e in range(n)])
        stacked[f"{stem}.experts.gate_up_proj"] = torch.cat([of("gate"), of("up")], 1)
        stacked[f"{stem}.experts.down_proj"] = of("down")
    return stacked, config


def pairs(tensor, head_dim):
    """Rows of heads, from the rotary order of halves to that of pairs."""
    return tensor.unflatten(0, (-1, 2, head_dim // 2)).transpose(1, 2).flatten(0, 2).contiguous()


def maincoder(tensors, twin):
    tensors = rename(tensors, ("query_layernorm", "q_norm"), ("key_layernorm", "k_norm"))
    for name, tensor in tensors.items():
        if any(part in name for part in ("q_proj", "k_proj", "q_norm", "k_norm")):
            tensors[name] = pairs(tensor, twin["head_dim"])
    more = dict(hidden_act="silu", rms_norm_eps=twin["rms_norm_eps"], head_dim=twin["head_dim"])
    return tensors, config_of(twin, "MaincoderForCausalLM", "maincoder", **more)


def pangu_embedded(tensors, twin):
    more = dict(bias=True, hidden_act="silu", rms_norm_eps=twin["rms_norm_eps"])
    return tensors, config_of(twin, "PanguEmbeddedForCausalLM", "PanguEmbedded", **more)


def codeshell(tensors, twin):
    tensors = join(tensors, twin, "c_attn", "q_proj", grouped=False)
    rules = [("self_attn.o_proj", "attn.c_proj"), ("self_attn", "attn"), ("mlp", "mlp")]
    tensors = rename_as_gpt(tensors, *rules)
    config = {
        "architectures": ["CodeShellForCausalLM"],
        "model_type": "codeshell",
        "activation_function": "gelu_pytorch_tanh",
        "group_query_attention": True,
        "layer_norm_epsilon": twin["norm_epsilon"],
        "n_embd": twin["hidden_size"],
        "n_head": twin["num_attention_heads"],
        "n_inner": twin["intermediate_size"],
        "n_layer": twin["num_hidden_layers"],
        "n_positions": twin["max_position_embeddings"],
        "num_query_groups": twin["num_key_value_heads"],
        "position_embedding_type": "rope",
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    config |= {key: twin[key] for key in ("vocab_size", "bos_token_id", "eos_token_id")}
    return tensors, config


def chatglm_own(tensors, twin):
    """The spelling of the authors' own code."""
    tensors = join(tensors, twin, "self_attention.query_key_value", "self_attn.q_proj", grouped=False)
    tensors = rename(
        tensors,
        (r"model\.embed_tokens", "transformer.embedding.word_embeddings"),
        (r"model\.norm", "transformer.encoder.final_layernorm"),
        ("lm_head", "transformer.output_layer"),
        (r"model\.layers\.(\d+)\.self_attn\.o_proj", r"transformer.encoder.layers.\1.self_attention.dense"),
        (r"model\.layers\.(\d+)\.mlp\.gate_up_proj", r"transformer.encoder.layers.\1.mlp.dense_h_to_4h"),
        (r"model\.layers\.(\d+)\.mlp\.down_proj", r"transformer.encoder.layers.\1.mlp.dense_4h_to_h"),
        (r"model\.layers", "transformer.encoder.layers"),
    )
    config = {
        "architectures": ["ChatGLMModel"],
        "model_type": "chatglm",
        "add_bias_linear": False,
        "add_qkv_bias": True,
        "apply_residual_connection_post_layernorm": False,
        "ffn_hidden_size": twin["intermediate_size"],
        "hidden_size": twin["hidden_size"],
        "kv_channels": twin["head_dim"],
        "layernorm_epsilon": twin["rms_norm_eps"],
        "multi_query_attention": True,
        "multi_query_group_num": twin["num_key_value_heads"],
        "num_attention_heads": twin["num_attention_heads"],
        "num_layers": twin["num_hidden_layers"],
        "original_rope": True,
        "padded_vocab_size": twin["vocab_size"],
        "post_layer_norm": True,
        "rmsnorm": True,
        "rope_ratio": twin["rope_parameters"]["rope_theta"] / 10000.0,
        "seq_length": twin["max_position_embeddings"],
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    return tensors, config


def omni(tensors, twin):
    """What thinks inside a model that also speaks."""
    tensors = {f"thinker.{name}": tensor for name, tensor in tensors.items()}
    tensors["talker.model.norm.weight"] = torch.ones(8)
    tensors["code2wav.decoder.bias"] = torch.zeros(8)
    config = {
        "architectures": ["Qwen3OmniMoeForConditionalGeneration"],
        "enable_audio_output": True,
        "model_type": "qwen3_omni_moe",
        "thinker_config": twin,
    }
    return tensors, config


# What a twin has and the family has not.
ZEROS = dict.fromkeys(("bailingmoe", "deepseek", "deepseek2-ocr"), "shared_expert_gate")

TWINS = {
    made.__name__: made
    for made in (
        bailingmoe,
        bailingmoe2,
        baichuan,
        codeshell,
        cogvlm,
        deepseek,
        exaone,
        internlm2,
        maincoder,
        minicpm,
        orion,
        qwen,
        xverse,
    )
} | {
    "deepseek2-ocr": deepseek2_ocr,
    "chatglm-own": chatglm_own,
    "pangu-embedded": pangu_embedded,
    "qwen35moe-multimodal": stack_experts,
    "qwen3vlmoe-omni": omni,
}
