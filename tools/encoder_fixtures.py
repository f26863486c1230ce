"""Makes fixtures/encoders: tiny random encoders of every family, with the last hidden states that transformers computes.

Usage: python tools/encoder_fixtures.py fixtures/encoders [NAME...]

A folder holds what `save_pretrained` writes (weights in BF16), `ids.txt`, a text a line, and `hidden.npy`: float32,
`[n_ids, n_embd]`, the last hidden states of all texts one after the other, computed in float32 from the folder as it was
read back. Where the model scores pairs of texts, `scores.npy` holds `[n_texts, n_classes]`, and a `|` in ids.txt stands
where the second text begins. A seed is taken only if every tensor matters, as for tools/family_fixtures.py, whose
tokenizer these share.

Needs torch, transformers, numpy.
"""

import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import torch
import encoder_references
import jina_bert_v2
from encoder_shapes import LENGTHS, SHAPES
from transformers import (
    CONFIG_MAPPING, AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoModelForTextEncoding,
)
from transformers.utils import logging

N_VOCAB = 320
USUAL_LENGTHS = [29, 1, 70, 12]
N_SEEDS = 20
LEAST_EFFECT = 3e-4
MOST_BYTES = 400_000


def spread(name, tensor, generator):
    normal = torch.randn(tensor.shape, generator=generator)
    if name.endswith("bias"):
        return 0.2 * normal
    if tensor.ndim < 2:
        return tensor.detach() + torch.rand(tensor.shape, generator=generator) - 0.5
    if "embed" in name:
        return normal
    sharp = ("query", "key", "qkv", "q_proj", "k_proj", "q_lin", "k_lin", "attn.q.", "attn.k.", "router")
    return (2.0 if any(word in name for word in sharp) else 1.2) * normal * tensor.shape[-1] ** -0.5


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            tensor.data = spread(name, tensor, generator).bfloat16().float()


def load(folder, scores):
    config = json.loads((folder / "config.json").read_text())
    if config["architectures"] == ["JinaBertModel"]:
        return jina_bert_v2.load(folder)
    # Transformers has the other Nomic BERTs.
    is_moe = "moe_every_n_layers" in config
    if is_moe or config["architectures"][0] in encoder_references.BY_CLASS.keys() - {"NomicBertModel"}:
        return encoder_references.load(folder)
    return auto_class(config["model_type"], scores).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True).eval()


def auto_class(model_type, scores):
    if scores:
        return AutoModelForSequenceClassification
    return AutoModelForTextEncoding if model_type in ("t5", "mt5", "umt5") else AutoModel


def outputs(model, texts, scores):
    rows = []
    with torch.no_grad():
        for ids, border in texts:
            given = {"input_ids": torch.tensor([ids])}
            if getattr(model.config, "type_vocab_size", 0) > 1:
                given["token_type_ids"] = torch.tensor([[int(i >= border) for i in range(len(ids))]])
            result = model(**given)
            rows.append(result.logits if scores else result.last_hidden_state[0])
            # Files of this architecture hold two classes, whose probabilities are the scores.
            if scores and model.config.model_type == "qwen3":
                rows[-1] = torch.cat([rows[-1].sigmoid(), (-rows[-1]).sigmoid()], dim=1)
    return torch.cat(rows)


def distance(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def idle_tensors(model, texts, scores, expected):
    idle = []
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not tensor.is_floating_point() or not scores and ("pooler" in name or name.startswith("head")):
            continue
        # A bias of keys moves all scores of a query alike.
        if "key.bias" in name or "k_lin.bias" in name or "attn.k.bias" in name or "k_proj.bias" in name:
            continue
        kept = tensor.data.clone()
        noise = torch.randn(kept.shape, generator=torch.Generator().manual_seed(1))
        tensor.data = kept + 0.1 * max(kept.std(correction=0).item(), 0.1) * noise
        if distance(outputs(model, texts, scores), expected) < LEAST_EFFECT:
            idle.append(name)
        tensor.data = kept
    return idle


def become_llama(folder):
    """Gives a EuroBERT, which computes the same, the class of NVIDIA's Llama whose positions see the whole text."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config |= dict(architectures=["LlamaBidirectionalModel"], model_type="llama_bidirec")
    path.write_text(json.dumps(config, indent=2) + "\n")


def make(name, folder):
    model_type, arguments, scores = SHAPES[name]
    for seed in range(N_SEEDS):
        if model_type == "jina_bert_v2":
            model = jina_bert_v2.JinaBert(arguments)
        elif model_type in encoder_references.REFERENCES:
            model = encoder_references.REFERENCES[model_type](arguments)
        else:
            config = CONFIG_MAPPING[model_type](**arguments)
            model = auto_class(model_type, scores).from_config(config, attn_implementation="eager", dtype=torch.float32)
        randomise(model, seed)
        model.to(torch.bfloat16).save_pretrained(folder)
        model = load(folder, scores)
        rng = np.random.default_rng(seed)
        lengths = [n for n in LENGTHS.get(name, USUAL_LENGTHS) if not scores or n > 1]
        texts = [(rng.integers(4, N_VOCAB, n).tolist(), n // 2 if scores else n) for n in lengths]
        expected = outputs(model, texts, scores)
        idle = idle_tensors(model, texts, scores, expected)
        if not idle:
            break
        print(f"{name}: seed {seed}: idle {idle}", file=sys.stderr)
    else:
        raise SystemExit(f"{name}: no seed")
    if name == "llama-embed":
        become_llama(folder)
    lines = [" ".join(map(str, ids[:border] + ["|"] * scores + ids[border:])) for ids, border in texts]
    (folder / "ids.txt").write_text("\n".join(lines) + "\n")
    np.save(folder / ("scores.npy" if scores else "hidden.npy"), expected.numpy().astype("<f4"))
    n_bytes = sum(file.stat().st_size for file in folder.iterdir())
    if n_bytes > MOST_BYTES:
        raise SystemExit(f"{name}: {n_bytes} bytes are more than {MOST_BYTES}")
    return f"seed {seed}, greatest {expected.abs().max().item():.2f}, {n_bytes} bytes"


def main():
    families = pathlib.Path(sys.argv[1])
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for name in sys.argv[2:] or SHAPES:
        with tempfile.TemporaryDirectory() as made:
            told = make(name, pathlib.Path(made))
            shutil.rmtree(families / name, ignore_errors=True)
            (families / name).mkdir(parents=True)
            for file in pathlib.Path(made).iterdir():
                shutil.copyfile(file, families / name / file.name)
        print(f"{name}: {told}", flush=True)


main()
