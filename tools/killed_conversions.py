#!/usr/bin/env python3
"""Kills conversions at random moments and looks at what is left.

    python tools/killed_conversions.py [--kills 300] [--only several] [--convert target/release/gguf-convert] [--run target/release/gguf-run]

In turn a new file is converted, one is converted so that the next run goes on with it, three files are converted so from one reading
of the checkpoint, a file is replaced by --force, and a checkpoint is run by way of the cache folder. After each SIGKILL a target must
be as it was, or whole; after the next run, which is left alone, nothing else may lie beside it. Inputs must stay what they are. Exits
1 if any of this fails.
"""

import argparse
import hashlib
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
CHECKPOINT = REPOSITORY / "fixtures/models/fairytale"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Scene:
    """One way to convert: a command, its folder, and the files it makes."""

    def __init__(self, name, folder, command, environment, overwrites):
        self.name, self.folder, self.overwrites = name, folder, overwrites
        self.command, self.environment = command, {**os.environ, **environment}
        folder.mkdir()
        begin = time.monotonic()
        self.run()
        self.seconds = time.monotonic() - begin
        self.whole = {path: digest(path) for path in folder.iterdir()}
        self.old = b"the file of before"

    def start(self):
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(self.command, env=self.environment, **silent)

    def run(self):
        process = self.start()
        _, message = process.communicate()
        if process.returncode != 0:
            sys.exit(f"{self.name}: {message.decode()}")

    def prepare(self):
        for target in self.whole:
            if self.overwrites:
                target.write_bytes(self.old)
            else:
                target.unlink(missing_ok=True)

    def kill_once(self):
        """Returns whether it was killed at work, what was left over, and what is wrong."""
        self.prepare()
        process = self.start()
        time.sleep(random.uniform(0, self.seconds * 1.05))
        was_running = process.poll() is None
        process.kill()
        process.communicate()
        left = [path.name for path in self.folder.iterdir() if path not in self.whole]
        wrong = []
        for target, whole in self.whole.items():
            if target.exists():
                is_old = self.overwrites and target.read_bytes() == self.old
                if not is_old and digest(target) != whole:
                    wrong.append(f"half of {target.name}")
            elif self.overwrites:
                wrong.append(f"the old {target.name} is gone")
            if not self.overwrites:
                target.unlink(missing_ok=True)
        self.run()
        beside = [path.name for path in self.folder.iterdir() if path not in self.whole]
        if beside:
            wrong.append(f"left over after the next run: {beside}")
        for target, whole in self.whole.items():
            if not target.exists() or digest(target) != whole:
                wrong.append(f"the next run made another {target.name}")
        return was_running, left, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--only", help="names of the ways to try, with commas")
    parser.add_argument("--convert", type=pathlib.Path, default=REPOSITORY / "target/release/gguf-convert")
    parser.add_argument("--run", type=pathlib.Path, default=REPOSITORY / "target/release/gguf-run")
    parser.add_argument("--folder", type=pathlib.Path, help="where to work, on the file system to try")
    args = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(dir=args.folder))
    checkpoint = root / "fairytale"
    shutil.copytree(CHECKPOINT, checkpoint)
    inputs = {path: digest(path) for path in checkpoint.iterdir()}
    convert = [args.convert, checkpoint, "--type", "Q4_K_M", "-q"]
    several = [args.convert, checkpoint, "--type", "Q4_K_M,Q6_K,Q8_0", "--resumable", "-q"]
    complete = [args.run, "complete", checkpoint, "--type", "Q4_K_M", "-p", "Once", "-n", "1", "-q"]
    ways = {
        "new file": lambda: Scene("new file", root / "new", [*convert, "-o", root / "new/m.gguf"], {}, False),
        "resumed": lambda: Scene("resumed", root / "resumed", [*convert, "--resumable", "-o", root / "resumed/m.gguf"], {}, False),
        "several": lambda: Scene("several", root / "several", [*several, "-o", root / "several/m-{type}.gguf"], {}, False),
        "replaced": lambda: Scene("replaced", root / "old", [*convert, "-f", "-o", root / "old/m.gguf"], {}, True),
        "cache": lambda: Scene("cache", root / "cache", complete, {"GGUF_CACHE_DIR": str(root / "cache")}, False),
    }
    scenes = [way() for name, way in ways.items() if not args.only or name in args.only.split(",")]
    n_killed, n_left, n_wrong, n_runs = 0, 0, 0, 0
    while n_killed < args.kills:
        scene = scenes[n_runs % len(scenes)]
        n_runs += 1
        was_running, left, wrong = scene.kill_once()
        n_killed += was_running
        n_left += len(left)
        changed = [path.name for path, before in inputs.items() if digest(path) != before]
        for what in wrong + [f"input {name} changed" for name in changed]:
            n_wrong += 1
            print(f"{scene.name}: {what}")
    shutil.rmtree(root)
    print(f"{n_killed} killed of {n_runs} runs: {n_wrong} wrong; {n_left} files left over until the next run")
    sys.exit(n_wrong > 0)


if __name__ == "__main__":
    main()
