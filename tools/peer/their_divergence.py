"""How far files are from an original by llama.cpp's own logits: does it see the gain that gguf-run divergence shows?

Prints for each file and text the mean KL divergence from the original, its 99.9th percentile and how often the most
likely token is the same, over the second half of every chunk, as gguf-run divergence does.

    python tools/peer/their_divergence.py ORIGINAL.gguf FILE.gguf... --text TEXT [--text TEXT] [--chunks 6]

Needs numpy and llama-cpp-python.
"""

import argparse
import pathlib

import llama_cpp
import numpy as np

N_CTX = 512


def log_probabilities(path: pathlib.Path, text: pathlib.Path, n_chunks: int) -> np.ndarray:
    """Those of the vocabulary at each place that is scored: [places, n_vocab]."""
    model = llama_cpp.Llama(str(path), n_ctx=N_CTX, n_batch=N_CTX, logits_all=True, verbose=False)
    ids = model.tokenize(text.read_bytes(), add_bos=False)
    rows = []
    for chunk in range(min(n_chunks, len(ids) // N_CTX)):
        model.reset()
        model.eval(ids[chunk * N_CTX : (chunk + 1) * N_CTX])
        logits = np.array(model.scores[N_CTX // 2 : N_CTX - 1], dtype=np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        rows.append((logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32))
    if not rows:
        raise SystemExit(f"{text} has fewer than {N_CTX} tokens")
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
        original = log_probabilities(args.original, text, args.chunks)
        for path in args.files:
            other = log_probabilities(path, text, args.chunks)
            divergence = (np.exp(original) * (original - other)).sum(axis=1)
            same = 100 * (original.argmax(axis=1) == other.argmax(axis=1)).mean()
            far = np.percentile(divergence, 99.9)
            numbers = f"{len(other)} | {divergence.mean():.4f} | {far:.3f} | {same:.1f} %"
            print(f"| {path.name} | {text.name} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
