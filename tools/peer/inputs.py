"""Does llama.cpp read of our files what we read, whatever the checkpoint was?

The bundled model is rounded to a format and packed as that format's checkpoints are (the layouts of tools/quantised_*.py), converted
by gguf-convert to the type given below, and read by both runtimes. Prints a Markdown table of perplexities; fails if they
differ by more than 0.4 %.

    python tools/peer/inputs.py --bin target/release --text TEXT [--only gptq,awq] [--chunks N] [--work DIR]
    python tools/peer/inputs.py --libraries mlx-4,bnb-nf4 --bin target/release --text TEXT [--peer] [--work DIR]

With --libraries ("all", or names that `library_checkpoints.py --list` prints), a library makes each checkpoint, and the table also
has the greatest difference of any weight to what that library itself decodes: of the file of F32, and of the file that keeps
codes. A row whose package is not installed says which one it needs; nothing is installed. Perplexities with --peer only.

Needs PyPI's numpy, torch, safetensors, gguf and llama-cpp-python.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file

sys.path.append(str(pathlib.Path(__file__).parent.parent))
from agreement import run_json
from consolidated_fixtures import by_pairs, own
from perplexity import perplexity
from quantised_by_kernels import marlin_order, packed

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def rounded(weight, bits, group, symmetric):
    """Codes, zeros and F16 scales of each group of inputs."""
    rows = weight.float().reshape(weight.shape[0], -1, group)
    top = 2**bits - 1
    if symmetric:
        scales = (rows.abs().amax(-1) / 2 ** (bits - 1)).half().float()
        zeros = torch.full_like(scales, 2 ** (bits - 1))
    else:
        low, high = rows.amin(-1).clamp(max=0), rows.amax(-1).clamp(min=0)
        scales = ((high - low) / top).half().float()
        zeros = (-low / scales).round().clamp(0, top)
    codes = (rows / scales[..., None] + zeros[..., None]).round().clamp(0, top)
    return codes.reshape(weight.shape).numpy().astype(np.int64), zeros.numpy().astype(np.int64), scales.half()


def gptq(weight):
    codes, zeros, scales = rounded(weight, 4, 32, True)
    stored = {"qweight": packed(codes.T, 4), "qzeros": packed(zeros - 1, 4).t(), "scales": scales.t()}
    order = torch.arange(weight.shape[1], dtype=torch.int32) // 32
    # Zeros are packed along the outputs.
    stored["qzeros"] = packed(zeros - 1, 4).t()
    return stored | {"g_idx": order}


def awq(weight):
    codes, zeros, scales = rounded(weight, 4, 32, False)
    shuffled = lambda rows: rows.reshape(-1, 8, rows.shape[1])[:, AWQ_ORDER].reshape(rows.shape)
    words = lambda rows: packed(shuffled(rows), 4).t()
    return {"qweight": words(codes), "qzeros": words(zeros), "scales": scales.t()}


def marlin(weight):
    codes, _, scales = rounded(weight, 4, 32, True)
    n_out, n_in = weight.shape
    tiles = codes.T.reshape(n_in // 16, 16, n_out // 16, 16).transpose(0, 2, 1, 3).reshape(-1, 1024)
    tiles = tiles[:, marlin_order()].reshape(n_in // 16, -1)
    order = [i + 8 * j for i in range(8) for j in range(8)]
    return {"B": packed(tiles.T, 4).t(), "s": scales.t().reshape(-1, 64)[:, order].reshape(-1, n_out)}


def mlx(weight):
    codes, zeros, scales = rounded(weight, 4, 64, False)
    biases = (-scales.float() * torch.from_numpy(zeros)).half()
    words = packed(codes.T, 4).t().contiguous().view(torch.uint32)
    return {"weight": words, "scales": scales, "biases": biases}


def fp8(weight):
    scales = weight.float().abs().amax(1, keepdim=True) / 448
    return {"weight": (weight.float() / scales).to(torch.float8_e4m3fn), "weight_scale": scales.bfloat16()}


def quanto(weight):
    codes, zeros, scales = rounded(weight, 4, 128, False)
    groups = torch.from_numpy(codes).reshape(-1, 128).to(torch.uint8)
    low, high = groups.chunk(2)
    shifts = scales.float() * torch.from_numpy(zeros)
    return {
        "weight._data._data": low | high << 4, "weight._scale": scales.float().reshape(-1, 1), "weight._shift": shifts.reshape(-1, 1),
    }


def torchao(weight):
    codes, zeros, scales = rounded(weight, 4, 32, False)
    n_out, n_in = weight.shape
    scales = scales.bfloat16()
    zeros = (scales.float() * torch.from_numpy(8 - zeros)).bfloat16()
    # [tile, row, outer, inner pair, half tile of 16, half of 8, lane, one of two]
    c = codes.reshape(n_out // 8, 8, n_in // 128, 4, 2, 2, 4, 2)
    c = c.transpose(0, 2, 1, 6, 3, 7, 4, 5).reshape(n_out // 8, n_in // 128, 32, 4, 8)
    words = (c.astype(np.uint64) << np.arange(0, 32, 4, dtype=np.uint64)).sum(-1).astype(np.uint32).view(np.int32)
    return {
        "_weight_qdata": torch.from_numpy(words), "_weight_scale_and_zero": torch.stack([scales.t(), zeros.t()], -1),
    }


def exl2(weight):
    order = torch.from_numpy(np.random.default_rng(1).permutation(weight.shape[1]))
    turned, rows, groups, scale_codes, greatest = weight.float()[:, order], [], [], [], []
    for i, columns in enumerate(turned.split(64, 1)):
        bits = 6 if i % 2 == 0 else 5
        wanted = columns.abs().amax(1) / 2 ** (bits - 1)
        top = (wanted.max() * 256 / 256).half()
        code = ((wanted * 256 / top.float()).sqrt() - 1).ceil().clamp(0, 15)
        scale = (code + 1) ** 2 * top.float() / 256
        codes = (columns / scale[:, None]).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) + 2 ** (bits - 1)
        groups += [bits, sum(len(row) for row in rows)]
        rows.append(packed(codes.t().numpy().astype(np.int64), bits))
        scale_codes.append(code)
        greatest.append(top)
    return {
        "q_weight": torch.cat(rows), "q_scale": packed(torch.stack(scale_codes, 1).numpy().astype(np.int64), 4).t(),
        "q_scale_max": torch.stack(greatest), "q_groups": torch.tensor(groups, dtype=torch.int16), "q_invperm": order.argsort().int(),
    }


def squeezellm(weight):
    tables = torch.quantile(weight.float(), (torch.arange(16) + 0.5) / 16, 1).t().half()
    codes = (weight.float()[..., None] - tables.float()[:, None]).abs().argmin(-1).numpy()
    outliers = weight.float() - torch.gather(tables.float(), 1, torch.from_numpy(codes))
    sparse = torch.where(outliers.abs() > 3 * outliers.std(), outliers, torch.zeros(())).to_sparse_csr()
    return {
        "qweight": packed(codes.T, 4), "lookup_table": tables, "rows": sparse.crow_indices().int(),
        "cols": sparse.col_indices().int(), "vals": sparse.values(),
    }


# The packer of a matrix, what config.json says, and the type to convert to.
PACKED = {
    "gptq": (gptq, {"quant_method": "gptq", "bits": 4, "group_size": 32}, "KEEP"),
    "awq": (awq, {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}, "KEEP"),
    "marlin": (marlin, {"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "KEEP"),
    "mlx": (mlx, {"group_size": 64, "bits": 4}, "KEEP"),
    "fp8": (fp8, {"quant_method": "compressed-tensors"}, "KEEP"),
    "quanto-int4": (quanto, {"quant_method": "quanto"}, "KEEP"),
    "torchao-tiles": (torchao, {"quant_method": "torchao"}, "KEEP"),
    "exl2": (exl2, {"quant_method": "exl2"}, "Q6_K"),
    "squeezellm": (squeezellm, {"quant_method": "squeezellm", "wbits": 4}, "Q5_K_M"),
}


def write(name, source, target):
    """Makes the checkpoint of an input in `target`; the type to convert it to."""
    shutil.copytree(source, target)
    weights = load_file(target / "model.safetensors")
    config = json.loads((target / "config.json").read_text())
    (target / "model.safetensors").unlink()
    if name == "pytorch":
        torch.save(weights, target / "pytorch_model.bin")
        return "Q8_0"
    if name == "consolidated":
        (target / "config.json").unlink()
        weights = {own(key): by_pairs(w, config["head_dim"]) if "q_proj" in key or "k_proj" in key else w for key, w in weights.items()}
        save_file(weights, target / "consolidated.safetensors")
        keys = {
            "dim": "hidden_size", "n_layers": "num_hidden_layers", "head_dim": "head_dim", "n_heads": "num_attention_heads",
            "n_kv_heads": "num_key_value_heads", "norm_eps": "rms_norm_eps", "rope_theta": "rope_theta",
            "max_seq_len": "max_position_embeddings",
        }
        (target / "params.json").write_text(json.dumps({key: config[own_key] for key, own_key in keys.items()}))
        return "Q8_0"
    pack, quantization, kind = PACKED[name]
    stored = {}
    for key, weight in weights.items():
        if key.endswith("_proj.weight"):
            module = key.removesuffix("weight")
            stored |= {module + part: tensor.contiguous() for part, tensor in pack(weight).items()}
        else:
            stored[key] = weight
    save_file(stored, target / "model.safetensors")
    (target / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))
    return kind


# What GGUF calls the matrices of a llama.
MATRICES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def expected_in_gguf(expected, config):
    """Matrices by their names in GGUF, the rows of queries and keys in its order."""
    turned = {}
    for name, weight in expected.items():
        place = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", name)
        if not place:
            turned[{"model.embed_tokens.weight": "token_embd.weight"}.get(name, "output.weight")] = weight.numpy()
            continue
        n_heads = {"self_attn.q_proj": config["num_attention_heads"], "self_attn.k_proj": config["num_key_value_heads"]}
        weight, heads = weight.numpy(), n_heads.get(place[2])
        if heads:
            weight = weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
        turned[f"blk.{place[1]}.{MATRICES[place[2]]}.weight"] = weight
    return turned


def furthest(path, expected):
    """The greatest difference of any weight of a file, and the types of its matrices with their numbers."""
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    types, furthest = {}, 0.0
    for name, weight in expected.items():
        tensor = tensors[name]
        found = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(weight.shape)
        # NVFP4 has a number beside it that products are multiplied with.
        if scale := tensors.get(f"{name.removesuffix('weight')}scale"):
            found = found * scale.data
        furthest = max(furthest, float(np.abs(found - weight).max()))
        types[tensor.tensor_type.name] = types.get(tensor.tensor_type.name, 0) + 1
    return furthest, " + ".join(f"{n} {kind}" for kind, n in sorted(types.items()))


def perplexities(args, path):
    options = ["-f", args.text, "--json", "--quiet", *(["--chunks", args.chunks] if args.chunks else [])]
    measured = run_json(args.bin / "gguf-run", "perplexity", path, *options)
    ours, theirs = measured["perplexity"], perplexity(path, args.text.read_text(), args.chunks)[0]
    return ours["value"] if isinstance(ours, dict) else ours, theirs


def compare_with_libraries(args):
    script = pathlib.Path(__file__).parent / "library_checkpoints.py"
    listed = subprocess.run([sys.executable, script, "--list"], capture_output=True, text=True, check=True).stdout
    packages = dict(line.split(": ") for line in listed.splitlines())
    config = json.loads((args.checkpoint / "config.json").read_text())
    names, failed = list(packages) if args.libraries == "all" else args.libraries.split(","), []
    if unknown := [name for name in names if name not in packages]:
        sys.exit(f"no library makes {', '.join(unknown)}; there are {', '.join(packages)}")
    print("| input | made by | matrices | bytes | F32 - library | kept - library | gguf-run | llama.cpp |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in names:
        folder, expected = args.work / name, args.work / f"{name}.expected"
        if not (expected.is_file() and folder.is_dir()):
            shutil.rmtree(folder, ignore_errors=True)
            command = [sys.executable, script, name, args.checkpoint, folder, expected]
            made = subprocess.run(command, capture_output=True, text=True)
            if made.returncode != 0:
                last = made.stderr.strip().splitlines()[-1:] or [f"exit status {made.returncode}"]
                print(f"{name}: not made; it needs {packages[name]}: {last[0]}", file=sys.stderr)
                continue
        decoded = expected_in_gguf(load_file(expected), config)
        paths = {kind: args.work / f"{name}-{kind}.gguf" for kind in ("F32", "KEEP")}
        commands = [[args.bin / "gguf-convert", folder, "--type", kind, "-o", path, "--force", "-q"] for kind, path in paths.items()]
        messages = [done.stderr for done in (subprocess.run(c, capture_output=True, text=True) for c in commands) if done.returncode]
        if messages:
            print(f"{name}: {messages[0].strip()}", file=sys.stderr)
            failed.append(name)
            continue
        (exact, _), (kept, types) = furthest(paths["F32"], decoded), furthest(paths["KEEP"], decoded)
        ours, theirs = perplexities(args, paths["KEEP"]) if args.peer else (None, None)
        both = " | ".join(f"{value:.4f}" if value else "-" for value in (ours, theirs))
        n_bytes = paths["KEEP"].stat().st_size
        print(f"| {name} | {packages[name]} | {types} | {n_bytes} | {exact:.2g} | {kept:.2g} | {both} |", flush=True)
        # Products in another order differ in the last bit of an F32.
        greatest = max(float(np.abs(weight).max()) for weight in decoded.values())
        if not decoded or exact > 1e-6 * greatest or ours and abs(ours / theirs - 1) > 0.004:
            failed.append(name)
    if failed:
        sys.exit(f"weights not those of the library, or perplexities further apart than 0.4 %: {', '.join(failed)}")


def main():
    names = ["pytorch", "consolidated", *PACKED]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of gguf-convert and gguf-run")
    parser.add_argument("--checkpoint", type=pathlib.Path, default="fixtures/models/fairytale")
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--chunks", type=int, help="chunks of 512 tokens to score; all by default")
    parser.add_argument("--only", default=",".join(names))
    parser.add_argument("--work", type=pathlib.Path, default=tempfile.mkdtemp(prefix="inputs-"))
    parser.add_argument("--libraries", help="checkpoints that libraries make, instead of those that are packed here")
    parser.add_argument("--peer", action="store_true", help="with --libraries: perplexities of both runtimes, too")
    args = parser.parse_args()
    args.work = pathlib.Path(args.work)
    if args.libraries:
        return compare_with_libraries(args)
    far = []
    print("| input | type | bytes | perplexity, gguf-run | perplexity, llama.cpp | difference % |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in args.only.split(","):
        folder, path = args.work / name, args.work / f"{name}.gguf"
        kind = write(name, args.checkpoint, folder)
        made = run_json(args.bin / "gguf-convert", folder, "--type", kind, "-o", path, "--force", "--json", "--quiet")
        ours, theirs = perplexities(args, path)
        difference = 100 * abs(ours / theirs - 1)
        print(f"| {name} | {kind} | {made['bytes']} | {ours:.4f} | {theirs:.4f} | {difference:.4f} |", flush=True)
        if difference > 0.4:
            far.append(name)
    if far:
        sys.exit(f"further apart than 0.4 %: {', '.join(far)}")


if __name__ == "__main__":
    main()
