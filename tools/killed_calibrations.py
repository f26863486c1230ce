#!/usr/bin/env python3
"""Kills calibrations at random moments, lets them go on, and compares the bytes.

    python tools/killed_calibrations.py [--kills 20] [--type Q4_0] [--fold] [--convert target/release/gguf-convert]

The bundled model is calibrated once in one go. Then again and again, killed by SIGKILL at random moments and started
anew with 1, 2 or 3 threads until a run ends by itself: the file must have the same bytes, the input must be what it
was, and nothing may be left beside the file. Exits 1 if any of this fails.
"""

import argparse
import hashlib
import pathlib
import random
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
CHECKPOINT = REPOSITORY / "fixtures/models/fairytale"
CALIBRATION = ["--calibrate", "--calibration-ctx", "64", "--calibration-chunks", "24", "-q"]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--type", default="Q4_0")
    parser.add_argument("--fold", action="store_true", help="fold as well")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--convert", type=pathlib.Path, default=REPOSITORY / "target/release/gguf-convert")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    n_killed = n_files = n_wrong = 0
    with tempfile.TemporaryDirectory() as root:
        root = pathlib.Path(root)
        folder = root / "out"
        folder.mkdir()
        base, target = root / "base.gguf", folder / "m.gguf"
        subprocess.run([args.convert, CHECKPOINT, "--type", "F16", "-q", "-o", base], check=True)
        before = digest(base)
        command = [args.convert, base, "--type", args.type, "-o", target, *CALIBRATION]
        command += ["--fold"] if args.fold else []
        begin = time.monotonic()
        subprocess.run(command, check=True)
        seconds, whole = time.monotonic() - begin, digest(target)
        while n_killed < args.kills:
            target.unlink()
            while True:
                process = subprocess.Popen([*command, "--threads", str(rng.choice([1, 2, 3]))])
                try:
                    process.wait(timeout=rng.uniform(0, 0.6 * seconds))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    n_killed += 1
                    if target.exists() and digest(target) != whole:
                        n_wrong += 1
                        print("half a file is in place")
                    continue
                if process.returncode != 0:
                    sys.exit(f"a run failed with status {process.returncode}")
                break
            n_files += 1
            left = [path.name for path in folder.iterdir() if path != target]
            for what, is_wrong in [("other bytes", digest(target) != whole), (f"left over: {left}", bool(left)),
                                   ("the input changed", digest(base) != before)]:  # fmt: skip
                if is_wrong:
                    n_wrong += 1
                    print(what)
    print(f"{n_killed} killed, {n_files} files finished: {n_wrong} wrong")
    sys.exit(n_wrong > 0)


if __name__ == "__main__":
    main()
