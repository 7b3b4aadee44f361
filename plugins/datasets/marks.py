"""Texts of rows that become something else than text once a chat template has rendered them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from agentlora.core.types import Example

# what ChatML, Llama 3, Gemma, Phi and gpt-oss set between turns; not <s> and [INST], which are text elsewhere
_TURNS = re.compile(
    rb"<\|(?:im_start|im_end|im_sep|endoftext|begin_of_text|end_of_text|start_header_id|end_header_id|eot_id|eom_id"
    rb"|system|user|assistant|end|start|message|channel|return)\|>|<(?:start|end)_of_turn>"
)


def marks_in(example: Example, content: bytes) -> Iterator[str]:
    """What is wrong with an example for the marks in its texts. `content`: all of them, as JSON."""
    if found := _TURNS.search(content):
        yield (
            f"its text has {found[0].decode()!r} in it, a mark that chat templates set between turns: what follows "
            "would be another turn. Leave it out, or write it otherwise where it has to be spoken of"
        )
    text = example.expected.text
    if text and "<tool_call>" in text:
        yield "its answer has '<tool_call>' in its text, which a server reads as a call. Give calls as 'tool_calls'"
    for call in example.expected.calls:
        given = json.dumps(call.arguments, ensure_ascii=False, default=str)
        if "<tool_call>" in given or "</tool_call>" in given:
            yield f"the answer's call of {call.name!r} has a mark of calls in its arguments, at which a server ends it"
