"""Makes fixtures/families: tiny random models of every family, with the logits that transformers computes.

Usage: python tools/family_fixtures.py fixtures/families [NAME...]

A folder holds what `save_pretrained` writes (weights in BF16), `ids.txt` and `logits.npy`: float32,
`[n_ids, n_vocab]`, computed in float32 by "eager" attention from the folder as it was read back. A seed is
taken only if
- float64 computes the same within `MOST_NOISE`, so that no expert is chosen by a rounding error, and
- every tensor matters: noise of a tenth of its spread changes the logits by at least `LEAST_EFFECT`.
`config.hub.json` is the same configuration as models on the Hub spell it, whose files are older than today's
transformers; it must lead to the same logits.

`tokenizer/` serves all of them; a test lays it beside a checkpoint. tools/family_shapes.py says what is made.

Needs torch, transformers, accelerate, numpy; `fixtures/models/fairytale` for the tokenizer.
"""

import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import torch
import family_references
import family_references_experts
import family_references_hybrid
import family_references_later
import family_references_more
import family_references_rwkv
import family_shapes
import family_shapes_later
import family_shapes_latest
import family_shapes_more
import family_shapes_recurrent
from family_mxfp4 import encode_experts
from family_shapes import N_VOCAB
from family_twins import TWINS, ZEROS
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.utils import logging

SHAPES = {
    name: shape
    for part in (
        family_shapes,
        family_shapes_more,
        family_shapes_recurrent,
        family_shapes_later,
        family_shapes_latest,
    )
    for name, shape in part.SHAPES.items()
}
REFERENCES = {
    name: reference
    for part in (
        family_references,
        family_references_experts,
        family_references_hybrid,
        family_references_later,
        family_references_more,
        family_references_rwkv,
    )
    for name, reference in part.REFERENCES.items()
}
# By model type: what keys are called in older files.
HUB_KEYS = {
    "gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    "lfm2": {"intermediate_size": "block_ff_dim", "tie_word_embeddings": "tie_embedding"},
    "lfm2_moe": {"tie_word_embeddings": "tie_embedding"},
    "qwen3_moe": {"num_local_experts": "num_experts"},
}
# By model type: older files have no list of the layers' kinds, but this number (every n-th layer sees all), or
# nothing, where the code knows.
HUB_PATTERNS = {
    "cohere2": "sliding_window_pattern",
    "gemma2": None,
    "gemma3_text": "sliding_window_pattern",
    "llama4_text": None,
    "qwen2": None,
    "qwen2_5_vl_text": None,
    "qwen2_moe": None,
    "qwen2_vl_text": None,
    "qwen3": None,
    "qwen3_next": "full_attention_interval",
}
# By model type: what the kinds of layers were called.
HUB_KINDS = {
    "granitemoehybrid": {"linear_attention": "mamba", "full_attention": "attention"},
    "nemotron_h": {"linear_attention": "M", "full_attention": "*", "mlp": "-", "moe": "E"},
}
N_IDS = 40
N_SEEDS = 20
# Relative to the greatest logit.
MOST_NOISE = 1e-5
LEAST_EFFECT = 3e-4
MOST_BYTES = 220_000


def spread(name, tensor, generator):
    """Random values for a tensor of this name and initial value."""
    normal = torch.randn(tensor.shape, generator=generator)
    uniform = torch.rand(tensor.shape, generator=generator)
    if "sinks" in name:
        return 1.0 + normal
    if name.endswith("bias"):
        return 0.2 * normal
    if name.endswith("act_fn.eps"):
        return tensor.detach() - 0.3 - 0.1 * uniform
    if tensor.ndim < 2:
        # Norms, whose weights are ones or, stored less one, zeros; and scales.
        return tensor.detach() + uniform - 0.5
    if "embed" in name or "wte" in name or "wpe" in name:
        return normal
    sharp = ("q_proj", "k_proj", "qkv", "q_b_proj", "kv_b_proj", "gate.weight", "router", "lm_head")
    gain = 2.0 if any(word in name for word in sharp) else 1.2
    return gain * normal * tensor.shape[-1] ** -0.5


def randomise(model, seed, zero):
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            tensor.data = spread(name, tensor, generator).bfloat16().float()
        if zero and zero in name:
            tensor.data.zero_()
    model.tie_weights()


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0]


