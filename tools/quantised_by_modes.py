"""Makes fixtures/quantised of the modes of MLX, of weights stored as other types, and of compressed-tensors' older and rarer layouts.

Usage: python tools/quantised_by_modes.py fixtures/quantised

`expected` of "mlx-mxfp4", "mlx-mxfp8" and "mlx-nvfp4" is what mlx 0.32 decodes on the CPU, of "bnb-nf4-in-bf16" what bitsandbytes
0.50 does. "compressed-3-padded" and "compressed-4-plain-zeros" are as compressed-tensors packed up to 0.17, written out here with
exact products, as are "compressed-int8-tensor", "compressed-4-tensor" and "compressed-mxfp8", and GPTQModel 7.7's planes,
"gptq-3-planes" and "gptq-7-planes".
"""

import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import save_file

from quantised_fixtures import N_IN, N_OUT, decoded, draw, words


def mlx(rng, mode):
    import mlx.core as mx

    weight = mx.array(rng.normal(0, 0.02, (N_OUT, N_IN)).astype(np.float32)).astype(mx.bfloat16)
    codes, scales = mx.quantize(weight, mode=mode)
    expected = mx.dequantize(codes, scales, mode=mode).astype(mx.float32)
    as_torch = lambda array: torch.from_numpy(np.array(array))
    config = {"group_size": 16 if mode == "nvfp4" else 32, "bits": 8 if mode == "mxfp8" else 4, "mode": mode}
    return {"m.weight": as_torch(codes), "m.scales": as_torch(scales), "expected": as_torch(expected)}, config


def bitsandbytes(rng):
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Params4bit

    weight = torch.from_numpy(rng.normal(0, 0.02, (N_OUT, N_IN))).float()
    stored = Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True, quant_storage=torch.bfloat16).to("cpu")
    tensors = {"m.weight": stored.data, "expected": dequantize_4bit(stored.data, stored.quant_state)}
    tensors |= {f"m.weight.{key}": value for key, value in stored.quant_state.as_dict(packed=True).items()}
    return tensors, {"quant_method": "bitsandbytes", "bnb_4bit_quant_storage": "bfloat16"}


def padded(codes, bits):
    """Words of as many whole codes as fit, along the rows."""
    per_word = 32 // bits
    rows = np.pad(codes, ((0, 0), (0, -codes.shape[1] % per_word))).astype(np.uint64).reshape(codes.shape[0], -1, per_word)
    packed = (rows << (np.arange(per_word, dtype=np.uint64) * np.uint64(bits))).sum(-1).astype(np.uint32)
    return torch.from_numpy(packed.view(np.int32).copy())


def compressed(rng, bits, group, pack, config, **parts):
    """Codes in words; `parts` says what else there is, each made of zeros and half of the range."""
    codes, zeros, scales = draw(rng, bits, group, not parts)
    tensors = {
        "m.weight_packed": pack(codes, bits), "m.weight_scale": scales.bfloat16(), "m.weight_shape": torch.tensor([N_OUT, N_IN]),
        "expected": decoded(codes, zeros, scales.bfloat16(), np.arange(N_IN) // group),
    }
    tensors |= {f"m.{name}": make(zeros, 2 ** (bits - 1)) for name, make in parts.items()}
    return tensors, {"quant_method": "compressed-tensors", "format": "pack-quantized"} | config


def of_tensor(rng, bits):
    """One scale and one zero for the whole."""
    half = 2 ** (bits - 1)
    codes, zero = rng.integers(-half, half, (N_OUT, N_IN)), 3
    scale = torch.tensor([0.005]).bfloat16()
    expected = torch.from_numpy(codes - zero).float() * scale.float()
    tensors = {"m.weight_scale": scale, "m.weight_zero_point": torch.tensor([zero], dtype=torch.int8), "expected": expected}
    if bits == 8:
        tensors["m.weight"] = torch.from_numpy(codes).to(torch.int8)
    else:
        tensors |= {"m.weight_packed": words(codes + half, bits), "m.weight_shape": torch.tensor([N_OUT, N_IN])}
    return tensors, {"quant_method": "compressed-tensors"}


def mxfp8(rng):
    weight = torch.from_numpy(rng.normal(0, 20, (N_OUT, N_IN))).float().to(torch.float8_e4m3fn)
    exponents = torch.from_numpy(rng.integers(110, 125, (N_OUT, N_IN // 32)).astype(np.uint8))
    expected = weight.float() * torch.exp2(exponents.float() - 127).repeat_interleave(32, 1)
    config = {"quant_method": "compressed-tensors", "format": "mxfp8-quantized"}
    return {"m.weight": weight, "m.weight_scale": exponents, "expected": expected}, config


def planes(codes, bits):
    """Every 32 codes of a row as `bits` words: the lowest bits of all, of as many as divide 32, then the higher ones so."""
    blocks, pieces, done = codes.reshape(codes.shape[0], -1, 32).astype(np.uint64), [], 0
    while done < bits:
        width = 1 << ((bits - done).bit_length() - 1)
        of_words = (blocks >> np.uint64(done) & np.uint64(2**width - 1)).reshape(*blocks.shape[:2], width, 32 // width)
        pieces.append((of_words << (np.arange(32 // width, dtype=np.uint64) * np.uint64(width))).sum(-1))
        done += width
    packed = np.concatenate(pieces, -1).astype(np.uint32).reshape(codes.shape[0], -1)
    return torch.from_numpy(packed.view(np.int32).copy())


def gptq(rng, bits):
    codes, zeros, scales = draw(rng, bits, 32, False)
    order = np.arange(N_IN) // 32
    tensors = {
        "m.qweight": planes(codes, bits).T, "m.qzeros": planes(np.ascontiguousarray(zeros.T), bits), "m.scales": scales.T,
        "m.g_idx": torch.from_numpy(order.astype(np.int32)), "expected": decoded(codes, zeros, scales, order),
    }
    return tensors, {"method": "gptq", "quant_method": "gptq", "bits": bits, "format": "gptq_p"}


def main():
    out = pathlib.Path(sys.argv[1])
    rng = np.random.default_rng(2)
    groups = {"config_groups": {"group_0": {"weights": {"num_bits": 3}}}}
    made = {f"mlx-{mode}": mlx(rng, mode) for mode in ("mxfp4", "mxfp8", "nvfp4")}
    made |= {
        "bnb-nf4-in-bf16": bitsandbytes(rng),
        "compressed-3-padded": compressed(rng, 3, 64, padded, groups, weight_zero_point=lambda zeros, _: padded(zeros.T, 3).T),
        "compressed-4-plain-zeros": compressed(
            rng, 4, 32, words, {}, weight_zero_point=lambda zeros, half: torch.from_numpy(zeros - half).to(torch.int8)
        ),
        "compressed-4-tensor": of_tensor(rng, 4),
        "compressed-int8-tensor": of_tensor(rng, 8),
        "compressed-mxfp8": mxfp8(rng),
        "gptq-3-planes": gptq(rng, 3),
        "gptq-7-planes": gptq(rng, 7),
    }
    for name, (tensors, config) in made.items():
        save_file({key: value.clone().contiguous() for key, value in tensors.items()}, out / f"{name}.safetensors")
        (out / f"{name}.json").write_text(json.dumps(config) + "\n")


if __name__ == "__main__":
    main()
