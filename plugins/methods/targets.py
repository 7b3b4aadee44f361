"""``--target``: which modules of a model get an adapter."""

from __future__ import annotations

from typing import Any

from agentlora.core.errors import ConfigError, nearest

# The query and value projections are what the first LoRA paper adapted (Hu et al. 2021, section 7.1).
GROUPS = {
    "minimal": ("q_proj", "v_proj", "query", "value"),
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "query_key_value", "c_attn", "Wqkv"),
}


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
        if name not in present:
            choices = [*present, "all-linear", *GROUPS]
            raise ConfigError(
                f"the model has no linear layer {name!r}.{nearest(name, choices)} It has: {', '.join(present)}. "
                f"Groups: all-linear, {', '.join(GROUPS)}."
            )
    if not wanted:
        raise ConfigError("target is empty. Give all-linear, attention, minimal, or layer names with commas.")
    return wanted


def linear_names(model: Any) -> list[str]:
    """The last name parts of the model's linear layers, without the output layer."""
    head = model.get_output_embeddings()
    kinds = ("Linear", "Conv1D", "Linear4bit", "Linear8bitLt")
    found = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if type(module).__name__ in kinds and module is not head
    }
    return sorted(found)
