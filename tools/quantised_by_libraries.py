"""Makes fixtures/quantised of HQQ, torchao, quanto, BitNet, AutoAWQ's fast kernels and AutoRound, as quantised_fixtures.py makes the others.

Usage: python tools/quantised_by_libraries.py fixtures/quantised

`expected` is what HQQ 0.2.8, torchao 0.18 and optimum-quanto 0.2.7, AQLM 1.1.7 decode on the CPU, in F32; BitNet's codes are packed by
transformers 5.24, "gemv_fast" by AutoAWQ 0.2.9. torchao makes its Int4Tensor on a GPU only: that file follows its published
layout, and so does AutoRound's own format, which is GPTQ's with zeros as they are.
"""

import importlib.util
import json
import pathlib
import sys
import types

import numpy as np
import torch
from safetensors.torch import save_file
from transformers.integrations.bitnet import pack_weights

N_OUT, N_IN = 32, 128


def hqq(weight, bits, axis, group):
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear, Quantizer

    linear = torch.nn.Linear(N_IN, N_OUT, bias=False)
    linear.weight.data = weight
    config = BaseQuantizeConfig(nbits=bits, group_size=group, axis=axis)
    layer = HQQLinear(linear, config, compute_dtype=torch.float32, device="cpu", del_orig=False)
    state = layer.state_dict()
    tensors = {f"m.{name}": value.contiguous() for name, value in state.items() if isinstance(value, torch.Tensor)}
    return tensors | {"expected": layer.dequantize()}, {"quant_method": "hqq"}


def torchao(weight, config):
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import quantize_

    linear = torch.nn.Linear(N_IN, N_OUT, bias=False)
    linear.weight.data = weight
    module = torch.nn.ModuleDict({"m": linear})
    quantize_(module, config)
    tensors, _ = flatten_tensor_state_dict({"m.weight": module["m"].weight})
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    return tensors | {"expected": module["m"].weight.dequantize().float()}, {"quant_method": "torchao"}


def torchao_int4(weight):
    grouped = weight.reshape(N_OUT, -1, 32)
    low, high = grouped.amin(-1), grouped.amax(-1)
    scale = ((high - low) / 15).bfloat16().float()
    codes = ((grouped - low[..., None]) / scale[..., None]).round().clamp(0, 15) - 8
    zero = (low + 8 * scale).bfloat16().float()
    codes = codes.reshape(N_OUT, N_IN).to(torch.int8)
    expected = codes.reshape(N_OUT, -1, 32) * scale[..., None] + zero[..., None]
    tensors = {
        "m._weight_qdata": codes[:, ::2] & 15 | codes[:, 1::2] << 4,
        "m._weight_scale": scale.t().contiguous().bfloat16(),
        "m._weight_zero_point": zero.t().contiguous().bfloat16(),
        "expected": expected.reshape(N_OUT, N_IN),
    }
    return tensors, {"quant_method": "torchao"}


def quanto(weight, qtype):
    from optimum.quanto import AbsmaxOptimizer, QLinear

    linear = torch.nn.Linear(N_IN, N_OUT, bias=False)
    linear.weight.data = weight
    layer = QLinear.from_module(linear, weights=qtype, optimizer=AbsmaxOptimizer())
    layer.freeze()
    state = {f"m.{name}": value for name, value in layer.state_dict().items()}
    tensors = {name: value.contiguous() for name, value in state.items() if isinstance(value, torch.Tensor)}
    return tensors | {"expected": layer.weight.dequantize().float()}, {"quant_method": "quanto"}


def bitnet(weight, linear_class):
    codes = (weight / weight.abs().mean()).round().clamp(-1, 1)
    scale = torch.tensor([0.0234375 if linear_class == "autobitlinear" else 36.0])
    expected = codes * scale if linear_class == "autobitlinear" else codes / scale
    tensors = {"m.weight": pack_weights(codes), "m.weight_scale": scale.bfloat16(), "expected": expected}
    return tensors, {"quant_method": "bitnet", "linear_class": linear_class}


