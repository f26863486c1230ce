"""Makes fixtures/quantised of HQQ, torchao, quanto and BitNet, as quantised_fixtures.py makes the others.

Usage: python tools/quantised_by_libraries.py fixtures/quantised

`expected` is what HQQ 0.2.8, torchao 0.18 and optimum-quanto 0.2.7 decode on the CPU, in F32; BitNet's codes are packed by
transformers 5.24. torchao makes its Int4Tensor on a GPU only: that file follows its published layout.
"""

import json
import pathlib
import sys

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
