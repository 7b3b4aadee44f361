"""Methods that train vectors beside the prompt and leave every layer as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field

from agentlora.core.config import Strict
from agentlora.core.errors import ConfigError
from agentlora.core.types import MethodCard
from agentlora.plugins.methods.by_peft import ByPeft

_CARD = MethodCard(serve_on=("transformers",), mergeable=False, to_lora="never", on_quantized=True)


class VirtualTokenParams(Strict):
    """How many vectors."""

    tokens: int = Field(20, ge=1, le=1024)
    """Virtual tokens before every prompt."""


class PromptTuning(ByPeft):
    """Embeddings before the prompt (Lester et al. 2021, arXiv 2104.08691)."""

    card = _CARD
    Params = VirtualTokenParams

    def config(self, model: Any, params: VirtualTokenParams) -> Any:
        from peft import PromptTuningConfig

        return PromptTuningConfig(num_virtual_tokens=params.tokens, task_type="CAUSAL_LM")


class PrefixTuning(ByPeft):
    """Keys and values before the prompt's, in every layer (Li and Liang 2021, arXiv 2101.00190). They
    reach the layers as a cache, which a layer that is computed twice does not get.
    """

    card = replace(_CARD, checkpointing=False)
    Params = VirtualTokenParams

    def config(self, model: Any, params: VirtualTokenParams) -> Any:
        from peft import PrefixTuningConfig

        return PrefixTuningConfig(num_virtual_tokens=params.tokens, task_type="CAUSAL_LM")


class AdaptionPromptParams(Strict):
    """How many vectors, and where."""

    tokens: int = Field(10, ge=1, le=1024)
    """Vectors a layer."""
    layers: int | None = Field(None, ge=1)
    """Layers from the top; all but the two lowest when not given."""


class AdaptionPrompt(ByPeft):
    """Gated vectors that the upper layers attend to (LLaMA-Adapter: Zhang et al. 2023, arXiv 2303.16199)."""

    card = _CARD
    Params = AdaptionPromptParams

    def config(self, model: Any, params: AdaptionPromptParams) -> Any:
        """Raises ConfigError when the model has fewer layers than wanted."""
        from peft import AdaptionPromptConfig

        has = model.config.get_text_config().num_hidden_layers
        layers = max(1, has - 2) if params.layers is None else params.layers
        if layers > has:
            raise ConfigError(f"method.params.layers is {layers}; the model has {has}.")
        return AdaptionPromptConfig(adapter_len=params.tokens, adapter_layers=layers, task_type="CAUSAL_LM")
