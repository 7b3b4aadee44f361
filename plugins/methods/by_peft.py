"""What all methods that PEFT brings have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

from agentlora.core.types import JSON, MethodCard


class ByPeft(ABC):
    """A method whose whole work is a ``PeftConfig``."""

    card: ClassVar[MethodCard]
    Params: ClassVar[Any]

    @abstractmethod
    def config(self, model: Any, params: Any) -> Any:
        """The ``PeftConfig`` for `model`."""

    def load_kwargs(self, params: Any) -> JSON:
        """See `agentlora.core.types.Method`."""
        return {}

    def apply(self, model: Any, params: Any) -> Any:
        """See `agentlora.core.types.Method`."""
        from peft import get_peft_model

        return get_peft_model(model, self.config(model, params))

    def export(self, model: Any, directory: Path) -> Literal["adapter", "model"]:
        """See `agentlora.core.types.Method`."""
        model.save_pretrained(directory, safe_serialization=True)
        return "adapter"
