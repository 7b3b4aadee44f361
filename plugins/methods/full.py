"""Full fine-tuning: every weight learns, and the result is a model of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from agentlora.core.config import Strict
from agentlora.core.types import JSON, MethodCard


class FullParams(Strict):
    """No settings. Its learning rate should be about a tenth of LoRA's."""


class Full:
    """The dear way; what it exports is merged already. As LoRA it is approximated by its largest changes: ``--convert``
    with a ``convert_rank``.
    """

    card = MethodCard(serve_on=("transformers",), mergeable=True, to_lora="approximate")
    Params: Any = FullParams

    def load_kwargs(self, params: Any) -> JSON:
        return {}

    def apply(self, model: Any, params: Any) -> Any:
        return model.requires_grad_(True)

    def export(self, model: Any, directory: Path) -> Literal["adapter", "model"]:
        model.save_pretrained(directory, safe_serialization=True)
        return "model"

    def load(self, model_dir: Path, directory: Path, **kwargs: Any) -> Any:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(directory, **kwargs)
