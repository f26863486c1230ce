"""Makes a quantised checkpoint with the library that people make such checkpoints with.

    python tools/peer/library_checkpoints.py NAME SOURCE TARGET EXPECTED

SOURCE is a plain checkpoint of a llama. TARGET becomes the folder that the library saves, EXPECTED a safetensors file with what the
library itself decodes of each quantised matrix, in F32. `--list` names the checkpoints with the packages that each needs;
nothing is installed. Everything runs on the CPU.
"""

import functools
import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file

MAKERS = {}


def maker(packages, **variants):
    """Registers a function as the maker of checkpoints, each called with further arguments of its own."""
    def register(function):
        for name, arguments in variants.items():
            MAKERS[name.replace("_", "-")] = (packages, functools.partial(function, **arguments))
        return function
    return register


def loaded(source, **options):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(source, **({"dtype": torch.bfloat16} | options)).eval()


def save(model, source, target):
    """Saves as `save_pretrained` does, with the tokenizer of the source."""
    model.save_pretrained(target)
    for path in source.glob("*token*"):
        shutil.copy(path, target)


def matrices(model, decode, is_quantised):
    return {f"{name}.weight": decode(module) for name, module in model.named_modules() if is_quantised(module)}


@maker(
    "bitsandbytes",
    bnb_nf4={"bnb_4bit_quant_type": "nf4"},
    bnb_fp4={"bnb_4bit_quant_type": "fp4"},
    bnb_nf4_nested={"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    bnb_fp4_nested={"bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True},
    bnb_nf4_in_bf16={"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_quant_storage": torch.bfloat16},
    bnb_nf4_in_f32={"bnb_4bit_quant_type": "nf4", "bnb_4bit_quant_storage": torch.float32},
)
def bitsandbytes_4(source, target, **options):
    import bitsandbytes
    from transformers import BitsAndBytesConfig

    model = loaded(source, quantization_config=BitsAndBytesConfig(load_in_4bit=True, **options))
    save(model, source, target)
    decode = lambda m: bitsandbytes.functional.dequantize_4bit(m.weight.data, m.weight.quant_state)
    # The state says BF16 of the model's own dtype; the numbers behind it are asked for.
    def exact(m):
        m.weight.quant_state.dtype = torch.float32
        return decode(m)
    return matrices(model, exact, lambda m: isinstance(m, bitsandbytes.nn.Linear4bit))


@maker("bitsandbytes", llm_int8={})
def bitsandbytes_8(source, target):
    import bitsandbytes
    from transformers import BitsAndBytesConfig

    model = loaded(source, quantization_config=BitsAndBytesConfig(load_in_8bit=True))
    save(model, source, target)
    decode = lambda m: bitsandbytes.functional.int8_vectorwise_dequant(m.weight.data, m.weight.SCB)
    return matrices(model, decode, lambda m: isinstance(m, bitsandbytes.nn.Linear8bitLt))


@maker(
    "hqq termcolor",
    **{f"hqq_{bits}": {"nbits": bits, "axis": 1, "group_size": 64} for bits in (1, 2, 3, 4, 8)},
    **{f"hqq_{bits}_axis_0": {"nbits": bits, "axis": 0, "group_size": 64} for bits in (1, 2, 3, 4, 8)},
    hqq_4_row={"nbits": 4, "axis": 1, "group_size": None},
    hqq_pickled={"nbits": 4, "axis": 1, "group_size": 64, "is_pickled": True},
)
def hqq(source, target, is_pickled=False, **options):
    """HQQ's own file (`is_pickled`), or the state of its layers in safetensors, as transformers 4 saved it."""
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
    from hqq.models.hf.base import AutoHQQHFModel

    model = loaded(source)
    config = BaseQuantizeConfig(**options)
    # The search for zeros takes a minute, and what is stored is of the same form.
    config["weight_quant_params"]["optimize"] = False
    AutoHQQHFModel.quantize_model(model, quant_config=config, compute_dtype=torch.bfloat16, device="cpu")
    layers = lambda m: isinstance(m, HQQLinear)
    if is_pickled:
        AutoHQQHFModel.save_quantized(model, str(target))
    else:
        target.mkdir()
        model.lm_head = torch.nn.Identity()
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, target / "model.safetensors")
        config = model.config.to_dict() | {"quantization_config": {"quant_method": "hqq", "quant_config": config, "skip_modules": ["lm_head"]}}
        (target / "config.json").write_text(json.dumps(config, default=str))
    for path in source.glob("*token*"):
        shutil.copy(path, target)

    def decode(module):
        module.compute_dtype = module.meta["compute_dtype"] = torch.float32
        module.meta["scale"], module.meta["zero"] = module.meta["scale"].float(), module.meta["zero"].float()
        return module.dequantize()
    return matrices(model, decode, layers)


