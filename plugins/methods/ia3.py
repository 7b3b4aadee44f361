"""IA3: vectors that scale keys, values and the feed-forward's inside (Liu et al. 2022, arXiv 2205.05638)."""

from __future__ import annotations

from typing import Any

from agentlora.core.config import Strict
from agentlora.core.types import MethodCard
from agentlora.plugins.methods.by_peft import ByPeft
from agentlora.plugins.methods.targets import named_modules, target_modules


class Ia3Params(Strict):
    """Which layers are scaled."""

    target: str = "k_proj,v_proj,down_proj"
    """all-linear, attention, minimal, or layer names separated by commas."""
    feedforward: str = "down_proj"
    """Those whose input is scaled where they are among them; of the others the output is."""


class Ia3(ByPeft):
    """The fewest parameters. A scaling has no low rank: merge it, serve it on transformers, or convert it to a LoRA
    about as large as the layers themselves.
    """

    card = MethodCard(serve_on=("transformers",), mergeable=True, to_lora="approximate", on_quantized=True)
    Params = Ia3Params

    def config(self, model: Any, params: Ia3Params) -> Any:
        from peft import IA3Config

        targets = target_modules(model, params.target)
        inner = [
            name
            for name in named_modules(model, params.feedforward)
            if targets == "all-linear" or name in targets
        ]
        return IA3Config(
            target_modules=targets,
            feedforward_modules=inner,
            task_type="CAUSAL_LM",
        )
