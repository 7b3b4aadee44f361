"""What the model sees of an example and what it is trained on, token by token, and whether that is right."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentlora.core.errors import DataError
from agentlora.core.texts import brief
from agentlora.core.types import JSON, Example
from agentlora.plugins.trainers.rows import Row, row_and_prompt, row_of, texts_of

LOOKED_AT = 200  # examples of a training whose tokens are looked at, evenly; the texts of all are
TOLD = 3  # of those that are wrong
# some tokenizers call these special too; they begin and end no turn, and answers are written with them
PARTS = frozenset(
    f"<{end}{tag}>" for tag in ("tool_call", "tool_response", "tools", "think") for end in ("", "/")
)


@dataclass(frozen=True, slots=True)
class Piece:
    """One token. `role`: of the message that it belongs to (``template`` for what the template adds, ``answer`` and
    ``rejected`` for what is trained).
    """

    text: str
    role: str


@dataclass(frozen=True, slots=True)
class Look:
    """One example: how many tokens it has and how many are trained, whether they fit (what does not is left out, never
    cut), and what is wrong with it. `rejected`: how many of the tokens are of the rejected answer, where pairs are
    trained on; `unpaired`: it has none, and is left out.
    """

    example: Example
    length: int
    trained: int
    fits: bool
    problems: tuple[str, ...]
    rejected: int = 0
    unpaired: bool = False


# reads an answer as the server will: its calls (with name and arguments), the text around them, unreadable blocks
Parser = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Who reads what was trained: the tokenizer, the server's parser, and the tokens that it stops at."""

    tokenizer: Any
    parse: Parser
    stops: frozenset[int]

    def said(self, trained: Sequence[int]) -> str:
        """The text of an answer's tokens, without the one that ends it."""
        ended = trained and trained[-1] in self.stops
        return str(self.tokenizer.decode(list(trained[:-1] if ended else trained)))


def look(
    example: Example,
    tokenizer: Any,
    chat_template: str,
    max_len: int,
    parse: Parser,
    pairs: bool = False,
    stops: Iterable[int] = (),
) -> Look:
    """`example` as the trainer makes tokens of it. Raises what `row_of` does.

    Args:
        pairs: whether the trainer learns from rejected answers too.
        stops: tokens that the server stops at beside the tokenizer's ``eos_token`` (see `core.libraries.stops_of`).
    """
    prompt, row = row_and_prompt(example, tokenizer, chat_template)
    worse = _rejected_row(example, tokenizer, chat_template) if pairs else None
    reader = _reader(tokenizer, parse, stops)
    problems = [*_marks(example, turn_marks(tokenizer)), *_problems(example, prompt, row, reader)]
    if worse:
        problems += _problems_of_rejected(example, row, worse, reader)
    rejected = len(worse.ids) - worse.start if worse else 0
    return Look(
        example,
        len(row.ids) + rejected,
        len(row.ids) - row.start + rejected,
        max(len(one.ids) for one in (row, worse) if one) <= max_len,
        tuple(problems),
        rejected,
        pairs and worse is None,
    )


def pieces_of(example: Example, tokenizer: Any, chat_template: str, pairs: bool = False) -> list[Piece]:
    """Every token of `example`, with `pairs` those of its rejected answer behind them. Raises what `row_of` does."""
    prompt, answer = texts_of(example, tokenizer, chat_template)
    roles = _roles(example, prompt)
    found = [Piece(text, roles[start]) for start, text in _tokens(prompt, tokenizer)]
    found += [Piece(text, "answer") for _, text in _tokens(answer, tokenizer)]
    if pairs and example.rejected:
        _, worse = texts_of(replace(example, expected=example.rejected), tokenizer, chat_template)
        found += [Piece(text, "rejected") for _, text in _tokens(worse, tokenizer)]
    return found


def _reader(tokenizer: Any, parse: Parser, stops: Iterable[int]) -> _Reader:
    own = tokenizer.eos_token_id
    return _Reader(tokenizer, parse, frozenset([*stops, *([] if own is None else [own])]))


