#!/usr/bin/env python3
"""Prints how fast `gguf-run` and llama.cpp are on this machine, beside what the machine allows.

    cargo build --release
    pip install llama-cpp-python
    python tools/peer/laptop.py model.gguf [...] [--rounds 5] [-p 256] [-n 64] [--threads N] [--ours-only]

The programs run in turn on the same files, llama.cpp in both of its modes (weights repacked at load, its default,
or not); of these the better one counts, for prompts and for generation each. The table has the medians of all
rounds in tokens per second, our speed over llama.cpp's, and the parts that ours are of the machine's limits as they
were measured in the same runs: of the rate of multiply-adds for prompts, of the memory bandwidth for generation.
Close other programs first, plug the machine in, and give it a moment to cool down. Needs Python 3.9; without
`llama_cpp`, or with --ours-only, only our figures are printed.
"""

import argparse
import importlib.util
import pathlib
import platform
import shlex
import statistics

import speed


def run_ours(path, args):
    """One run of `gguf-run bench`: its report."""
    command = [args.binary, "bench", path, "-p", args.p, "-n", args.n, "-r", args.repetitions, "--ceiling", "--output",
               "json", "--quiet"]  # fmt: skip
    threads = ["--threads", args.threads] if args.threads else []
    return speed.run_json([*command, *threads, *args.ours])[0]


def middle(values):
    """The median, or nothing if there are no values."""
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def shown(value, digits=2):
    return "" if value is None else f"{value:.{digits}f}"


def tests_of(report):
    return {test["test"][:2]: test for test in report["tests"]}


def measure(path, modes, args):
    """All runs of one file, in turn; returns our reports and llama.cpp's figures by mode."""
    ours, theirs = [], {mode: [] for mode in modes}
    for _ in range(args.rounds):
        ours.append(run_ours(path, args))
        # The other program gets the threads that ours takes.
        peer = argparse.Namespace(**vars(args))
        peer.threads, peer.batch_threads = ours[0]["threads"], ours[0]["prompt_threads"]
        for mode in modes:
            theirs[mode].append(speed.run_peer(path, mode, peer))
    return ours, theirs


def print_rows(path, ours, theirs):
    for key, name in [("pp", "prompt"), ("tg", "generation")]:
        own = middle(sample for report in ours for sample in tests_of(report)[key]["samples"])
        part = middle(tests_of(report)[key]["part_of_ceiling"] for report in ours)
        peer = [middle(sample for run in runs for sample in run[key]) for runs in theirs.values()]
        peer = max(filter(None, peer), default=None)
        ratio = own / peer if peer else None
        print(f"| {path.stem} | {name} | {shown(own)} | {shown(peer)} | {shown(ratio)} | {shown(part)} |", flush=True)


def print_machine(report, ours, args):
    """What was measured on, and its limits: the best of all rounds, since other programs only take from them."""
    bandwidth = max(run["ceilings"]["read_bytes_per_second"] for run in ours) / 1e9
    adds = [run["ceilings"]["multiply_adds_per_second"] for run in ours]
    adds = max(filter(None, adds), default=None)
    print(f"\n{report['cpu']}, {platform.system()} {platform.release()}; tier {report['isa']}, {report['threads']} threads,"
          f" {report['prompt_threads']} for prompts")
    rate = f", {adds / 1e9:.0f} G multiply-adds/s" if adds else ""
    print(f"Limits: reading {bandwidth:.1f} GB/s{rate}; medians of {args.rounds} rounds of {args.repetitions} runs")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("-p", type=int, default=256, help="tokens of the prompt")
    parser.add_argument("-n", type=int, default=64, help="tokens to generate")
    parser.add_argument("--threads", type=int, help="of all programs; unless given, those that gguf-run takes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=2, help="runs in each process, of one round")
    parser.add_argument("--ours-only", action="store_true", help="leave llama.cpp out")
    parser.add_argument("--binary", default=speed.REPOSITORY / "target/release/gguf-run")
    parser.add_argument("--ours", type=shlex.split, default=[], help="further arguments for bench, in quotes")
    args = parser.parse_args()
    args.depth = 0
    if args.p < 1 or args.n < 1:
        parser.error("-p and -n must be at least 1")
    has_peer = not args.ours_only and importlib.util.find_spec("llama_cpp") is not None
    print("| file | test | gguf-run t/s | llama.cpp t/s | ratio | part of limit |")
    print("|:--|:--|--:|--:|--:|--:|")
    ours = []
    for path in args.models:
        found, theirs = measure(path, ["repack", "plain"] if has_peer else [], args)
        print_rows(path, found, theirs)
        ours += found
    print_machine(ours[0], ours, args)


if __name__ == "__main__":
    main()
