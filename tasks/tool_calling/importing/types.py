"""What importers give: tools, and what could not be taken, with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from agentlora.core.types import JSON


class Unusable(Exception):
    """A part of a source cannot be taken; the message says why, for people."""


# what importers raise where a part is of another kind than its format has there: that tool's loss, not all the others'
MALFORMED = (TypeError, ValueError, AttributeError, LookupError, RecursionError)


def check_name(name: str) -> None:
    """Raises Unusable for a name that chat APIs do not take; a dot, which many servers take, is let through."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise Unusable(
            f"the name {name[:80]!r} is not one that chat APIs take: up to 64 letters, digits, _ and -"
        )


@dataclass(frozen=True, slots=True)
class ImportedTool:
    """A tool as its source has it: `parameters` is a JSON Schema of an object without references. `origin`: where in
    the source it stands. `joined`: pairs of parameters that are written as one (``owner`` and ``repo`` as owner/repo).
    """

    name: str
    description: str
    parameters: JSON
    origin: str
    joined: tuple[tuple[str, str], ...] = ()

    def openai(self) -> JSON:
        """The tool in OpenAI function format."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that was not taken, or not as it is: `what` (a tool, a parameter) and `why`."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Imported:
    """All of a source. `kind`: what it is; `title` and `licence` as it says, empty where it does not."""

    kind: str
    tools: tuple[ImportedTool, ...]
    left_out: tuple[LeftOut, ...] = ()
    title: str = ""
    licence: str = ""


@dataclass(slots=True)
class Collector:
    """Gathers tools under names that no two of them share, and what is left out."""

    tools: list[ImportedTool] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def take(self, origin: str, make: Callable[[], ImportedTool]) -> None:
        """Keep what `make` gives, or why it cannot."""
        try:
            tool = make()
            check_name(tool.name)
        except Unusable as exc:
            self.left_out.append(LeftOut(origin, str(exc)))
            return
        except MALFORMED as exc:
            why = f"it is not what its format asks for ({type(exc).__name__}: {exc})"
            self.left_out.append(LeftOut(origin, why))
            return
        name, number = tool.name, 2
        while name in self.names:
            name, number = f"{tool.name[:60]}_{number}", number + 1
        if name != tool.name:
            self.left_out.append(LeftOut(origin, f"the name {tool.name!r} is taken: it is called {name!r}"))
        self.names.add(name)
        self.tools.append(replace(tool, name=name))

    def note(self, what: str, whys: Iterable[str]) -> None:
        """Say what of a tool that is kept was left out."""
        self.left_out += [LeftOut(what, why) for why in whys]