def distance(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def idle_tensors(model, ids, logits):
    """The names of tensors that hardly matter."""
    idle = []
    # What it scales is normalised next.
    last_scale = f"{model.config.get_text_config().num_hidden_layers - 1}.layer_scalar"
    for name, tensor in model.state_dict(keep_vars=True).items():
        # Texts are so short that indexers choose all positions.
        parts = ("vision", "visual", "audio", "projector", "connector", "indexer", "vqmodel")
        is_idle = name.endswith(last_scale) or any(part in name for part in parts)
        if is_idle or not tensor.is_floating_point():
            continue
        kept = tensor.data.clone()
        noise = torch.randn(kept.shape, generator=torch.Generator().manual_seed(1))
        tensor.data = kept + 0.1 * max(kept.std(correction=0).item(), 0.1) * noise
        if distance(logits_of(model, ids), logits) < LEAST_EFFECT:
            idle.append(name)
        tensor.data = kept
    return idle


def hub_config(config):
    """`config` in older words: `rope_theta` and `rope_scaling`, and a family's own."""
    hub = {key: value for key, value in config.items() if key not in ("rope_parameters", "dtype")}
    if "text_config" in hub:
        hub["text_config"] = hub_config(hub["text_config"])
    if "dtype" in config:
        hub["torch_dtype"] = config["dtype"]
    rope = config.get("rope_parameters") or {}
    if "mrope_section" in rope:
        # Younger than `rope_parameters`.
        hub["rope_parameters"] = rope
        rope = {}
    if "sliding_attention" in rope:
        if config["model_type"] in ("gemma3_text", "gemma3n_text"):
            hub["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
            rope = rope["full_attention"]
        else:
            # Families that are younger than `rope_parameters`.
            hub["rope_parameters"] = rope
            rope = {}
    scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
    hub |= {key: scaling.pop(key) for key in ("partial_rotary_factor",) if key in scaling}
    hub |= {"rope_theta": rope["rope_theta"]} if rope else {}
    if scaling.get("rope_type", "default") != "default":
        hub["rope_scaling"] = {"type": scaling["rope_type"], **scaling}
    if "mrope_section" in scaling:
        is_old = config["model_type"].startswith("qwen2")
        hub["rope_scaling"] = {**scaling, "type": "mrope" if is_old else "default"}
        hub["rope_scaling"].pop("rope_type" if is_old else "type")
    if config["model_type"] in HUB_PATTERNS:
        layers, pattern = hub.pop("layer_types"), HUB_PATTERNS[config["model_type"]]
        hub.pop("_sliding_window_pattern", None)
        if pattern:
            hub[pattern] = layers.index("full_attention") + 1
    names = HUB_KEYS.get(config["model_type"], {})
    hub = {names.get(key, key): value for key, value in hub.items()}
    if config["model_type"] == "lfm2":
        kinds = hub.pop("layer_types")
        hub["full_attn_idxs"] = [i for i, kind in enumerate(kinds) if kind == "full_attention"]
    old_kinds = HUB_KINDS.get(config["model_type"])
    if old_kinds:
        name = "layer_types" if "layer_types" in hub else "layers_block_type"
        kinds = [old_kinds[kind] for kind in hub.pop(name)]
        is_pattern = all(len(kind) == 1 for kind in kinds)
        hub |= {"hybrid_override_pattern": "".join(kinds)} if is_pattern else {"layer_types": kinds}
        hub["num_hidden_layers"] = len(kinds)
    if config["model_type"] == "step3p5":
        hub = step_in_old_words(hub, config["rope_parameters"])
    if config["model_type"] == "gemma4_text":
        layer = next(iter(hub.pop("per_layer_config").values()))
        hub["global_head_dim"] = layer["head_dim"]
        hub["num_global_key_value_heads"] = layer.get("num_key_value_heads")
    return hub


def step_in_old_words(hub, ropes):
    """The text part of Step 3.7: what differs by layer in lists, and names of their own."""
    kinds, experts = hub["layer_types"], hub.pop("mlp_layer_types")
    full = ropes["full_attention"]
    hub |= {
        "attention_other_setting": {"num_attention_heads": hub.pop("num_sliding_attention_heads")},
        "moe_layers_enum": ",".join(str(i) for i, kind in enumerate(experts) if kind == "sparse"),
        "moe_num_experts": hub.pop("n_routed_experts"),
        "moe_top_k": hub.pop("num_experts_per_tok"),
        "num_attention_groups": hub.pop("num_key_value_heads"),
        "partial_rotary_factors": [ropes[kind]["partial_rotary_factor"] for kind in kinds],
        "rope_scaling": {key: full[key] for key in full if key not in ("rope_theta", "partial_rotary_factor")},
        "rope_theta": [ropes[kind]["rope_theta"] for kind in kinds],
    }
    unknown = ("rope_parameters", "per_layer_config", "mtp_layer_types", "mtp_mlp_layer_types")
    return {key: value for key, value in hub.items() if key not in unknown}


def auto_class(config):
    has_images = hasattr(config, "vision_config") or hasattr(config, "vq_config")
    return AutoModelForImageTextToText if has_images else AutoModelForCausalLM


def load(folder):
    config = AutoConfig.from_pretrained(folder)
    # transformers 5.24 computes Llama 4 with a part for images only if there is an image.
    chosen = AutoModelForCausalLM if config.model_type == "llama4" else auto_class(config)
    model = chosen.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",
        local_files_only=True,
    )
    return model.eval()


def check_hub_config(name, folder, ids, logits):
    """Writes config.hub.json if that is not config.json, and sees to it that it means the same."""
    path = folder / "config.json"
    saved = path.read_text()
    hub = json.dumps(hub_config(json.loads(saved)), indent=2) + "\n"
    path.write_text(hub)
    if distance(logits_of(load(folder), ids), logits) > 0:
        raise SystemExit(f"{name}: the Hub's configuration means something else: {hub}")
    path.write_text(saved)
    (folder / "config.hub.json").write_text(hub)


def become_twin(name, folder):
    """Gives a model the names of the family that computes the same."""
    path, weights = folder / "config.json", folder / "model.safetensors"
    tensors, config = TWINS[name](load_file(weights), json.loads(path.read_text()))
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, weights, metadata={"format": "pt"})
    path.write_text(json.dumps(config, indent=2) + "\n")


