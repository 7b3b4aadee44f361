"""From examples to token rows: prompt and answer, rendered by the template that will serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentlora.core.errors import DataError
from agentlora.core.messages import answer_message
from agentlora.core.types import Example


@dataclass(frozen=True, slots=True)
class Row:
    """One example as tokens: `ids` [length]; those from `start` on are trained, with `weight`. `start` ≥ 1."""

    ids: tuple[int, ...]
    start: int
    group: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Encoded:
    """The rows that will be trained, and how many examples were dropped for which reason."""

    rows: tuple[Row, ...]
    too_long: int
    longest: int
    max_len: int

    def summary(self) -> str:
        """One line for people."""
        dropped = f"; {self.too_long} longer than {self.max_len} tokens are left out" if self.too_long else ""
        return f"{len(self.rows)} examples, longest {self.longest} tokens{dropped}"


def encode(examples: Sequence[Example], tokenizer: Any, chat_template: str, max_len: int) -> Encoded:
    """Render and tokenize. Nothing is truncated: a cut answer teaches broken JSON, so it is left out and counted.

    Raises:
        DataError: no example is left, or the template does not render an answer as a continuation.
    """
    rows, longest, too_long = [], 0, 0
    for example in examples:
        row = _row(example, tokenizer, chat_template)
        longest = max(longest, len(row.ids))
        if len(row.ids) <= max_len:
            rows.append(row)
        else:
            too_long += 1
    if not rows:
        raise DataError(
            f"nothing to train on: all {too_long} examples are longer than max_len = {max_len} tokens "
            f"(longest: {longest}). Raise --max-len or offer fewer tools."
            if too_long
            else "nothing to train on: the training split is empty."
        )
    return Encoded(tuple(rows), too_long, longest, max_len)


def _row(example: Example, tokenizer: Any, chat_template: str) -> Row:
    def render(messages: list[Any], **kwargs: Any) -> str:
        return str(
            tokenizer.apply_chat_template(
                messages,
                tools=list(example.tools) or None,
                chat_template=chat_template,
                tokenize=False,
                **kwargs,
            )
        )

    messages = list(example.messages)
    prompt = render(messages, add_generation_prompt=True)
    whole = render([*messages, answer_message(example.expected)])
    if not whole.startswith(prompt):
        raise DataError(
            f"example {example.id!r}: the chat template does not render the answer as a continuation of the "
            "prompt, so what is trained would not be what is served."
        )
    # What follows the end-of-turn mark belongs to the next turn: the server never generates it.
    answer = whole[len(prompt) :].rstrip("\n")
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    if not answer:
        raise DataError(
            f"example {example.id!r}: the chat template renders nothing for its answer, so no token can be trained."
        )
    # tokenized apart, as the server does: the answer's tokens never merge with the prompt's
    answer_ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return Row(tuple(prompt_ids + answer_ids), len(prompt_ids), example.group or example.id, example.weight)
