"""GGUF files of other people: what other converters leave out or spell differently, as we and llama.cpp read it.

Takes fixtures of fixtures/families, converts each to F32 by gguf-convert, and makes files that differ from it in one
thing each: a key is left out, numbers are of another type, counts are lists, norms and biases are F16 or BF16, q, k and
v are one matrix, experts lie apart, the embedding is there again as output, vocabularies are padded, and so on. For each
of them it compares our logits and refusals with llama.cpp's for the same file, and prints those that differ:

- `REFUSED`: llama.cpp runs it, and we refuse it;
- `DIFFERS`: both run it, with other logits.

With `--all` also what agrees, and what we run and llama.cpp does not. Fails if something is to be mended.

    python tools/peer/variants.py --gguf-run target/release/gguf-run --gguf-convert target/release/gguf-convert \\
        [--only PART_OF_A_VARIANT] [NAME...]

Needs numpy, gguf and llama-cpp-python.
"""

import argparse
import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFValueType as V

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures/families"
# What people run most.
NAMES = """
    command-r deepseek2 deepseek2-lite deepseek2-v3 falcon gemma gemma2 gemma3 gemma4 glm4 gpt2 gptneox granite
    granitemoe llama llama-llama3-rope llama-mixtral mistral3 phi2 phi3 phi3-longrope qwen2 qwen2moe qwen3 qwen3moe
    stablelm starcoder2
""".split()
N_CTX = 64
TOLERANCE = 1e-4
MOST_OF_GELU = 2e-3
OF_F16 = 1e-3
MOST_SECONDS = 60
# Where llama.cpp aborts, it looks for a debugger, and waits for it.
os.environ["GGML_NO_BACKTRACE"] = "1"
# Keys that llama.cpp does not read, with values that mean what it computes; None takes them out.
UNREAD = {
    "gemma2.attention.scale": None,
    "gemma3.attention.scale": None,
    "gpt-oss.rope.scaling.yarn_beta_fast": None,
    "gpt-oss.rope.scaling.yarn_beta_slow": None,
    "gpt-oss.rope.scaling.yarn_truncate": True,
    "gpt-oss.swiglu_limit": None,
    "phi3.attention.sliding_window": None,
}
# Where we mean to differ, and why.
MEANT = {
    # A bias for the choice belongs to sigmoids; llama.cpp takes a softmax of all but GLM 4.7 Flash.
    "without deepseek2.expert_gating_func",
    # YaRN without its temperature, or a temperature without YaRN: no such files are known.
    "without deepseek2.rope.scaling.type",
    "without deepseek2.rope.scaling.yarn_log_multiplier",
    # The published models do not round YaRN's bounds, and llama.cpp does.
    "without gpt-oss.rope.scaling.yarn_truncate",
    # llama.cpp still divides positions in layers with windows.
    "scaling of no type",
    # llama.cpp counts whole cells of 256 as the context by which factors are chosen.
    "without phi3.rope.scaling.original_context_length",
    # llama.cpp divides by the inverse of what it should where a file is silent.
    "without minicpm.logit_scale",
    # Without an epsilon llama.cpp computes with 0, and we with that of the published models.
    "without arwkv7.attention.layer_norm_rms_epsilon",
    "without qwen2vl.attention.layer_norm_rms_epsilon",
    "without rwkv6.attention.layer_norm_epsilon",
    "without rwkv6qwen2.attention.layer_norm_rms_epsilon",
    "without rwkv7.attention.layer_norm_epsilon",
}
KEPT_KEYS = ("general.architecture", "tokenizer.ggml.tokens", "tokenizer.ggml.model")


class File:
    """A GGUF file: keys with their types and values, tensors in order, both to be changed."""

    def __init__(self, path: pathlib.Path):
        reader = gguf.GGUFReader(path)
        self.keys = {
            name: (field.types, field.contents())
            for name, field in reader.fields.items()
            if not name.startswith("GGUF.")
        }
        self.tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
        self.arch = self.keys["general.architecture"][1]

    def copy(self) -> "File":
        other = object.__new__(File)
        other.keys, other.tensors, other.arch = dict(self.keys), dict(self.tensors), self.arch
        return other

    def key(self, name: str):
        found = self.keys.get(f"{self.arch}.{name}")
        return None if found is None else found[1]

    def write(self, path: pathlib.Path):
        writer = gguf.GGUFWriter(path, self.arch)
        for name, (types, value) in self.keys.items():
            if name == "general.architecture":
                continue
            sub_type = types[1] if len(types) > 1 else None
            writer.add_key_value(name, value, types[0], sub_type)
        for name, tensor in self.tensors.items():
            if tensor.dtype == np.uint16:
                writer.add_tensor(name, tensor.view(np.uint8), raw_dtype=T.BF16)
            else:
                writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def bf16(tensor: np.ndarray) -> np.ndarray:
    return (np.ascontiguousarray(tensor).view(np.uint32) >> 16).astype(np.uint16)


