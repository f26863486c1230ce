#!/usr/bin/env python3
"""Measures llama.cpp and `gguf-run` in turn on a model that is larger than the memory they may use.

    cargo build --release
    python tools/peer/residency.py model.gguf --limit 3000M [-p 32] [-n 8] [--rounds 3] [--threads 2]

Both run inside a control group with this limit (version 1 or 2, made below the root; that takes root),
each in a process of its own, with the file dropped from the system's cache before. llama.cpp maps the
file and does not repack, since a repacked copy would not fit. Printed are the medians of tokens per
second and of bytes that the process has the disk read for each generated token, and our ratios. The exit
status is 1 if we read more than 1.2 times the model less what stays in memory, or are less than 3 times
as fast as llama.cpp.
Needs `llama_cpp` (llama-cpp-python).
"""

import argparse
import json
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
MOST_READ, LEAST_SPEED = 1.2, 3.0
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def n_bytes(text):
    """Bytes of '512M' or '1.5 GiB'."""
    number, unit = re.fullmatch(r"([0-9.]+) ?([KMG]?)(?:i?B)?", text).groups()
    return int(float(number) * UNITS[unit])


class Group:
    """A control group with a limit on memory."""

    def __init__(self, limit):
        mounts = [line.split() for line in open("/proc/mounts")]
        version_1 = [m[1] for m in mounts if m[2] == "cgroup" and "memory" in m[3].split(",")]
        version_2 = [m[1] for m in mounts if m[2] == "cgroup2"]
        top = pathlib.Path((version_1 or version_2)[0])
        if not version_1:
            (top / "cgroup.subtree_control").write_text("+memory")
        self.folder = top / f"residency-{os.getpid()}"
        self.folder.mkdir()
        if version_1:
            (self.folder / "memory.limit_in_bytes").write_text(str(limit))
        else:
            (self.folder / "memory.max").write_text(str(limit))
            (self.folder / "memory.swap.max").write_text("0")

    def enter(self):
        """Moves the calling process into the group."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.rmdir()


def forget(path):
    """Drops a file from the system's cache, and no other."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def bytes_read(pid):
    """Bytes that a process has read from disk."""
    for line in open(f"/proc/{pid}/io"):
        if line.startswith("read_bytes:"):
            return int(line.split()[1])


def run_llama_cpp(args):
    """Measures llama.cpp in this process: seconds and bytes for each token after the first few."""
    from llama import Llama

    n_ctx = args.p + args.n + 8
    model = Llama(args.model, n_ctx=n_ctx, n_batch=n_ctx, threads=args.threads, repack=False)
    start = time.perf_counter()
    model.step(0, args.p)
    prompt = time.perf_counter() - start
    model.step(args.p, 1)
    start, before = time.perf_counter(), bytes_read("self")
    for i in range(1, args.n + 1):
        model.step(args.p + i, 1)
    return {
        "prompt": args.p / prompt,
        "seconds": (time.perf_counter() - start) / args.n,
        "bytes": (bytes_read("self") - before) / args.n,
    }


def run_peer(args, group, n_prompt):
    """Measures llama.cpp in the group."""
    forget(args.model)
    command = [sys.executable, __file__, args.model, "--limit=0", "-p", n_prompt, "-n", args.n, "--threads", args.threads]
    command = [str(part) for part in [*command, "--peer"]]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, preexec_fn=group.enter)
    if run.returncode != 0:
        sys.exit(f"llama.cpp ended with status {run.returncode}")
    return json.loads(run.stdout.splitlines()[-1])


def run_ours(args, group):
    """Measures gguf-run in the group; what generating reads is the difference of two runs."""
    few, many = (complete(args, group, n) for n in [2, args.n + 2])
    n = many["generation_steps"] - few["generation_steps"]
    return {
        "n_prompt": many["prompt_tokens"],
        "prompt": many["prompt_tokens_per_second"],
        "seconds": many["generation_seconds"] / many["generation_steps"],
        "bytes": (many["read"] - few["read"]) / n,
        "pinned": many["pinned_bytes"],
        "streamed": many["streamed_bytes"],
    }


def complete(args, group, n):
    """Generates `n` tokens; returns the statistics, with the bytes that the process has read from disk."""
    forget(args.model)
    options = {"-p": "time " * args.p, "-n": n, "--temp": 0, "--ctx": 2 * args.p + args.n + 8, "--threads": args.threads}
    command = [args.binary, "complete", args.model, "--ignore-eos", "--json", *args.ours]
    command = [str(part) for part in [*command, *(part for option in options.items() for part in option)]]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, preexec_fn=group.enter)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"gguf-run ended with status {process.returncode}")
        out.seek(0)
        # Linux counts blocks of 512 bytes.
        return {**json.load(out)["statistics"], "read": 512 * usage.ru_inblock}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--limit", type=n_bytes, required=True, help="memory of the group, as in 3000M")
    parser.add_argument("-p", type=int, default=32, help="words of the prompt")
    parser.add_argument("-n", type=int, default=8, help="tokens to generate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", default=REPOSITORY / "target/release/gguf-run")
    parser.add_argument("--ours", type=shlex.split, default=[], help="further arguments for gguf-run, in quotes")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        print(json.dumps(run_llama_cpp(args)))
        return 0
    file_bytes = args.model.stat().st_size
    samples = {"llama.cpp": [], "gguf-run": []}
    with Group(args.limit) as group:
        for _ in range(args.rounds):
            samples["gguf-run"].append(run_ours(args, group))
            n_prompt = samples["gguf-run"][0]["n_prompt"]
            samples["llama.cpp"].append(run_peer(args, group, n_prompt))
    medians = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in samples.items()
    }
    print(f"{args.model.name}: {file_bytes / 1e6:.0f} MB in a group of {args.limit / 1e6:.0f} MB\n")
    print(f"| program | prompt ({n_prompt}) tokens/s | tokens/s | MB read per token | MB/s while generating |")
    print("|:--|--:|--:|--:|--:|")
    for name, row in medians.items():
        rate = row["bytes"] / row["seconds"] / 1e6
        print(f"| {name} | {row['prompt']:.2f} | {1 / row['seconds']:.3f} | {row['bytes'] / 1e6:.1f} | {rate:.0f} |")
    ours, theirs = medians["gguf-run"], medians["llama.cpp"]
    if ours["bytes"] < 0.9 * ours["streamed"]:
        sys.exit("less was read than is not kept: another process has the file mapped, take a copy of it")
    speed = theirs["seconds"] / ours["seconds"]
    rest = file_bytes - ours["pinned"]
    share = ours["bytes"] / rest
    print(f"\nwe keep {ours['pinned'] / 1e6:.1f} MB and stream {ours['streamed'] / 1e6:.1f} MB for each token")
    print(f"read per token / (model - pinned): {share:.3f} (at most {MOST_READ})")
    print(f"speed / llama.cpp's: {speed:.2f} (at least {LEAST_SPEED})")
    return 0 if share <= MOST_READ and speed >= LEAST_SPEED else 1


if __name__ == "__main__":
    sys.exit(main())
