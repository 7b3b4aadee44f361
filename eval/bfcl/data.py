"""The Berkeley function-calling data as rows and as examples; the package `bfcl-eval` holds it and is not imported."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from agentlora.core.errors import ConfigError, DataError, MissingExtra, unknown
from agentlora.core.types import JSON, Example, Expected, ToolCall

VERSION = "2026.3.23"
INSTALL = f"Run: {sys.executable} -m pip install --no-deps bfcl-eval=={VERSION}"

Language = Literal["python", "java", "javascript"]
Kind = Literal["one", "several", "none", "some", "turns"]
"""What is right: one call, several in any order, none, any at all, or those of several turns."""
Truth = Mapping[str, Mapping[str, list[Any]]]
"""One right call: the tool's name, and the allowed values of each argument ("" among them: it may be left out)."""

SEEN = ("simple_python", "multiple", "irrelevance")
"""Those that models are scored on here. The others stay unseen, so that they can still tell something later."""
CATEGORIES: dict[str, tuple[Kind, Language]] = {
    "simple_python": ("one", "python"),
    "simple_java": ("one", "java"),
    "simple_javascript": ("one", "javascript"),
    "multiple": ("one", "python"),
    "parallel": ("several", "python"),
    "parallel_multiple": ("several", "python"),
    "irrelevance": ("none", "python"),
    "live_simple": ("one", "python"),
    "live_multiple": ("one", "python"),
    "live_parallel": ("several", "python"),
    "live_parallel_multiple": ("several", "python"),
    "live_irrelevance": ("none", "python"),
    "live_relevance": ("some", "python"),
    "multi_turn_base": ("turns", "python"),
}
WITHOUT_ANSWER = {
    "parallel_multiple_12": "the answer has an argument that the function has not",
    "parallel_multiple_26": "the answer has an argument that the function has not",
    "live_multiple_862-181-3": "the answer has an argument that the function has not",
    "live_multiple_964-207-0": "the answer lacks a required argument",
    "live_simple_106-63-0": "a required argument has no allowed value",
    "live_simple_112-68-0": "a required argument has no allowed value",
    "simple_java_36": "parts of a list of any are read as texts, and some allowed ones are none",
    "simple_java_64": "an object's member has a text instead of a list of allowed values",
    "simple_java_65": "parts of a list of any are read as texts, and some allowed ones are none",
}
"""Rows to which no answer is right, there as here, and why."""
TYPES = {"dict": "object", "float": "number", "tuple": "array"}


class Row(NamedTuple):
    """One request. `functions` are described in the data's own dialect, `truth` is empty where no call is right."""

    id: str
    category: str
    messages: tuple[JSON, ...]
    functions: tuple[JSON, ...]
    truth: tuple[Truth, ...]

    @property
    def kind(self) -> Kind:
        return CATEGORIES[self.category][0]

    @property
    def language(self) -> Language:
        return CATEGORIES[self.category][1]

    def function(self, name: str) -> JSON | None:
        return next((f for f in self.functions if f["name"] == name), None)


class Conversation(NamedTuple):
    """Requests that follow each other; `truth` has the calls of each turn, `start` what the APIs know at first."""

    id: str
    turns: tuple[tuple[JSON, ...], ...]
    classes: tuple[str, ...]
    start: JSON
    truth: tuple[tuple[str, ...], ...]


@cache
def rows(category: str) -> tuple[Row, ...]:
    """Every row of a category of single requests.

    Raises:
        ConfigError: there is no such category, or it is one of several turns.
        MissingExtra: the data is not installed.
        DataError: it cannot be read.
    """
    kind = _kind(category)
    if kind == "turns":
        raise ConfigError(f"the rows of {category!r} have several turns. Take `conversations`.")
    return tuple(
        Row(line["id"], category, tuple(line["question"][0]), tuple(line["function"]), tuple(truth))
        for line, truth in _lines(category, answered=kind in ("one", "several"))
    )


@cache
def conversations(category: str = "multi_turn_base") -> tuple[Conversation, ...]:
    """Every row of a category of several turns. Raises as `rows`."""
    if _kind(category) != "turns":
        raise ConfigError(f"the rows of {category!r} have one turn. Take `rows`.")
    return tuple(
        Conversation(
            line["id"],
            tuple(map(tuple, line["question"])),
            tuple(line["involved_classes"]),
            line["initial_config"],
            tuple(map(tuple, truth)),
        )
        for line, truth in _lines(category, answered=True)
    )


