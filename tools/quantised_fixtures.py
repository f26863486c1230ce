"""Makes fixtures/quantised: matrices as quantised checkpoints hold them, with the values that they stand for.

Usage: python tools/quantised_fixtures.py fixtures/quantised

A file NAME.safetensors has the tensors of a module `m` and `expected`, its matrix in F32; NAME.json is what config.json
says of the format. `expected` is what compressed_tensors and bitsandbytes decode where those make the file; GPTQ, AWQ,
MLX and FP8 files follow the published layouts, written out here, with exact products. Needs torch, numpy, safetensors,
compressed_tensors 0.20, bitsandbytes 0.50.
"""

import importlib.util
import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import save_file

N_OUT, N_IN = 32, 128
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def words(codes, bits):
    """Packs each row of codes into 32-bit words, the lowest bits first, numbers across words where they do not fit."""
    flags = (codes[..., None].astype(np.uint8) >> np.arange(bits, dtype=np.uint8)) & 1
    flags = flags.reshape(codes.shape[0], -1)
    packed = np.packbits(flags, axis=1, bitorder="little")
    return torch.from_numpy(packed.view(np.int32).copy())


def draw(rng, bits, group, symmetric):
    n_groups = N_IN // group
    codes = rng.integers(0, 2**bits, (N_OUT, N_IN))
    zeros = np.full((N_OUT, n_groups), 2 ** (bits - 1)) if symmetric else rng.integers(0, 2**bits, (N_OUT, n_groups))
    scales = torch.from_numpy(rng.uniform(0.002, 0.02, (N_OUT, n_groups))).half()
    return codes, zeros, scales


def decoded(codes, zeros, scales, group_of):
    scales, zeros = scales.float().numpy()[:, group_of], zeros[:, group_of]
    return torch.from_numpy((codes - zeros).astype(np.float32) * scales)


def gptq(rng, bits, group, symmetric=True, version=1, ordered=False):
    codes, zeros, scales = draw(rng, bits, group, symmetric)
    order = rng.permutation(N_IN) // group if ordered else np.arange(N_IN) // group
    stored = zeros if version == 2 else (zeros - 1) % 2**bits
    tensors = {
        "m.qweight": words(codes, bits).T.contiguous(),
        "m.qzeros": words(np.ascontiguousarray(stored.T), bits),
        "m.scales": scales.T.contiguous(),
        "m.g_idx": torch.from_numpy(order.astype(np.int32)),
        "expected": decoded(codes, zeros, scales, order),
    }
    form = "gptq_v2" if version == 2 else "gptq"
    return tensors, {"quant_method": "gptq", "bits": bits, "checkpoint_format": form, "desc_act": ordered}


