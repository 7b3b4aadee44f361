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


def load_trained(method: Method, base: Base, adapter: Path) -> Any:
    """The base with what was trained, float32, ready to answer.

    Raises:
        ConfigError: neither PEFT nor the method loads it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from agentlora.core.config import TrainingConfig
    from agentlora.plugins.trainers.loading import attention_for

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
    return PeftModelForCausalLM.from_pretrained(plain, adapter).eval()


def write_merged(
    method: Method, base: Base, adapter: Path, output: Path, asked: Sequence[tuple[Sequence[int], int]]
) -> float:
    """Write the merged model with tokenizer and chat template into `output`, in the dtype that the base is stored in.

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
