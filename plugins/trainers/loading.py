"""The model that is trained: loaded for a method, and what is known of it then."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from agentlora.core.config import RunConfig, TrainingConfig
from agentlora.core.errors import ConfigError
from agentlora.core.files import read_json
from agentlora.core.libraries import best_dtype
from agentlora.core.types import JSON, Base, Method


def load_model(
    base: Base, method: Method, params: Any, training: TrainingConfig, called: str = "this one"
) -> Any:
    """The base as a causal LM in the dtype of the configuration, frozen by the method later.

    Raises:
        ConfigError: the base is quantized already and the method, which is `called` so, cannot take that, or the
            weights are not those of its configuration.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, logging

    logging.disable_progress_bar()
    dtype = getattr(torch, best_dtype() if training.dtype == "auto" else training.dtype)
    of_method = method.load_kwargs(params)
    refuse_quantized(base.name, base.model_dir, called, method, of_method)
    kwargs = {
        "dtype": dtype,
        "use_safetensors": True,
        "attn_implementation": attention_for(base.model_dir, training),
    }
    if torch.cuda.is_available():
        kwargs["device_map"] = {"": int(os.environ.get("LOCAL_RANK", 0))}
    try:
        model, told = AutoModelForCausalLM.from_pretrained(
            base.model_dir, output_loading_info=True, **{**kwargs, **of_method}
        )
    except (RuntimeError, SafetensorError) as exc:
        raise ConfigError(_damaged(base, str(exc).partition("\n")[0])) from exc
    if lacking := sorted(map(str, (*told["missing_keys"], *told["mismatched_keys"]))):
        # they would be made up at random
        raise ConfigError(
            _damaged(base, f"its files lack {len(lacking)} of its weights, {lacking[0]!r} among them")
        )
    compute_exactly(model)
    return model


def compute_exactly(model: Any) -> None:
    """Keep quantized layers from an operator for answers that has no gradient, rounds to bfloat16 and stores their
    weights in another order, which whoever dequantizes them does not know (bitsandbytes 0.50 on a CPU).
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _damaged(base: Base, why: str) -> str:
    return (
        f"the weights in {str(base.model_dir)!r} do not fit its config.json: {why}. Mend the directory or fetch the "
        "model again."
    )


def refuse_unknown_architecture(base: Base) -> None:
    """Raises ConfigError when the installed transformers has no model of this kind."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers import __version__ as version

    kind = read_json(base.model_dir / "config.json").get("model_type")
    try:
        known = type(AutoConfig.from_pretrained(base.model_dir)) in AutoModelForCausalLM._model_mapping
    except (ValueError, KeyError):
        known = False
    if not known:
        raise ConfigError(
            f"base model {base.name!r} is of the kind {kind!r}, and transformers {version} has no causal language "
            "model of that kind. Choose another --model."
        )


def refuse_impossible(model_dir: Path, config: RunConfig, method: Method, of_method: JSON) -> None:
    """Raises ConfigError where base, method and settings cannot go together, whatever the weights and the data.

    Args:
        of_method: the method's `load_kwargs`.
    """
    refuse_quantized(config.model, model_dir, config.method.name, method, of_method)
    if config.convert and is_quantized(model_dir):
        raise ConfigError(
            f"base model {config.model!r} is quantized already, and --convert compares weights in full precision. "
            "Train with --method lora, which needs no conversion, or on the base in full precision."
        )
    if config.training.gradient_checkpointing and not method.card.checkpointing:
        raise ConfigError(
            f"training.gradient_checkpointing: method {config.method.name!r} cannot be trained so: a layer that is "
            "computed twice lacks what the method gives it. Leave --gradient-checkpointing out; a smaller "
            "training.micro_batch_size saves memory too."
        )


def is_quantized(model_dir: Path) -> bool:
    """Whether the weights of a model directory are stored quantized."""
    return bool(read_json(model_dir / "config.json").get("quantization_config"))


def stored_bits(model_dir: Path) -> int | None:
    """To how many bits the weights of a model directory are quantized; None where they are not, or nobody says."""
    settings = read_json(model_dir / "config.json").get("quantization_config") or {}
    for key, bits in (("load_in_4bit", 4), ("load_in_8bit", 8)):
        if settings.get(key):
            return bits
    said = settings.get("bits")
    return said if isinstance(said, int) else None