def turn_experts(folder):
    """Turns the experts' matrices as files on the Hub have them, which transformers turns back when it loads."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    turned = {key: tensor.transpose(1, 2).contiguous() for key, tensor in tensors.items() if ".experts." in key}
    save_file(tensors | turned, path, metadata={"format": "pt"})


def shrink_image_part(folder):
    """Leaves little of the part that makes tokens of images, which weighs more than the rest."""
    path = folder / "model.safetensors"
    kept = {key: tensor for key, tensor in load_file(path).items() if "vqmodel" not in key or tensor.numel() < 100}
    save_file(kept, path, metadata={"format": "pt"})


def drop_buffers(folder):
    """Leaves out what transformers computes anew, which BF16 would round."""
    path = folder / "model.safetensors"
    computed = ("slope_rate", "query_decay", "key_decay", "diagonal_decay")
    save_file({key: of for key, of in load_file(path).items() if not key.endswith(computed)}, path, metadata={"format": "pt"})


def add_unused_keys(folder):
    """Gives layers that use others' keys and values their own, as files on the Hub have them; no program computes with them."""
    path, config = folder / "model.safetensors", json.loads((folder / "config.json").read_text())
    tensors = load_file(path)
    for layer in range(config["num_hidden_layers"] - config["num_kv_shared_layers"], config["num_hidden_layers"]):
        for name in ("k_proj", "v_proj", "k_norm"):
            of = f"model.layers.{{}}.self_attn.{name}.weight"
            tensors[of.format(layer)] = tensors[of.format(0)].clone()
    save_file(tensors, path, metadata={"format": "pt"})


def make(name, folder):
    """Writes the fixture; returns the seed it took and how far float32 is from float64."""
    model_type, arguments = SHAPES[name]
    found = "no seed"
    for seed in range(N_SEEDS):
        config = CONFIG_MAPPING[model_type](**arguments)
        model = auto_class(config).from_config(config, attn_implementation="eager", dtype=torch.float32)
        randomise(model, seed, ZEROS.get(name))
        model.to(torch.bfloat16).save_pretrained(folder)
        if name == "qwen3vlmoe":
            turn_experts(folder)
        if name.startswith("chameleon"):
            shrink_image_part(folder)
        if name == "minimax-01":
            drop_buffers(folder)
        if name == "gemma3n":
            add_unused_keys(folder)
        if name.endswith("-mxfp4"):
            encode_experts(folder)
        model = load(folder)
        ids = np.random.default_rng(seed).integers(0, N_VOCAB, N_IDS).tolist()
        logits = logits_of(model, ids)
        idle = idle_tensors(model, ids, logits)
        noise = distance(logits, logits_of(model.double(), ids))
        found = f"noise {noise:.1e}, idle {idle}"
        if noise <= MOST_NOISE and not idle:
            break
        print(f"{name}: seed {seed}: {found}", file=sys.stderr)
    else:
        raise SystemExit(f"{name}: {found}")
    if name in TWINS:
        become_twin(name, folder)
    else:
        check_hub_config(name, folder, ids, logits)
    return finish(name, folder, (ids, logits), f"seed {seed}, noise {noise:.1e}")


