#!/usr/bin/env python3
"""Counts the instructions that products execute per 256 weights (and column).

Builds simd/examples/product.rs, runs it with two numbers of rows and divides the difference, so that what
happens once does not count. qemu logs every instruction; AVX-512, which it does not have, runs natively,
one instruction at a time (ptrace). Prints a table; takes some minutes: `tools/count_instructions.py`.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile

TYPES = ["Q4_K", "Q6_K", "Q8_0", "Q4_0"]
WINDOWS = 16
# Whole chunks of a batch product, which are 128 rows, and so many that the C library gets the memory for
# weights from the kernel and need not clear it.
ROWS = 128, 256
LINKER = {"CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER": "aarch64-linux-gnu-gcc"}
ARM = "aarch64-unknown-linux-gnu"
QEMU = {
    "x86": [shutil.which("qemu-x86_64-static"), "-cpu", "max"],
    ARM: [shutil.which("qemu-aarch64-static"), "-cpu", "max", "-L", "/usr/aarch64-linux-gnu"],
}
# Tier, target, emulator, columns of a batch that fill the tier's tiles.
TIERS = [
    ("avx2", None, QEMU["x86"], 12),
    ("avx512", None, None, 14),
    ("neon", ARM, QEMU[ARM], 12),
    ("neon-dotprod", ARM, QEMU[ARM], 12),
    ("neon-i8mm", ARM, QEMU[ARM], 12),
]
PTRACE_TRACEME, PTRACE_SINGLESTEP = 0, 9


def build(target):
    """The path of the program for a target."""
    command = ["cargo", "build", "--quiet", "--release", "--package", "gguf-simd", "--example", "product"]
    folder = os.environ.get("CARGO_TARGET_DIR", "target")
    if target:
        command += ["--target", target]
        folder = os.path.join(folder, target)
    subprocess.run(command, check=True, env={**os.environ, **LINKER})
    return os.path.join(folder, "release/examples/product")


def stepped(command):
    """Instructions that a native program executes."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    child = os.fork()
    if child == 0:
        libc.ptrace(PTRACE_TRACEME, 0, None, None)
        os.execve(command[0], command, {})
    os.waitpid(child, 0)
    count = 0
    while True:
        libc.ptrace(PTRACE_SINGLESTEP, child, None, None)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status) != 0:
                raise SystemExit(f"{' '.join(command)} failed")
            return count
        if os.WIFSIGNALED(status) or os.WSTOPSIG(status) in (signal.SIGILL, signal.SIGSEGV):
            raise SystemExit(f"{' '.join(command)}: status {status}")
        # Other signals than the trap after an instruction stop the program between two.
        count += os.WSTOPSIG(status) == signal.SIGTRAP


def emulated(command, qemu):
    """Instructions that a program executes under an emulator."""
    options = subprocess.run([qemu[0], "-help"], capture_output=True, text=True).stdout
    # Older ones call the option to take every instruction for itself differently.
    single = "-one-insn-per-tb" if "one-insn-per-tb" in options else "-singlestep"
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log")
        os.mkfifo(log)
        process = subprocess.Popen(qemu + [single, "-d", "exec,nochain", "-D", log] + command, env={})
        with open(log, "rb") as lines:
            count = sum(line.startswith(b"Trace") for line in lines)
        if process.wait() != 0:
            raise SystemExit(f"{' '.join(command)} failed")
        return count


def per_window(run, program, tier, ty, columns):
    """Instructions per window of 256 weights and column."""
    few, many = (run([program, tier, ty, str(n), str(columns)]) for n in ROWS)
    return (many - few) / ((ROWS[1] - ROWS[0]) * WINDOWS * columns)


def main():
    programs = {target: build(target) for target in {target for _, target, _, _ in TIERS}}
    print("| tier | operation | " + " | ".join(TYPES) + " |")
    print("|---|---|" + "---|" * len(TYPES))
    for tier, target, qemu, columns in TIERS:
        run = (lambda command: emulated(command, qemu)) if qemu else stepped
        for operation, n in [("gemv", 1), (f"gemm, {columns} columns", columns)]:
            counts = [per_window(run, programs[target], tier, ty, n) for ty in TYPES]
            cells = " | ".join(f"{count:.0f}" for count in counts)
            print(f"| {tier} | {operation} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
