#!/usr/bin/env python3
"""Writes the codebooks of the IQ types, `simd/src/block/<type>/grid.rs`, from the package `gguf` of PyPI."""

import pathlib

from gguf import quants

BLOCKS = pathlib.Path(__file__).resolve().parents[1] / "simd/src/block"
# Bits of a code in a packed entry, and the entries in a line of the file.
TYPES = {"IQ2_XXS": 2, "IQ2_XS": 2, "IQ2_S": 2, "IQ3_XXS": 3, "IQ3_S": 3, "IQ1_S": 2}
IN_A_LINE = 13


def main():
    for name, bits in TYPES.items():
        cls = getattr(quants, name)
        cls.init_grid()
        levels = [int(level) for level in cls.grid_map]
        entries = cls.grid.reshape(cls.grid_shape).astype(int)
        packed = [sum(levels.index(value) << bits * i for i, value in enumerate(entry)) for entry in entries]
        words = [f"0x{word:04x}" for word in packed]
        lines = [", ".join(words[i : i + IN_A_LINE]) for i in range(0, len(words), IN_A_LINE)]
        body = "".join(f"    {line},\n" for line in lines)
        text = (
            f"//! The codebook of {name}, made by `tools/codebooks.py`.\n\n"
            f"/// Entries of {cls.grid_shape[1]} levels, {bits} bits each, the first in the lowest; the levels are "
            f"{', '.join(map(str, levels))}.\n"
            f"#[rustfmt::skip]\n"
            f"pub(super) const PACKED: [u16; {len(packed)}] = [\n{body}];\n"
        )
        (BLOCKS / name.lower() / "grid.rs").write_text(text)


if __name__ == "__main__":
    main()
