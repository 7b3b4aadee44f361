"""Requests over somebody's own tools that somebody wrote by hand: what dev and test should be, where there are such.

A row has a ``request`` and one of ``calls`` (each with name and arguments), ``none: true`` (no tool fits; ``without``
names tools that must not be offered then) and ``missing: {tool, parameter}``. ``split`` is test when not given.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentlora.core import schema as json_schema
from agentlora.core.errors import DataError, nearest
from agentlora.core.types import JSON, Example, Expected, Split, ToolCall
from agentlora.tasks.tool_calling import groups
from agentlora.tasks.tool_calling.importing.documents import read_document
from agentlora.tasks.tool_calling.importing.types import ImportedTool


def written_requests(
    path: Path,
    params: groups.RequestParams,
    split: Split,
    seed: int,
    tools: Sequence[ImportedTool],
    whole: Mapping[str, JSON] | None = None,
) -> list[Example]:
    """The requests of a file that belong to `split`, each with `tools` that it is offered among.

    Args:
        whole: name → parameters of each tool as its source has them, where they were pruned: calls fit them too.

    Raises:
        DataError: the file cannot be read, or one of its calls does not fit its tool; all problems at once.
    """
    rows, known = _rows(path), {tool.name: tool for tool in tools}
    found = [_written(row, number, known, whole or {}) for number, row in enumerate(rows, 1)]
    if wrong := [problem for _, problems in found for problem in problems]:
        more = f"\n  and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise DataError(f"{path} needs mending:\n  " + "\n  ".join(wrong[:10]) + more)
    examples = []
    for number, (row, (expected, _)) in enumerate(zip(rows, found, strict=True), 1):
        if row.get("split", "test") != split:
            continue
        rng = random.Random(f"{seed}/written/{number}")
        needed = list(dict.fromkeys(call.name for call in expected.calls))
        case = "two_calls" if len(expected.calls) > 1 else "choice" if expected.calls else "none_fits"
        if "missing" in row:
            needed, case = [row["missing"]["tool"]], "missing"
        barred = set(row.get("without", ()))
        offered = _offered(needed, barred, tools, params, rng)
        examples.append(
            Example(
                id=f"{split}-written-{number}",
                messages=({"role": "user", "content": row["request"]},),
                expected=expected,
                tools=tuple(tool.openai() for tool in offered),
                source="handwritten",
                group=f"{split}-written-{number}",
                tags={"case": case, "slice": "handwritten", "tools": "new"},
            )
        )
    return examples


def _rows(path: Path) -> list[JSON]:
    rows = read_document(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} is no list of requests")
    return rows


def _written(
    row: JSON, number: int, known: Mapping[str, ImportedTool], whole: Mapping[str, JSON]
) -> tuple[Expected, list[str]]:
    """What a row expects, and what is wrong with it."""
    where = f"row {number} ({str(row.get('request', ''))[:30]!r})"
    wrong = []
    if not isinstance(row.get("request"), str):
        wrong.append(f"{where}: 'request' is its text, and is missing")
    if row.get("split", "test") not in ("dev", "test"):
        wrong.append(f"{where}: split is {row['split']!r}; dev or test")
    if unknown := row.keys() - {"request", "calls", "none", "missing", "without", "split"}:
        wrong.append(f"{where}: unknown keys {sorted(unknown)}")
    without = row.get("without", [])
    if not isinstance(without, list):
        wrong.append(f"{where}: 'without' is a list of tools")
    else:
        wrong += [
            f"{where}: no tool is called {name!r}.{nearest(str(name), known)}"
            for name in without
            if name not in known
        ]
    if sum(key in row for key in ("calls", "none", "missing")) != 1 or row.get("none", True) is not True:
        wrong.append(f"{where}: it has one of calls, none: true, missing")
        return Expected(text=groups.REFUSAL), wrong
    if "none" in row:
        return Expected(text=groups.REFUSAL), wrong
    if "missing" in row:
        lacks = row["missing"] if isinstance(row["missing"], dict) else {}
        tool = known.get(lacks.get("tool", ""))
        if tool is None or lacks.get("parameter") not in tool.parameters.get("required", ()):
            wrong.append(f"{where}: missing names a tool and one of its required parameters")
            return Expected(text=groups.REFUSAL), wrong
        return Expected(text=groups.question(lacks["parameter"])), wrong
    calls = []
    for call in row["calls"] if isinstance(row["calls"], list) else []:
        if not isinstance(call, dict) or not isinstance(call.get("arguments") or {}, dict):
            wrong.append(f"{where}: a call has a name and arguments, by name")
            continue
        name, arguments = str(call.get("name")), call.get("arguments") or {}
        if name not in known:
            wrong.append(f"{where}: no tool is called {name!r}.{nearest(name, known)}")
            continue
        strange = arguments.keys() - known[name].parameters.get("properties", {}).keys()
        wrong += [f"{where}: {name} has no parameter {argument!r}" for argument in sorted(strange)]
        found = [f"{where}: {name}: {e}" for e in json_schema.errors(known[name].parameters, arguments)]
        if not found and name in whole:
            found = [f"{where}: {name}, as its source has it: {e}"
                     for e in json_schema.errors(whole[name], arguments)]  # fmt: skip
        wrong += found
        calls.append(ToolCall(name, arguments))
    if not calls and not wrong:
        wrong.append(f"{where}: 'calls' is a list of calls with name and arguments")
    return Expected(calls=tuple(calls), text=None if calls else groups.REFUSAL), wrong


def _offered(
    needed: Sequence[str],
    barred: set[str],
    tools: Sequence[ImportedTool],
    params: groups.RequestParams,
    rng: random.Random,
) -> list[ImportedTool]:
    """The needed tools among others, as many as training offers."""
    chosen = [tool for tool in tools if tool.name in needed]
    others = [tool for tool in tools if tool.name not in needed and tool.name not in barred]
    wanted = rng.randint(min(2, params.tools_max), params.tools_max)
    budget = params.list_chars - sum(len(json.dumps(tool.openai())) for tool in chosen)
    for tool in rng.sample(others, len(others)):
        if len(chosen) >= wanted:
            break
        size = len(json.dumps(tool.openai()))
        if size <= budget:
            chosen.append(tool)
            budget -= size
    rng.shuffle(chosen)
    return chosen
