"""AdaLoRA: ranks are taken from where they matter least (Zhang et al. 2023, arXiv 2303.10512)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from agentlora.core.config import Strict
from agentlora.core.types import MethodCard
from agentlora.plugins.methods.by_peft import ByPeft
from agentlora.plugins.methods.lora_files import write_lora
from agentlora.plugins.methods.targets import target_modules

NOT_YET = 2**31  # updates, until the trainer knows how many there are
_IMPORTANCE = ("ipt", "exp_avg_ipt", "exp_avg_unc")  # of PEFT's RankAllocator


class AdaLoraParams(Strict):
    """The update is ``alpha / r · B·diag(E)·A``; small entries of E are set to zero until `r` are left on average."""

    r: int = Field(16, ge=1, le=512)
    """Rank that is left, on average."""
    initial_r: int = Field(24, ge=1, le=512)
    """Rank that every layer begins with."""
    alpha: float = Field(32, gt=0, le=10_000)
    dropout: float = Field(0.0, ge=0, lt=1)
    target: str = "all-linear"
    """all-linear, attention, minimal, or layer names separated by commas."""
    first_share: float = Field(0.1, ge=0, lt=1)
    """Share of the updates before the first rank is taken away."""
    last_share: float = Field(0.3, gt=0, lt=1)
    """Share of the updates after the last one is taken away."""
    every: int = Field(1, ge=1)
    """Updates between two allocations."""
    orthogonality: float = Field(0.5, ge=0)
    """Weight in the loss of how far A and B are from orthogonal."""

    @model_validator(mode="after")
    def _something_to_allocate(self) -> AdaLoraParams:
        if self.initial_r <= self.r:
            raise ValueError(
                f"initial_r ({self.initial_r}) is the rank to begin with: more than r ({self.r})"
            )
        if self.first_share + self.last_share >= 1:
            raise ValueError("first_share and last_share together leave no updates to allocate ranks in")
        return self


class AdaLora(ByPeft):
    """Adaptive ranks. The export is plain LoRA with a rank of its own for every layer, which vLLM serves."""

    card = MethodCard(serve_on=("vllm", "transformers"), mergeable=True, to_lora="is", on_quantized=True)
    Params = AdaLoraParams

    def config(self, model: Any, params: AdaLoraParams) -> Any:
        from peft import AdaLoraConfig

        return AdaLoraConfig(
            target_r=params.r,
            init_r=params.initial_r,
            lora_alpha=params.alpha,
            lora_dropout=params.dropout,
            deltaT=params.every,
            orth_reg_weight=params.orthogonality,
            total_step=NOT_YET,
            target_modules=target_modules(model, params.target),
            task_type="CAUSAL_LM",
        )

    def apply(self, model: Any, params: AdaLoraParams) -> Any:
        applied = super().apply(model, params)
        for _, layer in _named_layers(applied):
            # on a bfloat16 base PEFT makes the number of ranks a parameter that learns, and does not save it
            layer.ranknum["default"].requires_grad_(False)
        return applied

    def optimizer(self, model: Any, params: AdaLoraParams, args: Any) -> None:
        """The usual one; here the number of updates becomes known."""
        config = model.peft_config["default"]
        config.total_step = args.max_steps
        config.tinit = round(params.first_share * args.max_steps)
        config.tfinal = round(params.last_share * args.max_steps)
        model.pruned = {}

    def on_optimizer_step(self, model: Any, step: int) -> None:
        """Take ranks away; the last allocation stays as it is. (PEFT's own keeping of it shrinks the checkpoints.)"""
        import torch

        config, tuner = model.peft_config["default"], model.base_model
        last = config.total_step - config.tfinal
        if step < last or (step == last and tuner.rankallocator.exp_avg_ipt):
            tuner.rankallocator.update_and_allocate(tuner.model, step, force_mask=step == last)
        for name, layer in _named_layers(model):
            ranks = layer.lora_E["default"]
            if step == last:
                model.pruned[name] = ranks.detach() == 0
            elif step > last:
                with torch.no_grad():
                    ranks.masked_fill_(model.pruned[name], 0.0)

    def penalty(self, model: Any) -> Any:
        """``orthogonality`` times the mean over all A and B of ``‖A·Aᵀ - I‖`` and ``‖Bᵀ·B - I‖`` (Frobenius): equation
        4 of the paper as PEFT has it. PEFT adds it to a loss that it is not asked for here.
        """
        import torch

        weight = model.peft_config["default"].orth_reg_weight
        if not weight:
            return None
        norms = []
        for layer in _layers(model):
            a, b = layer.lora_A["default"], layer.lora_B["default"]
            for product in (a @ a.T, b.T @ b):
                norms.append(torch.linalg.matrix_norm(product - torch.eye(len(product), device=a.device)))
        return weight * torch.stack(norms).mean()

    def state(self, model: Any) -> dict[str, Any]:
        """What a checkpoint needs beside the weights: the running importance of every parameter, and what is pruned."""
        importance = {
            f"{kind}/{name}": value
            for kind in _IMPORTANCE
            for name, value in getattr(model.base_model.rankallocator, kind).items()
        }
        return importance | {f"pruned/{name}": value for name, value in model.pruned.items()}

    def restore(self, model: Any, state: dict[str, Any]) -> None:
        """Take `state` back."""
        for key, value in state.items():
            kind, _, name = key.partition("/")
            where = model.pruned if kind == "pruned" else getattr(model.base_model.rankallocator, kind)
            where[name] = value

    def export(self, model: Any, directory: Path) -> Literal["adapter", "model"]:
        """``A' = E·A`` and ``B' = B·alpha/r₀`` of the ranks that are left, so that the scale is 1."""
        factors = {}
        for name, layer in _named_layers(model):
            kept = layer.lora_E["default"][:, 0] != 0
            kept[0] |= not kept.any()  # a layer without rank keeps one of zeros
            down = (layer.lora_A["default"] * layer.lora_E["default"])[kept]
            scale = layer.scaling["default"] / (layer.ranknum["default"] + 1e-5)
            factors[name] = down, layer.lora_B["default"][:, kept] * scale
        write_lora(directory, factors)
        return "adapter"


def _named_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """(name in the base model, layer) of every adapted layer."""
    from peft.tuners.adalora.layer import AdaLoraLayer

    for name, module in model.base_model.model.named_modules():
        if isinstance(module, AdaLoraLayer):
            yield name, module


def _layers(model: Any) -> list[Any]:
    return [layer for _, layer in _named_layers(model)]
