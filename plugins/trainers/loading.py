"""The model that is trained: loaded for a method, and what is known of it then."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from agentlora.core.config import TrainingConfig
from agentlora.core.errors import ConfigError
from agentlora.core.files import read_json
from agentlora.core.libraries import best_dtype
from agentlora.core.types import JSON, Base, Method


def load_model(base: Base, method: Method, params: Any, training: TrainingConfig) -> Any:
    """The base as a causal LM in the dtype of the configuration, frozen by the method later.

    Raises:
        ConfigError: the method quantizes a base that is quantized already, or the weights are not those of its
            configuration.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, logging

    logging.disable_progress_bar()
    dtype = getattr(torch, best_dtype() if training.dtype == "auto" else training.dtype)
    of_method = method.load_kwargs(params)
    refuse_quantized_twice(base, of_method)
    kwargs = {"dtype": dtype, "use_safetensors": True, "attn_implementation": attention_for(base.model_dir)}
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
    return model


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


def refuse_quantized_twice(base: Base, of_method: JSON) -> None:
    """Raises ConfigError when the method quantizes a base that is quantized already."""
    if "quantization_config" in of_method and "quantization_config" in read_json(
        base.model_dir / "config.json"
    ):
        raise ConfigError(
            f"base model {base.name!r} is quantized already, and the method would quantize it again: train with "
            "--method lora, or on the base in full precision."
        )


def attention_for(model_dir: Path) -> str | None:
    """An attention implementation of transformers; None is the fastest that the model has.

    torch's own (sdpa) knows no soft-capping of scores and leaves it out without a word: Gemma 2 would be another model.
    """
    config = read_json(model_dir / "config.json")
    return "eager" if config.get("attn_logit_softcapping") else None


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


def count_parameters(model: Any) -> tuple[int, int]:
    """(trainable, all) parameters."""
    if hasattr(model, "get_nb_trainable_parameters"):  # PEFT's knows how many a quantized tensor stands for
        trainable, every = model.get_nb_trainable_parameters()
        return int(trainable), int(every)
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)
