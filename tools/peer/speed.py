#!/usr/bin/env python3
"""Measures llama.cpp and `gguf-run` in turn on the same GGUF files.

    cargo build --release
    python tools/peer/speed.py model.gguf [...] [-p 256] [-n 32] [--rounds 3] [--threads 2] [--depth 0]

llama.cpp runs in both of its modes, with weights repacked at load (its default) and without, each in
a process of its own; a round is one run of each program. Printed are the medians of tokens per
second of the prompt (pp) and of generation (tg), the load time, the peak of memory and what of it is
not the mapped file, in megabytes, and our speed divided by that of llama.cpp's better mode, for pp and
for tg each. Needs `llama_cpp` (llama-cpp-python).
"""

import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BATCH = 512
# What is printed of each program, with the decimals.
KEYS = {"pp": 1, "tg": 2, "load": 2, "peak": 0, "own": 0}


def run_llama_cpp(path, repack, args):
    """Measures llama.cpp in this process; returns the figures."""
    from llama import Llama

    start = time.perf_counter()
    n_ctx = args.depth + max(args.p, args.n) + 8
    model = Llama(path, n_ctx=n_ctx, n_batch=BATCH, threads=args.threads, repack=repack,
                  batch_threads=args.batch_threads)
    load = time.perf_counter() - start

    def fill(n):
        model.clear()
        for first in range(0, n, BATCH):
            model.step(first, min(BATCH, n - first))

    fill(16)
    pp, tg = [], []
    for _ in range(args.repetitions):
        if args.p:
            fill(args.depth)
            start = time.perf_counter()
            model.step(args.depth, args.p)
            pp.append(args.p / (time.perf_counter() - start))
        if args.n:
            fill(args.depth)
            start = time.perf_counter()
            for i in range(args.n):
                model.step(args.depth + i, 1)
            tg.append(args.n / (time.perf_counter() - start))
    status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    own, peak = (int(status[key].split()[0]) / 1024 for key in ["RssAnon", "VmHWM"])
    return {"pp": pp, "tg": tg, "load": [load], "peak": [peak], "own": [own]}


def run_peer(path, mode, args):
    """Measures llama.cpp in a process of its own."""
    options = [f"--{key}={getattr(args, key)}" for key in ["threads", "depth", "repetitions"]]
    options += [f"--batch-threads={args.batch_threads}"] if args.batch_threads else []
    command = [sys.executable, __file__, str(path), "-p", str(args.p), "-n", str(args.n), *options, "--peer", mode]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"llama.cpp failed on {path}:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def run_ours(path, args):
    """Measures gguf-run: one process for the speeds, a short one for the time to load."""
    speeds, peak = run_json([args.binary, "bench", path, "-p", args.p, "-n", args.n, "-r", args.repetitions, "--depth",
                             args.depth, "--threads", args.threads, "--output", "json", "--quiet", *args.ours])  # fmt: skip
    short, _ = run_json([args.binary, "complete", path, "-p", "a", "-n", 1, "--threads", args.threads, "--json", "--quiet"])
    samples = {test["test"][:2]: test["samples"] for test in speeds["tests"]}
    own = speeds["own_resident_bytes"] / (1 << 20)
    return {"pp": [], "tg": [], **samples, "load": [short["statistics"]["load_seconds"]], "peak": [peak], "own": [own]}


def run_json(command):
    """Runs a command; returns the JSON it prints and its peak of memory in megabytes."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([str(part) for part in command], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"gguf-run ended with status {process.returncode}")
        out.seek(0)
        return json.load(out), usage.ru_maxrss / 1024


def median(runs, key):
    """The median of all values that runs give for `key`."""
    values = [value for run in runs for value in run[key]]
    return statistics.median(values) if values else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("-p", type=int, default=256, help="tokens of the prompt")
    parser.add_argument("-n", type=int, default=32, help="tokens to generate")
    parser.add_argument("--depth", type=int, default=0, help="positions filled beforehand")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-threads", type=int, help="llama.cpp's threads for prompts, if others")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=2, help="runs in each process, of one round")
    parser.add_argument("--binary", default=REPOSITORY / "target/release/gguf-run")
    parser.add_argument("--ours", type=shlex.split, default=[], help="further arguments for bench, in quotes")
    parser.add_argument("--peer", choices=["repack", "plain"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        print(json.dumps(run_llama_cpp(args.models[0], args.peer == "repack", args)))
        return
    print("| model | program | pp t/s | tg t/s | load s | peak MB | beyond the map MB |")
    print("|:--|:--|--:|--:|--:|--:|--:|")
    for path in args.models:
        programs = {
            "llama.cpp": lambda: run_peer(path, "repack", args),
            "llama.cpp, no repack": lambda: run_peer(path, "plain", args),
            "gguf-run": lambda: run_ours(path, args),
        }
        samples = {name: [] for name in programs}
        for _ in range(args.rounds):
            for name, run in programs.items():
                samples[name].append(run())
        medians = {name: {key: median(runs, key) for key in KEYS} for name, runs in samples.items()}
        for name, row in medians.items():
            cells = " | ".join(f"{row[key]:.{digits}f}" for key, digits in KEYS.items())
            print(f"| {path.stem} | {name} | {cells} |", flush=True)
        ours, *theirs = medians["gguf-run"], medians["llama.cpp"], medians["llama.cpp, no repack"]
        pp, tg = (ours[key] / max(row[key] for row in theirs) for key in ["pp", "tg"])
        print(f"| {path.stem} | ratio | {pp:.2f} | {tg:.2f} | | | |", flush=True)


if __name__ == "__main__":
    main()