def drawn():
    """Codes, zeros and F16 scales of groups of 32."""
    rng = np.random.default_rng(5)
    codes, zeros = rng.integers(0, 16, (N_OUT, N_IN)), rng.integers(0, 16, (N_OUT, N_IN // 32))
    scales = torch.from_numpy(rng.uniform(0.002, 0.02, zeros.shape)).half()
    return codes, zeros, scales


def awq_fast():
    # The file alone: the package asks for a GPU.
    path = pathlib.Path(importlib.util.find_spec("awq").submodule_search_locations[0]) / "modules/linear/gemv_fast.py"
    stub = types.ModuleType("awq.utils.module")
    stub.try_import = lambda name: (None, "")
    sys.modules |= {"awq": types.ModuleType("awq"), "awq.utils": types.ModuleType("awq.utils"), stub.__name__: stub}
    spec = importlib.util.spec_from_file_location("gemv_fast", path)
    gemv_fast = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gemv_fast)
    codes, zeros, scales = drawn()
    biases = -(scales * torch.from_numpy(zeros).float()).half()
    n_groups = gemv_fast.calculate_zeros_width(N_IN, 32) * 8
    padded = lambda rows: torch.cat([rows.t(), torch.zeros(n_groups - rows.shape[1], N_OUT)]).half().contiguous()
    group = np.arange(N_IN) // 32
    expected = torch.from_numpy(codes).float() * scales.float()[:, group] + biases.float()[:, group]
    tensors = {
        "m.qweight": gemv_fast.pack_intweight(torch.from_numpy(codes).int(), interleave=4, kstride=64),
        "m.scales": padded(scales),
        "m.qzeros": padded(biases),
        "expected": expected,
    }
    return tensors, {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemv_fast"}


def aqlm(n_books, bits):
    from aqlm.utils import _dequantize_weight, pack_int_data

    codes = torch.randint(0, 2**bits, (N_OUT, N_IN // 8, n_books))
    books = (torch.randn(n_books, 2**bits, 1, 8) * 0.1).half()
    scales = torch.rand(N_OUT, 1, 1, 1).half()
    expected = _dequantize_weight(codes, books.float(), scales.float())
    packed = pack_int_data(codes, bits)
    tensors = {"m.codes": packed, "m.codebooks": books, "m.scales": scales, "expected": expected}
    return tensors, {"quant_method": "aqlm"}


def words(codes):
    """Eight codes of four bits in each word, along the last axis."""
    codes = torch.from_numpy(np.ascontiguousarray(codes)).to(torch.int64).reshape(*codes.shape[:-1], -1, 8)
    packed = (codes << torch.arange(0, 32, 4)).sum(-1)
    return (packed - (packed >> 31 << 32)).to(torch.int32)


def auto_round():
    codes, zeros, scales = drawn()
    group = np.arange(N_IN) // 32
    expected = torch.from_numpy((codes - zeros[:, group]).astype(np.float32)) * scales.float()[:, group]
    tensors = {
        "m.qweight": words(codes).t().contiguous(),
        "m.qzeros": words(zeros.T),
        "m.scales": scales.t().contiguous(),
        "expected": expected,
    }
    return tensors, {"quant_method": "auto-round", "bits": 4, "packing_format": "auto_round"}


def main():
    from optimum.quanto import qfloat8_e4m3fn, qint8
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup

    folder = pathlib.Path(sys.argv[1])
    torch.manual_seed(7)
    weight = torch.randn(N_OUT, N_IN) * 0.02
    made = {
        **{f"hqq-{bits}": lambda bits=bits: hqq(weight, bits, 1, 64) for bits in (1, 2, 3, 4, 8)},
        **{f"hqq-{bits}-axis-0": lambda bits=bits: hqq(weight, bits, 0, 32) for bits in (3, 4)},
        "torchao-int8": lambda: torchao(weight, Int8WeightOnlyConfig(version=2)),
        "torchao-intx": lambda: torchao(weight, IntxWeightOnlyConfig(torch.int4, PerGroup(32))),
        "torchao-float8": lambda: torchao(weight, Float8WeightOnlyConfig()),
        "torchao-int4": lambda: torchao_int4(weight),
        "quanto-int8": lambda: quanto(weight, qint8),
        "quanto-float8": lambda: quanto(weight, qfloat8_e4m3fn),
        "aqlm-2x8": lambda: aqlm(2, 8),
        "aqlm-1x10": lambda: aqlm(1, 10),
        "awq-gemv-fast": awq_fast,
        "auto-round": auto_round,
        "bitnet": lambda: bitnet(weight, "bitlinear"),
        "bitnet-auto": lambda: bitnet(weight, "autobitlinear"),
    }
    for name, make in made.items():
        tensors, config = make()
        print(name, {key: (str(value.dtype), tuple(value.shape)) for key, value in tensors.items()})
        save_file({key: value.detach() for key, value in tensors.items()}, folder / f"{name}.safetensors")
        (folder / f"{name}.json").write_text(json.dumps(config) + "\n")


if __name__ == "__main__":
    main()