def with_keys(file: File, change) -> File | None:
    """The file with keys changed by `change(name, types, value)`, which returns a new pair or None."""
    other, is_changed = file.copy(), False
    for name, (types, value) in file.keys.items():
        new = change(name, types, value)
        if new is not None:
            other.keys[name], is_changed = new, True
    return other if is_changed else None


def with_tensors(file: File, change) -> File | None:
    """The file with tensors changed by `change(name, tensor)`, which returns new tensors by name or None."""
    other = file.copy()
    other.tensors = {}
    is_changed = False
    for name, tensor in file.tensors.items():
        new = change(name, tensor)
        other.tensors.update({name: tensor} if new is None else new)
        is_changed |= new is not None
    return other if is_changed else None


def without_keys(file: File):
    for name in file.keys:
        if name not in KEPT_KEYS:
            other = file.copy()
            del other.keys[name]
            yield f"without {name}", other
    other = file.copy()
    other.keys = {name: pair for name, pair in file.keys.items() if not name.startswith("general.") or name in KEPT_KEYS}
    yield "without general keys", other
    other = file.copy()
    other.keys = {name: pair for name, pair in file.keys.items() if "token_id" not in name and "add_" not in name}
    yield "without token ids", other


def with_other_types(file: File):
    prefix = f"{file.arch}."

    def integers(to):
        most = 0xFFFF if to == V.UINT16 else 0xFFFFFFFF
        return lambda name, types, value: ([to], value) if types == [V.UINT32] and value <= most else None

    for to in (V.INT32, V.UINT64, V.INT64, V.UINT16):
        yield f"integers as {to.name}", with_keys(file, integers(to))
    floats = lambda name, types, value: ([V.FLOAT64], value) if types == [V.FLOAT32] else None
    yield "floats as FLOAT64", with_keys(file, floats)

    def lists(name, types, value):
        return ([V.ARRAY, V.UINT32], value) if types == [V.ARRAY, V.INT32] and name.startswith(prefix) else None

    yield "lists as UINT32", with_keys(file, lists)
    n_layer = file.key("block_count")
    for name in ("attention.head_count", "attention.head_count_kv", "feed_forward_length"):
        value = file.key(name)
        if isinstance(value, int):
            for sub_type in (V.INT32, V.UINT32):
                other = file.copy()
                other.keys[prefix + name] = ([V.ARRAY, sub_type], [value] * n_layer)
                yield f"{name} as a list of {sub_type.name}", other
    for name in ("attention.sliding_window_pattern", "rope.dimension_sections"):
        value = file.key(name)
        if isinstance(value, list) and not isinstance(value[0], bool):
            other = file.copy()
            other.keys[prefix + name] = ([V.ARRAY, V.UINT32], value)
            yield f"{name} as a list of UINT32", other


