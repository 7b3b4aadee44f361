"""GaLore: full fine-tuning whose gradients are projected to a low rank (Zhao et al. 2024, arXiv 2403.03507)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from agentlora.core.config import Strict
from agentlora.plugins.methods.full import Full


class GaloreParams(Strict):
    """Algorithm 2 of the paper."""

    r: int = Field(64, ge=1, le=4096)
    """Rank that the gradient of a weight matrix is projected to."""
    update_every: int = Field(200, ge=1)
    """Updates between two choices of the projection."""
    scale: float = Field(0.25, gt=0, le=10_000)
    """Of a projected update (α in the paper)."""


class Galore(Full):
    """Every weight learns, with the optimizer's states of a low rank. The result is a model of its own."""

    Params = GaloreParams

    def optimizer(self, model: Any, params: GaloreParams, args: Any) -> Any:
        from agentlora.plugins.methods.galore_optimizer import GaloreAdamW

        embeddings = {
            id(p)
            for module in (model.get_input_embeddings(), model.get_output_embeddings())
            for p in module.parameters()
        }
        learning = [p for p in model.parameters() if p.requires_grad]
        matrices = [p for p in learning if p.dim() == 2 and id(p) not in embeddings]
        projected = {id(p) for p in matrices}
        return GaloreAdamW(
            [
                {
                    "params": matrices,
                    "rank": params.r,
                    "update_every": params.update_every,
                    "scale": params.scale,
                },
                {"params": [p for p in learning if id(p) not in projected]},
            ],
            lr=args.learning_rate,
            betas=(args.adam_beta1, args.adam_beta2),
            eps=args.adam_epsilon,
            weight_decay=args.weight_decay,
        )
