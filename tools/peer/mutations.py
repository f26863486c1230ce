#!/usr/bin/env python3
"""Configurations changed in one option each: is what GGUF cannot say of them refused?

Takes the tiny models of tools/family_fixtures.py that transformers itself makes. For each it changes one option of the
configuration at a time (numbers, flags, activations, kinds of layers, rotary scalings, also of one kind of layers alone),
makes a random model of it, saves it as transformers does, converts it to F32 by gguf-convert and compares logits. Options
without an effect in transformers are passed over. Prints what is refused with --refused, and in any case what computes
other logits; fails if there is any. Some of these are for transformers to answer: Mamba's `rescale_prenorm_residual` and
PhiMoE's `long_factor` beyond the original context do other things there when a model is loaded, and `topk_group` 0 is no
model.

    python tools/peer/mutations.py --gguf-run target/release/gguf-run --gguf-convert target/release/gguf-convert \\
        [--refused] [NAME...]

Needs numpy, torch and transformers; accelerate for fixtures in MXFP4.
"""

import argparse
import copy
import pathlib
import shutil
import subprocess
import sys
import tempfile
import types

import numpy as np
import torch
from transformers import CONFIG_MAPPING
from transformers.utils import logging

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
IDS = [(7 * i * i + 3 * i) % 256 + 3 for i in range(40)]
TOLERANCE = 5e-4
# What shapes, names and tokens depend on, and what only training reads.
PASSED_OVER = """
    _name_or_path architectures attention_dropout attn_pdrop audio_config bos_token_id chunk_size_feed_forward d_model
    decoder_start_token_id dtype embd_pdrop embedding_dropout emb_pdrop eos_token_id hidden_dropout hidden_size id2label
    image_token_id initializer_factor initializer_range is_encoder_decoder label2id max_position_embeddings model_type n_embd
    n_head n_heads n_layer n_layers name_or_path num_attention_heads num_hidden_layers output_attentions output_hidden_states
    output_router_logits pad_token_id problem_type resid_pdrop residual_dropout return_dict router_aux_loss_coef
    router_jitter_noise router_z_loss_coef sep_token_id text_config tokenizer_class torch_dtype transformers_version use_cache
    use_mamba_kernels video_token_id vision_config vision_start_token_id vocab_size
""".split()
ACTIVATIONS = ["gelu", "relu2", "gelu_pytorch_tanh"]
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
SCALINGS = [
    YARN,
    YARN | dict(attention_factor=1.3, beta_fast=8.0),
    YARN | dict(mscale=0.7, mscale_all_dim=0.5),
    dict(rope_type="yarn", factor=4.0),
    dict(rope_type="linear", factor=4.0),
    dict(rope_type="dynamic", factor=2.0, original_max_position_embeddings=16),
    YARN | dict(rope_type="llama3", low_freq_factor=1.0, high_freq_factor=4.0),
    YARN | dict(rope_type="longrope"),
    dict(partial_rotary_factor=0.5),
    dict(rope_theta=7.0),
]


def fixtures():
    """tools/family_fixtures.py as a module, without the call that makes the fixtures."""
    path = ROOT / "tools/family_fixtures.py"
    module = types.ModuleType("family_fixtures")
    exec(compile(path.read_text().removesuffix("main()\n"), path, "exec"), module.__dict__)
    return module


def scaled(rope, scaling, config):
    """The rotary parameters `rope` with a scaling, of one rotary embedding."""
    rope = rope | scaling
    if rope.get("rope_type") == "longrope":
        heads = config.get("num_attention_heads") or 4
        head_dim = config.get("qk_rope_head_dim") or config.get("head_dim") or (config.get("hidden_size") or 32) // heads
        n = int(head_dim * rope.get("partial_rotary_factor", 1)) // 2
        rope["short_factor"] = [1.0 + 0.1 * i for i in range(n)]
        rope["long_factor"] = [1.5 + 0.4 * i for i in range(n)]
    return rope


