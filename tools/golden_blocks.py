#!/usr/bin/env python3
"""Makes the golden blocks and reference errors under fixtures/blocks/.

    python tools/golden_blocks.py

Needs `numpy`, `gguf` and `llama_cpp` (for its libggml-base). What the files hold and how they were
made is written into fixtures/blocks/MANIFEST.md beside them; the output depends on nothing but the
versions of the two packages and on fixtures/models/fairytale.
"""

import ctypes
import json
import pathlib
from importlib.metadata import version

import numpy as np
from gguf import GGMLQuantizationType, quants

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
OUT = REPOSITORY / "fixtures/blocks"
MODEL = "fixtures/models/fairytale/model.safetensors"
TENSOR = "model.layers.0.mlp.up_proj.weight"
FLOATS = ["F32", "F16", "BF16"]
# Where the half-precision numbers of a block stand, in bytes. (That of IQ1_M is in pieces; its upper byte, of
# which the exponent is cleared, has the upper four bits of the number.)
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "MXFP4": [], "TQ1_0": [52], "TQ2_0": [64], "IQ4_XS": [0],
    "Q2_K": [80, 82], "Q3_K": [108],
    "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0], "IQ1_S": [0], "IQ1_M": [],
    "NVFP4": [], "Q1_0": [0], "Q2_0": [0],
}  # fmt: skip
# Types that `gguf` does not decode or does not know: number, elements and bytes of a block.
BEYOND_GGUF = {"Q1_0": (41, 128, 18), "Q2_0": (42, 64, 18)}
# Types that llama.cpp does not make without an importance.
CODEBOOKS = ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S", "IQ1_M"]
K_TYPES = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
N_ROWS, N_IN = 64, 1024


class Random:
    """The xorshift generator of simd/tests/common/mod.rs."""

    def __init__(self, seed):
        self.state = (seed * 0x9E3779B97F4A7C15) % 2**64 | 1

    def next(self):
        s = self.state
        s ^= s << 13 & (2**64 - 1)
        s ^= s >> 7
        s ^= s << 17 & (2**64 - 1)
        self.state = s
        return s

    def bytes(self, n):
        return np.array([self.next() >> 24 & 255 for _ in range(n)], np.uint8)

    def normals(self, n):
        """Nearly normal numbers of variance 1: the sum of twelve uniform ones, exact in an f32."""
        sums = np.array([sum(self.next() >> 50 for _ in range(12)) for _ in range(n)])
        return ((sums - 6 * 2**14) / 2**14).astype(np.float32)


def model_rows():
    """Byte offset and f32 rows of the fixture model's tensor."""
    data = (REPOSITORY / MODEL).read_bytes()
    n = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + n])[TENSOR]
    assert entry["dtype"] == "BF16"
    begin, n_in = 8 + n + entry["data_offsets"][0], entry["shape"][1]
    halves = np.frombuffer(data, np.uint16, N_ROWS * n_in, begin).astype(np.uint32)
    return begin, (halves << 16).view(np.float32).reshape(N_ROWS, n_in)


def ggml():
    """The library of llama-cpp-python that has the block types."""
    import llama_cpp

    return ctypes.CDLL(str(pathlib.Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))


def block_of(name):
    """Number, elements and bytes of a block of a type."""
    if name in BEYOND_GGUF:
        return BEYOND_GGUF[name]
    type_ = GGMLQuantizationType[name]
    return type_, *quants.GGML_QUANT_SIZES[type_]


