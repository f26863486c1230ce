"""How far files are from an original by llama.cpp's own logits: does it see the gain that gguf-run divergence shows?

Prints for each file and text the mean KL divergence from the original, its 99.9th percentile and how often the most
likely token is the same, over the second half of every chunk, as gguf-run divergence does.

    python tools/peer/their_divergence.py ORIGINAL.gguf FILE.gguf... --text TEXT [--text TEXT] [--chunks 6]

Needs numpy and llama-cpp-python.
"""

import argparse
import pathlib

import numpy as np

from perplexity import predictions


def all_predictions(path: pathlib.Path, text: pathlib.Path, n_chunks: int) -> np.ndarray:
    """The logarithms of all probabilities at the places that are scored: [places, n_vocab]."""
    rows = [logarithms.astype(np.float32) for logarithms, _ in predictions(path, text.read_text(), n_chunks)]
    if not rows:
        raise SystemExit(f"{text} is shorter than a chunk of 512 tokens; give a longer text")
    return np.concatenate(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("original", type=pathlib.Path)
    parser.add_argument("files", type=pathlib.Path, nargs="+")
    parser.add_argument("--text", type=pathlib.Path, action="append", required=True)
    parser.add_argument("--chunks", type=int, default=6)
    args = parser.parse_args()
    print("| file | text | places | KL divergence | 99.9 % | same top token |\n|---|---|--:|--:|--:|--:|")
    for text in args.text:
        original = all_predictions(args.original, text, args.chunks)
        for path in args.files:
            other = all_predictions(path, text, args.chunks)
            divergence = (np.exp(original) * (original - other)).sum(axis=1)
            same = 100 * (original.argmax(axis=1) == other.argmax(axis=1)).mean()
            far = np.percentile(divergence, 99.9)
            numbers = f"{len(other)} | {divergence.mean():.4f} | {far:.3f} | {same:.1f} %"
            print(f"| {path.name} | {text.name} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
