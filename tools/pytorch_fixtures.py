"""Makes fixtures/pytorch: files of torch.save and hostile relatives of them.

Usage: python tools/pytorch_fixtures.py fixtures/pytorch fixtures/families/llama

`tensors.safetensors` has the same tensors as the sound `.pt` files, written by the safetensors library: the tests
compare. `llama/` is the model of that family in two shards with an index. Needs torch, numpy, safetensors.
"""

import io
import json
import os
import pathlib
import pickle
import sys
import zipfile

import torch
from safetensors.torch import load_file, save_file

FLOAT8 = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
PLAIN = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"]
WIDE_UNSIGNED = ["uint16", "uint32", "uint64"]


def tensors():
    """One tensor of every type, a view into another's storage, one that is shared, a scalar, an empty one."""
    numbers = torch.arange(12, dtype=torch.float64) * 3 - 7
    found = {name: numbers.to(getattr(torch, name)).reshape(3, 4) for name in PLAIN}
    found |= {name: numbers.abs().to(torch.float32).to(getattr(torch, name)) for name in FLOAT8[:4]}
    found[FLOAT8[4]] = torch.tensor([120, 127, 130], dtype=torch.uint8).view(torch.float8_e8m0fnu)
    found |= {name: numbers.abs().to(torch.int64).to(getattr(torch, name)) for name in WIDE_UNSIGNED}
    found["bool"] = torch.tensor([True, False, True])
    found["view"] = found["float32"][1:]
    found["shared"] = found["float32"]
    found["scalar"] = torch.tensor(2.5)
    found["empty"] = torch.zeros(0, 4)
    return found


def old_tensors():
    """What the format of before 1.6 can hold."""
    return {name: tensor for name, tensor in tensors().items() if name not in FLOAT8 + WIDE_UNSIGNED}


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def repacked(data, change, compression=zipfile.ZIP_STORED):
    """The archive `data` with members changed by `change(name, content)`, which may leave some out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                # The time that zip files begin with, so that the fixtures are the same again.
                new.writestr(zipfile.ZipInfo(name), content, compression)
    return out.getvalue()


def saved(value, **options):
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def views():
    """Tensors that do not lie row after row, one of few numbers repeated, and one of numbers that no weights are."""
    numbers = torch.arange(32.0).reshape(4, 8)
    cut = numbers[1:, 2:6]
    complex_numbers = torch.ones(4, dtype=torch.complex64)
    return {"turned": numbers.T, "cut": cut, "repeated": torch.ones(1).expand(1000, 1000), "freqs_cis": complex_numbers}


def with_pickle(data, content):
    return repacked(data, lambda name, old: content if name.endswith("data.pkl") else old)


def shards(model, out):
    """Saves the tensors of a checkpoint in two files and an index, as older transformers did."""
    out.mkdir(exist_ok=True)
    weights = load_file(model / "model.safetensors")
    names = sorted(weights)
    halves = names[::2], names[1::2]
    files = [f"pytorch_model-{i:05}-of-00002.bin" for i in (1, 2)]
    for file, half in zip(files, halves):
        torch.save({name: weights[name] for name in half}, out / file)
    weight_map = {name: file for file, half in zip(files, halves) for name in half}
    index = {"metadata": {}, "weight_map": weight_map}
    (out / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1))


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.clone().contiguous() for name, tensor in tensors().items()}
    save_file(plain, out / "tensors.safetensors")
    sound = saved(tensors())
    parameters = torch.nn.ParameterDict({"w": torch.nn.Parameter(torch.ones(2, 2))}).state_dict()
    parameter = {"state_dict": {"w": torch.nn.Parameter(torch.ones(2, 2))}, "epoch": 3, "lr": 0.1}
    one = saved({"w": torch.ones(4, 4)})
    files = {
        "new.pt": sound,
        "protocol-4.pt": saved(tensors(), pickle_protocol=4),
        "old.pt": saved(old_tensors(), _use_new_zipfile_serialization=False),
        "module.pt": saved(parameters),
        "trainer.pt": saved(parameter),
        "hostile-system.pt": with_pickle(one, pickle.dumps(Calls(os.system, "touch executed"), 2)),
        "hostile-eval.pt": with_pickle(one, pickle.dumps({"w": Calls(eval, "1")}, 4)),
        "hostile-compressed.pt": repacked(one, lambda name, old: old, zipfile.ZIP_DEFLATED),
        "hostile-missing-storage.pt": repacked(one, lambda name, old: None if "/data/" in name else old),
        "hostile-short-storage.pt": repacked(one, lambda name, old: old[:60] if "/data/" in name else old),
        "hostile-big-endian.pt": repacked(one, lambda name, old: b"big" if "byteorder" in name else old),
        "hostile-no-pickle.pt": repacked(one, lambda name, old: None if "data.pkl" in name else old),
        "hostile-cut.pt": one[: len(one) // 2],
        # A list in itself, five thousand lists in each other, a value that was never made, values without end.
        "hostile-circle.pt": with_pickle(one, b"\x80\x02]q\x00h\x00a."),
        "hostile-again.pt": with_pickle(one, b"\x80\x02}q\x00(" + b"X\x05\x00\x00\x00modelh\x00" * 2000 + b"u."),
        "hostile-deep.pt": with_pickle(one, b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."),
        "hostile-recall.pt": with_pickle(one, b"\x80\x02h\x07."),
        "hostile-memo.pt": with_pickle(one, b"\x80\x02Nr\xff\xff\xff\xff."),
        "views.pt": saved(views()),
        "nested.pt": saved({"step": torch.ones(()), "model": {"state_dict": {"w": torch.ones(2, 2), "b": torch.ones(2)}}}),
        "hostile-no-tensors.pt": saved({"epoch": 3}),
        "qmodel.pt": saved({"m": {"W_q": torch.ones(2, 4, dtype=torch.uint8), "nbits": 4, "shape": torch.Size([4, 4])}}),
    }
    for name, data in files.items():
        (out / name).write_bytes(data)
    shards(pathlib.Path(sys.argv[2]), out / "llama")


if __name__ == "__main__":
    main()
