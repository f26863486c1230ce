"""The families: do we compute what their authors' code computes, and what llama.cpp computes?

For each checkpoint in fixtures/families (tools/family_fixtures.py), converted to F32 by gguf-convert:
- the greatest error of our logits, relative to the greatest logit, against those that transformers gave the
  checkpoint, with keys and values in F32;
- the same of llama.cpp's logits for the same file against ours; llama.cpp keeps them in F32 too;
- whether the bits of ours are the same for every CPU tier, 1 and 3 threads, batches of 1, 7 and all;
- the lines of code of the family's declaration, without comments, blank lines and tests.
Prints a Markdown table, with what was said where a model is not supported, and below it why llama.cpp's logits differ
where that is known; fails if a family is wrong.

    python tools/peer/families.py --gguf-run target/release/gguf-run --gguf-convert target/release/gguf-convert \\
        [NAME...]

Needs numpy; with llama-cpp-python, its column.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures/families"
N_CTX = 64
# llama.cpp takes a model named Phi-3 to have the tokens that Phi-3 has.
NAME = ("--name", "fixture")
TOLERANCE = 1e-4
# llama.cpp may loop, and where it aborts it looks for a debugger and waits for it.
MOST_SECONDS = 120
ENVIRONMENT = {**os.environ, "GGML_NO_BACKTRACE": "1"}
HEAD = "| fixture | architecture | against transformers | llama.cpp against ours | same bits | lines |"

# Run by itself: llama.cpp aborts the process where it does not like a file.
LLAMA_CPP = """
import sys
import llama_cpp
import numpy as np
path, ids, out = sys.argv[1], [int(id) for id in sys.argv[2].split()], sys.argv[3]
model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
if not model:
    sys.exit("cannot load the model")
settings = llama_cpp.llama_context_default_params()
settings.n_ctx, settings.n_batch, settings.n_ubatch, settings.n_threads = 64, 64, 64, 1
settings.type_k = settings.type_v = llama_cpp.GGML_TYPE_F32
settings.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
context = llama_cpp.llama_init_from_model(model, settings)
n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
batch.n_tokens = len(ids)
for i, id in enumerate(ids):
    batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = id, i, 1, True
    batch.seq_id[i][0] = 0
if llama_cpp.llama_decode(context, batch) != 0:
    sys.exit("llama_decode failed")
logits = llama_cpp.llama_get_logits(context)
np.save(out, np.ctypeslib.as_array(logits, shape=(len(ids), n_vocab)))
"""

# Why llama.cpp's logits are not those of the authors' code, which ours are. Each reason was held against a model without
# it, of which llama.cpp's logits and ours are the same within 4e-6.
LLAMA_CPP_DIFFERS = {
    "exaone4": "it gives windows, and layers without positions, to models of 64 layers alone, as the 32B has",
    "baichuan": "it gives positions to models of 32 and 40 layers alone, as the 7B and the 13B have",
    "minicpm3": "it takes the multipliers 12 and 256 of the published model, and the epsilon of layers for latent norms",
    "minimax-01": "it takes the epsilon of layers for the norms of lightning attention",
    "arwkv7": "its AVX-512 loop over heads reads past those of less than 64 elements",
    "rwkv7": "its AVX-512 loop over heads reads past those of less than 64 elements, and its norm of heads has the epsilon 64e-5",
}


def run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


def last_error(done: subprocess.CompletedProcess) -> str:
    """The line of standard error that says most: the first error, else the last line."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    line = (errors or lines[-1:] or [f"exit status {done.returncode}"])[0]
    return line.removeprefix("error: ").split("; ")[0].replace("|", "\\|")


