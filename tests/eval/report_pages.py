"""Evaluations whose pages tests look at, and what a page holds."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

from eval_examples import light, make_examples
from eval_runs import Counting, perfect, run

from agentlora.core.types import Example, ToolCall
from agentlora.eval.calls import render_calls
from agentlora.eval.runner import Evaluation


def data_in(page: str) -> dict[str, Any]:
    """The samples' data of a page, as its script unpacks them."""
    [packed] = re.findall(r'<script type="text/plain" id="data">([A-Za-z0-9+/=]*)</script>', page)
    data: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed), -zlib.MAX_WBITS))
    return data


def mixed(tmp_path: Path) -> tuple[list[Example], Evaluation]:
    """24 examples: the adapter is wrong on three, of which the base gets one right; the requests of two fail."""
    examples = make_examples(6)
    answers = perfect(examples) | {
        "skill/g0-one": render_calls([ToolCall("set_light", {"room": "hall", "brightness": 3})]),
        "skill/g1-none": render_calls([light("attic")]),
        "skill/g2-two": "I am not sure.",
    }
    errors = {examples[-1].id: "timed out after 60 s", examples[-2].id: "timed out after 60 s"}
    return examples, run(Counting(answers, errors), examples, tmp_path)
