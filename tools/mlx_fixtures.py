"""Makes fixtures/mlx: models of fixtures/families as `mlx_lm.convert` saves them on the CPU.

Usage: python tools/mlx_fixtures.py fixtures/mlx fixtures/families

`qwen3next` has stacks of experts, turned convolutions and norms to which one was added, `falcon-h1` weights that multipliers
are in, `deepseek2-v3` codes of four bits, experts and the matrices of latent vectors among them. Needs mlx, mlx-cpu, mlx-lm
(made with mlx 0.32.4 and mlx-lm 0.32.2), transformers and safetensors.
"""

import pathlib
import shutil
import sys
import tempfile

from mlx_lm import convert

MODELS = {"qwen3next": {}, "falcon-h1": {}, "deepseek2-v3": {"quantize": True, "q_bits": 4, "q_group_size": 32}}


def main():
    out, families = map(pathlib.Path, sys.argv[1:])
    for name, options in MODELS.items():
        with tempfile.TemporaryDirectory() as work:
            source, target = pathlib.Path(work) / "source", pathlib.Path(work) / "target"
            shutil.copytree(families / name, source)
            for path in (families / "tokenizer").iterdir():
                shutil.copy(path, source)
            # MLX reads the names of files on the Hub.
            if (source / "config.hub.json").exists():
                (source / "config.hub.json").replace(source / "config.json")
            convert(str(source), str(target), dtype="bfloat16", **options)
            (out / name).mkdir(parents=True, exist_ok=True)
            for file in ("config.json", "model.safetensors"):
                shutil.copy(target / file, out / name)


if __name__ == "__main__":
    main()
