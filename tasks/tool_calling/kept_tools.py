"""Tools that take seconds to read and are always the same, kept in the home as JSON.

What is kept is named after all that made it: our own code and tables, the packages that were read, Python. Another one
of these, and the tools are made anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from agentlora.core.files import write_atomic
from agentlora.core.home import home
from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.toolspec import Phrasing, ToolSpec

Tools: TypeAlias = tuple[ToolSpec, ...]
TASKS = Path(__file__).parents[1]
MOST = 8  # files that are kept, the newest


def kept_tools(name: str, made_of: Sequence[Any], make: Callable[[], Tools]) -> Tools:
    """What `make` returns, which follows from `made_of` and our code. Without it where that is kept already.

    Args:
        name: of the files. made_of: settings and versions, each with a repr of its own.
    """
    told = repr((sys.version, tuple(made_of), _our_files()))
    path = home() / "cache" / "tools" / f"{name}-{sha256(told.encode()).hexdigest()[:24]}.json"
    # one that is damaged is made anew
    with suppress(OSError, ValueError, TypeError, KeyError):
        return tuple(map(_tool, json.loads(path.read_bytes())))
    tools = make()
    with suppress(OSError, ValueError, TypeError, KeyError):  # no room, or tools that JSON does not hold
        text = json.dumps([asdict(tool) for tool in tools])
        if tuple(map(_tool, json.loads(text))) == tools:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text)
            for old in sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)[:-MOST]:
                old.unlink()
    return tools


def _tool(raw: JSON) -> ToolSpec:
    if raw["conversions"]:
        raise ValueError("conversions are not kept")
    phrasings, missing = (tuple(Phrasing(**said) for said in raw[key]) for key in ("phrasings", "missing"))
    return ToolSpec(
        **{**raw, "phrasings": phrasings, "missing": missing, "repeatable": tuple(raw["repeatable"])}
    )


@cache
def _our_files() -> str:
    """The hex digest of all code and tables of the tasks."""
    found = sha256()
    for path in sorted(TASKS.rglob("*")):
        if path.suffix in (".py", ".yaml"):
            found.update(f"{path.relative_to(TASKS)}\n".encode() + sha256(path.read_bytes()).digest())
    return found.hexdigest()
