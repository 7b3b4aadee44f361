"""LoRA+: a higher learning rate for B than for A (Hayou et al. 2024, arXiv 2402.12354)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from agentlora.plugins.methods.lora import Lora, LoraParams


class LoraPlusParams(LoraParams):
    """LoRA's, and the ratio of the two learning rates."""

    lr_ratio: float = Field(4.0, ge=1, le=10_000)
    """B's learning rate over A's. ``training.lr`` is A's. The paper's 16 is for rates a tenth of our default."""


class LoraPlus(Lora):
    """LoRA in another optimizer; the adapter is plain LoRA."""

    Params = LoraPlusParams

    def optimizer(self, model: Any, params: Any, args: Any) -> Any:
        import torch
        from peft.optimizers import create_loraplus_optimizer

        return create_loraplus_optimizer(
            model,
            torch.optim.AdamW,
            lr=args.learning_rate,
            loraplus_lr_ratio=params.lr_ratio,
            loraplus_weight_decay=args.weight_decay,
            betas=(args.adam_beta1, args.adam_beta2),
            eps=args.adam_epsilon,
        )
