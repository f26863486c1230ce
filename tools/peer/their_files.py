"""Files that llama.cpp's converter makes: do we compute for them what llama.cpp computes?

For each checkpoint in fixtures/families (tools/family_fixtures.py) that convert_hf_to_gguf.py takes, converted to F32
with the configuration as files on the Hub spell it: the greatest error of our logits, relative to the greatest logit,
against llama.cpp's for the same file and against those that transformers gave the checkpoint. The converter drops what
GGUF has no keys for and takes published shapes for granted, and llama.cpp does not compute all as the authors do: fails
if a file that llama.cpp reads is refused, or has logits that are neither llama.cpp's nor those of transformers.

    python tools/peer/their_files.py LLAMA_CPP --gguf-run target/release/gguf-run [NAME...]

LLAMA_CPP is a folder with llama.cpp's sources, of the release that llama-cpp-python was built from. Needs that package,
torch and transformers.
"""

import argparse
import contextlib
import importlib
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

from families import ENVIRONMENT, FIXTURES, LLAMA_CPP, MOST_SECONDS, ROOT, distance, last_error, run

# llama.cpp rounds GELU to F16, which makes a thousandth here; what is misread makes more than a hundredth.
TOLERANCE = 5e-3
# Why its logits are others for the same file, of which the converter dropped something, too.
LLAMA_CPP_DIFFERS = {
    "gpt-oss": "it rounds YaRN's borders, which gpt-oss does not, and its files do not say",
    "gpt-oss-mxfp4": "it rounds YaRN's borders, which gpt-oss does not, and its files do not say",
    "minicpm3": "it takes the epsilon of layers for latent norms",
}
# What configurations on the Hub have and transformers does not write, without which the converter stops.
ADDED = {
    "gpt2": {"n_ctx": 64},
    "cohere2": {"rotary_pct": 1.0},
    "minimax-m2": {"rotary_dim": 8},
    "minimax-m3": {
        "n_shared_experts": 1,
        "moe_layer_freq": [0, 1],
        "scoring_func": "sigmoid",
        "sparse_attention_config": {
            "sparse_num_index_heads": 2,
            "sparse_index_dim": 16,
            "sparse_topk_blocks": 4,
            "sparse_block_size": 16,
            "sparse_local_block": 1,
        },
    },
    "bailingmoe3": {
        "architectures": ["BailingMoeV3ForCausalLM"],
        "gated_attention_proj_granularity_type": "head_wise",
        "moe_shared_expert_intermediate_size": 8,
        "n_group": 2,
        "no_kda_lora": True,
        "norm_topk_prob": True,
        "score_function": "sigmoid",
    },
    "glm5-next": {
        "first_k_dense_replace": 1,
        "linear_attn_config": {
            "head_dim": 8, "num_heads": 2, "short_conv_kernel_size": 4, "gate_lower_bound": -3.0,
        },
        "mla_use_nope": True,
    },
    "qwen4exp": {"layer_types": ["linear_attention", "linear_attention", "full_attention"]},
    "dots3note": {
        "apply_mla_qkv_lora_rescale": True,
        "first_k_dense_replace": 1,
        "layer_types": ["full_attention", "sliding_attention", "full_attention"],
        "scoring_func": "sigmoid",
        "sliding_window_size": 8,
        "swa_num_attention_heads": 3,
        "swa_q_lora_rank": 12,
        "swa_kv_lora_rank": 24,
        "swa_head_dim": 20,
        "swa_qk_nope_head_dim": 12,
        "swa_qk_rope_head_dim": 8,
        "swa_v_head_dim": 8,
        "rope_parameters": {
            "full_attention": {"rope_theta": 2000.0, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 100.0, "rope_type": "default"},
        },
    },
    "cogvlm": {"num_key_value_heads": 4},
}


