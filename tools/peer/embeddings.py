#!/usr/bin/env python3
"""Measures how many texts a second become vectors: llama.cpp, ONNX Runtime and `gguf-run`, in turn.

    cargo build --release
    python tools/peer/embeddings.py model.gguf -f TEXT [--checkpoint DIR] [--texts 256] [--words 44] [--batch 128]
        [--rounds 3]

The texts are cut out of the file TEXT: so many of so many words each. `gguf-run embed` is timed as a program, less the
time that it takes for one text; llama.cpp in both of its modes, with batches of `--batch` tokens (it computes the scores
between all tokens of a batch, so that with 2,048 of them it makes two thirds of the texts); ONNX Runtime, where a
checkpoint is given, on the graph that `torch.onnx` makes of it in F32, 32 texts at once. Printed are medians of texts
per second, our figure divided by llama.cpp's better one, and the least cosine between our vectors and each program's
(mean of the streams, normalised). Needs `llama_cpp`; for ONNX Runtime `torch`, `transformers`, `tokenizers`, `onnx`,
`onnxscript` and `onnxruntime`.
"""

import argparse
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
N_SEQUENCES = 64
ONNX_BATCH = 32  # Texts.


def cut(source, n_texts, n_words):
    """`n_texts` texts of `n_words` words each."""
    words = source.split()
    if len(words) < n_texts * n_words:
        raise SystemExit(f"the text is too short for {n_texts} texts of {n_words} words")
    return [" ".join(words[i * n_words:(i + 1) * n_words]) for i in range(n_texts)]


