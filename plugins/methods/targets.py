"""``--target``: which modules of a model get an adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from agentlora.core.errors import ConfigError, nearest

# The query and value projections are what the first LoRA paper adapted (Hu et al. 2021, section 7.1).
GROUPS = {
    "minimal": ("q_proj", "v_proj", "query", "value"),
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "query_key_value", "c_attn", "Wqkv"),
}

KINDS = ("Linear", "Conv1D", "Linear4bit", "Linear8bitLt")


def target_modules(model: Any, target: str) -> str | list[str]:
    """PEFT's `target_modules` for ``all-linear``, ``attention``, ``minimal`` or names separated by commas.

    Raises:
        ConfigError: the model lacks a name, or everything that the group could mean.
    """
    if target == "all-linear":
        return "all-linear"
    if target in GROUPS:
        present = linear_names(model)
        found = [name for name in GROUPS[target] if name in present]
        if found:
            return found
        raise ConfigError(
            f"target {target!r} matches nothing in this model. Its linear layers: {', '.join(present)}."
        )
    return named_modules(model, target)


def named_modules(model: Any, names: str) -> list[str]:
    """Names of linear layers, separated by commas, as a list.

    Raises:
        ConfigError: none is given, or the model lacks one; the message says which it has.
    """
    present = linear_names(model)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name in ("all-linear", *GROUPS) and name not in present:
            raise ConfigError(
                f"{name!r} is a group of layers and stands alone: give {name} and nothing beside it, or layer names "
                f"with commas. The model has: {', '.join(present)}."
            )
        if name not in present:
            choices = [*present, "all-linear", *GROUPS]
            raise ConfigError(
                f"the model has no linear layer {name!r}.{nearest(name, choices)} It has: {', '.join(present)}. "
                f"Groups: all-linear, {', '.join(GROUPS)}."
            )
    if not wanted:
        raise ConfigError("target is empty. Give all-linear, attention, minimal, or layer names with commas.")
    return wanted


def refuse_high_rank(
    model: Any, targets: str | list[str], rank: int, least: Callable[[int, int], int]
) -> None:
    """Raises ConfigError where a layer among `targets` (see `target_modules`) has no room for `rank`, with the layer
    that has the least and what fits there.

    Args:
        least: (inputs, outputs) of a layer → the largest rank that it takes.
    """
    names = linear_names(model) if targets == "all-linear" else targets
    room = {
        name.rsplit(".", 1)[-1]: least(*_sides(module))
        for name, module in _linear_layers(model)
        if name.rsplit(".", 1)[-1] in names
    }
    if room and rank > (fits := min(room.values())):
        tightest = min(room, key=lambda name: room[name])
        raise ConfigError(
            f"method.params.r is {rank}, and layer {tightest!r} of this model takes at most {fits}: choose --rank "
            f"{fits} or less, or leave that layer out of --target."
        )


def _sides(module: Any) -> tuple[int, int]:
    """Inputs and outputs of a linear layer."""
    if hasattr(module, "in_features"):
        return module.in_features, module.out_features
    rows, columns = module.weight.shape  # a Conv1D's
    return rows, columns


def _linear_layers(model: Any) -> Iterator[tuple[str, Any]]:
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if type(module).__name__ in KINDS and module is not head:
            yield name, module


def linear_names(model: Any) -> list[str]:
    """The last name parts of the model's linear layers, without the output layer."""
    return sorted({name.rsplit(".", 1)[-1] for name, _ in _linear_layers(model)})
