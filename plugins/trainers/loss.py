"""The loss: cross-entropy at the trained positions, and no logits anywhere else."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentlora.plugins.trainers.attention import FLEX as FLEX_ATTENTION
from agentlora.plugins.trainers.attention import NAME as TREE_ATTENTION
from agentlora.plugins.trainers.attention import dense_mask
from agentlora.plugins.trainers.layout import IGNORE


@dataclass(frozen=True, slots=True)
class Targets:
    """What a forward pass is scored on, m tokens.

    `at` [n]: the positions of them in any row. `where`: row and place among `at` of each, both [m]; None where every
    row is trained at all n. `labels` and `weights` [m].
    """

    at: Any
    where: tuple[Any, Any] | None
    labels: Any
    weights: Any

    @classmethod
    def of(cls, labels: Any, weights: Any) -> Targets:
        """Both [rows, length]; labels are IGNORE except at trained tokens."""
        trained = labels != IGNORE
        at = trained.any(0).nonzero().squeeze(1)
        within = trained[:, at]
        where = None if within.all() else within.nonzero(as_tuple=True)
        return cls(at, where, labels[trained], weights[trained])


def trained_positions_loss(
    model: Any, batch: Mapping[str, Any], num_items_in_batch: Any, within: Any = None
) -> Any:
    """Cross-entropy summed with the tokens' weights, over the number of trained tokens (of the whole update
    when `num_items_in_batch` is given). With weights of 1 that is TRL's loss.

    Args:
        within: the model itself, where `model` is what wraps it for several processes.
    """
    within = model if within is None else within
    targets = Targets.of(batch["labels"], batch["weights"])
    total = (token_losses(model, model_inputs(within, batch), targets, within) * targets.weights).sum()
    return total / (len(targets.labels) if num_items_in_batch is None else num_items_in_batch)


def token_losses(model: Any, inputs: Mapping[str, Any], targets: Targets, within: Any) -> Any:
    """The targets' cross-entropy in nats: float32 [m].

    The model's own forward scores only the positions before a trained token, of any row in the plain layout, so
    scaling and soft-capping of logits stay the model's business and the [rows, length, vocab] logits are never built.
    """
    from agentlora.plugins.trainers.fused import cross_entropies

    before = targets.at - 1 + virtual_tokens(within)
    if takes_positions(within):
        logits = model(**inputs, logits_to_keep=before, use_cache=False).logits
    else:
        logits = model(**inputs, use_cache=False).logits[:, before]
    chosen = logits.flatten(0, 1) if targets.where is None else logits[targets.where]
    return cross_entropies(chosen, targets.labels)


def sequence_log_probs(
    model: Any, batch: Mapping[str, Any], rows: int, within: Any = None
) -> tuple[Any, Any]:
    """log π of every row's answer in nats, and how many tokens it has; both float32 [rows], in the order of `owners`.

    Args:
        batch: as `layout` makes it, with its ``labels`` as ``targets``.
    """
    within = model if within is None else within
    targets = Targets.of(batch["targets"], batch["weights"])
    losses = token_losses(model, model_inputs(within, batch), targets, within)
    owners = batch["owners"][batch["targets"] != IGNORE]
    nothing = losses.new_zeros(rows)
    return nothing.index_add(0, owners, -losses), nothing.index_add(0, owners, losses.new_ones(len(losses)))


def model_inputs(model: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """What the forward of `model` takes of a batch: ids, mask, and where prefixes are shared, positions and spans."""
    import torch

    inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "position_ids") if key in batch}
    implementation = model.config.get_text_config()._attn_implementation
    if "spans" in batch and implementation in (TREE_ATTENTION, FLEX_ATTENTION):
        inputs["spans"] = batch["spans"]
        # four dimensions: transformers makes no other one of it, of length · length
        inputs["attention_mask"] = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=model.device)
    elif "spans" in batch:
        inputs["attention_mask"] = dense_mask(batch["spans"], model.device)
    if implementation == "eager" and inputs["attention_mask"].dtype == torch.bool:
        # written out in Python it adds the mask to the scores
        hidden = torch.zeros((), dtype=model.dtype, device=model.device)
        inputs["attention_mask"] = hidden.where(inputs["attention_mask"], torch.finfo(model.dtype).min)
    return inputs


def virtual_tokens(model: Any) -> int:
    """How many positions a PEFT method puts before the prompt's own."""
    from peft import PeftModel, PeftType

    config = model.active_peft_config if isinstance(model, PeftModel) else None
    if config is None or config.peft_type not in (PeftType.PROMPT_TUNING, PeftType.P_TUNING):
        return 0
    return int(config.num_virtual_tokens)


def takes_positions(model: Any) -> bool:
    """Whether the model's forward can be told at which positions logits are wanted."""
    base = getattr(model, "get_base_model", lambda: model)()
    return "logits_to_keep" in inspect.signature(base.forward).parameters
