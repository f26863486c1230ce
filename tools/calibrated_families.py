#!/usr/bin/env python3
"""Calibrates a tiny model of every family and looks at what comes of it.

    python tools/calibrated_families.py [--only NAME ...] [--type Q4_0] [--convert target/release/gguf-convert]
        [--run target/release/gguf-run]

Each fixture of fixtures/families is converted to F32, and from there to TYPE plainly and with --calibrate, by the text
that ships with the program. A line tells how many tensors have codes of their own, with what share of the output
error of the nearest ones, and how far both files are from the F32 file on a text that calibration has not seen. A
model that is refused has its reason in the line. Exits 1 if a program fails in another way than by refusing, or a
calibrated file is farther off than a plain one by more than a tenth.
"""

import argparse
import json
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
FAMILIES = REPOSITORY / "fixtures/families"
TEXT = REPOSITORY / "fixtures/text/the-clockmakers-lantern.txt"
# Fixtures have 64 positions.
CALIBRATION = ["--calibrate", "--calibration-ctx", "32", "--calibration-chunks", "128"]


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors="replace")
    return done.returncode, done.stdout, done.stderr.strip()


def divergence(program, base, model):
    status, out, message = run(program, "divergence", base, model, "-f", TEXT, "--ctx", 32, "--chunks", 24, "--json", "-q")
    if status != 0:
        raise RuntimeError(message)
    return json.loads(out)["kl_divergence"]["value"]


def look_at(folder, fixture, args):
    """Returns a line on a fixture, and whether all is well."""
    checkpoint = folder / fixture.name
    shutil.copytree(fixture, checkpoint)
    for file in (FAMILIES / "tokenizer").iterdir():
        shutil.copy(file, checkpoint)
    base, plain, calibrated = (folder / f"{fixture.name}-{name}.gguf" for name in ("base", "plain", "calibrated"))
    for target, flags in ((base, ["--type", "F32"]), (plain, ["--type", args.type])):
        status, _, message = run(args.convert, checkpoint, *flags, "-q", "-o", target)
        if status != 0:
            return f"cannot be converted: {message}", False
    status, out, message = run(args.convert, base, "--type", args.type, *CALIBRATION, "--json", "-q", "-o", calibrated)
    if status != 0:
        is_refusal = status in (1, 2) and "panicked" not in message
        left = [path.name for path in folder.iterdir() if path.name.startswith(calibrated.name)]
        return f"refused: {message}" + (f"; left over: {left}" if left else ""), is_refusal and not left
    won = json.loads(out)["calibration"]["tensors"]
    kept = [tensor for tensor in won if tensor["kept"]]
    logs = [math.log(tensor["output_error"] / tensor["plain_output_error"]) for tensor in kept]
    share = math.exp(sum(logs) / max(len(logs), 1))
    before, after = (divergence(args.run, base, model) for model in (plain, calibrated))
    ratio = after / before if before > 0 else 1.0
    line = f"{len(kept)} of {len(won)} tensors, {100 * share:.0f} % of the error; {before:.3g} -> {after:.3g} ({ratio:.2f})"
    return line, ratio < 1.1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", help="names of fixtures")
    parser.add_argument("--type", default="Q4_0")
    parser.add_argument("--convert", type=pathlib.Path, default=REPOSITORY / "target/release/gguf-convert")
    parser.add_argument("--run", type=pathlib.Path, default=REPOSITORY / "target/release/gguf-run")
    args = parser.parse_args()
    n_wrong = 0
    for fixture in sorted(FAMILIES.iterdir()):
        if not (fixture / "model.safetensors").exists() or (args.only and fixture.name not in args.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                line, is_well = look_at(pathlib.Path(folder), fixture, args)
            except RuntimeError as error:
                line, is_well = str(error), False
        n_wrong += not is_well
        print(f"{fixture.name:24} {'' if is_well else 'WRONG '}{line}", flush=True)
    print(f"{n_wrong} wrong")
    sys.exit(n_wrong > 0)


if __name__ == "__main__":
    main()
