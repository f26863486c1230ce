"""Makes fixtures/quantised of formats in the order of a kernel or with tables and mixed widths, as quantised_fixtures.py makes the others.

Usage: python tools/quantised_by_kernels.py fixtures/quantised

quanto's codes of four and two bits are optimum-quanto 0.2.7's, and so is `expected` there. The makers of the others run on GPUs
only: Marlin (IST-DASLab, `Layer.pack`; AutoAWQ's is the same), torchao's tiles for tensor cores (PyTorch,
`_convert_weight_to_int4pack`), EXL2 (exllamav2, `pack_tensor.cu` and `q_matrix.cu`) and SqueezeLLM (`quant.py`) are written out here from
their published layouts, with exact products. Needs torch, numpy, safetensors, optimum-quanto.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import save_file

N_OUT, N_IN = 64, 128


def words(bits):
    """Words of runs of bits along the first axis: `[n / 32, ...]` of `[n, ...]` bits."""
    bits = bits.reshape(-1, 32, *bits.shape[1:]).astype(np.uint64)
    shifts = np.arange(32, dtype=np.uint64).reshape(1, 32, *[1] * (bits.ndim - 2))
    return torch.from_numpy((bits << shifts).sum(1).astype(np.uint32).view(np.int32))


def packed(codes, bits):
    """Codes along the first axis, the lowest bit first."""
    planes = codes[:, None] >> np.arange(bits).reshape(1, bits, *[1] * (codes.ndim - 1)) & 1
    return words(planes.reshape(-1, *codes.shape[1:]))


def quanto(qtype):
    from optimum.quanto import MaxOptimizer, QLinear
    from optimum.quanto.tensor.packed import PackedTensor

    # The library would compile an extension for this; the products are its own.
    parts = lambda data, bits: [data >> place & (1 << bits) - 1 for place in range(0, 8, bits)]
    PackedTensor.unpack = lambda self: torch.cat(parts(self._data, self._bits))[: self.shape[0]]

    # Two groups in a row, of which the tensors do not say that they are one.
    linear = torch.nn.Linear(2 * N_IN, N_OUT, bias=False)
    linear.weight.data = torch.randn(N_OUT, 2 * N_IN) * 0.02
    layer = QLinear.from_module(linear, weights=qtype, optimizer=MaxOptimizer())
    layer.freeze()
    state = {f"m.{name}": value for name, value in layer.state_dict().items() if isinstance(value, torch.Tensor)}
    return state | {"expected": layer.weight.dequantize().float()}, {"quant_method": "quanto"}


def drawn(rng, group):
    codes = rng.integers(0, 16, (N_OUT, N_IN))
    scales = torch.from_numpy(rng.uniform(0.002, 0.02, (N_OUT, N_IN // group))).half()
    return codes, scales


def marlin_order():
    order = []
    for i in range(32):
        rows = [2 * (i % 4), 2 * (i % 4) + 1, 2 * (i % 4 + 4), 2 * (i % 4 + 4) + 1]
        lane = [16 * row + i // 4 + 8 * half for half in (0, 1) for row in rows]
        order += [place + 256 * square for square in range(4) for place in lane]
    return np.array(order).reshape(-1, 8)[:, [0, 2, 4, 6, 1, 3, 5, 7]].ravel()


def marlin(names, group, config):
    rng = np.random.default_rng(11)
    codes, scales = drawn(rng, group)
    tiles = codes.T.reshape(N_IN // 16, 16, N_OUT // 16, 16).transpose(0, 2, 1, 3).reshape(N_IN // 16, -1)
    tiles = tiles.reshape(-1, 1024)[:, marlin_order()].reshape(N_IN // 16, -1)
    grouped = [i + 8 * j for i in range(8) for j in range(8)]
    alone = [2 * i + j for i in range(4) for j in (0, 1, 8, 9, 16, 17, 24, 25)]
    order = grouped if group < N_IN else alone
    turned = scales.t().reshape(-1, len(order))[:, order].reshape(-1, N_OUT).contiguous()
    expected = torch.from_numpy(codes - 8).float() * scales.float().repeat_interleave(group, 1)
    stored = packed(tiles.T, 4).t().contiguous()
    return {f"m.{names[0]}": stored, f"m.{names[1]}": turned, "expected": expected}, config


def tensor_cores(inner):
    rng = np.random.default_rng(12)
    codes, scales = drawn(rng, 32)
    scales = scales.bfloat16()
    zeros = torch.from_numpy(rng.uniform(-0.1, 0.1, scales.shape)).bfloat16()
    tiles = np.zeros((N_OUT // 8, N_IN // (16 * inner), 32, inner // 2), np.uint32)
    for tile, outer, lane, word in np.ndindex(tiles.shape):
        row, first = 8 * tile + lane // 4, (outer * inner + 2 * word) * 16 + lane % 4 * 2
        v = [int(codes[row, first + offset]) for offset in (0, 1, 8, 9, 16, 17, 24, 25)]
        tiles[tile, outer, lane, word] = sum(v[i] << 4 * place for place, i in enumerate((0, 2, 4, 6, 1, 3, 5, 7)))
    each = lambda rows: rows.float().repeat_interleave(32, 1)
    expected = torch.from_numpy(codes - 8).float() * each(scales) + each(zeros)
    tensors = {
        "m._weight_qdata": torch.from_numpy(tiles.view(np.int32)),
        "m._weight_scale_and_zero": torch.stack([scales.t(), zeros.t()], -1).contiguous(),
        "expected": expected,
    }
    return tensors, {"quant_method": "torchao"}


def exl2():
    rng = np.random.default_rng(13)
    widths = [(8, 32), (6, 32), (5, 32), (3, 32)]
    order, weights, rows, groups = rng.permutation(N_IN), [], [], []
    scale_codes = rng.integers(0, 16, (len(widths), N_OUT))
    greatest = torch.from_numpy(rng.uniform(0.01, 0.2, len(widths))).half()
    expected, first = torch.zeros(N_OUT, N_IN), 0
    for g, (bits, n) in enumerate(widths):
        codes = rng.integers(0, 1 << bits, (n, N_OUT))
        groups += [bits, sum(len(row) for row in rows)]
        rows.append(packed(codes, bits))
        scale = torch.from_numpy((scale_codes[g] + 1) ** 2).float() * (greatest[g].float() / 256)
        expected[:, order[first : first + n]] = torch.from_numpy(codes.T - (1 << bits - 1)).float() * scale[:, None]
        first += n
    tensors = {
        "m.q_weight": torch.cat(rows),
        "m.q_scale": packed(scale_codes.T, 4).t().contiguous(),
        "m.q_scale_max": greatest,
        "m.q_groups": torch.tensor(groups, dtype=torch.int16),
        "m.q_invperm": torch.from_numpy(np.argsort(order)).int(),
        "expected": expected,
    }
    return tensors, {"quant_method": "exl2"}


def squeezellm(bits):
    rng = np.random.default_rng(14)
    codes = rng.integers(0, 1 << bits, (N_OUT, N_IN))
    tables = torch.from_numpy(rng.normal(0, 0.02, (N_OUT, 1 << bits))).half()
    dense = torch.gather(tables.float(), 1, torch.from_numpy(codes))
    tensors = {"m.qweight": packed(codes.T, bits), "m.lookup_table": tables, "expected": dense}
    if bits == 4:
        sparse = torch.from_numpy(np.where(rng.random((N_OUT, N_IN)) < 0.01, rng.normal(0, 0.5, (N_OUT, N_IN)), 0)).float()
        whole = torch.from_numpy(rng.normal(0, 0.1, (N_IN, 2))).float()
        rows = sparse.to_sparse_csr()
        tensors |= {
            "m.rows": rows.crow_indices().int(), "m.cols": rows.col_indices().int(), "m.vals": rows.values().float(),
            "m.full_rows": whole, "m.full_row_indices": torch.tensor([7, 41], dtype=torch.int32),
        }
        dense = dense + sparse
        dense[7] += whole[:, 0]
        dense[41] += whole[:, 1]
        tensors["expected"] = dense
    return tensors, {"quant_method": "squeezellm", "wbits": bits}


def main():
    from optimum.quanto import qint2, qint4

    folder = pathlib.Path(sys.argv[1])
    torch.manual_seed(7)
    gptq = {"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin", "is_marlin_format": True}
    made = {
        "quanto-int4": lambda: quanto(qint4),
        "quanto-int2": lambda: quanto(qint2),
        "gptq-marlin": lambda: marlin(("B", "s"), 32, gptq),
        "gptq-marlin-alone": lambda: marlin(("B", "s"), N_IN, gptq),
        "awq-marlin": lambda: marlin(("qweight", "scales"), 32, {"quant_method": "awq", "bits": 4, "version": "marlin"}),
        "torchao-tiles": lambda: tensor_cores(8),
        "exl2": exl2,
        "squeezellm-3": lambda: squeezellm(3),
        "squeezellm-4": lambda: squeezellm(4),
    }
    for name, make in made.items():
        tensors, config = make()
        print(name, {key: (str(value.dtype), tuple(value.shape)) for key, value in tensors.items()})
        save_file({key: value.detach().contiguous() for key, value in tensors.items()}, folder / f"{name}.safetensors")
        (folder / f"{name}.json").write_text(json.dumps(config) + "\n")


if __name__ == "__main__":
    main()
