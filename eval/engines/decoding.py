"""Neutral decoding (`agentlora.core.decoding`) by transformers, which fills in from a model's own generation config
what a request leaves out, and where that says nothing, its own 50 likeliest tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agentlora.core.types import GenerateRequest

if TYPE_CHECKING:
    from transformers import GenerationConfig

TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def neutralised(model: Any) -> Any:
    """The model without what its generation config says of decoding. That cannot be overridden one by one: of much
    (tokens that are forced or suppressed, say) only `None` means nothing, and is filled in.
    """
    from transformers import GenerationConfig

    own = getattr(model, "generation_config", None)
    if own is not None:
        model.generation_config = GenerationConfig(**{name: getattr(own, name, None) for name in TOKENS})
    return model


def generation_config(requests: Sequence[GenerateRequest], stops: Sequence[int]) -> GenerationConfig:
    """Of a batch, whose requests have one temperature. `stops`: the tokens that end an answer; the first one pads."""
    from transformers import GenerationConfig

    temperature = requests[0].temperature  # where tokens are drawn, what is not said is the 50 likeliest
    drawn = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}
    return GenerationConfig(
        max_new_tokens=max(request.max_tokens for request in requests),
        do_sample=temperature > 0,
        eos_token_id=list(stops),
        pad_token_id=stops[0],
        **drawn,
    )
