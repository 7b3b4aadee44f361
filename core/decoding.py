"""How engines write answers: each token the likeliest one, or drawn from all of them at the temperature, and whatever a
model's ``generation_config.json`` would have beside that left out. Else a base that brings a penalty or a ``top_k``
would be evaluated in another way than the next one, and in another way on every engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from agentlora.core.errors import ConfigError
from agentlora.core.files import read_json
from agentlora.core.types import JSON

# As servers take it: vLLM has a model's own for each of these that a request does not say.
NEUTRAL: Final[Mapping[str, float]] = {
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_p": 1.0,
    "top_k": -1,  # all; 0 says so too, but to newer versions of vLLM only
    "min_p": 0.0,
}


def neutral(model_dir: Path) -> JSON:
    """What an engine says of its decoding (`decoding`): `NEUTRAL`, and the tokens at which the model's generation
    config ends an answer, which stay.
    """
    said: JSON = {}
    with suppress(ConfigError):  # it need not have one
        said = read_json(model_dir / "generation_config.json")
    ends = said.get("eos_token_id")
    return {**NEUTRAL, **({} if ends is None else {"eos_token_id": ends})}
