"""Converts what `mlx_lm.convert` makes of every family's fixture, and compares it with what the fixture itself becomes.

    python tools/peer/mlx_families.py --bin target/debug [--only qwen3moe,falcon-h1] [--bits 4] [--work DIR]

Without `--bits` the weights are plain: both conversions must be equal, but for what MLX rounds to BF16 of what it adds or
multiplies. With them, MLX's codes are held against the weights that MLX decodes of them itself (`dequantize`), and must be
equal. Prints a line for each family that MLX knows, and fails if one is refused or differs; families whose fixture MLX does
not read are named with its message. Needs PyPI's mlx, mlx-cpu, mlx-lm, gguf, transformers.
"""

import argparse
import contextlib
import io
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import gguf
import numpy as np

FAMILIES = pathlib.Path(__file__).parents[2] / "fixtures/families"

# What MLX wants to be told, and transformers does not write.
SAID = {
    "apertus": {"mlp_bias": False, "post_norm": False, "qk_norm": True},
    "exaone-moe": {"is_moe_layer": [False, True]},
    "exaone4": {"rope_scaling": None, "sliding_window_pattern": "LG"},
    "exaone4-global": {"rope_scaling": None},
    "glm4moe": {"rope_scaling": None},
    "lfm2": {"block_dim": 32},
    "mamba2": {"intermediate_size": 64},
    "mellum": {"num_experts": 8},
    "minimax-m2": {"shared_intermediate_size": 0, "rotary_dim": 8},
    "olmo2-windows": {"rope_theta": 300.0},
    "starcoder": {"n_inner": 128},
}


def source(name, work):
    folder = work / "source" / name
    shutil.copytree(FAMILIES / name, folder, ignore=shutil.ignore_patterns("*.npy"), dirs_exist_ok=True)
    tokenizer(folder)
    # MLX reads the names of files on the Hub.
    if (folder / "config.hub.json").exists():
        (folder / "config.hub.json").replace(folder / "config.json")
    config = json.loads((folder / "config.json").read_text()) | SAID.get(name, {})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def tokenizer(folder):
    for path in (FAMILIES / "tokenizer").iterdir():
        shutil.copy(path, folder)


def made(name, work, bits):
    """The folders of MLX's form of a family and of what it is to be compared with."""
    from mlx_lm import convert

    own, target = source(name, work), work / "mlx" / name
    for folder in (work / "mlx", work / "decoded"):
        folder.mkdir(exist_ok=True)
        shutil.rmtree(folder / name, ignore_errors=True)
    # Families may ask for groups of 64, and fixtures have rows of 32.
    options = {"quantize": True, "q_bits": bits, "q_group_size": 32, "quant_predicate": lambda path, module: True} if bits else {}
    with contextlib.redirect_stdout(io.StringIO()):
        convert(str(own), str(target), dtype="float32", **options)
        if bits:
            own = work / "decoded" / name
            convert(str(target), str(own), dtype="float32", dequantize=True)
    for folder in (own, target):
        tokenizer(folder)
    return own, target


def tensors(binary, folder):
    path = folder.with_suffix(".gguf")
    command = [binary / "gguf-convert", folder, "--type", "F32", "-o", path, "--force", "-q"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}


def difference(own, of_mlx):
    """The greatest difference relative to the greatest element of its tensor; names that are not in both."""
    furthest = 0.0
    for name in own.keys() & of_mlx.keys():
        if own[name].shape != of_mlx[name].shape:
            raise ValueError(f"{name} has shape {of_mlx[name].shape}, and not {own[name].shape}")
        greatest = max(float(np.abs(own[name]).max()), 1e-30)
        furthest = max(furthest, float(np.abs(own[name] - of_mlx[name]).max()) / greatest)
    return furthest, sorted(own.keys() ^ of_mlx.keys())


def main():
    names = sorted(path.name for path in FAMILIES.iterdir() if path.is_dir() and path.name != "tokenizer")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of gguf-convert")
    parser.add_argument("--only", default=",".join(names))
    parser.add_argument("--bits", type=int, help="bits of codes; plain weights by default")
    parser.add_argument("--work", type=pathlib.Path, default=tempfile.mkdtemp(prefix="mlx-families-"))
    args = parser.parse_args()
    failed, work = [], pathlib.Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    for name in args.only.split(","):
        try:
            own, of_mlx = made(name, work, args.bits)
        # MLX says in many ways that it does not know a model; one of its classes ends the program.
        except (Exception, SystemExit) as error:
            print(f"{name}: not made: {str(error).splitlines()[0][:120]}", flush=True)
            continue
        try:
            furthest, apart = difference(tensors(args.bin, own), tensors(args.bin, of_mlx))
        except ValueError as error:
            print(f"{name}: {error}", flush=True)
            failed.append(name)
            continue
        print(f"{name}: {furthest:.2g}" + (f", not in both: {', '.join(apart)}" if apart else ""), flush=True)
        # MLX leaves out a bias of ERNIE's, and says nothing of it.
        if furthest > (0 if args.bits else 1 / 128) or apart and name != "ernie4_5-moe":
            failed.append(name)
    if failed:
        sys.exit(f"not the weights of the model: {', '.join(failed)}")


if __name__ == "__main__":
    main()
