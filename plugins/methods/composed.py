"""Several LoRA adapters as one: their matrices, or the changes that they make to weights, combined layer by layer.

The ways are those of PEFT's ``LoraModel.add_weighted_adapter``. Here no model is loaded for it, ranks may differ from
layer to layer, and rsLoRA's scale counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentlora.core.errors import ConfigError
from agentlora.core.files import read_json
from agentlora.plugins.methods.convert import MAX_RANK, to_lora
from agentlora.plugins.methods.lora_files import write_lora

if TYPE_CHECKING:
    from torch import Tensor

    Mix = Callable[[list[Tensor], Tensor], Tensor]

HOW = ("linear", "cat", "ties", "dare", "svd")
WITH_DENSITY = ("ties", "dare")
WITH_RANK = ("ties", "dare", "svd")


@dataclass(frozen=True)
class Layer:
    """What an adapter adds to one weight: ``scale · up @ down``; down [rank, in], up [out, rank]."""

    down: Tensor
    up: Tensor
    scale: float

    @property
    def update(self) -> Tensor:
        """[out, in], float64."""
        return self.scale * (self.up.double() @ self.down.double())


def read_layers(adapter: Path) -> dict[str, Layer]:
    """The layers of a plain LoRA adapter by their full names in the base model.

    Raises:
        ConfigError: it adapts something else than linear layers.
    """
    from peft.utils.other import get_pattern_key
    from safetensors.torch import load_file

    config = read_json(adapter / "adapter_config.json")
    tensors = load_file(adapter / "adapter_model.safetensors")
    alphas: Mapping[str, float] = config.get("alpha_pattern") or {}
    layers = {}
    for name, down in tensors.items():
        layer, _, matrix = name.removeprefix("base_model.model.").rpartition(".lora_")
        if matrix not in ("A.weight", "B.weight"):
            raise ConfigError(
                f"{str(adapter)!r} adapts more than linear layers ({name!r}): it cannot be a part."
            )
        if matrix == "A.weight":
            rank = len(down)
            alpha = float(alphas.get(get_pattern_key(list(alphas), layer), config["lora_alpha"]))
            scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
            layers[layer] = Layer(down, tensors[name.replace(".lora_A.", ".lora_B.")], scale)
    return layers


def write_composed(
    parts: Sequence[Mapping[str, Layer]],
    weights: Sequence[float],
    how: str,
    directory: Path,
    *,
    density: float = 0.5,
    rank: int | None = None,
    seed: int = 0,
) -> int:
    """Write one LoRA adapter made of `parts` into `directory`; returns its largest rank. A layer that a part leaves
    alone counts as no change by it.

    Args:
        how: ``cat``: the weighted sum of the changes, exact, of all ranks together. ``svd``: the best approximation of
            that sum of `rank` (Eckart and Young 1936). ``linear``: the matrices A and B are summed apart, each with
            the root of its weight. ``ties``: trimmed, signs elected, merged (Yadav et al. 2023, arXiv 2306.01708).
            ``dare``: dropped at random, rescaled, summed (Yu et al. 2023, arXiv 2311.03099).
        density: share of the values that ties and dare keep, in (0, 1].
        rank: of the result. Default: for svd the largest of the parts. With it, ties and dare work on the changes
            themselves and are cut to it; without it on the matrices A and B apart, as linear does.
        seed: of dare's choice.

    Raises:
        ConfigError: the way needs equal ranks and they are not, or the result's rank is above 512.
    """
    import torch

    found = {
        name: [(part[name], weight) for part, weight in zip(parts, weights, strict=True) if name in part]
        for name in sorted({name for part in parts for name in part})
    }
    largest = max(len(layer.down) for members in found.values() for layer, _ in members)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns of a density of 1, which asks for nothing to be left out
        torch.manual_seed(seed)
        if how in WITH_DENSITY and rank is not None:
            return to_lora(_updates(found, _mix(how, density)), directory, rank).rank
        factors = {}
        for name, members in found.items():
            if how in ("cat", "svd"):
                down, up = _side_by_side(members)
                factors[name] = _cut(down, up, rank or largest) if how == "svd" else (down, up)
            else:
                factors[name] = _matrices(name, members, how, _mix(how, density))
    reached = max(len(down) for down, _ in factors.values())
    if reached > MAX_RANK:
        raise ConfigError(
            f"together they have rank {reached}, above {MAX_RANK}: choose --how svd with a --rank."
        )
    write_lora(directory, factors)
    return reached


def _mix(how: str, density: float) -> Mix:
    from peft.utils import merge_utils

    if how == "linear":
        return merge_utils.task_arithmetic  # type: ignore[no-any-return]  # peft is not typed
    return partial(merge_utils.ties if how == "ties" else merge_utils.dare_linear, density=density)


def _updates(found: Mapping[str, list[tuple[Layer, float]]], mix: Mix) -> Iterator[tuple[str, Tensor]]:
    import torch

    for name, members in found.items():
        weights = torch.tensor([weight for _, weight in members], dtype=torch.float64)
        yield name, mix([layer.update for layer, _ in members], weights)


def _side_by_side(members: Sequence[tuple[Layer, float]]) -> tuple[Tensor, Tensor]:
    """Matrices whose product is the weighted sum of the changes."""
    import torch

    downs = [weight * layer.scale * layer.down.float() for layer, weight in members]
    return torch.cat(downs), torch.cat([layer.up.float() for layer, _ in members], dim=1)


def _cut(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best approximation of ``up @ down`` of `rank`, found without the product: only the triangles of the two
    are decomposed.
    """
    import torch

    q_up, r_up = torch.linalg.qr(up.double())
    q_down, r_down = torch.linalg.qr(down.double().T)
    u, s, v = torch.linalg.svd(r_up @ r_down.T, full_matrices=False)
    root = s[:rank].sqrt()
    return root[:, None] * (v[:rank] @ q_down.T), (q_up @ u[:, :rank]) * root


def _matrices(name: str, members: Sequence[tuple[Layer, float]], how: str, mix: Mix) -> tuple[Tensor, Tensor]:
    """A and B mixed apart; the weights' signs go to A alone, so that two do not cancel."""
    import torch

    ranks = sorted({len(layer.down) for layer, _ in members})
    if len(ranks) > 1:
        also = f", or {how} with a --rank" if how in WITH_RANK else ""
        raise ConfigError(
            f"--how {how} sums matrices, which need one rank, and layer {name!r} has ranks "
            f"{' and '.join(map(str, ranks))}: choose --how cat or svd{also}."
        )
    strengths = [weight * layer.scale for layer, weight in members]
    roots = torch.tensor([abs(strength) ** 0.5 for strength in strengths])
    signed = roots * torch.tensor([1.0 if strength >= 0 else -1.0 for strength in strengths])
    down: Any = mix([layer.down.float() for layer, _ in members], signed)
    return down, mix([layer.up.float() for layer, _ in members], roots)
