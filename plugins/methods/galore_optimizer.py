"""AdamW in the space of a gradient's largest singular vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class GaloreAdamW(torch.optim.Optimizer):
    """AdamW with decoupled weight decay; groups with a ``rank`` project their matrices' gradients to it.

    For a gradient G [m, n] with m ≤ n: R = Pᵀ·G, the moments and Adam's direction N are R's, and the weights change by
    ``-lr · scale · P·N``, where P holds the first left singular vectors of a G of at most ``update_every`` updates ago
    (Zhao et al. 2024, arXiv 2403.03507, algorithm 2). With m > n the right ones, likewise.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "rank": None, "update_every": 1, "scale": 1.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        done = int(state.get("step", 0))
        rank = group["rank"]
        projects = rank is not None and rank < min(parameter.shape)
        if projects:
            if done % group["update_every"] == 0:
                state["projection"] = _projection(gradient, rank)
            gradient = _project(gradient, state["projection"])
        if not done:
            state["exp_avg"] = torch.zeros_like(gradient)
            state["exp_avg_sq"] = torch.zeros_like(gradient)
        state["step"] = torch.tensor(float(done + 1))
        first, second = group["betas"]
        state["exp_avg"].lerp_(gradient, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = (state["exp_avg_sq"] / (1 - second ** (done + 1))).sqrt_().add_(group["eps"])
        direction = state["exp_avg"] / root / (1 - first ** (done + 1))
        if projects:
            direction = _back(direction, state["projection"], parameter) * group["scale"]
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])


def _projection(gradient: Tensor, rank: int) -> Tensor:
    """The first `rank` singular vectors of the shorter side: [that side, rank]."""
    u, _, v = torch.linalg.svd(gradient.float(), full_matrices=False)
    vectors: Tensor = u[:, :rank] if gradient.shape[0] <= gradient.shape[1] else v[:rank].T
    return vectors.contiguous().to(gradient.dtype)


def _project(gradient: Tensor, projection: Tensor) -> Tensor:
    return projection.T @ gradient if gradient.shape[0] <= gradient.shape[1] else gradient @ projection


def _back(direction: Tensor, projection: Tensor, like: Tensor) -> Tensor:
    return projection @ direction if like.shape[0] <= like.shape[1] else direction @ projection.T
