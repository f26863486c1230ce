#!/usr/bin/env python3
"""Makes src/model/arch/class_defaults.json: what transformers' configuration classes assume where config.json is silent.

Usage: python tools/class_defaults.py

Needs transformers (made with 5.24). For each `model_type` that a family of src/model/arch names and that transformers
has a class for, it lists the numbers, words and truth values among the parameters of that class whose names the
families read, and the other names that the class has for them; of classes around a language model, only whether its
output matrix is its embedding. Published files leave out what equals these, as
those of Gemma 3 and of many models that see do; what `save_pretrained` writes has them all.
"""

import inspect
import json
import pathlib
import re

from transformers import CONFIG_MAPPING

ARCH = pathlib.Path(__file__).parents[1] / "src/model/arch"
# Of no class: tokens, labels, and what names the model itself.
LEFT_OUT = re.compile(r"(_token_id|_labels|^model_type|^architectures)$")

TIE = "tie_word_embeddings"


def sources() -> str:
    return "".join(path.read_text() for path in sorted(ARCH.rglob("*.rs")))


def assumed(parameter: inspect.Parameter, has_switch: bool) -> bool:
    """Whether the class takes the default of a parameter as it is."""
    if LEFT_OUT.search(parameter.name) or (parameter.name == "sliding_window" and has_switch):
        return False
    # Where a class has an output matrix of its own, the weights say so.
    if parameter.name == TIE and not parameter.default:
        return False
    return isinstance(parameter.default, (bool, int, float, str))


def main() -> None:
    text = sources()
    words = set(re.findall(r'"([A-Za-z0-9_.-]+)"', text))
    lines = []
    # Of classes around a language model, what they say of its output matrix counts.
    wrappers = {name for name, cls in CONFIG_MAPPING.items() if "text_config" in getattr(cls, "sub_configs", {})}
    for model_type in sorted(words & set(CONFIG_MAPPING) | wrappers):
        config_class = CONFIG_MAPPING[model_type]
        parameters = inspect.signature(config_class.__init__).parameters
        has_switch = "use_sliding_window" in parameters
        defaults = {
            name: parameter.default
            for name, parameter in sorted(parameters.items())
            if name in words and assumed(parameter, has_switch) and (model_type not in wrappers or name == TIE)
        }
        if model_type in wrappers and not defaults:
            continue
        names = {other: name for other, name in sorted(config_class.attribute_map.items()) if name in defaults}
        lines.append(f"{json.dumps(model_type)}: {json.dumps({'defaults': defaults, 'names': names})}")
    (ARCH / "class_defaults.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
