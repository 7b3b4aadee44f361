"""Any mergeable adapter as plain LoRA: the singular value decomposition of what it adds to each weight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentlora.plugins.methods.lora_files import write_lora

if TYPE_CHECKING:
    from torch import Tensor

EXACT = 1e-6  # relative error of a weight's update, about what float32 keeps
MAX_RANK = 512  # the largest that vLLM serves


@dataclass(frozen=True)
class Conversion:
    """What became of an adapter: the largest `rank` of a layer, and the relative error of all updates together
    (Frobenius norm of what is missing over that of what was learnt; 0..1).
    """

    rank: int
    weight_error: float


def divergence(logits: Tensor, of_converted: Tensor) -> float:
    """The mean Kullback-Leibler divergence of the converted adapter's next-token distributions from the trained
    one's, in nats a token. Both [tokens, vocabulary].
    """
    import torch

    wanted, found = (torch.log_softmax(t.double(), -1) for t in (logits, of_converted))
    return float((wanted.exp() * (wanted - found)).sum(-1).mean())


def to_lora(updates: Iterable[tuple[str, Tensor]], directory: Path, rank: int | None = None) -> Conversion:
    """Write changes of weights as plain LoRA into `directory`.

    Truncated singular value decompositions are the best approximations of their rank (Eckart and Young 1936).

    Args:
        updates: see `merged_updates` and `weight_updates`.
        rank: of every layer; None: of each layer the least that is exact, at most 512.

    Raises:
        ValueError: there are none.
    """
    import torch

    factors: dict[str, tuple[Tensor, Tensor]] = {}
    missing = whole = 0.0
    for name, update in updates:
        u, s, v = torch.linalg.svd(update, full_matrices=False)
        energy = s.square().cumsum(0)
        total = float(energy[-1])
        exact = int((total - energy > EXACT**2 * total).sum()) + 1 if total else 1
        kept = min(exact if rank is None else rank, MAX_RANK, len(s))
        root = s[:kept].sqrt()
        factors[name] = root[:, None] * v[:kept], u[:, :kept] * root
        missing += max(0.0, total - float(energy[kept - 1]))
        whole += total
    if not factors:
        raise ValueError("the adapter changes no weight of a linear layer")
    write_lora(directory, factors)
    return Conversion(
        max(len(down) for down, _ in factors.values()), (missing / whole) ** 0.5 if whole else 0.0
    )


def merged_updates(model: Any) -> Iterator[tuple[str, Tensor]]:
    """(full name in the base model, what merging adds to its weight: float64 [out, in]) of every adapted layer.

    Raises:
        ValueError: a layer that is not linear, or a method that cannot be merged.
    """
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in model.get_base_model().named_modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        base = layer.get_base_layer()
        if (
            not isinstance(base, torch.nn.Linear)
            or base.weight.dim() != 2
            or not base.weight.is_floating_point()
        ):
            raise ValueError(f"layer {name!r} is a {type(base).__name__}, and only linear layers become LoRA")
        stored = base.weight.data
        before = stored.double()
        base.weight.data = before.clone()  # the difference of two roundings would have every rank
        try:
            layer.merge()
            update = base.weight.data - before
            layer.unmerge()
        finally:
            base.weight.data = stored
        yield name, update


def weight_updates(model: Any, base: Any) -> Iterator[tuple[str, Tensor]]:
    """The same of a `model` whose own weights learnt, beside the `base` that it began as; the output layer left out.

    What else learnt (embeddings, norms) has no place in a LoRA.
    """
    import torch

    head = model.get_output_embeddings()
    before = base.state_dict()
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and layer is not head:
            yield name, layer.weight.detach().double() - before[f"{name}.weight"].double()
