"""What a training minimises: the cross-entropy of answers, or a loss of better and worse ones (see `preference`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from agentlora.core.run import Run
from agentlora.core.types import Example, Split
from agentlora.plugins.trainers.layout import IGNORE, lay_out, pad
from agentlora.plugins.trainers.loss import trained_positions_loss
from agentlora.plugins.trainers.rows import Encoded, Item, encode


class Objective(Protocol):
    """What is trained on are its items, rows or pairs of them. `unit`: of its loss, for people."""

    unit: str

    def encode(
        self, examples: Sequence[Example], tokenizer: Any, chat_template: str, max_len: int
    ) -> Encoded[Any]:
        """What is trained on. Raises DataError when nothing is left."""
        ...

    def usable(self, example: Example) -> bool:
        """Whether an example has what is needed."""
        ...

    def ready(
        self, run: Run, model: Any, split: Split, items: Sequence[Any], pad_id: int, /
    ) -> Sequence[Any]:
        """`items` with what has to be asked of the `model` before a method changes it."""
        ...

    def tensors(self, items: Sequence[Any], sharing: bool, pad_id: int, /) -> dict[str, Any]:
        """A pass over `items`. An update's loss is a mean over its ``labels`` [rows, length] that are not IGNORE;
        transformers counts them, and leaves out the first of every row, which no causal model predicts.
        """
        ...

    def loss(
        self, model: Any, batch: Mapping[str, Any], count: Any, within: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        """The loss of a pass over `count` (of the pass itself where it is None); sums over its ``items`` to be told.

        Args:
            within: the model itself, where `model` is what wraps it for several processes.
        """
        ...


class Answers:
    """Cross-entropy at the answers' tokens."""

    unit = "nats a token"

    def encode(
        self, examples: Sequence[Example], tokenizer: Any, chat_template: str, max_len: int
    ) -> Encoded[Any]:
        return encode(examples, tokenizer, chat_template, max_len)

    def usable(self, example: Example) -> bool:
        return True

    def ready(self, run: Run, model: Any, split: Split, items: Sequence[Item], pad_id: int) -> Sequence[Item]:
        return items

    def tensors(self, items: Sequence[Item], sharing: bool, pad_id: int) -> dict[str, Any]:
        return lay_out(items) if sharing else pad(items, pad_id)

    def loss(
        self, model: Any, batch: Mapping[str, Any], count: Any, within: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        return trained_positions_loss(model, batch, count, within), {}


def counted(batch: Mapping[str, Any]) -> int:
    """What a pass has that its update's loss is a mean over."""
    return int((batch["labels"] != IGNORE).sum())