def refuse_wrong_rows(
    examples: Sequence[Example],
    tokenizer: Any,
    chat_template: str,
    parse: Parser,
    pairs: bool = False,
    stops: Iterable[int] = (),
) -> None:
    """Look at examples before they are trained on: at the texts of all, and at the tokens of some. `pairs` and `stops`
    as in `look`.

    Raises:
        DataError: one of them is not what it should be; says which, and why.
    """
    wrong, marks, many, stops = [], turn_marks(tokenizer), min(LOOKED_AT, len(examples)), [*stops]
    closely = {number * len(examples) // many for number in range(many)}
    for number, example in enumerate(examples):
        if number in closely:
            found = look(example, tokenizer, chat_template, 0, parse, pairs, stops).problems
        else:
            found = (*_marks(example, marks), *_calls_in_text(example, parse))
        wrong += [f"{example.id}: {found[0]}"] if found else []
    if wrong:
        more = f" (and {len(wrong) - TOLD} more of those looked at)" if len(wrong) > TOLD else ""
        raise DataError(
            "examples are not trained on as they are meant:\n  " + "\n  ".join(wrong[:TOLD]) + f"{more}\n"
            "agentlora data xray shows them token by token."
        )


def turn_marks(tokenizer: Any) -> re.Pattern[str] | None:
    """The special tokens of a tokenizer, which begin and end turns and texts; None where it has none."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    found = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)} - PARTS
    marks = sorted(mark for mark in found if mark and mark.strip())
    return re.compile("|".join(map(re.escape, marks))) if marks else None


def _marks(example: Example, marks: re.Pattern[str] | None) -> Iterator[str]:
    """Texts of an example that become the marks between turns, as tokens."""
    for whose, text in _texts(example) if marks else ():
        if marks and (found := marks.search(text)):
            yield (
                f"{whose} has {found[0]!r} in it, which is a special token of the model and no text: it would begin or "
                "end a turn there. Leave it out or write it otherwise"
            )


def _texts(example: Example) -> Iterator[tuple[str, str]]:
    """(whose, text) of all that is rendered."""
    for message in example.messages:
        said = message.get("content")
        yield f"a message of the {message.get('role')}", said if isinstance(said, str) else _as_json(said)
        if message.get("tool_calls"):
            yield "an earlier call", _as_json(message["tool_calls"])
    yield "a tool", _as_json(example.tools)
    for whose, answer in (("the answer", example.expected), ("the rejected answer", example.rejected)):
        if answer is not None:
            calls = [[call.name, call.arguments] for call in answer.calls]
            yield whose, f"{answer.text or ''} {_as_json([calls, answer.value])}"


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _calls_in_text(example: Example, parse: Parser) -> Iterator[str]:
    """What the server reads as calls, or as their ends, in the text of an answer or of a call, looking at no token."""
    text = example.expected.text
    if text and not example.expected.calls and "<tool_call>" in text:
        answer = parse(text)
        if answer.calls or answer.malformed:
            yield f"the server reads a call in the text of its answer: {_short(text)}"
    for call in example.expected.calls:
        given = _as_json(call.arguments)
        if "<tool_call>" in given or "</tool_call>" in given:
            yield f"the server ends the call of {call.name!r} within its arguments: {_short(given)}"


def _rejected_row(example: Example, tokenizer: Any, chat_template: str) -> Row | None:
    if example.rejected is None:
        return None
    return row_of(replace(example, expected=example.rejected), tokenizer, chat_template)


def _problems_of_rejected(example: Example, row: Row, worse: Row, reader: _Reader) -> Iterator[str]:
    """What is wrong with the tokens of a rejected answer, whose prompt is that of the better one. What it says may be
    wrong, and a call in its text unreadable: that is what it is rejected for.
    """
    if worse.ids == row.ids:
        yield "the rejected answer is the expected one: there is nothing to prefer"
        return
    trained, expected = worse.ids[worse.start :], example.rejected
    found = [*_end(trained, reader)]
    if expected is not None and expected.text is not None and not expected.calls:
        text = reader.said(trained)
        if _plain(text) != _plain(expected.text):
            found.append(f"read back, its text is {_short(text)}, not {_short(expected.text)}")
    elif expected is not None:
        found += _round_trip(replace(example, expected=expected), trained, reader)
    yield from (f"rejected answer: {problem}" for problem in found)


def _problems(example: Example, prompt: str, row: Row, reader: _Reader) -> Iterator[str]:
    """What is wrong with the tokens of an example."""
    trained = row.ids[row.start :]
    yield from _tools(example, prompt)
    yield from _end(trained, reader)
    yield from _round_trip(example, trained, reader)


def _tools(example: Example, prompt: str) -> Iterator[str]:
    for tool in example.tools:
        function = tool.get("function", tool)
        if function["name"] not in prompt:
            yield f"the tool {function['name']!r} is not rendered: the model cannot know it"
            continue
        for name in (function.get("parameters") or {}).get("properties") or {}:
            if name not in prompt and json.dumps(name)[1:-1] not in prompt:
                yield f"the parameter {name!r} of {function['name']!r} is not rendered"


def _end(trained: Sequence[int], reader: _Reader) -> Iterator[str]:
    if not trained:
        yield "no token of it is trained"
    elif trained[-1] not in reader.stops:
        last = reader.tokenizer.decode(list(trained[-1:]))
        known = (
            " and ".join(repr(reader.tokenizer.decode([token])) for token in sorted(reader.stops))
            or "nothing"
        )
        yield (
            f"the answer ends in {last!r}, which is no end token: a server stops at {known}, so that the model would "
            "never stop. Where the template is right, the model's generation_config.json lacks the token in "
            "eos_token_id"
        )


def _round_trip(example: Example, trained: Sequence[int], reader: _Reader) -> Iterator[str]:
    """Trained tokens, decoded and read as the server will, are the expected answer and nothing else."""
    text, expected = reader.said(trained), example.expected
    if not expected.calls and expected.text is None:
        try:
            found = json.loads(_plain(text))
        except ValueError:
            found = text
        if not _same(found, expected.value):
            yield f"read back, the answer is {_short(text)}, not the expected value"
        return
    answer = reader.parse(text)
    said = [(call.name, dict(call.arguments)) for call in answer.calls]
    meant = [(call.name, dict(call.arguments)) for call in expected.calls]
    for (_, arguments), (_, wanted) in zip(said, meant, strict=False):
        for name, value in arguments.items():
            if value is None and name not in wanted:
                yield f"a null that nobody expects is trained for {name!r}"
    if answer.malformed:
        yield f"the server cannot read its call back: {_short(text)}"
    elif not _same(said, meant):
        yield f"read back, its calls are {_short(json.dumps(said, ensure_ascii=False))}, not the expected ones"
    elif _plain(expected.text or "") != _plain(answer.text):
        yield f"read back, its text is {_short(answer.text)}, not {_short(expected.text or '')}"


def _same(a: Any, b: Any) -> bool:
    return _plain(json.dumps(a, sort_keys=True, ensure_ascii=False)) == _plain(
        json.dumps(b, sort_keys=True, ensure_ascii=False)
    )


def _plain(text: str) -> str:
    """As tokenizers may normalize it, and without the empty thoughts that some templates put before an answer."""
    return unicodedata.normalize("NFC", re.sub(r"<think>\s*</think>", "", text)).strip()


def _short(text: str) -> str:
    return repr(brief(text, 80))


# --- pieces -------------------------------------------------------------------------------------


def _tokens(text: str, tokenizer: Any) -> Iterator[tuple[int, str]]:
    """(where it begins, text) of every token; a token of half a character has none of its own."""
    if tokenizer.is_fast:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        end = 0
        for start, stop in encoded["offset_mapping"]:
            yield min(start, len(text) - 1), text[max(start, end) : stop]
            end = max(end, stop)
        return
    at = 0
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        piece = tokenizer.decode([token])
        yield min(at, len(text) - 1), piece
        at += len(piece)


def _roles(example: Example, prompt: str) -> list[str]:
    """Of every character: the role of the message whose content it is part of, ``tools``, or ``template``."""
    roles, cursor = ["template"] * len(prompt), 0
    first = True
    for message in example.messages:
        said = message.get("content")
        content = said if isinstance(said, str) else ""
        at = prompt.find(content, cursor) if content else -1
        if at < 0:
            continue
        if first and example.tools and message["role"] != "system":
            roles[cursor:at] = ["tools"] * (at - cursor)
        first = first and message["role"] == "system"
        roles[at : at + len(content)] = [str(message["role"])] * len(content)
        cursor = at + len(content)
    return roles


def size_of(found: Look) -> str:
    """How large an example is, for people."""
    rejected = f", {found.rejected:,} of those of the rejected answer" if found.rejected else ""
    weight = "" if found.example.weight == 1 else f", weighs {found.example.weight:g}"
    return f"{found.length:,} tokens, {found.trained:,} trained{rejected}{weight}"


def left_out(found: Look) -> str:
    """Why an example is not trained on, for people; empty where it is."""
    if found.unpaired:
        return "no rejected answer: left out of the training"
    return "" if found.fits else "longer than max_len: left out of the training"


def to_json(found: Look, pieces: Sequence[Piece]) -> JSON:
    """A look as JSON: tokens as [text, role]."""
    return {
        "id": found.example.id,
        "tokens": [[piece.text, piece.role] for piece in pieces],
        "trained": found.trained,
        "rejected": found.rejected,
        "fits": found.fits,
        "unpaired": found.unpaired,
        "weight": found.example.weight,
        "problems": list(found.problems),
    }