def with_other_keys(file: File):
    def with_key(name, types, value):
        other = file.copy()
        other.keys[name] = (types, value)
        return other

    arch, n_embd, n_head = file.arch, file.key("embedding_length"), file.key("attention.head_count")
    yield "unknown keys", with_key(f"{arch}.some.new_key", [V.STRING], "of tomorrow")
    yield "a file type of tomorrow", with_key("general.file_type", [V.UINT32], 4000)
    yield "no quantization version but another", with_key("general.quantization_version", [V.UINT32], 1)
    yield "an alignment", with_key("general.alignment", [V.UINT32], 32)
    yield "tensor data layout", with_key(f"{arch}.tensor_data_layout", [V.STRING], "Meta AI original pth")
    yield "parallel residual", with_key(f"{arch}.use_parallel_residual", [V.BOOL], True)
    yield "a rotary base of 0 for windows", with_key(f"{arch}.rope.scaling.factor", [V.FLOAT32], 0.0)
    yield "linear scaling by 1", with_key(f"{arch}.rope.scale_linear", [V.FLOAT32], 1.0)
    yield "scaling of no type", with_key(f"{arch}.rope.scaling.type", [V.STRING], "none")
    yield "experts of 0", None if file.key("expert_count") else with_key(f"{arch}.expert_count", [V.UINT32], 0)
    if file.key("expert_count") is None:
        other = with_key(f"{arch}.expert_count", [V.UINT32], 0)
        other.keys[f"{arch}.expert_used_count"] = ([V.UINT32], 0)
        yield "experts of 0, none used", other
    if isinstance(n_head, int) and file.key("attention.key_length") is None and n_head:
        other = with_key(f"{arch}.attention.key_length", [V.UINT32], n_embd // n_head)
        other.keys[f"{arch}.attention.value_length"] = ([V.UINT32], n_embd // n_head)
        yield "lengths of heads", other
    if file.key("vocab_size") is None:
        yield "vocab_size", with_key(f"{arch}.vocab_size", [V.UINT32], len(file.keys["tokenizer.ggml.tokens"][1]))
    else:
        yield "another vocab_size", with_key(f"{arch}.vocab_size", [V.UINT32], 7)
    yield "a sliding window of 0", None if file.key("attention.sliding_window") else with_key(
        f"{arch}.attention.sliding_window", [V.UINT32], 0
    )
    yield "a pre-tokenizer of its own", with_key("tokenizer.ggml.pre", [V.STRING], "default")
    scores = [0.0] * len(file.keys["tokenizer.ggml.tokens"][1])
    yield "scores", with_key("tokenizer.ggml.scores", [V.ARRAY, V.FLOAT32], scores)
    yield "a chat template", with_key("tokenizer.chat_template", [V.STRING], "{{ messages[0]['content'] }}")


def with_other_tensors(file: File):
    is_vector = lambda tensor: tensor.dtype == np.float32 and tensor.ndim == 1
    for name, to in (("F16", lambda tensor: tensor.astype(np.float16)), ("BF16", bf16)):
        vectors = lambda key, tensor: {key: to(tensor)} if is_vector(tensor) and "rope" not in key else None
        norms = lambda key, tensor: {key: to(tensor)} if is_vector(tensor) and "norm" in key else None
        biases = lambda key, tensor: {key: to(tensor)} if is_vector(tensor) and key.endswith("bias") else None
        matrices = lambda key, tensor: {key: to(tensor)} if tensor.ndim > 1 and tensor.dtype == np.float32 else None
        yield f"vectors as {name}", with_tensors(file, vectors)
        yield f"norms as {name}", with_tensors(file, norms)
        yield f"biases as {name}", with_tensors(file, biases)
        yield f"matrices as {name}", with_tensors(file, matrices)
        routers = lambda key, tensor: {key: to(tensor)} if "gate_inp" in key else None
        yield f"routers as {name}", with_tensors(file, routers)

    def fused(key, tensor):
        if ".attn_q." in key:
            parts = [file.tensors.get(key.replace("attn_q.", f"attn_{part}.")) for part in "qkv"]
            if all(part is not None for part in parts):
                return {key.replace("attn_q.", "attn_qkv."): np.concatenate(parts)}
        return {} if ".attn_k." in key or ".attn_v." in key else None

    yield "q, k and v in one", with_tensors(file, fused)

    def parted(key, tensor):
        n_head, n_kv = file.key("attention.head_count"), file.key("attention.head_count_kv")
        if ".attn_qkv." not in key or not isinstance(n_head, int) or not isinstance(n_kv, int):
            return None
        n_kv = n_kv or n_head
        n = len(tensor) // (n_head + 2 * n_kv)
        ends = [n * n_head, n * (n_head + n_kv)]
        return {key.replace("attn_qkv.", f"attn_{p}."): part for p, part in zip("qkv", np.split(tensor, ends))}

    yield "q, k and v apart", with_tensors(file, parted)

    def experts_apart(key, tensor):
        if "_exps.weight" not in key:
            return None
        return {key.replace("_exps.weight", f".{i}.weight"): np.ascontiguousarray(e) for i, e in enumerate(tensor)}

    yield "experts apart", with_tensors(file, experts_apart)

    def gate_and_up(key, tensor):
        if "ffn_gate_exps.weight" in key:
            up = file.tensors[key.replace("gate", "up")]
            return {key.replace("ffn_gate_exps", "ffn_gate_up_exps"): np.concatenate((tensor, up), 1)}
        return {} if "ffn_up_exps.weight" in key else None

    yield "experts' gates and ups in one", with_tensors(file, gate_and_up)
    other = file.copy()
    if "output.weight" in file.tensors:
        del other.tensors["output.weight"]
        yield "without output", other
    else:
        other.tensors["output.weight"] = np.array(file.tensors["token_embd.weight"])
        yield "the embedding again as output", other
    other = file.copy()
    other.tensors["blk.0.attn_rot_embd.weight"] = np.ones(4, np.float32)
    yield "rotary frequencies of old files", other
    other = file.copy()
    other.tensors["blk.0.some_new_part.weight"] = np.ones(4, np.float32)
    yield "a tensor of no known part", other
    n_rot = file.key("rope.dimension_count")
    if isinstance(n_rot, int) and "rope_freqs.weight" not in file.tensors:
        other = file.copy()
        other.tensors["rope_freqs.weight"] = np.linspace(1, 4, n_rot // 2, dtype=np.float32)
        yield "divisors of frequencies", other
    biased = {
        key.replace("weight", "bias"): 0.1 * np.sin(np.arange(len(tensor), dtype=np.float32))
        for key, tensor in file.tensors.items()
        if any(f".{part}.weight" in key for part in ("attn_q", "attn_k", "attn_v", "attn_output"))
    }
    if biased and not any(key in file.tensors for key in biased):
        other = file.copy()
        other.tensors |= biased
        yield "attention with biases", other
        qkv = {key: bias for key, bias in biased.items() if "attn_output" not in key}
        other = file.copy()
        other.tensors |= qkv
        yield "q, k and v with biases", other
    shapes = lambda key, tensor: {key: tensor[None]} if is_vector(tensor) and "norm" in key else None
    yield "vectors as rows", with_tensors(file, shapes)
    turned = dict(reversed(file.tensors.items()))
    other = file.copy()
    other.tensors = turned
    yield "tensors in another order", other


def with_another_vocabulary(file: File):
    def padded(n, pad_tokens):
        other = file.copy()
        for key in ("token_embd.weight", "output.weight", "output.bias"):
            if key in other.tensors:
                tensor = other.tensors[key]
                more = np.zeros((n, *tensor.shape[1:]), np.float32)
                other.tensors[key] = np.concatenate((tensor, more))
        if pad_tokens:
            types, tokens = other.keys["tokenizer.ggml.tokens"]
            other.keys["tokenizer.ggml.tokens"] = (types, tokens + [f"[PAD{i}]" for i in range(n)])
            for key, value in (("tokenizer.ggml.token_type", 5), ("tokenizer.ggml.scores", -1e4)):
                if key in other.keys:
                    types, list_ = other.keys[key]
                    other.keys[key] = (types, list_ + [value] * n)
        return other

    yield "a padded vocabulary", padded(8, True)
    yield "rows without tokens", padded(8, False)
    other = padded(8, False)
    if f"{file.arch}.vocab_size" in other.keys:
        n = len(file.keys["tokenizer.ggml.tokens"][1]) + 8
        other.keys[f"{file.arch}.vocab_size"] = ([V.UINT32], n)
        yield "rows without tokens, and a vocab_size of them", other


def variants(file: File):
    makers = (without_keys, with_other_types, with_other_keys, with_other_tensors, with_another_vocabulary)
    file = file.copy()
    for name in set(UNREAD) & set(file.keys):
        types, _ = file.keys.pop(name)
        if UNREAD[name] is not None:
            file.keys[name] = (types, UNREAD[name])
    yield "as it is", file
    for maker in makers:
        for name, other in maker(file):
            if other is not None:
                yield name, other


def llama_cpp_logits(path: pathlib.Path, ids: list[int], out: pathlib.Path):
    """Writes llama.cpp's logits; exits with what it says if it does not like the file."""
    said = []
    log = llama_cpp.llama_log_callback(lambda level, text, _: said.append(text.decode(errors="replace")))
    llama_cpp.llama_log_set(log, ctypes.c_void_p(0))
    # What it aborts with goes to standard error.
    os.dup2(os.open(out.with_suffix(".txt"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
    if not model:
        errors = [line for line in "".join(said).splitlines() if "error" in line]
        os.write(2, (errors or ["cannot load the model"])[0].encode())
        os._exit(1)
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch, settings.n_threads = N_CTX, N_CTX, N_CTX, 1
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
        os.write(2, b"llama_decode failed")
        os._exit(1)
    logits = llama_cpp.llama_get_logits(context)
    np.save(out, np.ctypeslib.as_array(logits, shape=(len(ids), n_vocab)))
    os._exit(0)


def theirs(path: pathlib.Path, ids: list[int]) -> np.ndarray | str:
    """llama.cpp's logits, or what it says. A child computes them: llama.cpp may abort."""
    out = path.with_suffix(".npy")
    child = os.fork()
    if child == 0:
        signal.alarm(MOST_SECONDS)
        llama_cpp_logits(path, ids, out)
    _, status = os.waitpid(child, 0)
    if status == 0:
        return np.load(out)
    lines = out.with_suffix(".txt").read_text(errors="replace").splitlines()
    return (lines or ["aborted"])[0]


def ours(path: pathlib.Path, ids: pathlib.Path, gguf_run: pathlib.Path) -> np.ndarray | str:
    out = path.with_suffix(".ours.npy")
    command = [gguf_run, "logits", path, "--ids", ids, "-o", out, "--force", "--quiet", "--ctx", N_CTX, "--kv-type", "f32"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode == 0:
        return np.load(out)
    return done.stderr.strip().removeprefix("error: ").replace(f"{path}: ", "")


def distance(found: np.ndarray, reference: np.ndarray) -> float:
    if found.shape != reference.shape:
        return float("inf")
    return float(np.abs(found - reference).max() / np.abs(reference).max())


def verdict(own: np.ndarray | str, their: np.ndarray | str, plain: tuple | None, is_rounded: bool) -> str:
    """`plain` has the logits of the file that variants are made of, which may differ for a reason of its own."""
    if isinstance(their, str):
        return "both refuse" if isinstance(own, str) else "we run it"
    if isinstance(own, str):
        return "REFUSED"
    if is_rounded and plain and isinstance(plain[0], np.ndarray):
        # llama.cpp rounds the inputs of such matrices too; the fixtures' weights are BF16, which nearly all are in F16.
        return "same" if distance(own, plain[0]) <= OF_F16 else f"DIFFERS from F32 by {distance(own, plain[0]):.1e}"
    # llama.cpp looks GELUs up in a table of F16.
    of_plain = distance(*(plain or (own, their))) if all(isinstance(of, np.ndarray) for of in plain or ()) else 0.0
    if distance(own, their) <= max(TOLERANCE, 3 * of_plain if of_plain < MOST_OF_GELU else 0.0):
        return "same"
    pairs = zip((own, their), plain or ())
    if plain and all(isinstance(of, np.ndarray) and distance(new, of) <= TOLERANCE for new, of in pairs):
        return "unchanged"
    return f"DIFFERS by {distance(own, their):.1e}, {own.shape[1]} tokens for {their.shape[1]}"


def convert(name: str, work: pathlib.Path, gguf_convert: pathlib.Path) -> File:
    checkpoint, path = work / name, work / f"{name}.gguf"
    shutil.copytree(FIXTURES / name, checkpoint)
    shutil.copytree(FIXTURES / "tokenizer", checkpoint, dirs_exist_ok=True)
    # llama.cpp takes a model named Phi-3 to have the tokens that Phi-3 has.
    command = [gguf_convert, checkpoint, "--type", "F32", "-o", path, "-q", "-f", "--name", "fixture"]
    subprocess.run([str(part) for part in command], check=True)
    return File(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gguf-run", type=pathlib.Path, default=ROOT / "target/release/gguf-run")
    parser.add_argument("--gguf-convert", type=pathlib.Path, default=ROOT / "target/release/gguf-convert")
    parser.add_argument("--only", default="", help="variants whose name has this in it")
    parser.add_argument("--all", action="store_true", help="print also what agrees")
    parser.add_argument("names", nargs="*", help="fixtures; those that people run most unless given")
    args = parser.parse_args()
    counts = {}
    for name in args.names or [name for name in NAMES if (FIXTURES / name).is_dir()]:
        with tempfile.TemporaryDirectory() as work:
            work = pathlib.Path(work)
            file, ids = convert(name, work, args.gguf_convert), FIXTURES / name / "ids.txt"
            plain = None
            for variant, other in variants(file):
                if args.only not in variant and plain is not None:
                    continue
                path = work / "variant.gguf"
                other.write(path)
                own, their = ours(path, ids, args.gguf_run), theirs(path, [int(id) for id in ids.read_text().split()])
                found = verdict(own, their, plain, variant.split()[0] in ("matrices", "routers"))
                if variant in MEANT and found.split()[0].isupper():
                    found = "meant"
                plain = plain or (own, their)
                counts[found.split()[0]] = counts.get(found.split()[0], 0) + 1
                if args.all or found.split()[0].isupper():
                    said = [text for text in (own, their) if isinstance(text, str)]
                    print(f"{name}: {variant}: {found}", *(text[:200] for text in said), sep="\n    ", flush=True)
    print(json.dumps(counts))
    if any(word.isupper() for word in counts):
        sys.exit(1)


main()
