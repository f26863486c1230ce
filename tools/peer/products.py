#!/usr/bin/env python3
"""Compares the speed of our products with llama.cpp's, type by type, on one thread.

    cargo build --release -p gguf-simd --example multiply
    python tools/peer/products.py [--type IQ2_XS ...] [--columns 1 ...] [--isa avx2] [--program PATH]

Needs `numpy`, `gguf` and `llama_cpp` (for its ggml libraries). A matrix of 512 rows of 4096, of random bytes
under finite scales, is multiplied by both with the same columns of normal numbers, in turn; the products must
agree within what quantised activations explain. Printed are multiply-adds in 10^9 a second, ours, llama.cpp's and
their ratio, of CPU time and the fastest round, the median of several turns. The exit status is 1 if a ratio is below 1.
"""

import argparse
import ctypes
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TYPES = ["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "NVFP4", "Q1_0", "Q2_0", "IQ4_XS", "Q4_K"]
BEYOND_GGUF = {"Q2_0": 42}
N_IN, N_OUT, ROUNDS, TURNS = 4096, 512, 9, 5


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


def libraries():
    """ggml's libraries, base and CPU."""
    folder = pathlib.Path(llama_cpp.__file__).parent / "lib"
    base, cpu = (ctypes.CDLL(str(folder / f"libggml-{name}.so")) for name in ("base", "cpu"))
    pointer = ctypes.c_void_p
    base.ggml_init.restype, base.ggml_init.argtypes = pointer, [InitParams]
    base.ggml_free.argtypes = [pointer]
    base.ggml_new_tensor_2d.restype = pointer
    base.ggml_new_tensor_2d.argtypes = [pointer, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    base.ggml_get_data.restype, base.ggml_get_data.argtypes = pointer, [pointer]
    base.ggml_nbytes.restype, base.ggml_nbytes.argtypes = ctypes.c_size_t, [pointer]
    base.ggml_mul_mat.restype, base.ggml_mul_mat.argtypes = pointer, [pointer] * 3
    base.ggml_new_graph.restype, base.ggml_new_graph.argtypes = pointer, [pointer]
    base.ggml_build_forward_expand.argtypes = [pointer] * 2
    base.ggml_type_size.restype = ctypes.c_size_t
    cpu.ggml_graph_compute_with_ctx.argtypes = [pointer, pointer, ctypes.c_int]
    cpu.ggml_cpu_init()
    return base, cpu


def blocks(random, n_bytes, block_bytes):
    """Random blocks. Halves, whose upper bytes are the second, the fourth or the last of a block, are below 2."""
    made = random.integers(0, 256, (n_bytes // block_bytes, block_bytes), np.uint8)
    made[:, [1, 3, -1]] &= 0x3F
    return made.tobytes()


def times(n_cols):
    """How often a product is computed at a time: small ones several times, so that starting a graph does not count."""
    return max(1, 64 // n_cols)


class Peer:
    """A product that llama.cpp computes."""

    def __init__(self, libraries, type_, random, x):
        self.base, self.cpu = libraries
        n_cols = x.shape[0]
        self.times = times(n_cols)
        memory = (64 << 20) + self.times * N_OUT * n_cols * 4 + 2 * N_IN * n_cols * 8
        self.context = self.base.ggml_init(InitParams(memory, None, False))
        weights = self.base.ggml_new_tensor_2d(self.context, type_, N_IN, N_OUT)
        columns = self.base.ggml_new_tensor_2d(self.context, 0, N_IN, n_cols)
        self.blocks = blocks(random, self.base.ggml_nbytes(weights), self.base.ggml_type_size(type_))
        ctypes.memmove(self.base.ggml_get_data(weights), self.blocks, len(self.blocks))
        ctypes.memmove(self.base.ggml_get_data(columns), x.ctypes.data, x.nbytes)
        self.graph = self.base.ggml_new_graph(self.context)
        for _ in range(self.times):
            self.result = self.base.ggml_mul_mat(self.context, weights, columns)
            self.base.ggml_build_forward_expand(self.graph, self.result)
        self.shape = n_cols, N_OUT

    def seconds(self):
        """What a product takes, of the fastest round."""
        fastest = float("inf")
        for _ in range(ROUNDS):
            start = time.thread_time()
            self.cpu.ggml_graph_compute_with_ctx(self.context, self.graph, 1)
            fastest = min(fastest, (time.thread_time() - start) / self.times)
        return fastest

    def product(self):
        data = ctypes.string_at(self.base.ggml_get_data(self.result), self.base.ggml_nbytes(self.result))
        return np.frombuffer(data, np.float32).reshape(self.shape)

    def close(self):
        self.base.ggml_free(self.context)


def ours(program, name, operands, n_cols, isa):
    """Our product, and the seconds it takes."""
    counts = N_IN, N_OUT, n_cols, ROUNDS, times(n_cols)
    command = [program, name, *map(str, counts), *([isa] if isa else [])]
    with open(operands) as file:
        run = subprocess.run(command, stdin=file, capture_output=True, check=True)
    return np.frombuffer(run.stdout, np.float32).reshape(n_cols, N_OUT), float(run.stderr)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--type", nargs="+", default=TYPES)
    parser.add_argument("--columns", nargs="+", type=int, default=[1, 4, 512])
    parser.add_argument("--isa")
    parser.add_argument("--program", default=str(REPOSITORY / "target/release/examples/multiply"))
    arguments = parser.parse_args()
    loaded, random = libraries(), np.random.default_rng(1)
    slower = False
    print(f"{'type':8}{'columns':>8}{'ours':>9}{'llama.cpp':>11}{'ratio':>7}")
    for name in arguments.type:
        type_ = BEYOND_GGUF.get(name) or int(GGMLQuantizationType[name])
        for n_cols in arguments.columns:
            x = random.standard_normal((n_cols, N_IN), np.float32)
            peer = Peer(loaded, type_, random, x)
            with tempfile.NamedTemporaryFile() as operands:
                operands.write(peer.blocks + x.tobytes())
                operands.flush()
                pairs = []
                for _ in range(TURNS):
                    product, seconds = ours(arguments.program, name, operands.name, n_cols, arguments.isa)
                    pairs.append((seconds, peer.seconds()))
            # Both round activations to eight bits, but not quite alike.
            off = np.abs(product - peer.product()).max() / np.abs(product).max()
            assert off < 0.02, f"{name}: products differ by {off}"
            peer.close()
            mine, theirs = (statistics.median(column) for column in zip(*pairs))
            work = N_IN * N_OUT * n_cols / 1e9
            ratio = theirs / mine
            slower |= ratio < 1
            print(f"{name:8}{n_cols:8}{work / mine:9.1f}{work / theirs:11.1f}{ratio:7.2f}", flush=True)
    sys.exit(slower)


if __name__ == "__main__":
    main()
