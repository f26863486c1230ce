#!/usr/bin/env python3
"""Compares the error of our encoders with llama.cpp's, type by type.

    cargo build --release -p gguf-simd --example encode
    python tools/peer/encode_error.py [--type Q4_K ...] [--model fixtures/models/fairytale] [--seconds]
                                      [--isa avx2]

Needs `numpy`, `gguf`, `safetensors` and `llama_cpp` (for its libggml-base). Both encoders get the same
rows; both outputs are decoded by the `gguf` package. Printed is the root mean square error relative to
the rows' root mean square, without and with importance (then both errors are weighted by it), and
our error divided by llama.cpp's; with `--seconds` also million weights per second, ours, llama.cpp's and
their ratio, of one thread and of the median of several rounds. The exit status is 1 if our error is
above llama.cpp's anywhere.
"""

import argparse
import ctypes
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from gguf import GGMLQuantizationType, quants

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4", "TQ1_0", "TQ2_0", "IQ4_XS"]
N_IN = 1024
# Half-precision scales make errors equal where there is nothing to search; allow for rounding.
TOLERANCE = 1.0005


def peer_library():
    """libggml-base of llama-cpp-python, with its quantiser initialised."""
    import llama_cpp

    library = ctypes.CDLL(str(pathlib.Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip
    return library


def encode_peer(library, type_, rows, importance, rounds):
    """Blocks of llama.cpp and its million weights per second, of the median round."""
    block_len, block_bytes = quants.GGML_QUANT_SIZES[type_]
    out = np.empty((rows.shape[0], rows.shape[1] // block_len * block_bytes), np.uint8)
    weights = None if importance is None else importance.ctypes.data
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        library.ggml_quantize_chunk(
            int(type_), rows.ctypes.data, out.ctypes.data, 0, rows.shape[0], rows.shape[1], weights
        )
        seconds.append(time.perf_counter() - start)
    return out, rows.size / statistics.median(seconds) / 1e6


def encode_ours(binary, type_, rows, importance, rounds, isa):
    """Our blocks and our million weights per second, from the example `encode`."""
    with tempfile.NamedTemporaryFile() as file:
        command = [binary, type_.name, str(rows.shape[1]), "--rounds", str(rounds)]
        if isa is not None:
            command += ["--isa", isa]
        if importance is not None:
            file.write(importance.tobytes())
            file.flush()
            command += ["--importance", file.name]
        run = subprocess.run(command, input=rows.tobytes(), capture_output=True, check=True)
    rate = float(run.stderr.split()[2])
    return np.frombuffer(run.stdout, np.uint8).reshape(rows.shape[0], -1), rate


def relative_error(type_, blocks, rows, importance):
    """Root mean square error over the rows' root mean square, both weighted."""
    weights = 1.0 if importance is None else importance.astype(np.float64)
    decoded = quants.dequantize(blocks, type_).astype(np.float64)
    squares = (weights * rows.astype(np.float64) ** 2).sum()
    return np.sqrt((weights * (decoded - rows) ** 2).sum() / squares)


def bf16_tensors(path):
    """Name and f32 rows of every matrix of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        header = {name: file.get_slice(name) for name in file.keys()}
        matrices = [name for name, view in header.items() if len(view.get_shape()) == 2]
        shapes = {name: header[name].get_shape() for name in matrices}
    import json

    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + n])
    for name in matrices:
        begin, end = table[name]["data_offsets"]
        halves = np.frombuffer(data[8 + n + begin : 8 + n + end], np.uint16).astype(np.uint32)
        yield name, (halves << 16).view(np.float32).reshape(shapes[name])


def data_sets(model):
    """Name and rows of everything compared: the model's matrices together, and synthetic rows."""
    by_width = {}
    for _, rows in bf16_tensors(model / "model.safetensors"):
        by_width.setdefault(rows.shape[1], []).append(rows)
    for width, parts in by_width.items():
        if width % 256 == 0:
            yield f"model, rows of {width}", np.ascontiguousarray(np.concatenate(parts))
    rng = np.random.default_rng(1)
    normal = rng.standard_normal((512, N_IN)).astype(np.float32)
    yield "Gaussian", normal
    yield "Gaussian, 1e-5", normal * np.float32(1e-5)
    yield "Gaussian, 1e4", normal * np.float32(1e4)
    yield "Gaussian plus 3", normal + np.float32(3)
    yield "Student t, 4 degrees", rng.standard_t(4, (512, N_IN)).astype(np.float32)
    yield "Laplace", rng.laplace(size=(512, N_IN)).astype(np.float32)
    yield "uniform", rng.uniform(-1, 1, (512, N_IN)).astype(np.float32)
    constants = rng.uniform(-2, 2, (256, 1)).astype(np.float32)
    yield "constant rows", np.ascontiguousarray(np.broadcast_to(constants, (256, N_IN)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--type", action="append", choices=TYPES)
    parser.add_argument("--model", type=pathlib.Path, default=REPOSITORY / "fixtures/models/fairytale")
    parser.add_argument("--binary", type=pathlib.Path, default=REPOSITORY / "target/release/examples/encode")
    parser.add_argument("--seconds", action="store_true", help="also print million weights per second")
    parser.add_argument("--isa", help="the tier of ours, instead of the best")
    arguments = parser.parse_args()
    library, worse = peer_library(), 0
    for name in arguments.type or TYPES:
        type_ = GGMLQuantizationType[name]
        for title, rows in data_sets(arguments.model):
            importance = np.random.default_rng(2).lognormal(0, 1.5, rows.shape[1]).astype(np.float32)
            line = f"{name:5} {title:24}"
            for weights in (None, importance):
                rounds = 9 if arguments.seconds else 1
                ours, our_rate = encode_ours(arguments.binary, type_, rows, weights, rounds, arguments.isa)
                theirs, their_rate = encode_peer(library, type_, rows, weights, rounds)
                error, reference = (relative_error(type_, b, rows, weights) for b in (ours, theirs))
                ratio = error / reference if reference else float(error > 0) + 1
                worse += not ratio <= TOLERANCE
                line += f"  {error:.6f} {reference:.6f} {ratio:7.4f}"
                if arguments.seconds:
                    line += f" {our_rate:6.1f} {their_rate:5.1f} M/s {our_rate / their_rate:5.2f}x"
            print(line, flush=True)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