def texts(tokenizer, n=16):
    """Some text in pieces, for what is calibrated."""
    text = (pathlib.Path(__file__).parents[2] / "fixtures/text/the-clockmakers-lantern.txt").read_text()
    ids = tokenizer(text)["input_ids"]
    return [ids[i * 64 : i * 64 + 64] for i in range(min(n, len(ids) // 64))]


@maker(
    "llmcompressor (with compressed-tensors)",
    compressed_w4a16={"scheme": "W4A16"},
    compressed_w4a16_asym={"scheme": "W4A16_ASYM"},
    compressed_w8a16={"scheme": "W8A16"},
    compressed_w8a8={"scheme": "W8A8"},
    compressed_fp8={"scheme": "FP8"},
    compressed_fp8_dynamic={"scheme": "FP8_DYNAMIC"},
    compressed_fp8_block={"scheme": "FP8_BLOCK"},
    compressed_nvfp4={"scheme": "NVFP4A16"},
    compressed_mxfp4={"scheme": "MXFP4A16"},
    compressed_mxfp8={"scheme": "MXFP8A16"},
    compressed_actorder_static={"scheme": "W4A16", "gptq": {"actorder": "static"}},
    compressed_actorder_weight={"scheme": "W4A16", "gptq": {"actorder": "weight"}},
    compressed_w3={"num_bits": 3, "strategy": "group", "group_size": 64},
    compressed_w2={"num_bits": 2, "strategy": "group", "group_size": 32, "symmetric": False},
    compressed_w5={"num_bits": 5, "strategy": "group", "group_size": 64},
    compressed_w6_asym={"num_bits": 6, "strategy": "channel", "symmetric": False},
    compressed_w4_row_asym={"num_bits": 4, "strategy": "channel", "symmetric": False},
    compressed_int8_tensor={"num_bits": 8, "strategy": "tensor", "a8": True},
    compressed_int8_asym={"num_bits": 8, "strategy": "channel", "symmetric": False, "a8": True},
    compressed_int8_group={"num_bits": 8, "strategy": "group", "group_size": 32, "format": "int-quantized"},
    compressed_naive_int4={"num_bits": 4, "strategy": "group", "group_size": 32, "format": "naive-quantized"},
    compressed_mixed={"mixed": True},
)
def compressed(source, target, scheme=None, gptq=None, mixed=False, a8=False, format=None, **weights):
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    model = loaded(source)
    common = {"ignore": ["lm_head"]}
    if mixed:
        of = lambda targets, **w: QuantizationScheme(targets=targets, weights=QuantizationArgs(**w))
        groups = {
            "a": of(["re:.*self_attn.*_proj$"], num_bits=8, strategy="channel"),
            "b": of(["re:.*(gate|up)_proj$"], num_bits=4, strategy="group", group_size=32),
            "c": of(["re:.*down_proj$"], num_bits=8, type="float", strategy="channel"),
        }
        recipe = QuantizationModifier(config_groups=groups, **common)
    elif scheme is None:
        activations = QuantizationArgs(num_bits=8, strategy="token", dynamic=True) if a8 else None
        args = QuantizationArgs(**weights)
        groups = {"a": QuantizationScheme(targets=["Linear"], weights=args, input_activations=activations, format=format)}
        recipe = QuantizationModifier(config_groups=groups, **common)
    elif gptq:
        recipe = GPTQModifier(targets="Linear", scheme=scheme, **gptq, **common)
    else:
        recipe = QuantizationModifier(targets="Linear", scheme=scheme, **common)
    is_calibrated = gptq is not None or scheme == "FP8"
    samples = [{"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, 64, dtype=torch.long)} for ids in texts(tokenizer)]
    calibrated = {"dataset": torch.utils.data.DataLoader(samples, batch_size=None)} if is_calibrated else {}
    oneshot(model=model, recipe=recipe, tokenizer=tokenizer, **calibrated)
    model.save_pretrained(target, save_compressed=True)
    for path in source.glob("*token*"):
        shutil.copy(path, target)
    return decompressed(target)


def decompressed(target):
    """What compressed-tensors decodes of its own checkpoint, with scales widened to F32 so that it does not round."""
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(target)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    said = json.loads((target / "config.json").read_text())["quantization_config"]
    whole_format = said.get("format")
    apply_quantization_config(model, QuantizationConfig.model_validate(said))
    stored = {}
    for path in target.glob("*.safetensors"):
        stored |= load_file(path)
    expected = {}
    for name, module in model.named_modules():
        scheme = getattr(module, "quantization_scheme", None)
        state = {key.removeprefix(f"{name}."): value for key, value in stored.items() if key.rpartition(".")[0] == name}
        if scheme is None or "weight_scale" not in state:
            continue
        if state["weight_scale"].dtype in (torch.bfloat16, torch.float16):
            state["weight_scale"] = state["weight_scale"].float()
        if "weight_global_scale" in state and state["weight_scale"].dtype == torch.float8_e4m3fn:
            # Its decoder rounds to BF16 here: the product is written out.
            rows, n_in = state["weight_packed"].shape[0], 2 * state["weight_packed"].shape[1]
            values = unpack_fp4_from_uint8(state["weight_packed"], rows, n_in, dtype=torch.float32).reshape(rows, -1, 16)
            scales = state["weight_scale"].float() / state["weight_global_scale"]
            expected[f"{name}.weight"] = (values * scales[..., None]).reshape(rows, n_in)
            continue
        form = scheme.format or whole_format
        compressor = BaseCompressor.get_value_from_registry(getattr(form, "value", form))
        expected[f"{name}.weight"] = compressor.decompress(state, scheme)["weight"].float()
    return expected


@maker(
    "torchao accelerate",
    torchao_int8={"kind": "Int8WeightOnlyConfig"},
    torchao_float8={"kind": "Float8WeightOnlyConfig"},
    torchao_intx={"kind": "IntxWeightOnlyConfig", "dtype": torch.float32},
    torchao_8da4w={"kind": "Int8DynamicActivationIntxWeightConfig", "dtype": torch.float32},
)
def torchao(source, target, kind, dtype=torch.bfloat16, **options):
    from torchao import quantization
    from transformers import TorchAoConfig

    if "version" not in options and kind == "Int8WeightOnlyConfig":
        options["version"] = 2
    config = getattr(quantization, kind)(**options)
    model = loaded(source, quantization_config=TorchAoConfig(config), device_map="cpu", dtype=dtype)
    save(model, source, target)
    is_quantised = lambda m: isinstance(m, torch.nn.Linear) and hasattr(m.weight, "dequantize") and type(m.weight.data) is not torch.Tensor
    decode = lambda m: m.weight.dequantize(*([torch.float32] if dtype != torch.float32 else []))
    return matrices(model, decode, is_quantised)


@maker(
    "optimum-quanto",
    quanto_int8={"weights": "qint8"}, quanto_int4={"weights": "qint4"}, quanto_int2={"weights": "qint2"}, quanto_float8={"weights": "qfloat8"},
)
def quanto(source, target, weights):
    from optimum import quanto as q
    from optimum.quanto import QuantizedModelForCausalLM

    model = QuantizedModelForCausalLM.quantize(loaded(source, dtype=torch.float32), weights=getattr(q, weights), exclude="lm_head")
    model.save_pretrained(str(target))
    for path in source.glob("*token*"):
        shutil.copy(path, target)
    return matrices(model._wrapped, lambda m: m.weight.dequantize(), lambda m: isinstance(m, q.QLinear) and isinstance(m.weight, q.QTensor))


@maker(
    "mlx mlx-cpu mlx-lm",
    **{f"mlx_{bits}": {"q_bits": bits, "q_group_size": 64} for bits in (2, 3, 4, 5, 6, 8)},
    mlx_4_32={"q_bits": 4, "q_group_size": 32},
    mlx_4_128={"q_bits": 4, "q_group_size": 128},
    mlx_mixed={"quant_predicate": "mixed_3_6"},
    mlx_mxfp4={"q_mode": "mxfp4"},
    mlx_mxfp8={"q_mode": "mxfp8"},
    mlx_nvfp4={"q_mode": "nvfp4"},
)
def mlx(source, target, **options):
    import mlx.core as mx
    from mlx_lm import convert
    from mlx_lm.utils import load_model
    import mlx.nn as nn
    import numpy as np

    convert(str(source), str(target), quantize=True, **options)
    model = load_model(target)[0]
    expected = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.QuantizedLinear, nn.QuantizedEmbedding)):
            biases = module.biases.astype(mx.float32) if module.get("biases") is not None else None
            scales = module.scales if biases is None else module.scales.astype(mx.float32)
            whole = mx.dequantize(module.weight, scales, biases, module.group_size, module.bits, mode=module.mode)
            expected[f"{name}.weight"] = torch.from_numpy(np.array(whole.astype(mx.float32)))
    return expected


def main():
    if sys.argv[1:] == ["--list"]:
        for name, (packages, _) in MAKERS.items():
            print(f"{name}: {packages}")
        return
    name, source, target, expected = sys.argv[1], *map(pathlib.Path, sys.argv[2:])
    torch.manual_seed(1)
    torch.set_num_threads(2)
    made = MAKERS[name][1](source, target)
    save_file({key: value.float().contiguous().clone() for key, value in made.items()}, expected)


if __name__ == "__main__":
    main()