def for_models(category: str) -> tuple[Row, ...]:
    """The rows that a model may be asked.

    Raises:
        ConfigError: the category is one that stays unseen; else as `rows`.
    """
    _kind(category)
    if category not in SEEN:
        raise ConfigError(
            f"no model is asked what is in {category!r}: that category stays unseen, so that it can still tell "
            f"something about a skill that was not made for it. Choose from: {', '.join(SEEN)}."
        )
    return rows(category)


def example_of(row: Row) -> Example:
    """The row as everything else here takes it; its group is its own."""
    return Example(
        id=row.id,
        messages=row.messages,
        expected=Expected(calls=gold(row)),
        tools=tuple(_tool(function, row.language) for function in row.functions),
        source=f"bfcl-eval {VERSION} (Apache-2.0)",
        group=row.id,
        tags={"case": CASES[row.kind], "slice": row.category},
    )


CASES: dict[Kind, str] = {"one": "one_call", "several": "calls", "none": "none_fits", "some": "some_call"}


def gold(row: Row, which: int = 0) -> tuple[ToolCall, ...]:
    """Right calls: of every list of allowed values the first (or, with -1, the last) one."""
    from agentlora.eval.bfcl.literals import written

    calls = []
    for truth in row.truth:
        ((name, allowed),) = truth.items()
        function = row.function(name) or {"parameters": {}}
        required = function["parameters"].get("required", ())
        chosen = pick_all(allowed, which, required)
        if row.language != "python":
            properties = function["parameters"]["properties"]
            chosen = {n: written(v, properties[n], row.language) for n, v in chosen.items()}
        calls.append(ToolCall(name, chosen))
    return tuple(calls)


def pick_all(allowed: Mapping[str, Sequence[Any]], which: int = 0, required: Sequence[str] = ()) -> JSON:
    """An object, of lists of allowed values; what may be left out and has no other value is left out."""
    chosen = {name: [v for v in values if v != ""] for name, values in allowed.items()}
    for name in required:
        if not chosen.get(name) and "" in allowed.get(name, ()):
            chosen[name] = [""]
    return {name: pick(values[which], which) for name, values in chosen.items() if values}


def pick(value: Any, which: int = 0) -> Any:
    """An allowed value as somebody would give it: its objects have lists of allowed values for every key."""
    if isinstance(value, dict):
        return pick_all(value, which) if all(isinstance(v, list) for v in value.values()) else value
    return [pick(part, which) for part in value] if isinstance(value, list) else value


def schema(raw: Any) -> Any:
    """JSON Schema of the data's own dialect; "any" constrains nothing, `optional` is no keyword."""
    if not isinstance(raw, dict):
        return raw
    kept = {key: value for key, value in raw.items() if key != "optional"}
    if kept.get("type") == "any":
        del kept["type"]
    elif "type" in kept:
        kept["type"] = TYPES.get(kept["type"], kept["type"])
    if "properties" in kept:
        kept["properties"] = {name: schema(part) for name, part in kept["properties"].items()}
    if "items" in kept:
        kept["items"] = schema(kept["items"])
    return kept


def _tool(function: JSON, language: Language) -> JSON:
    parameters = function["parameters"]
    if language != "python":
        parts = parameters["properties"].items()
        parameters = {**parameters, "properties": {name: _source(part, language) for name, part in parts}}
    return {"type": "function", "function": {**function, "parameters": schema(parameters)}}


def _source(part: JSON, language: Language) -> JSON:
    """A parameter whose value is source code."""
    kind = f"{part['type']} of {part['items']['type']}" if "items" in part else part["type"]
    note = f"({'Java' if language == 'java' else 'JavaScript'} source of the type {kind})"
    return {"type": "string", "description": f"{part.get('description', '')} {note}".strip()}


def _kind(category: str) -> Kind:
    if category not in CATEGORIES:
        raise ConfigError(unknown("category of the Berkeley data", category, CATEGORIES))
    return CATEGORIES[category][0]


def _lines(category: str, answered: bool) -> Iterator[tuple[JSON, Sequence[Any]]]:
    """(row, right answer) in the order of the file."""
    name = f"BFCL_v4_{category}.json"
    truths = {}
    if answered:
        truths = {line["id"]: line["ground_truth"] for line in _read(folder() / "possible_answer" / name)}
    for line in _read(folder() / name):
        yield line, truths.get(line["id"], ())


def folder() -> Path:
    """Where the data lies. Raises MissingExtra when it is not installed."""
    spec = importlib.util.find_spec("bfcl_eval")  # finds, does not import: its dependencies stay away
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(f"the Berkeley function-calling data is not installed. {INSTALL}")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def _read(path: Path) -> Iterator[JSON]:
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)
    except (OSError, ValueError) as exc:
        raise DataError(f"cannot read {str(path)!r}: {exc}. Is it that version? {INSTALL}") from exc