def load_converter(sources: pathlib.Path):
    """The converter, with the configuration and the tokenizer of fixtures."""
    sys.path[:0] = [str(sources), str(sources / "gguf-py")]
    converter = importlib.import_module("convert_hf_to_gguf")
    base = importlib.import_module("conversion.base")
    for path in (sources / "conversion").glob("[a-z]*.py"):
        importlib.import_module(f"conversion.{path.stem}")

    def configuration(folder, *_, **__):
        config = json.loads((pathlib.Path(folder) / "config.json").read_text())
        return {**config, **config.get("text_config", {})}

    base.ModelBase.load_hparams = staticmethod(configuration)
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    pending = [base.TextModel]
    for model in pending:
        model.set_vocab = lambda self: self._set_vocab_gpt2()
        pending += model.__subclasses__()
    logging.disable(logging.CRITICAL)
    return converter


def convert(converter, name: str, work: pathlib.Path) -> str | None:
    """Makes work/NAME.gguf, in a process of its own, as the converter changes its tables; says why it does not."""
    checkpoint = work / name
    shutil.copytree(FIXTURES / name, checkpoint)
    shutil.copytree(FIXTURES / "tokenizer", checkpoint, dirs_exist_ok=True)
    hub = checkpoint / "config.hub.json"
    if hub.exists():
        hub.replace(checkpoint / "config.json")
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, **ADDED.get(name, {})}))
    complaint = work / "complaint"
    complaint.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        options = ["--no-mtp"] if name.startswith(("qwen35", "qwen3next")) else []
        sys.argv = ["convert", str(checkpoint), "--outtype", "f32", "--outfile", f"{checkpoint}.gguf", *options]
        try:
            with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
                converter.main()
        except BaseException as error:
            if not isinstance(error, SystemExit) or error.code:
                complaint.write_text(repr(error)[:200])
        os._exit(0)
    os.waitpid(child, 0)
    return complaint.read_text() if complaint.exists() else None


def compare(args: argparse.Namespace, name: str, work: pathlib.Path) -> tuple[str, bool]:
    """What is to be said of a file, and whether it is wrong."""
    gguf, ids, ours, theirs = work / f"{name}.gguf", FIXTURES / name / "ids.txt", work / "ours.npy", work / "theirs.npy"
    command = [sys.executable, "-c", LLAMA_CPP, str(gguf), ids.read_text(), str(theirs)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS, env=ENVIRONMENT)
    except subprocess.TimeoutExpired:
        return f"llama.cpp gives no logits within {MOST_SECONDS} s", False
    if done.returncode != 0:
        return f"llama.cpp does not take its converter's file: {last_error(done)}", False
    command = [args.gguf_run, "logits", gguf, "--ids", ids, "-o", ours, "--force", "--quiet", "--kv-type", "f32"]
    done = run(*command)
    if done.returncode != 0:
        return f"WRONG: {last_error(done)}", True
    ours, theirs = np.load(ours), np.load(theirs)
    error, reference = distance(ours, theirs), distance(ours, np.load(FIXTURES / name / "logits.npy"))
    differs = min(error, reference) > TOLERANCE
    reason = LLAMA_CPP_DIFFERS.get(name)
    note = reason or "WRONG" if differs else ""
    return f"{error:.1e} | {reference:.1e} | {note}", note == "WRONG"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("llama_cpp", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--gguf-run", type=pathlib.Path, default=ROOT / "target/release/gguf-run")
    args = parser.parse_intermixed_args()
    converter = load_converter(args.llama_cpp)
    names = args.names or sorted(path.parent.name for path in FIXTURES.glob("*/config.json"))
    print("| fixture | ours against llama.cpp | ours against transformers | |\n|---|---|---|---|", flush=True)
    n_wrong, refused = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            complaint = convert(converter, name, pathlib.Path(folder))
            if complaint:
                refused.append(f"{name}: {complaint}")
                continue
            text, wrong = compare(args, name, pathlib.Path(folder))
            n_wrong += wrong
            print(f"| {name} | {text} |", flush=True)
    print("\nNot taken by the converter:", *refused, sep="\n- ")
    sys.exit(f"{n_wrong} files are read otherwise than llama.cpp reads them" if n_wrong else 0)


if __name__ == "__main__":
    main()