def others(key, value, config):
    """Other values for an option."""
    if isinstance(value, bool):
        yield not value
    elif key == "rope_parameters" and isinstance(value, dict):
        kinds = [kind for kind, rope in value.items() if isinstance(rope, dict)]
        for scaling in SCALINGS:
            for kind in kinds:
                yield value | {kind: scaled(value[kind], scaling, config)}
            if not kinds:
                yield scaled(value, scaling, config)
    elif "act" in key and isinstance(value, str):
        yield from (name for name in ACTIVATIONS if name != value)
    elif isinstance(value, float):
        yield value * 1.5 if value else 0.7
    elif isinstance(value, int):
        yield from (n for n in ((value - 1, value + 1) if value < 5 else (value // 2,)) if n >= 0)
    elif value is None and not any(word in key for word in ("layers", "types", "list", "token")):
        yield from (8, 0.7, True)
    elif isinstance(value, list) and len(value) > 1:
        if value[::-1] != value:
            yield value[::-1]
        if all(isinstance(one, str) for one in value) and len(set(value)) > 1:
            yield from ([one] * len(value) for one in sorted(set(value)))
            yield value[1:] + value[:1]


def ours(args, folder, work):
    """Our logits, or None; and what was warned of, or why there are none."""
    warnings = ""
    for command in (
        [args.gguf_convert, folder, "--type", "F32", "-o", work / "m.gguf"],
        [args.gguf_run, "logits", work / "m.gguf", "--ids", work / "ids.txt", "-o", work / "l.npy", "-q", "--kv-type", "f32"],
    ):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        lines = done.stderr.replace(f"{folder}/", "").splitlines()
        if done.returncode:
            errors = (line for line in lines if line.startswith("error"))
            return None, next(errors, f"exit status {done.returncode}")
        warnings += "".join(f"; {line}" for line in lines if line.startswith("warning: "))
    return np.load(work / "l.npy"), warnings


def compare(args, made, model_type, options, plain):
    """What there is to say of a model: its kind, text and transformers' logits."""
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        folder = work / "model"
        try:
            config = CONFIG_MAPPING[model_type](**copy.deepcopy(options))
            model = made.auto_class(config).from_config(config, attn_implementation="eager", dtype=torch.float32)
            made.randomise(model, 1, None)
            model.save_pretrained(folder)
            theirs = made.logits_of(made.load(folder), IDS).numpy()
        except Exception as error:  # Whatever transformers does not like of an option.
            return "none", type(error).__name__, None
        scale = np.abs(theirs).max()
        if not np.isfinite(theirs).all() or plain is not None and np.abs(theirs - plain).max() < 1e-6 * scale:
            return "none", "without effect", theirs
        shutil.copytree(ROOT / "fixtures/families/tokenizer", folder, dirs_exist_ok=True)
        (work / "ids.txt").write_text(" ".join(map(str, IDS)))
        found, said = ours(args, folder, work)
        if found is None:
            return "refused", said, theirs
        error = float(np.abs(found - theirs).max() / scale)
        return ("same" if error <= TOLERANCE else "other"), f"{error:.1e}{said}", theirs


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gguf-run", type=pathlib.Path, default=ROOT / "target/release/gguf-run")
    parser.add_argument("--gguf-convert", type=pathlib.Path, default=ROOT / "target/release/gguf-convert")
    parser.add_argument("--refused", action="store_true", help="print also what is refused")
    parser.add_argument("names", nargs="*", help="fixtures; all unless given")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    made, is_wrong = fixtures(), False
    for name, (model_type, options) in made.SHAPES.items():
        if name in made.TWINS or args.names and name not in args.names:
            continue
        counts = dict(same=0, refused=0, other=0, none=0)
        kind, said, plain = compare(args, made, model_type, options, None)
        print(f"{name}: {kind}, {said}", flush=True)
        if kind != "same":
            is_wrong = is_wrong or kind == "other"
            continue
        config = CONFIG_MAPPING[model_type](**copy.deepcopy(options)).to_dict()
        inner = config.get("text_config")
        of_text = inner if isinstance(inner, dict) else config
        for key, value in of_text.items():
            for new in [] if key in PASSED_OVER or key.startswith("_") else others(key, value, of_text):
                changed = copy.deepcopy(options)
                target = changed.setdefault("text_config", {}) if of_text is inner else changed
                target[key] = new
                if key == "rope_parameters":
                    target.pop("rope_scaling", None)
                    target.pop("rope_theta", None)
                kind, said, _ = compare(args, made, model_type, changed, plain)
                counts[kind] += 1
                is_wrong = is_wrong or kind == "other"
                if kind == "other" or args.refused and kind == "refused":
                    print(f"  {key} {new}: {kind}: {said}", flush=True)
        print("  " + ", ".join(f"{n} {kind}" for kind, n in counts.items()), flush=True)
    if is_wrong:
        sys.exit("some compute other logits")


main()
