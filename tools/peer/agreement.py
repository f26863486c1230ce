"""Do we agree with llama.cpp, and are our files at least as good?

For each type, one checkpoint becomes a GGUF twice: by gguf-convert, and by llama.cpp from our F32 file.
Both files are measured: relative RMSE of the weights (decoded by PyPI's gguf), divergence from the F32
model (gguf-run), and perplexity by gguf-run and by llama.cpp. Prints a Markdown table; fails if the two
runtimes' perplexities differ by more than 0.3 %, or if our RMSE or divergence is above llama.cpp's.

    python tools/peer/agreement.py --bin target/release --text TEXT [--types Q4_K_M,Q8_0] [--work DIR]

Needs PyPI's gguf, numpy and llama-cpp-python.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np

from perplexity import perplexity
from quantize import quantize

TYPES = "F32,F16,BF16,Q8_0,Q6_K,Q5_K_M,Q5_K_S,Q4_K_M,Q4_K_S,Q5_1,Q5_0,Q4_1,Q4_0,Q3_K_L,Q3_K_M,Q3_K_S,Q2_K,Q2_K_S,IQ4_NL,IQ4_XS,MXFP4_MOE,TQ1_0,TQ2_0"
HEAD = "| type | file | bytes | rel. RMSE | KL divergence | same top % | perplexity, gguf-run | perplexity, llama.cpp | difference % |"


def run_json(*command: object) -> dict:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return json.loads(done.stdout)


def weights(path: pathlib.Path) -> dict[str, np.ndarray]:
    return {t.name: gguf.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


def relative_rmse(path: pathlib.Path, exact: dict[str, np.ndarray]) -> float:
    """Root of the summed squared error over the summed squares, over every tensor of two dimensions."""
    error = square = 0.0
    found = weights(path)
    assert found.keys() == exact.keys(), found.keys() ^ exact.keys()
    for name, reference in exact.items():
        if reference.ndim >= 2:
            error += float(np.square(found[name].astype(np.float64) - reference).sum())
            square += float(np.square(reference.astype(np.float64)).sum())
    return float(np.sqrt(error / square))


def measure(args: argparse.Namespace, path: pathlib.Path, base: pathlib.Path, exact: dict) -> dict:
    options = ["-f", args.text, "--json", "--quiet", *(["--chunks", args.chunks] if args.chunks else [])]
    divergence = run_json(args.bin / "gguf-run", "divergence", base, path, *options)
    ours = divergence["perplexity"]["value"]
    theirs, _ = perplexity(path, args.text.read_text(), args.chunks)
    return {
        "bytes": path.stat().st_size,
        "rmse": relative_rmse(path, exact),
        "divergence": divergence["kl_divergence"]["value"],
        "same_top": 100 * divergence["same_top"]["value"],
        "ours": ours,
        "theirs": theirs,
        "difference": 100 * abs(ours / theirs - 1),
    }


def row(kind: str, maker: str, m: dict) -> str:
    return (
        f"| {kind} | {maker} | {m['bytes']} | {m['rmse']:.6f} | {m['divergence']:.6f} | {m['same_top']:.2f} "
        f"| {m['ours']:.4f} | {m['theirs']:.4f} | {m['difference']:.4f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of gguf-convert and gguf-run")
    parser.add_argument("--checkpoint", type=pathlib.Path, default="fixtures/models/fairytale")
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--chunks", type=int, help="chunks of 512 tokens to score; all by default")
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--work", type=pathlib.Path, default=tempfile.mkdtemp(prefix="agreement-"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    convert = args.bin / "gguf-convert"

    base = args.work / "ours-F32.gguf"
    subprocess.run([convert, args.checkpoint, "--type", "F32", "-o", base, "--force", "--quiet"], check=True)
    exact = weights(base)
    failures = []
    print(HEAD)
    print("|" + " --- |" * (HEAD.count("|") - 1))
    for kind in args.types.split(","):
        ours, theirs = args.work / f"ours-{kind}.gguf", args.work / f"llamacpp-{kind}.gguf"
        subprocess.run([convert, args.checkpoint, "--type", kind, "-o", ours, "--force", "--quiet"], check=True)
        quantize(base, theirs, kind)
        a, b = (measure(args, path, base, exact) for path in (ours, theirs))
        print(row(kind, "ours", a), row(kind, "llama.cpp", b), sep="\n", flush=True)
        failures += [f"{kind}: perplexities differ" for m in (a, b) if m["difference"] > 0.3]
        failures += [f"{kind}: our {key} is higher" for key in ("rmse", "divergence") if a[key] > b[key]]
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
