"""From examples to token rows: prompt and answer, rendered by the template that will serve."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Generic, TypeAlias, TypeVar, overload

from agentlora.core.errors import DataError
from agentlora.core.examples import unnamed_records
from agentlora.core.messages import answer_message
from agentlora.core.types import Example
from agentlora.plugins.trainers.difficulty import difficulty

AT_ONCE = 256  # examples whose texts wait to be tokenized


@dataclass(frozen=True, slots=True)
class Row:
    """One example as tokens: `ids` [length]; those from `start` on are trained, with `weight`. `start` ≥ 1.
    `difficulty`: of the example.
    """

    ids: tuple[int, ...]
    start: int
    group: str
    weight: float = 1.0
    difficulty: float = 0.0

    @property
    def rows(self) -> tuple[Row, ...]:
        return (self,)

    @property
    def computed(self) -> tuple[Row, ...]:
        return (self,)


class StoredRows(Sequence[Row]):
    """Rows on disk, read when they are asked for: an id takes four bytes there, and some thirty as a number in memory.
    In memory are where each row ends and is trained from, its weight and difficulty, and the group that it belongs to.
    """

    def __init__(self) -> None:
        """Raises OSError: no file can be made."""
        self._ids = unnamed_records()
        self._starts, self._weights, self._groups = array("i"), array("d"), array("i")
        self._difficulties = array("d")
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}

    def append(self, row: Row) -> None:
        """Put one behind the others. Raises OSError (disk full)."""
        self._ids.append(array("i", row.ids).tobytes())
        self._starts.append(row.start)
        self._weights.append(row.weight)
        self._difficulties.append(row.difficulty)
        number = self._numbers.setdefault(row.group, len(self._names))
        if number == len(self._names):
            self._names.append(row.group)
        self._groups.append(number)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        numbers = range(len(self))[index]
        if isinstance(numbers, range):
            return tuple(map(self._read, numbers))
        return self._read(numbers)

    def _read(self, number: int) -> Row:
        ids = tuple(array("i", self._ids[number]))
        group = self._names[self._groups[number]]
        return Row(ids, self._starts[number], group, self._weights[number], self._difficulties[number])


@dataclass(frozen=True, slots=True)
class Pair:
    """A better and a worse answer to the same prompt. `mismatched`: answers that belong to another prompt, behind this
    one. `reference`: log-probabilities of all that is `computed` in the model before training, when they are known.
    """

    chosen: Row
    rejected: Row
    mismatched: tuple[Row, ...] = ()
    reference: tuple[float, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """Those that are trained."""
        return self.chosen, self.rejected

    @property
    def computed(self) -> tuple[Row, ...]:
        """Those that the model is asked about."""
        return self.chosen, self.rejected, *self.mismatched

    @property
    def group(self) -> str:
        return self.chosen.group

    @property
    def weight(self) -> float:
        return self.chosen.weight

    @property
    def difficulty(self) -> float:
        return self.chosen.difficulty


Item: TypeAlias = Row | Pair  # what an update counts, and a forward pass keeps together


T = TypeVar("T", bound=Item)


def flat(items: Iterable[Item]) -> list[Row]:
    """The rows that are trained, in order."""
    return [row for item in items for row in item.rows]


def no_longer(items: Iterable[Item], max_len: int) -> list[Item]:
    """Those whose sequences have at most `max_len` tokens."""
    return [item for item in items if max(len(row.ids) for row in flat([item])) <= max_len]


@dataclass(frozen=True, slots=True)
class Encoded(Generic[T]):
    """What will be trained, and how many examples were dropped for which reason."""

    items: Sequence[T]
    too_long: int
    longest: int
    max_len: int
    unpaired: int = 0

    def summary(self) -> str:
        """One line for people."""
        dropped = f"; {self.too_long} longer than {self.max_len} tokens are left out" if self.too_long else ""
        if self.unpaired:
            dropped += f"; {self.unpaired} without a rejected answer are left out"
        return f"{len(self.items)} examples, longest {self.longest} tokens{dropped}"


def encode(examples: Sequence[Example], tokenizer: Any, chat_template: str, max_len: int) -> Encoded[Row]:
    """Render and tokenize. Nothing is truncated: a cut answer teaches broken JSON, so it is left out and counted. The
    rows are on disk.

    Raises:
        DataError: no example is left, or the template does not render an answer as a continuation.
        OSError: the disk is full.
    """
    rows, longest, too_long = StoredRows(), 0, 0
    for row in rows_of(examples, tokenizer, chat_template):
        longest = max(longest, len(row.ids))
        if len(row.ids) <= max_len:
            rows.append(row)
        else:
            too_long += 1
    if not rows:
        raise DataError(_nothing_left(too_long, longest, max_len))
    return Encoded(rows, too_long, longest, max_len)


def encode_pairs(
    examples: Sequence[Example], tokenizer: Any, chat_template: str, max_len: int, mismatched: bool = False
) -> Encoded[Pair]:
    """As `encode`, of the examples that have a rejected answer: pairs, both of whose rows fit `max_len`.

    Args:
        mismatched: with the answers of the nearest pair before that has another prompt, behind this pair's own, as far
            as they fit `max_len`.

    Raises:
        DataError: no pair is left, its answers are the same, or the template does not render one as a continuation.
    """
    pairs, longest, too_long = [], 0, 0
    paired = [example for example in examples if example.rejected]
    worse = (replace(example, expected=example.rejected) for example in paired if example.rejected)
    rows = (rows_of(answers, tokenizer, chat_template) for answers in (paired, worse))
    for example, pair in zip(paired, map(Pair, *rows), strict=True):
        if pair.chosen.ids == pair.rejected.ids:
            raise DataError(
                f"example {example.id!r}: its rejected answer is the expected one, so there is nothing to prefer. "
                "Mend or remove it."
            )
        longest = max(longest, *(len(row.ids) for row in pair.rows))
        if all(len(row.ids) <= max_len for row in pair.rows):
            pairs.append(pair)
        else:
            too_long += 1
    if not paired and examples:
        raise DataError(
            f"nothing to train on: none of {len(examples)} examples has a rejected answer to learn from. Give pairs "
            'with --data (a row has "rejected" beside "expected"), or train with --trainer sft.'
        )
    if not pairs:
        raise DataError(_nothing_left(too_long, longest, max_len))
    if mismatched:
        pairs = _with_mismatched(pairs, max_len)
    return Encoded(tuple(pairs), too_long, longest, max_len, len(examples) - len(paired))


def _with_mismatched(pairs: Sequence[Pair], max_len: int) -> list[Pair]:
    prompts = [pair.chosen.ids[: pair.chosen.start] for pair in pairs]
    if len(set(prompts)) == 1:
        raise DataError(
            "nothing to compare with: all pairs have the same prompt. Give pairs of several prompts, or train with "
            "--trainer dpo."
        )
    made = []
    for i, (pair, prompt) in enumerate(zip(pairs, prompts, strict=True)):
        before = next(
            j for j in range(i - 1, i - 1 - len(pairs), -1) if prompts[j] != prompt
        )  # the last before the first
        others = [replace(pair.chosen, ids=prompt + row.ids[row.start :]) for row in pairs[before].rows]
        made.append(replace(pair, mismatched=tuple(row for row in others if len(row.ids) <= max_len)))
    return made


def _nothing_left(too_long: int, longest: int, max_len: int) -> str:
    if not too_long:
        return "nothing to train on: the training split is empty."
    return (
        f"nothing to train on: all {too_long} examples are longer than max_len = {max_len} tokens "
        f"(longest: {longest}). Raise --max-len or offer fewer tools."
    )


def texts_of(example: Example, tokenizer: Any, chat_template: str) -> tuple[str, str]:
    """(prompt, answer) as the template renders them: what is served and what it should say, end-of-turn mark included.

    Raises:
        DataError: the template does not render the answer as a continuation of the prompt, or renders nothing for it.
    """

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
    answer = _turn(whole[len(prompt) :].rstrip("\n"), tokenizer.all_special_tokens)
    if not answer:
        raise DataError(
            f"example {example.id!r}: the chat template renders nothing for its answer, so no token can be trained."
        )
    return prompt, answer


def _turn(answer: str, special: Sequence[str]) -> str:
    """An answer without what ends the whole text behind its end-of-turn mark: Phi-3's ``<|end|>`` has ``<|endoftext|>``
    in the next line.
    """
    for mark in filter(None, special):
        turn = answer.removesuffix(mark).rstrip("\n")
        if answer.endswith(f"\n{mark}") and turn.endswith(tuple(filter(None, special))):
            return turn
    return answer


def row_of(example: Example, tokenizer: Any, chat_template: str) -> Row:
    """An example as tokens. Raises what `texts_of` does."""
    return row_and_prompt(example, tokenizer, chat_template)[1]


def row_and_prompt(example: Example, tokenizer: Any, chat_template: str) -> tuple[str, Row]:
    """(the prompt as a text, the example as tokens). Raises what `texts_of` does."""
    texts = texts_of(example, tokenizer, chat_template)
    return texts[0], _tokenized([example], [texts], tokenizer)[0]


def rows_of(examples: Iterable[Example], tokenizer: Any, chat_template: str) -> Iterator[Row]:
    """Each as tokens, in order; many at once, which takes a third less time. Raises what `texts_of` does."""
    left = iter(examples)
    while part := list(islice(left, AT_ONCE)):
        texts = [texts_of(example, tokenizer, chat_template) for example in part]
        yield from _tokenized(part, texts, tokenizer)


def _tokenized(examples: Sequence[Example], texts: Sequence[tuple[str, str]], tokenizer: Any) -> list[Row]:
    """`texts`: what `texts_of` says of each."""

    def ids_of(place: int) -> list[list[int]]:
        return list(tokenizer([pair[place] for pair in texts], add_special_tokens=False)["input_ids"])

    # tokenized apart, as the server does: the answer's tokens never merge with the prompt's
    return [
        Row(tuple(prompt + answer), len(prompt), of.group or of.id, of.weight, difficulty(of))
        for of, prompt, answer in zip(examples, ids_of(0), ids_of(1), strict=True)
    ]