def refuse_quantized(name: str, model_dir: Path, called: str, method: Method, of_method: JSON) -> None:
    """Raises ConfigError when a base is quantized already, and the method, which is `called` so, quantizes it again or
    needs its weights in full precision.
    """
    if not is_quantized(model_dir):
        return
    if "quantization_config" in of_method:
        raise ConfigError(
            f"base model {name!r} is quantized already, and the method would quantize it again: train with "
            "--method lora, or on the base in full precision."
        )
    if not method.card.on_quantized:
        raise ConfigError(
            f"base model {name!r} is quantized already, and method {called!r} needs weights in full precision: train "
            "with --method lora, or on the base in full precision (--method qlora quantizes it while it trains)."
        )


def refuse_without_gpu(training: TrainingConfig) -> None:
    """Raises ConfigError where a setting needs a GPU and there is none."""
    import torch

    if torch.cuda.is_available():
        return
    if training.optimizer.startswith("paged"):
        raise ConfigError(
            f"training.optimizer: {training.optimizer!r} moves states between a GPU and the CPU, and there is no GPU. "
            "Choose adamw-8bit or auto."
        )
    if training.activation_offloading:
        raise ConfigError(
            "training.activation_offloading moves what a GPU keeps to the memory of the CPU, and there is no GPU. "
            "Leave it out; --gradient-checkpointing saves memory here."
        )


def attention_for(model_dir: Path, training: TrainingConfig) -> str | None:
    """An attention implementation of transformers; None is the fastest that the model has.

    torch's own (sdpa) knows no soft-capping of scores and leaves it out without a word: Gemma 2 would be another model.

    Raises:
        ConfigError: the configuration wants one that this model or this machine cannot have.
    """
    import torch

    capped = bool(read_json(model_dir / "config.json").get("attn_logit_softcapping"))
    wanted = training.attention
    if capped and wanted in ("sdpa", "flex"):
        raise ConfigError(
            f"training.attention: {wanted!r} leaves out the soft-capping of scores that this model has. Choose auto "
            "or eager."
        )
    if wanted == "flex" and not torch.cuda.is_available():
        raise ConfigError("training.attention: 'flex' needs a GPU, and there is none. Choose auto.")
    if wanted in ("eager", "sdpa"):
        return wanted
    return "eager" if capped else None


def autocast_of(model: Any) -> Callable[[], AbstractContextManager[Any]]:
    """Makes the context of the model's forward passes.

    Ours and not accelerate's, which would copy all logits to float32.
    """
    import torch

    return partial(torch.autocast, model.device.type, torch.bfloat16, enabled=model.dtype == torch.bfloat16)


def casting_left_to_autocast(model: Any) -> AbstractContextManager[None]:
    """Keep PEFT from casting every input of an adapter to float32 where autocast would cast it back.

    A fifth of a training step on a CPU with bfloat16 units (docs/experiments.md).
    """
    import torch
    from peft import PeftModel
    from peft.helpers import disable_input_dtype_casting
    from peft.tuners.tuners_utils import BaseTunerLayer

    if model.dtype != torch.bfloat16 or not isinstance(model, PeftModel):
        return nullcontext()
    layers = (module for module in model.modules() if isinstance(module, BaseTunerLayer))
    if not all(hasattr(layer, "cast_input_dtype_enabled") for layer in layers):
        return nullcontext()  # IA3 and VeRA lack what PEFT's switch turns
    return disable_input_dtype_casting(model)  # type: ignore[no-any-return]


def train_in_float32(model: Any) -> None:
    """In bfloat16 small updates would vanish: of a method that trains weights, or of TRL's adapters for quantized
    bases.
    """
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype == torch.bfloat16:
            parameter.data = parameter.data.float()


def drops_out(model: Any) -> bool:
    """Whether anything in it drops values at random while it trains."""
    import torch

    return any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())


def count_parameters(model: Any) -> tuple[int, int]:
    """(trainable, all) parameters."""
    if hasattr(model, "get_nb_trainable_parameters"):  # PEFT's knows how many a quantized tensor stands for
        trainable, every = model.get_nb_trainable_parameters()
        return int(trainable), int(every)
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)