def idle_in_reference(tensors, logits_of):
    """As `idle_tensors`, of a family with a reference of its own."""
    idle, logits = [], logits_of(tensors)
    for name, tensor in tensors.items():
        noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1))
        changed = tensor + 0.1 * max(tensor.std(correction=0).item(), 0.1) * noise
        if distance(logits_of(tensors | {name: changed}), logits) < LEAST_EFFECT:
            idle.append(name)
    return idle


def make_reference(name, folder):
    """As `make`, of a family that transformers does not have."""
    config, shapes, forward, *gains = REFERENCES[name]
    gain = lambda key: next((gain for part, gain in dict(*gains).items() if part in key), 1.0)
    for seed in range(N_SEEDS):
        generator = torch.Generator().manual_seed(seed)
        blank = {key: torch.ones(shape) if len(shape) == 1 else torch.zeros(shape) for key, shape in shapes.items()}
        tensors = {key: (gain(key) * spread(key, tensor, generator)).bfloat16() for key, tensor in blank.items()}
        ids = np.random.default_rng(seed).integers(0, N_VOCAB, N_IDS).tolist()
        floats = {key: tensor.float() for key, tensor in tensors.items()}
        logits = forward(floats, config, ids)
        idle = idle_in_reference(floats, lambda tensors: forward(tensors, config, ids))
        noise = distance(logits, forward({key: tensor.double() for key, tensor in tensors.items()}, config, ids))
        found = f"noise {noise:.1e}, idle {idle}"
        if noise <= MOST_NOISE and not idle:
            break
        print(f"{name}: seed {seed}: {found}", file=sys.stderr)
    else:
        raise SystemExit(f"{name}: {found}")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return finish(name, folder, (ids, logits), f"seed {seed}, noise {noise:.1e}")


def finish(name, folder, found, told):
    ids, logits = found
    (folder / "ids.txt").write_text(" ".join(map(str, ids)) + "\n")
    np.save(folder / "logits.npy", logits.numpy().astype("<f4"))
    n_bytes = sum(file.stat().st_size for file in folder.iterdir())
    if n_bytes > MOST_BYTES:
        raise SystemExit(f"{name}: {n_bytes} bytes are more than {MOST_BYTES}")
    return f"{told}, greatest logit {logits.abs().max().item():.2f}, {n_bytes} bytes"


def make_tokenizer(folder):
    """All bytes, a few merges and two special tokens of the fairytale model's tokenizer."""
    source = pathlib.Path(__file__).parent.parent / "fixtures/models/fairytale"
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    model, added = tokenizer["model"], tokenizer["added_tokens"][:2]
    model["merges"] = model["merges"][: N_VOCAB - 256 - len(added)]
    spelled = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
    singles = [token for token in sorted(model["vocab"], key=model["vocab"].get) if len(token) == 1]
    tokens = singles + ["".join(pair) for pair in spelled]
    model["vocab"] = {token: id for id, token in enumerate(tokens)}
    for id, token in enumerate(added, len(tokens)):
        token["id"] = id
    assert len(singles) == 256 and len(tokens) + len(added) == N_VOCAB
    bos, eos = (token["content"] for token in added)
    template = tokenizer["post_processor"]["processors"][1]
    template["special_tokens"][bos]["ids"] = [len(tokens)]
    tokenizer["added_tokens"] = added
    config = {
        "bos_token": bos,
        "clean_up_tokenization_spaces": False,
        "eos_token": eos,
        "model_max_length": 64,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def main():
    families = pathlib.Path(sys.argv[1])
    names = sys.argv[2:] or [*SHAPES, *REFERENCES]
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    make_tokenizer(families / "tokenizer")
    for name in names:
        with tempfile.TemporaryDirectory() as made:
            told = (make_reference if name in REFERENCES else make)(name, pathlib.Path(made))
            shutil.rmtree(families / name, ignore_errors=True)
            (families / name).mkdir()
            # Not copytree: temporary folders and the files of save_pretrained are private.
            for file in pathlib.Path(made).iterdir():
                shutil.copyfile(file, families / name / file.name)
        print(f"{name}: {told}", flush=True)


main()
