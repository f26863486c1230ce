#!/usr/bin/env python3
"""Makes fixtures/rope/frequencies.json: what transformers makes of the rotary scaling in a config.json.

Usage: python tools/rope_frequencies.py fixtures/rope/frequencies.json

Needs transformers (made with 5.24) and numpy. It runs transformers' own `modeling_rope_utils`, which computes
with a handful of PyTorch's functions; numpy takes their place here, in float64, so that PyTorch is not needed
and the reference is more exact than what it checks.
"""

import json
import math
import sys
import types

import numpy as np
from transformers import LlamaConfig, modeling_rope_utils as rope

DEFAULT = {"head_dim": 128, "rope_theta": 10000.0, "max_position_embeddings": 131072}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
# Names, and what each config.json says.
CASES = {
    "unscaled": {},
    "linear by 4": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "llama3, heads of 128": {"rope_theta": 500000.0, "rope_scaling": LLAMA3},
    "llama3, heads of 64, by 32": {
        "head_dim": 64,
        "rope_theta": 500000.0,
        "rope_scaling": {**LLAMA3, "factor": 32.0},
    },
    "llama3, other bounds": {"rope_scaling": {**LLAMA3, "low_freq_factor": 2.0, "high_freq_factor": 3.0}},
    "yarn, base 1000000": {"rope_theta": 1000000.0, "rope_scaling": YARN},
    "yarn, of 2048 by 16": {
        "head_dim": 64,
        "rope_scaling": {**YARN, "factor": 16.0, "original_max_position_embeddings": 2048},
    },
    "yarn, heads of 80": {"head_dim": 80, "rope_scaling": {**YARN, "factor": 2.5}},
    "yarn, everything stated": {
        "rope_scaling": {**YARN, "attention_factor": 0.8, "beta_fast": 24.0, "beta_slow": 2.0},
    },
    "yarn, a ramp of one dimension": {
        "head_dim": 16,
        "rope_scaling": {**YARN, "beta_fast": 4.0, "beta_slow": 3.9},
    },
}


class Array(np.ndarray):
    """A numpy array with the one method of a tensor that is called."""

    def to(self, device=None, dtype=None):
        return self


def arange(*bounds, dtype=None):
    return np.arange(*bounds, dtype=np.float64).view(Array)


torch = types.SimpleNamespace(
    arange=arange, clamp=np.clip, where=np.where, float=None, float32=None, int64=None
)


def default_parameters(config):
    dim = config.head_dim
    return 1.0 / (config.rope_parameters["rope_theta"] ** (arange(0, dim, 2) / dim)), 1.0


def main():
    rope.torch = torch
    cases = []
    for name, stated in CASES.items():
        said = {
            "hidden_size": 1024,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "num_hidden_layers": 1,
            "intermediate_size": 1024,
            "vocab_size": 256,
            "rms_norm_eps": 1e-5,
            **DEFAULT,
            **stated,
        }
        config = LlamaConfig(**json.loads(json.dumps(said)))
        kind = config.rope_parameters["rope_type"]
        compute = rope.ROPE_INIT_FUNCTIONS.get(kind)
        frequencies, magnitude = compute(config, "cpu") if compute else default_parameters(config)
        assert len(frequencies) == said["head_dim"] // 2 and math.isfinite(magnitude)
        cases.append(
            {
                "name": name,
                "config": said,
                "frequencies": [float(f) for f in frequencies],
                "magnitude": float(magnitude),
            }
        )
    with open(sys.argv[1], "w") as out:
        out.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


main()
