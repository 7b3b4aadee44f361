"""An adapter merged into its base: a model of its own, which any server loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from agentlora.core.errors import ConfigError
from agentlora.core.files import directory_atomic
from agentlora.core.types import METHOD_FILE, Base, Method
from agentlora.plugins.methods.convert import divergence

MAX_DIVERGENCE = 0.02  # nats a token: what rounding to the base's dtype may cost


def load_trained(method: Method, base: Base, adapter: Path, dequantized: bool = False) -> Any:
    """The base with what was trained, float32, ready to answer.

    Args:
        dequantized: of a base whose weights are stored quantized, the weights that these stand for.

    Raises:
        ConfigError: neither PEFT nor the method loads it, or nobody knows how to dequantize the base.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from agentlora.core.config import TrainingConfig
    from agentlora.plugins.trainers.loading import attention_for, compute_exactly

    if (adapter / METHOD_FILE).is_file():
        if not hasattr(method, "load"):
            raise ConfigError(f"{str(adapter)!r} holds no PEFT adapter, and its method cannot load it.")
        return method.load(base.model_dir, adapter, dtype=torch.float32).eval()
    from peft import PeftModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(
        base.model_dir,
        dtype=torch.float32,
        attn_implementation=attention_for(base.model_dir, TrainingConfig()),
    )
    compute_exactly(plain)
    if dequantized:
        plain = _dequantized(plain, base)
    return PeftModelForCausalLM.from_pretrained(plain, adapter).eval()


def _dequantized(model: Any, base: Base) -> Any:
    """A model of whole weights, float32, from a quantized one. Raises ConfigError where transformers cannot tell them
    of this way to quantize.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    attention = model.config.get_text_config()._attn_implementation
    generation = model.generation_config
    try:
        weights = model.dequantize(dtype=torch.float32).state_dict()
    except NotImplementedError as exc:
        raise ConfigError(
            f"base model {base.name!r} is stored quantized in a way that cannot be turned back into whole weights here "
            f"({exc}), so nothing can be merged into it: use the adapter with its base."
        ) from exc
    config = AutoConfig.from_pretrained(base.model_dir)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # a model that was dequantized cannot be saved (transformers 5.19): its weights go into one that never was quantized
    whole = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention)
    whole.generation_config = generation
    whole.load_state_dict(weights, assign=True)
    whole.tie_weights()
    return whole


def write_merged(
    method: Method, base: Base, adapter: Path, output: Path, asked: Sequence[tuple[Sequence[int], int]]
) -> float:
    """Write the merged model with tokenizer and chat template into `output`, in the dtype that the base is stored in.
    One that is stored quantized becomes the weights that it stands for.

    Args:
        output: does not exist, and exists whole or not at all afterwards.
        asked: token ids that both are asked, and the position from which their answers are compared.

    Returns:
        How far it answers from base and adapter, in nats a token.

    Raises:
        ConfigError: the method's adapter has no place in the weights, or more than 0.02 nats a token would be lost.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if not method.card.mergeable:
        raise ConfigError(
            "what this method trains is beside the weights and cannot be merged into them: use it with its base."
        )
    model = load_trained(method, base, adapter)
    before = [_logits(model, *row) for row in asked]
    if getattr(model, "hf_quantizer", None) is not None:  # nothing can be added to its weights as they are
        model = load_trained(method, base, adapter, dequantized=True)
    merged = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    stored = getattr(AutoConfig.from_pretrained(base.model_dir), "dtype", None) or torch.float32
    with directory_atomic(output) as temporary:
        merged.to(stored).save_pretrained(temporary, safe_serialization=True)
        save_tokenizer(base, temporary)
        written = AutoModelForCausalLM.from_pretrained(temporary, dtype=torch.float32).eval()
        lost = fmean(divergence(was, _logits(written, *row)) for was, row in zip(before, asked, strict=True))
        if lost > MAX_DIVERGENCE:
            raise ConfigError(
                f"merged and stored as {stored}, it answers {lost:.3f} nats a token away from base and adapter, and at "
                f"most {MAX_DIVERGENCE} may be lost: serve the adapter beside its base."
            )
    return lost


def save_tokenizer(base: Base, directory: Path) -> None:
    """Write the base's tokenizer and chat template beside a model that began as it."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
    tokenizer.chat_template = base.chat_template
    tokenizer.save_pretrained(directory)


def _logits(model: Any, ids: Sequence[int], start: int) -> Any:
    """Of the next tokens from `start` on: [tokens, vocabulary]."""
    import torch

    with torch.no_grad():
        return model(torch.tensor([list(ids)])).logits[0, max(0, start - 1) :].float()