class Fixture:
    def __init__(self, args: argparse.Namespace, name: str, work: pathlib.Path):
        self.args, self.name, self.path = args, name, FIXTURES / name
        self.ids = self.path / "ids.txt"
        self.gguf = work / f"{name}.gguf"
        self.checkpoint = work / name
        self.work = work

    def convert(self):
        """Makes the GGUF file."""
        shutil.copytree(self.path, self.checkpoint)
        shutil.copytree(FIXTURES / "tokenizer", self.checkpoint, dirs_exist_ok=True)
        done = run(self.args.gguf_convert, self.checkpoint, "--type", "F32", "-o", self.gguf, "-q", "-f", *NAME)
        if done.returncode != 0:
            raise RuntimeError(last_error(done).replace(f"{self.checkpoint}/", ""))

    def ours(self, *options: object) -> np.ndarray:
        out = self.work / "ours.npy"
        command = [self.args.gguf_run, "logits", self.gguf, "--ids", self.ids, "-o", out, "--force", "--quiet"]
        done = run(*command, "--ctx", N_CTX, "--kv-type", "f32", *options)
        if done.returncode != 0:
            raise RuntimeError(last_error(done))
        return np.load(out)

    def llama_cpp(self, ours: np.ndarray) -> str:
        out = self.work / "theirs.npy"
        command = [sys.executable, "-c", LLAMA_CPP, str(self.gguf), self.ids.read_text(), str(out)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS, env=ENVIRONMENT)
        except subprocess.TimeoutExpired:
            return f"no logits within {MOST_SECONDS} s"
        return f"{distance(np.load(out), ours):.1e}" if done.returncode == 0 else last_error(done)

    def has_same_bits(self, ours: np.ndarray) -> bool:
        options = (
            ("--isa", isa, "--threads", threads, "--batch", batch)
            for isa in self.args.tiers
            for threads in (1, 3)
            for batch in (1, 7, 64)
        )
        return all((self.ours(*some).view(np.uint32) == ours.view(np.uint32)).all() for some in options)


def distance(found: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(found - reference).max() / np.abs(reference).max())


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def architecture(gguf_path: pathlib.Path, gguf_run: pathlib.Path) -> str:
    done = run(gguf_run, "inspect", gguf_path, "--json")
    return json.loads(done.stdout)["metadata"]["general.architecture"]


def declaration(name: str) -> int | None:
    """Lines of code of a family's file."""
    files = [ROOT / "src/model/arch/families" / (name.replace("-", "_") + ".rs")]
    files = [file for file in files if file.is_file()]
    lines = [line.strip() for file in files for line in file.read_text().split("#[cfg(test)]")[0].splitlines()]
    return sum(bool(line) and not line.startswith("//") for line in lines) or None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gguf-run", type=pathlib.Path, default=ROOT / "target/release/gguf-run")
    parser.add_argument("--gguf-convert", type=pathlib.Path, default=ROOT / "target/release/gguf-convert")
    parser.add_argument("names", nargs="*", help="fixtures; all unless given")
    args = parser.parse_args()
    kernels = json.loads(run(args.gguf_run, "inspect", "--kernels", "--json").stdout)
    args.tiers = [tier["tier"] for tier in kernels["tiers"] if tier["on_this_cpu"]]
    names = args.names or sorted(path.parent.name for path in FIXTURES.glob("*/model.safetensors"))
    lengths, refused, wrong, differing = {}, [], [], set()
    print(HEAD, "---".join("|" * HEAD.count("|")), sep="\n")
    for name in names:
        with tempfile.TemporaryDirectory() as work:
            fixture = Fixture(args, name, pathlib.Path(work))
            try:
                fixture.convert()
                ours = fixture.ours()
            except RuntimeError as refusal:
                print(f"| {name} | | {refusal} | | | |", flush=True)
                refused.append(name)
                continue
            error = distance(ours, np.load(fixture.path / "logits.npy"))
            same = fixture.has_same_bits(ours)
            family = architecture(fixture.gguf, args.gguf_run)
            lengths[family] = declaration(family)
            theirs = fixture.llama_cpp(ours)
            if is_number(theirs) and float(theirs) > TOLERANCE:
                differing.add(name)
            cells = (f"{error:.1e}", theirs, "yes" if same else "NO", lengths[family] or "?")
            print("|", " | ".join(map(str, (name, family, *cells))), "|", flush=True)
            if not (error <= TOLERANCE and same):
                wrong.append(name)
    known = [length for length in lengths.values() if length]
    if known:
        print(f"\n{len(lengths)} families; lines of a declaration: median {statistics.median(known):g}")
    for name in sorted(differing & LLAMA_CPP_DIFFERS.keys()):
        print(f"llama.cpp, {name}: {LLAMA_CPP_DIFFERS[name]}")
    if refused:
        print(f"not supported: {', '.join(refused)}")
    if wrong:
        sys.exit(f"wrong: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
