#!/usr/bin/env python3
"""Quantises a GGUF file with llama.cpp, as llama-quantize would.

    python tools/peer/quantize.py model-F32.gguf model-Q4_K_M.gguf Q4_K_M [--pure]
        [--tensor-type REGEX=TYPE ...] [--output-tensor-type TYPE] [--token-embedding-type TYPE]
        [--imatrix FILE]

The source is one of our own F32 or BF16 files, so that both programs quantise the same weights.
Needs `llama_cpp` (llama-cpp-python) and `gguf`.
"""

import argparse
import ctypes
import pathlib

import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, LlamaFileType

FILE_TYPES = {
    "F32": LlamaFileType.ALL_F32,
    **{name: LlamaFileType[f"MOSTLY_{name}"] for name in
       ["F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0",
        "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "Q2_K_S", "IQ4_NL", "IQ4_XS", "MXFP4_MOE", "TQ1_0", "TQ2_0",
        "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"]},
}  # fmt: skip


def tensor_type(name: str) -> int:
    """The number of a tensor type, by its name in any letter case."""
    return int(GGMLQuantizationType[name.upper()])


# llama.cpp makes these with an importance matrix only.
NEED_IMPORTANCE = ["Q2_K_S", "IQ3_XS", "IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"]


def even_importance(source: pathlib.Path) -> ctypes.Array:
    """An importance matrix that says nothing: one for every column of every matrix of a file."""
    matrices = [tensor for tensor in GGUFReader(source).tensors if len(tensor.shape) > 1]
    entries = (llama_cpp.llama_model_imatrix_data * (len(matrices) + 1))()
    for entry, tensor in zip(entries, matrices):
        n = int(tensor.shape[0]) * (int(tensor.shape[2]) if len(tensor.shape) > 2 else 1)
        entry.name, entry.data, entry.size = tensor.name.encode(), (ctypes.c_float * n)(*[1.0] * n), n
    return entries


def importance_of(path: pathlib.Path) -> ctypes.Array:
    """The importance matrix of a GGUF file, as llama-quantize reads it."""
    tensors = {tensor.name: tensor.data for tensor in GGUFReader(path).tensors}
    names = [name.removesuffix(".in_sum2") for name in tensors if name.endswith(".in_sum2")]
    entries = (llama_cpp.llama_model_imatrix_data * (len(names) + 1))()
    for entry, name in zip(entries, names):
        sums, counts = tensors[name + ".in_sum2"], tensors[name + ".counts"].reshape(-1, 1)
        means = np.where(counts > 0, sums.reshape(len(counts), -1) / np.maximum(counts, 1), 1).astype(np.float32)
        entry.name, entry.size = name.encode(), means.size
        entry.data = (ctypes.c_float * means.size)(*means.ravel())
    return entries


def quantize(
    source: pathlib.Path,
    target: pathlib.Path,
    file_type: str,
    *,
    pure: bool = False,
    rules: tuple[str, ...] = (),
    output: str | None = None,
    token_embedding: str | None = None,
    importance: ctypes.Array | None = None,
    threads: int = 2,
) -> None:
    """Writes `target`; `rules` are REGEX=TYPE."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = int(FILE_TYPES[file_type])
    params.nthread = threads
    params.allow_requantize = True
    params.pure = pure
    if output:
        params.output_tensor_type = tensor_type(output)
    if token_embedding:
        params.token_embedding_type = tensor_type(token_embedding)
    if importance is None and file_type in NEED_IMPORTANCE:
        importance = even_importance(source)
    if importance:
        params.imatrix = importance
    # The list ends with an entry without a pattern; it must live until the call returns.
    overrides = (llama_cpp.llama_model_tensor_override * (len(rules) + 1))()
    for entry, rule in zip(overrides, rules):
        pattern, _, name = rule.rpartition("=")
        entry.pattern, entry.type = pattern.encode(), tensor_type(name)
    if rules:
        params.tt_overrides = overrides
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
    if status != 0:
        raise RuntimeError(f"llama.cpp cannot quantise {source} to {file_type}: status {status}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path)
    parser.add_argument("type", type=str.upper, choices=FILE_TYPES)
    parser.add_argument("--pure", action="store_true")
    parser.add_argument("--tensor-type", metavar="REGEX=TYPE", action="append", default=[])
    parser.add_argument("--output-tensor-type", metavar="TYPE")
    parser.add_argument("--token-embedding-type", metavar="TYPE")
    parser.add_argument("--imatrix", type=pathlib.Path, metavar="FILE", help="an importance matrix in GGUF")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    quantize(
        args.source,
        args.target,
        args.type,
        pure=args.pure,
        rules=tuple(args.tensor_type),
        output=args.output_tensor_type,
        token_embedding=args.token_embedding_type,
        importance=importance_of(args.imatrix) if args.imatrix else None,
        threads=args.threads,
    )


if __name__ == "__main__":
    main()
