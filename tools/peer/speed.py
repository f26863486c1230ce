#!/usr/bin/env python3
"""Measures llama.cpp and `gguf-run` in turn on the same GGUF files.

    cargo build --release
    python tools/peer/speed.py model.gguf [...] [-p 256] [-n 32] [--rounds 3] [--threads 2] [--depth 0]

llama.cpp runs in both of its modes, with weights repacked at load (its default) and without, each in
a process of its own; a round is one run of each program. Printed are the medians of tokens per
second of the prompt (pp) and of generation (tg), the load time and the peak of memory in megabytes,
and our speed divided by that of llama.cpp's better mode, for pp and for tg each. Needs `llama_cpp`
(llama-cpp-python).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def peak_mb():
    """Peak resident memory of this process, and of it what is not the mapped file."""
    fields = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    return {key: int(fields[key].split()[0]) / 1024 for key in ["VmHWM", "RssAnon"]}


def run_llama_cpp(path, repack, args):
    """Measures llama.cpp in this process; returns the figures."""
    import llama_cpp

    silent = llama_cpp.llama_log_callback(lambda *_: None)  # Must live as long as the library.
    llama_cpp.llama_log_set(silent, None)
    llama_cpp.llama_backend_init()
    start = time.perf_counter()
    params = llama_cpp.llama_model_default_params()
    params.use_extra_bufts = repack
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = args.depth + max(args.p, args.n) + 8
    settings.n_batch = settings.n_ubatch = 512
    settings.n_threads = settings.n_threads_batch = args.threads
    context = llama_cpp.llama_init_from_model(model, settings)
    load = time.perf_counter() - start
    n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    memory = llama_cpp.llama_get_memory(context)

    def step(n, first):
        batch = llama_cpp.llama_batch_init(n, 0, 1)
        batch.n_tokens = n
        for i in range(n):
            batch.token[i] = (first + i) * 7919 % n_vocab
            batch.pos[i] = first + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = i == n - 1
        if llama_cpp.llama_decode(context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        llama_cpp.llama_synchronize(context)
        llama_cpp.llama_batch_free(batch)

    def fill(n):
        llama_cpp.llama_memory_clear(memory, True)
        for first in range(0, n, 512):
            step(min(512, n - first), first)

    fill(16)
    pp, tg = [], []
    for _ in range(args.repetitions):
        if args.p:
            fill(args.depth)
            start = time.perf_counter()
            step(args.p, args.depth)
            pp.append(args.p / (time.perf_counter() - start))
        if args.n:
            fill(args.depth)
            start = time.perf_counter()
            for i in range(args.n):
                step(1, args.depth + i)
            tg.append(args.n / (time.perf_counter() - start))
    return {"pp": pp, "tg": tg, "load": load, **peak_mb()}


def run_peer(path, mode, args):
    """Measures llama.cpp in a process of its own."""
    options = [f"--{key}={getattr(args, key)}" for key in ["threads", "depth", "repetitions"]]
    command = [sys.executable, __file__, str(path), "-p", str(args.p), "-n", str(args.n), *options, "--peer", mode]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"llama.cpp failed on {path}:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def run_ours(path, args):
    """Measures gguf-run."""
    command = [args.binary, "bench", str(path), "-p", str(args.p), "-n", str(args.n), "-r", str(args.repetitions),
               "--threads", str(args.threads), "--output", "json", "--quiet", *args.ours]  # fmt: skip
    if args.depth:
        command += ["--depth", str(args.depth)]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    speeds = {test["test"][:2]: test["samples"] for test in report["tests"]}
    return {"pp": speeds.get("pp", []), "tg": speeds.get("tg", [])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("-p", type=int, default=256, help="tokens of the prompt")
    parser.add_argument("-n", type=int, default=32, help="tokens to generate")
    parser.add_argument("--depth", type=int, default=0, help="positions filled beforehand")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=2, help="runs in each process, of one round")
    parser.add_argument("--binary", default=REPOSITORY / "target/release/gguf-run")
    parser.add_argument("--ours", nargs="*", default=[], help="further arguments for gguf-run")
    parser.add_argument("--peer", choices=["repack", "plain"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        print(json.dumps(run_llama_cpp(args.models[0], args.peer == "repack", args)))
        return
    print("| model | program | pp t/s | tg t/s | load s | peak MB | anonymous MB |")
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
        medians = {}
        for name, runs in samples.items():
            def middle(key):
                values = [v for run in runs for v in (run[key] if isinstance(run.get(key), list) else [run[key]] if key in run else [])]
                return statistics.median(values) if values else float("nan")
            medians[name] = {key: middle(key) for key in ["pp", "tg", "load", "VmHWM", "RssAnon"]}
            row = medians[name]
            print(f"| {path.stem} | {name} | {row['pp']:.1f} | {row['tg']:.2f} | {row['load']:.2f} | {row['VmHWM']:.0f} | {row['RssAnon']:.0f} |", flush=True)
        ratio = {key: medians["gguf-run"][key] / max(medians[name][key] for name in ["llama.cpp", "llama.cpp, no repack"]) for key in ["pp", "tg"]}
        print(f"| {path.stem} | ratio | {ratio['pp']:.2f} | {ratio['tg']:.2f} | | | |", flush=True)


if __name__ == "__main__":
    main()
