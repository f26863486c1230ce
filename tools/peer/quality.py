#!/usr/bin/env python3
"""Compares what quantising costs with that of llama-quantize, with and without an importance matrix.

    cargo build --release
    python tools/peer/quality.py MODEL --calibration TEXT --evaluation TEXT [--type Q4_K_M ...]
                                 [--bin target/release] [--chunks 40]

MODEL is a checkpoint, or an F32, F16 or BF16 file. One importance matrix, made by `gguf-run imatrix` from the
calibration text, serves both programs, and `gguf-run divergence` measures the KL divergence of every file from
MODEL on the evaluation text, which must be another one. A line for each type: bits per weight (ours; both are
alike), and 1000 times the mean divergence without importance, llama-quantize's and ours, and with importance,
and the ratio of ours to llama-quantize's with importance. Needs `llama_cpp`, `gguf` and `numpy`.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import llama_cpp

from quantize import NEED_IMPORTANCE, importance_of, quantize

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TYPES = ["Q4_K_M", "Q4_0", "Q3_K_M", "IQ4_XS", "Q2_K", "IQ3_M", "IQ3_XXS", "IQ2_M", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--calibration", type=pathlib.Path, required=True)
    parser.add_argument("--evaluation", type=pathlib.Path, required=True)
    parser.add_argument("--type", nargs="+", default=TYPES)
    parser.add_argument("--bin", type=pathlib.Path, default=REPOSITORY / "target/release")
    parser.add_argument("--chunks", type=int, default=40)
    args = parser.parse_args()
    silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silence, None)

    def run(program: str, *arguments: object) -> str:
        command = [args.bin / program, *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    with tempfile.TemporaryDirectory() as folder:
        base, imatrix, file = (pathlib.Path(folder) / name for name in ["base.gguf", "imatrix.gguf", "file.gguf"])
        run("gguf-convert", args.model, "--type", "F32", "-o", base, "--quiet")
        run("gguf-run", "imatrix", base, "-f", args.calibration, "-o", imatrix, "--quiet")
        importance = importance_of(imatrix)

        def divergence() -> float:
            result = run("gguf-run", "divergence", base, file, "-f", args.evaluation, "--chunks", args.chunks, "--json", "--quiet")
            return json.loads(result)["kl_divergence"]["value"]

        print("type      bpw    without: llama   ours     with: llama   ours    ratio")
        for name in args.type:
            row, bits = [], 0.0
            for matrix, flags in [(None, []), (importance, ["--imatrix", imatrix])]:
                if matrix is None and name in NEED_IMPORTANCE:
                    row += [float("nan")] * 2
                    continue
                quantize(base, file, name, importance=matrix)
                row.append(1000 * divergence())
                summary = json.loads(run("gguf-convert", base, "--type", name, "-o", file, "--force", "--json", *flags))
                bits = summary["bits_per_weight"]
                row.append(1000 * divergence())
            print(f"{name:8}  {bits:5.2f}  {row[0]:14.3f} {row[1]:8.3f} {row[2]:12.3f} {row[3]:8.3f} {row[3] / row[2]:8.3f}", flush=True)


if __name__ == "__main__":
    main()
