"""Bottleneck adapters: two small layers behind a sublayer (Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2020,
arXiv 2005.00247).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from agentlora.core.config import Strict, parse
from agentlora.core.errors import ConfigError, EvalError
from agentlora.core.files import read_json, write_json
from agentlora.core.types import JSON, MethodCard

if TYPE_CHECKING:
    from torch.nn import Module

SETTINGS = "bottleneck.json"
WEIGHTS = "adapter_model.safetensors"
_SUBLAYERS = {"pfeiffer": ("mlp",), "houlsby": ("self_attn", "mlp")}


class BottleneckParams(Strict):
    """A sublayer's output h becomes ``h + W₂·f(W₁·h)``; W₂ begins with zeros."""

    size: int = Field(64, ge=1, le=4096)
    """Rows of W₁."""
    where: Literal["pfeiffer", "houlsby"] = "pfeiffer"
    """Behind the feed-forward layers, or behind attention too."""
    activation: Literal["relu", "gelu", "silu", "tanh"] = "gelu"


class Bottleneck:
    """Layers of its own, so that there is nothing to merge it into. Not PEFT's: `apply` may do whatever it likes."""

    card = MethodCard(serve_on=("transformers",), mergeable=False, to_lora="never")
    Params = BottleneckParams

    def load_kwargs(self, params: BottleneckParams) -> JSON:
        return {}

    def apply(self, model: Any, params: BottleneckParams) -> Any:
        """Raises ConfigError when the model has no layers with sublayers of these names."""
        model.requires_grad_(False)
        hidden = model.config.get_text_config().hidden_size
        found = list(_sublayers(model, params.where))
        if not found:
            raise ConfigError(
                f"method bottleneck looks for layers with {' and '.join(_SUBLAYERS[params.where])}, and "
                f"{type(model).__name__} has none. Choose another --method."
            )
        for sublayer in found:
            sublayer.bottleneck = _adapter(hidden, params, next(sublayer.parameters()))
            sublayer.register_forward_hook(_add)
        model.bottleneck_params = params
        return model

    def export(self, model: Any, directory: Path) -> Literal["adapter", "model"]:
        from safetensors.torch import save_file

        tensors = {name: t.contiguous() for name, t in model.state_dict().items() if ".bottleneck." in name}
        save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
        write_json(directory / SETTINGS, model.bottleneck_params.model_dump(mode="json"))
        return "adapter"

    def load(self, model_dir: Path, directory: Path, **kwargs: Any) -> Any:
        """Raises EvalError when the weights do not fit the model."""
        from safetensors.torch import load_file
        from transformers import AutoModelForCausalLM

        params = parse(BottleneckParams, read_json(directory / SETTINGS), SETTINGS)
        model = self.apply(AutoModelForCausalLM.from_pretrained(model_dir, **kwargs), params)
        result = model.load_state_dict(load_file(directory / WEIGHTS), strict=False)
        missing = [name for name in result.missing_keys if ".bottleneck." in name]
        if missing or result.unexpected_keys:
            raise EvalError(
                f"{str(directory)!r} does not fit this base: {len(result.unexpected_keys)} of its weights have no "
                f"place and {len(missing)} places stay empty. Use the base that it was trained on."
            )
        return model


def _sublayers(model: Any, where: str) -> Iterator[Any]:
    for module in list(model.modules()):
        if all(hasattr(module, name) for name in ("self_attn", "mlp")):
            yield from (getattr(module, name) for name in _SUBLAYERS[where])


def _adapter(hidden: int, params: BottleneckParams, like: Any) -> Module:
    import torch
    from torch import nn

    activations = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
    down, up = nn.Linear(hidden, params.size), nn.Linear(params.size, hidden)
    nn.init.zeros_(up.weight)
    nn.init.zeros_(up.bias)
    return nn.Sequential(down, activations[params.activation](), up).to(like.device, torch.float32)


def _add(sublayer: Any, inputs: Any, output: Any) -> Any:
    """A forward hook. Attention returns a tuple that begins with its output."""
    hidden = output[0] if isinstance(output, tuple) else output
    adapted = hidden + sublayer.bottleneck(hidden.to(_dtype_of(sublayer))).to(hidden.dtype)
    return (adapted, *output[1:]) if isinstance(output, tuple) else adapted


def _dtype_of(sublayer: Any) -> Any:
    return sublayer.bottleneck[0].weight.dtype