def awq(rng, version, symmetric=False):
    codes, zeros, scales = draw(rng, 4, 32, symmetric)
    expected = decoded(codes, zeros, scales, np.arange(N_IN) // 32)
    if version == "gemv":
        # Zeros and scales are padded to whole words.
        padded = np.zeros((N_OUT, 32), np.int64)
        padded[:, : zeros.shape[1]] = zeros
        wide = torch.zeros(N_OUT, 32, dtype=torch.float16)
        wide[:, : scales.shape[1]] = scales
        tensors = {"m.qweight": words(codes, 4), "m.qzeros": words(padded, 4), "m.scales": wide}
    else:
        shuffled = lambda rows: np.ascontiguousarray(rows.T.reshape(rows.shape[1], -1, 8)[:, :, AWQ_ORDER].reshape(rows.shape[1], -1))
        tensors = {
            "m.qweight": words(shuffled(codes), 4),
            "m.qzeros": words(shuffled(zeros), 4),
            "m.scales": scales.T.contiguous(),
        }
    config = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": version}
    return tensors | {"expected": expected}, config


def mlx(rng, bits):
    codes, _, scales = draw(rng, bits, 64, True)
    biases = torch.from_numpy(rng.uniform(-0.2, 0.0, tuple(scales.shape))).half()
    group_of = np.arange(N_IN) // 64
    expected = torch.from_numpy(codes.astype(np.float32)) * scales.float()[:, group_of] + biases.float()[:, group_of]
    packed = words(codes, bits).numpy().view(np.uint32)
    tensors = {"m.weight": torch.from_numpy(packed), "m.scales": scales, "m.biases": biases, "expected": expected}
    return tensors, {"group_size": 64, "bits": bits}


def fp8(rng, kind, dtype):
    weights = torch.from_numpy(rng.normal(0, 20, (N_OUT, N_IN))).float().to(dtype)
    if kind == "block":
        scales = torch.from_numpy(rng.uniform(1e-4, 1e-3, (N_OUT // 16, N_IN // 32))).float()
        wide = scales.repeat_interleave(16, 0).repeat_interleave(32, 1)
        names, config = "m.weight_scale_inv", {"quant_method": "fp8", "weight_block_size": [16, 32]}
    elif kind == "row":
        scales = torch.from_numpy(rng.uniform(1e-4, 1e-3, (N_OUT, 1))).bfloat16()
        wide, names, config = scales.float(), "m.weight_scale", {"quant_method": "compressed-tensors"}
    else:
        scales = torch.tensor(3.0e-4)
        wide, names, config = scales, "m.weight_scale", {"quant_method": "modelopt", "quant_algo": "FP8"}
    tensors = {"m.weight": weights, names: scales, "expected": weights.float() * wide}
    if kind == "tensor":
        tensors["m.input_scale"] = torch.tensor(0.5)
    return tensors, config


def fp8_stack(rng):
    """Experts in one parameter, as transformers keeps them."""
    weights = torch.from_numpy(rng.normal(0, 20, (3, N_OUT, N_IN))).float().to(torch.float8_e4m3fn)
    scales = torch.from_numpy(rng.uniform(1e-4, 1e-3, (3, 2, 4))).float()
    wide = scales.repeat_interleave(16, 1).repeat_interleave(32, 2)
    tensors = {"m.stack": weights, "m.stack_scale_inv": scales, "expected": weights.float() * wide}
    return tensors, {"quant_method": "fp8", "weight_block_size": [16, 32]}


def compressed(rng, bits, symmetric):
    # The package imports more than the two functions need.
    folder = importlib.util.find_spec("compressed_tensors").submodule_search_locations[0]
    path = pathlib.Path(folder, "compressors/pack_quantized/helpers.py")
    spec = importlib.util.spec_from_file_location("helpers", path)
    helpers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helpers)
    pack_to_int32, unpack_from_int32 = helpers.pack_to_int32, helpers.unpack_from_int32

    codes, zeros, scales = draw(rng, bits, 32, symmetric)
    half = 2 ** (bits - 1)
    signed = torch.from_numpy(codes - half).to(torch.int8)
    packed = pack_to_int32(signed, bits)
    assert torch.equal(unpack_from_int32(packed, bits, signed.shape), signed)
    tensors = {
        "m.weight_packed": packed,
        "m.weight_scale": scales.bfloat16(),
        "m.weight_shape": torch.tensor([N_OUT, N_IN]),
        "expected": decoded(codes, zeros, scales.bfloat16(), np.arange(N_IN) // 32),
    }
    if not symmetric:
        tensors["m.weight_zero_point"] = pack_to_int32(torch.from_numpy(zeros - half).to(torch.int8), bits, packed_dim=0)
    return tensors, {"quant_method": "compressed-tensors", "format": "pack-quantized"}


def compressed_int8(rng):
    codes = torch.from_numpy(rng.integers(-128, 128, (N_OUT, N_IN))).to(torch.int8)
    scales = torch.from_numpy(rng.uniform(1e-4, 1e-3, (N_OUT, 1))).bfloat16()
    tensors = {"m.weight": codes, "m.weight_scale": scales, "expected": codes.float() * scales.float()}
    return tensors, {"quant_method": "compressed-tensors", "format": "int-quantized"}


def fp4(rng, kind):
    codes = rng.integers(0, 16, (N_OUT, N_IN))
    packed = torch.from_numpy((codes[:, ::2] | codes[:, 1::2] << 4).astype(np.uint8))
    table = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    values = table[torch.from_numpy(codes)]
    if kind == "mxfp4":
        exponents = torch.from_numpy(rng.integers(110, 125, (N_OUT, N_IN // 32)).astype(np.uint8))
        expected = values * torch.exp2(exponents.float() - 127).repeat_interleave(32, 1)
        return (
            {"m.weight_packed": packed, "m.weight_scale": exponents, "expected": expected},
            {"quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized"},
        )
    scales = torch.from_numpy(rng.uniform(1, 400, (N_OUT, N_IN // 16))).float().to(torch.float8_e4m3fn)
    of_tensor = torch.tensor(2.0**-15)
    expected = values * (scales.float() * of_tensor).repeat_interleave(16, 1)
    if kind == "nvfp4-modelopt":
        tensors = {"m.weight": packed, "m.weight_scale": scales, "m.weight_scale_2": of_tensor, "m.input_scale": of_tensor * 2}
        return tensors | {"expected": expected}, {"quant_method": "modelopt", "quant_algo": "NVFP4"}
    tensors = {"m.weight_packed": packed, "m.weight_scale": scales, "m.weight_global_scale": 1 / of_tensor.reshape(1)}
    config = {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}
    return tensors | {"expected": expected}, config


def bitsandbytes(rng, kind, nested):
    import bitsandbytes.functional as F

    weights = torch.from_numpy(rng.normal(0, 0.02, (N_OUT, N_IN))).float()
    codes, state = F.quantize_4bit(weights, blocksize=64, compress_statistics=nested, quant_type=kind)
    tensors = {"m.weight": codes, "expected": F.dequantize_4bit(codes, state).float()}
    tensors |= {f"m.weight.{name}": value for name, value in state.as_dict(packed=True).items()}
    return tensors, {"quant_method": "bitsandbytes", "load_in_4bit": True}


def llm_int8(rng):
    weights = torch.from_numpy(rng.normal(0, 0.02, (N_OUT, N_IN))).float()
    scb = weights.abs().amax(1)
    codes = torch.round(weights * (127 / scb[:, None])).to(torch.int8)
    expected = codes.float() * (scb * torch.tensor(1 / 127))[:, None]
    tensors = {"m.weight": codes, "m.SCB": scb, "m.weight_format": torch.tensor(0, dtype=torch.uint8)}
    return tensors | {"expected": expected}, {"quant_method": "bitsandbytes", "load_in_8bit": True}


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    made = {f"gptq-{bits}": gptq(rng, bits, 32) for bits in (2, 3, 4, 8)}
    made |= {
        "gptq-4-asym": gptq(rng, 4, 32, symmetric=False),
        "gptq-3-asym-v2": gptq(rng, 3, 64, symmetric=False, version=2),
        "gptq-4-v2": gptq(rng, 4, 128, version=2),
        "gptq-4-act-order": gptq(rng, 4, 32, symmetric=False, ordered=True),
        "awq-gemm": awq(rng, "gemm"),
        "awq-gemm-sym": awq(rng, "gemm", symmetric=True),
        "awq-gemv": awq(rng, "gemv"),
        "mlx-4": mlx(rng, 4),
        "mlx-3": mlx(rng, 3),
        "mlx-6": mlx(rng, 6),
        "fp8-block": fp8(rng, "block", torch.float8_e4m3fn),
        "fp8-row": fp8(rng, "row", torch.float8_e4m3fn),
        "fp8-tensor": fp8(rng, "tensor", torch.float8_e5m2),
        "fp8-stack": fp8_stack(rng),
        "compressed-4": compressed(rng, 4, True),
        "compressed-4-asym": compressed(rng, 4, False),
        "compressed-8": compressed(rng, 8, True),
        "compressed-int8": compressed_int8(rng),
        "mxfp4": fp4(rng, "mxfp4"),
        "nvfp4-modelopt": fp4(rng, "nvfp4-modelopt"),
        "nvfp4-compressed": fp4(rng, "nvfp4"),
        "bnb-nf4": bitsandbytes(rng, "nf4", False),
        "bnb-nf4-nested": bitsandbytes(rng, "nf4", True),
        "bnb-fp4": bitsandbytes(rng, "fp4", False),
        "llm-int8": llm_int8(rng),
    }
    for name, (tensors, config) in made.items():
        save_file({key: value.clone().contiguous() for key, value in tensors.items()}, out / f"{name}.safetensors")
        (out / f"{name}.json").write_text(json.dumps(config) + "\n")


if __name__ == "__main__":
    main()