def normalized(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def run_gguf_run(args, texts, folder):
    """Seconds of `gguf-run embed`, and its vectors."""
    file, vectors = folder / "texts.txt", folder / "vectors.npy"

    def seconds(some):
        file.write_text("".join(f"{text}\n" for text in some))
        command = [args.binary, "embed", args.model, "-f", file, "--npy", vectors, "--force", "--pooling", "mean"]
        start = time.perf_counter()
        subprocess.run([*map(str, command), "--threads", str(args.threads), *args.ours], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - start

    one = seconds(texts[:1])
    return seconds(texts) - one, np.load(vectors)


def run_llama_cpp(args, texts, repack):
    """Seconds of llama.cpp, in this process, and its vectors."""
    import llama_cpp

    from llama import load_model

    model = load_model(args.model, repack)
    vocab = llama_cpp.llama_model_get_vocab(model)
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = args.batch
    settings.n_seq_max = N_SEQUENCES
    settings.kv_unified = True
    settings.embeddings, settings.pooling_type = True, llama_cpp.LLAMA_POOLING_TYPE_MEAN
    settings.n_threads = settings.n_threads_batch = args.threads
    context = llama_cpp.llama_init_from_model(model, settings)
    width = llama_cpp.llama_model_n_embd(model)
    batch = llama_cpp.llama_batch_init(args.batch, 0, 1)

    def tokens(text):
        data, ids = text.encode(), (llama_cpp.llama_token * args.batch)()
        n = llama_cpp.llama_tokenize(vocab, data, len(data), ids, args.batch, True, True)
        if n < 0:
            raise SystemExit(f"a text has {-n} tokens, more than --batch {args.batch}")
        return ids[:n]

    def evaluate(together):
        batch.n_tokens = 0
        for sequence, ids in enumerate(together):
            for position, token in enumerate(ids):
                i = batch.n_tokens
                batch.token[i], batch.pos[i], batch.logits[i] = token, position, True
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
                batch.n_tokens += 1
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        if llama_cpp.llama_decode(context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        return [llama_cpp.llama_get_embeddings_seq(context, i)[:width] for i in range(len(together))]

    evaluate([tokens(texts[0])])
    start = time.perf_counter()
    vectors, together = [], []
    for text in texts:
        ids = tokens(text)
        if len(together) == N_SEQUENCES or sum(map(len, together)) + len(ids) > args.batch:
            vectors += evaluate(together)
            together = []
        together.append(ids)
    vectors += evaluate(together)
    return time.perf_counter() - start, np.array(vectors, np.float32)


def run_onnx(args, texts, graph):
    """Seconds of ONNX Runtime, and its vectors."""
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(str(graph), options)
    tokenizer = Tokenizer.from_file(str(args.checkpoint / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.no_truncation()

    def vectors(some):
        encoded = tokenizer.encode_batch(some)
        ids = np.array([of.ids for of in encoded], np.int64)
        mask = np.array([of.attention_mask for of in encoded], np.int64)
        (streams,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        return (streams * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]

    vectors(texts[:1])
    start = time.perf_counter()
    found = [vectors(texts[at:at + ONNX_BATCH]) for at in range(0, len(texts), ONNX_BATCH)]
    return time.perf_counter() - start, np.concatenate(found)


def export(checkpoint, graph):
    """Writes the encoder as a graph for ONNX Runtime."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(checkpoint, attn_implementation="eager").eval()

    class Streams(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            return model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    ids = torch.ones(2, 8, dtype=torch.int64)
    mask = ids.clone()
    mask[1, 5:] = 0  # Without an end that is padded the graph would have no mask.
    axes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens", min=2, max=512)}
    torch.onnx.export(Streams(), (ids, mask), str(graph), input_names=["input_ids", "attention_mask"],
                      dynamic_shapes=(axes, axes), dynamo=True, verbose=False)


def in_process(program, args, texts, folder, *more):
    """Runs one of the functions above in a process of its own, which a program's threads and memory then leave."""
    file, result = folder / "program.txt", folder / "result.npz"
    file.write_text("\n".join(texts))
    command = [sys.executable, __file__, args.model, "-f", file, "--threads", args.threads, "--batch", args.batch,
               "--program", program, "--result", result, *more]
    if args.checkpoint:
        command += ["--checkpoint", args.checkpoint]
    subprocess.run([str(part) for part in command], check=True)
    found = np.load(result)
    return float(found["seconds"]), found["vectors"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("-f", "--file", type=pathlib.Path, required=True)
    parser.add_argument("--checkpoint", type=pathlib.Path, help="the folder the file was made of, for ONNX Runtime")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--words", type=int, default=44, help="words of a text: some 64 tokens of English")
    parser.add_argument("--batch", type=int, default=128, help="tokens that llama.cpp computes at once")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", default=REPOSITORY / "target/release/gguf-run")
    parser.add_argument("--ours", type=shlex.split, default=[], help="further arguments for embed, in quotes")
    parser.add_argument("--program", choices=["repacking", "plain", "onnx"], help=argparse.SUPPRESS)
    parser.add_argument("--graph", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    source = args.file.read_text()
    if args.program:
        texts = source.split("\n")
        if args.program == "onnx":
            seconds, vectors = run_onnx(args, texts, args.graph)
        else:
            seconds, vectors = run_llama_cpp(args, texts, args.program == "repacking")
        np.savez(args.result, seconds=seconds, vectors=vectors)
        return

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        texts = cut(source, args.texts, args.words)
        programs = {"gguf-run": lambda: run_gguf_run(args, texts, folder),
                    "llama.cpp": lambda: in_process("repacking", args, texts, folder),
                    "llama.cpp, no repack": lambda: in_process("plain", args, texts, folder)}
        if args.checkpoint:
            graph = folder / "model.onnx"
            export(args.checkpoint, graph)
            programs["ONNX Runtime, F32"] = lambda: in_process("onnx", args, texts, folder, "--graph", graph)
        times, vectors = {name: [] for name in programs}, {}
        for _ in range(args.rounds):
            for name, run in programs.items():
                seconds, vectors[name] = run()
                times[name].append(len(texts) / seconds)
        speeds = {name: statistics.median(found) for name, found in times.items()}
        ours = normalized(vectors["gguf-run"])
        for name, speed in speeds.items():
            cosine = (ours * normalized(vectors[name])).sum(axis=1).min()
            print(f"| {args.model.stem} | {name} | {speed:.1f} texts/s | cosine {cosine:.6f} |")
        best = max(speeds["llama.cpp"], speeds["llama.cpp, no repack"])
        print(f"| {args.model.stem} | ratio to llama.cpp's better mode | {speeds['gguf-run'] / best:.2f} | |")


if __name__ == "__main__":
    main()
