#!/usr/bin/env python3
"""Measures what guessing wins: `gguf-run complete` in turn with and without, on the same prompts.

    cargo build --release
    python tools/speculation.py model.gguf [--rounds 3] [-n 160] [--draft small.gguf]

Three kinds of prompts, made of this repository's files: to print a file again with one change, to list what a
document says in its own words, and to chat freely (five questions). Printed are the medians of generated tokens per
second without and with guesses, their ratio, and how many guesses were accepted; the texts must be the same. The
prompts have ChatML's marks, as Qwen's models read them.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
QUESTIONS = [
    "Tell me a story about a lighthouse keeper and a storm.",
    "Explain how photosynthesis works to a ten-year-old.",
    "Write a Python function that checks whether a number is prime, and explain it.",
    "What are the pros and cons of living in a big city?",
    "Give me a recipe for vegetable soup.",
]


def prompts():
    """Name, temperature and text of each prompt."""
    code = "\n".join((REPOSITORY / "tools/peer/speed.py").read_text().splitlines()[30:135])
    # A text that stays as it is.
    document = (REPOSITORY / "LICENSE-APACHE").read_text()[:7000]
    yield "edit", 0.0, (
        f"Here is a Python file:\n\n```python\n{code}\n```\n\nRename the variable `samples` to `measurements` "
        "everywhere. Print the whole file again with that change and nothing else."
    )
    yield "summarise", 0.0, (
        f"Read this document.\n\n{document}\n\nSummarise it: list its definitions and terms, one a line, quoting each "
        "sentence of the document word for word."
    )
    for i, question in enumerate(QUESTIONS):
        yield f"chat {i + 1}", 0.8, question


def run(args, path, temperature, how):
    command = [args.binary, "complete", args.model, "-f", path, "-n", args.n, "--temp", temperature, "--seed", 7,
               "--json", *how, *(["--threads", args.threads] if args.threads else [])]  # fmt: skip
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("-n", type=int, default=160, help="tokens to generate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--draft", type=pathlib.Path, help="let this model guess, instead of the text")
    parser.add_argument("--only", help="prompts whose name begins like this")
    parser.add_argument("--binary", default=REPOSITORY / "target/release/gguf-run")
    args = parser.parse_args()
    guessing = ["--draft", args.draft] if args.draft else ["--speculate", "ngram"]
    print("| prompt | its tokens | without, t/s | with, t/s | ratio | guesses accepted | text |")
    print("|:--|--:|--:|--:|--:|--:|:--|")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "prompt.txt"
        for name, temperature, text in prompts():
            if args.only and not name.startswith(args.only):
                continue
            path.write_text(
                "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
                f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
            )
            variants = [["--speculate", "off"], guessing]
            runs = [[], []]
            for i in range(args.rounds):
                # Whoever comes second finds another machine: they change places.
                for which in ([0, 1], [1, 0])[i % 2]:
                    runs[which].append(run(args, path, temperature, variants[which]))
            speeds = [statistics.median(r["statistics"]["generation_tokens_per_second"] for r in rs) for rs in runs]
            is_same = len({r["text"] for rs in runs for r in rs}) == 1
            last = runs[1][-1]["statistics"]
            guesses = last["speculation"]
            print(
                f"| {name} | {last['prompt_tokens']} | {speeds[0]:.1f} | {speeds[1]:.1f} | {speeds[1] / speeds[0]:.2f} "
                f"| {guesses['accepted']} of {guesses['guessed']} | {'same' if is_same else 'DIFFERENT'} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
