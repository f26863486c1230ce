"""Makes fixtures/adapters: PEFT adapters of the tiny models in fixtures/families, with the logits that transformers and
PEFT compute.

Usage: python tools/adapter_fixtures.py fixtures [NAME...]

A folder NAME holds an adapter as PEFT saves it and logits.npy, `[n_ids, n_vocab]` for the first ids of the base's
ids.txt; `base_model_name_or_path` names the base. Needs torch, transformers 5.24, peft 0.21.
"""

import json
import pathlib
import shutil
import sys

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

N_IDS = 8

ADAPTERS = {
    "lora": ("llama", dict(
        r=4, lora_alpha=6, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj"],
        rank_pattern={"layers.0.self_attn.q_proj": 2, "down_proj": 3}, alpha_pattern={"k_proj|v_proj": 3},
    )),
    "rslora-whole-modules": ("llama", dict(
        r=4, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "v_proj"], modules_to_save=["lm_head", "embed_tokens"],
    )),
    "dora": ("llama", dict(r=4, lora_alpha=8, use_dora=True, target_modules=["q_proj", "k_proj", "o_proj", "up_proj"])),
    "dora-turned": ("gpt2", dict(
        r=4, lora_alpha=8, use_dora=True, fan_in_fan_out=True, target_modules=["c_attn", "c_fc"], bias="lora_only",
    )),
    "embedding-of-tied": ("qwen2", dict(r=4, lora_alpha=8, target_modules=["embed_tokens", "q_proj"])),
    "tokens": ("llama", dict(r=4, lora_alpha=8, target_modules=["q_proj"], trainable_token_indices=[134, 71, 10])),
    "tokens-of-tied": ("qwen2", dict(
        r=4, lora_alpha=8, target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [224, 81]},
    )),
    "experts": ("gpt-oss", dict(
        r=2, lora_alpha=4, target_modules=["q_proj"],
        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
    )),
    "experts-apart": ("qwen3moe", dict(
        r=2, lora_alpha=4, target_modules=["q_proj"],
        target_parameters=["mlp.experts.down_proj", "mlp.experts.gate_up_proj"],
    )),
    "resized": ("qwen2", dict(
        r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"],
    )),
}


def main(fixtures, *only):
    for name, (base, settings) in ADAPTERS.items():
        if only and name not in only:
            continue
        torch.manual_seed(len(name))
        model = AutoModelForCausalLM.from_pretrained(fixtures / "families" / base, dtype=torch.float32)
        if name == "resized":
            model.resize_token_embeddings(model.config.vocab_size + 3)
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn_like(parameter) * parameter.abs().mean().clamp(min=0.02)
        ids = [int(id) for id in (fixtures / "families" / base / "ids.txt").read_text().split()][:N_IDS]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0]
        target = fixtures / "adapters" / name
        shutil.rmtree(target, ignore_errors=True)
        model.save_pretrained(target)
        (target / "README.md").unlink(missing_ok=True)
        config = json.loads((target / "adapter_config.json").read_text()) | {"base_model_name_or_path": base}
        for key in ("target_modules", "modules_to_save"):
            config[key] = config[key] and sorted(config[key])
        (target / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        np.save(target / "logits.npy", logits.numpy())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *sys.argv[2:])