def decode(blocks, name):
    """The values of rows of blocks."""
    if name not in BEYOND_GGUF:
        return quants.dequantize(blocks, GGMLQuantizationType[name])
    _, block_len, block_bytes = BEYOND_GGUF[name]
    blocks = np.ascontiguousarray(blocks)
    values = np.empty((blocks.shape[0], blocks.shape[1] // block_bytes * block_len), np.float32)
    function = getattr(ggml(), f"dequantize_row_{name.lower()}")
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function(blocks.ctypes.data, values.ctypes.data, values.size)
    return values


def quantizer():
    """`ggml_quantize_chunk` of llama-cpp-python, as a function of the type's name and rows."""
    library = ggml()
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip

    def quantize(name, rows, importance=None):
        type_, block_len, block_bytes = block_of(name)
        rows = np.ascontiguousarray(rows, np.float32)
        weights = None if importance is None else importance.ctypes.data
        out = np.empty((rows.shape[0], rows.shape[1] // block_len * block_bytes), np.uint8)
        library.ggml_quantize_chunk(
            int(type_), rows.ctypes.data, out.ctypes.data, 0, rows.shape[0], rows.shape[1], weights
        )
        return out

    return quantize


def hard_errors(quantize, names, titles):
    """Lines of rows, importance, type and the error llama.cpp makes, weighted by the importance."""
    normal = Random(11).normals(32 * N_IN).reshape(32, N_IN)
    rows = {
        "normal": normal,
        "tiny": normal * np.float32(2**-13),
        "huge": normal * np.float32(2**13),
        "shifted": normal + np.float32(3),
        "constant": np.repeat(normal[:, :1], N_IN, axis=1),
    }
    squares = Random(12).normals(N_IN) ** 2
    ones = np.ones(N_IN, np.float32)
    for title in titles:
        x = rows[title]
        for kind, importance in (("even", None if names is K_TYPES else ones), ("squares", squares)):
            weights = np.float64(1) if importance is None else importance.astype(np.float64)
            for name in names:
                decoded = decode(quantize(name, x, importance), name).astype(np.float64)
                error = (weights * (decoded - x) ** 2).sum() / (weights * x.astype(np.float64) ** 2).sum()
                yield f"{title}\t{kind}\t{name}\t{np.sqrt(error):.9f}"


def random_blocks(name, n_blocks, block_bytes, random):
    """Random bytes with finite half-precision numbers, or any at all for the float types."""
    blocks = random.bytes(n_blocks * block_bytes).reshape(n_blocks, block_bytes)
    for at in HALVES.get(name, []):
        is_special = (blocks[:, at + 1] & 0x7C) == 0x7C
        blocks[is_special, at + 1] &= 0xBF
    if name == "MXFP4":
        blocks[:4, 0] = 0, 1, 254, 255  # Subnormal scales, an extreme one, and what might be a NaN.
    if name == "IQ1_M":
        blocks[:, 55] &= 0xBF
    if name == "NVFP4":
        # Zero, subnormal scales, the largest, what might be a NaN, and the same with the highest bit.
        blocks[:3, :4] = [[0, 1, 7, 8], [126, 127, 128, 129], [254, 255, 120, 64]]
    return blocks.reshape(1, -1)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    quantize, random = quantizer(), Random(2024)
    for name in FLOATS + list(HALVES):
        _, block_len, block_bytes = block_of(name)
        n = 2048 // block_len if block_len > 1 else 1024
        made = random_blocks(name, n, block_bytes, random)
        if name in HALVES:
            rows = random.normals(2048).reshape(1, -1)
            # Some types cannot be made without an importance.
            importance = np.ones(2048, np.float32) if name in CODEBOOKS else None
            made = np.concatenate([made, quantize(name, rows, importance)], axis=1)
        (OUT / f"{name.lower()}.bin").write_bytes(made.tobytes())
        with np.errstate(all="ignore"):
            values = decode(made, name).astype("<f4")
        (OUT / f"{name.lower()}.f32").write_bytes(values.tobytes())

    offset, from_model = model_rows()
    normal = Random(7).normals(N_ROWS * N_IN).reshape(N_ROWS, N_IN)
    cubed = normal.astype(np.float64) ** 3
    rows = {"normal": normal, "cubed": cubed.astype(np.float32), f"model@{offset}": from_model}
    lines = ["# rows, n_in, type, relative root mean square error of llama.cpp"]
    for title, x in rows.items():
        for name in HALVES:
            importance = np.ones(x.shape[1], np.float32) if name in CODEBOOKS else None
            decoded = decode(quantize(name, x, importance), name).astype(np.float64)
            error = np.sqrt(((decoded - x) ** 2).sum() / (x.astype(np.float64) ** 2).sum())
            lines.append(f"{title}\t{x.shape[1]}\t{name}\t{error:.9f}")
    (OUT / "errors.tsv").write_text("\n".join(lines) + "\n")
    head = "# rows, importance, type, relative root mean square error of llama.cpp"
    for file, names, titles in [
        ("k_errors.tsv", K_TYPES, ["normal", "tiny", "huge", "shifted", "constant"]),
        ("iq_errors.tsv", CODEBOOKS, ["normal", "tiny", "huge"]),
    ]:
        (OUT / file).write_text("\n".join([head, *hard_errors(quantize, names, titles)]) + "\n")
    (OUT / "MANIFEST.md").write_text(MANIFEST.format(gguf=version("gguf"), llama=version("llama_cpp_python")))


MANIFEST = """# Golden blocks

Made by `tools/golden_blocks.py` with gguf {gguf} (PyPI) and llama-cpp-python {llama}; run it again to
make them again.

| file | content | how |
|---|---|---|
| `<type>.bin` | blocks of the type; of a quantised type one half has random bytes under finite scales, the other holds 2048 nearly normal numbers (seed 2024) | random bytes; `ggml_quantize_chunk` of llama.cpp, without importance or, for the IQ1, IQ2 and IQ3 types, with one of 1 throughout |
| `<type>.f32` | the values of those blocks, little-endian f32 | `gguf.quants.dequantize`; for Q1_0 and Q2_0, which it lacks, `dequantize_row_*` of llama.cpp |
| `errors.tsv` | the relative root mean square error llama.cpp's quantiser makes on rows the tests can rebuild | `ggml_quantize_chunk`, then `gguf.quants.dequantize` |
| `k_errors.tsv` | the same for the K types on harder rows and with importance, the error weighted by it | the same, with the importance as imatrix |
| `iq_errors.tsv` | the same for the IQ1, IQ2 and IQ3 types, which have an importance of 1 where others have none | the same |

The rows of `errors.tsv`, 64 each: `normal` is the generator of `simd/tests/common/mod.rs` with seed 7, a
value being the sum of twelve 14-bit integers, less its mean, over 2^14; `cubed` is the cube of each of
those, computed in f64; `model@N` is BF16 numbers from byte N of
`fixtures/models/fairytale/model.safetensors`.

The rows of `k_errors.tsv` and of `iq_errors.tsv`, 32 each, are such `normal` numbers with seed 11: as they are, times 2^-13
(`tiny`), times 2^13 (`huge`), plus 3 (`shifted`), and the first of each row repeated (`constant`). The
importance is 1 (`even`) or the squares of 1024 `normal` numbers with seed 12 (`squares`).
"""


if __name__ == "__main__":
    main()
