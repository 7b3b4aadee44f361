"""Java and JavaScript source as values, and values as such source.

Some categories of the Berkeley data want arguments as source code in texts. What the leaderboard cannot read as the
type that is described it takes as a text (a variable's name, say), and so does this. Its reading is loose: it splits
lists at every comma and ends an object at the first brace. Equal verdicts want the same looseness, of source up to
`MOST` long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from agentlora.core.types import JSON

MOST = 4000  # characters of source that are looked at: some patterns take time by the square of it
KINDS: dict[str, dict[str, type]] = {
    "python": {
        "string": str,
        "integer": int,
        "float": float,
        "boolean": bool,
        "array": list,
        "tuple": list,
        "dict": dict,
        "any": str,
    },
    "java": {
        "byte": int,
        "short": int,
        "integer": int,
        "long": int,
        "float": float,
        "double": float,
        "boolean": bool,
        "char": str,
        "String": str,
        "any": str,
        "Array": list,
        "ArrayList": list,
        "HashMap": dict,
    },
    "javascript": {
        "String": str,
        "integer": int,
        "float": float,
        "Bigint": int,
        "Boolean": bool,
        "dict": dict,
        "array": list,
        "any": str,
    },
}
LISTS = {"python": ("array", "tuple"), "java": ("Array", "ArrayList"), "javascript": ("array",)}
"""The kinds whose parts have a kind of their own."""

_INTEGER = re.compile(r"-?\d+$")
_NUMBER = r"-?\d+(?:\.\d+)?"
_DECIMAL = re.compile(_NUMBER + "$")
_JAVA_DOUBLE = re.compile(_NUMBER + r"(?:[eE][+-]?\d+)?$")
_JAVA_FLOAT = re.compile(_NUMBER + r"(?:[eE][+-]?\d+)?[fF]$")
_JAVA_LONG = re.compile(r"-?\d+[lL]$")
_BIGINT = re.compile(r"-?\d+n$")

_AS_LIST = re.compile(r"new\s+ArrayList<\w*>\(Arrays\.asList\((.+?)\)\)")
_ADDED = re.compile(r"new\s+ArrayList<\w*>\(\)\s*\{\{")
_ADD = re.compile(r"add\((.+?)\)")
_NEW_LIST = re.compile(r"new\s+ArrayList<\w*>\(\)")
_ARRAY = re.compile(r"new\s+\w+\[\]\s*\{(.*?)\}")
_MAP = re.compile(r"new\s+HashMap<.*?>\s*\(\)\s*\{\s*\{?(.*?)\}", re.DOTALL)
_PUT = re.compile(r'put\("(.*?)",\s*(.*?)\)')
_NEW_MAP = re.compile(r"new\s+HashMap<.*?>\s*\(\)")

_LIST = re.compile(r"\[(.*?)\]|\bnew\s+Array\((.*?)\)")
_NESTED = (
    (re.compile(r"\[\s*(?=\[)"), "]"),
    (re.compile(r"\bnew\s+Array\(\s*(?=\[)"), ")"),
)
_INNER = re.compile(r"\[(.*?)\]")
_COMMA = re.compile(r",\s*(?=\[)")
_CLOSED = re.compile(r"\]\s*")
_OBJECT = re.compile(r"\{(.*?)\}")
_PAIR = re.compile(r"([^:]+):\s*(.*?)(?:,\s*(?=[^,]+:)|$)")


def read(text: str, kind: str, items: str, language: str) -> Any:
    """The value of source of a described kind (of `items` in it); the text itself where it is none."""
    if len(text) > MOST:
        return text
    if language == "java":
        return _java(text, kind, items)
    return _javascript(text, kind, items)


# --- Java ---------------------------------------------------------------------------------------


def _java(text: str, kind: str, items: str = "") -> Any:
    if kind in ("byte", "short", "integer"):
        return _number(text, _INTEGER, int)
    if kind == "long":
        return _number(text, _JAVA_LONG, int, "lL")
    if kind == "float":
        return _number(text, _JAVA_FLOAT, float, "fF")
    if kind == "double":
        return _number(text, _JAVA_DOUBLE, float)
    if kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    if kind == "ArrayList":
        parts = _java_parts(text)
        return text if parts is None else [_java_part(part.strip(), items) for part in parts]
    if kind == "Array":
        if not (found := _ARRAY.search(text)):
            return text
        inside = [part.strip() for part in found[1].split(",")]
        return [_java(part, items) if items else _java_guess(part) for part in inside if part]
    if kind == "HashMap":
        if found := _MAP.search(text):
            return {key: _java_guess(value.strip()) for key, value in _PUT.findall(found[1])}
        return {} if _NEW_MAP.search(text) else text
    return text


def _java_parts(text: str) -> list[str] | None:
    """The source of an ``ArrayList``'s parts; None where it is no such list."""
    if found := _AS_LIST.search(text):
        return found[1].split(",")
    if found := _ADDED.search(text):
        end = text.find("}}", found.end() + 1)  # something has to stand in the braces
        if end >= 0:
            return _ADD.findall(text[found.end() : end])
    return [] if _NEW_LIST.search(text) else None


def _java_part(text: str, kind: str) -> Any:
    if kind in ("char", "String"):
        return text[1:-1]  # without its quotes
    return _java(text, kind) if kind else _java_guess(text)


def _java_guess(text: str) -> Any:
    """A value of a kind that nobody says."""
    if text in ("true", "false"):
        return text == "true"
    if text.startswith('"') and text.endswith('"'):
        return text[1:-1]
    for pattern, kind, suffix in ((_JAVA_LONG, int, "lL"), (_JAVA_FLOAT, float, "fF")):
        if pattern.match(text):
            return _number(text, pattern, kind, suffix)
    return _python_number(text)


# --- JavaScript ---------------------------------------------------------------------------------


def _javascript(text: str, kind: str, items: str = "") -> Any:
    if kind == "String":
        return text[1:-1] if _quoted(text) else text
    if kind == "integer":
        return _number(text, _INTEGER, int)
    if kind == "float":
        return _number(text, _DECIMAL, float)
    if kind == "Bigint":
        return _number(text, _BIGINT, int, "n")
    if kind == "Boolean":
        return {"true": True, "false": False}.get(text, text)
    if kind == "array":
        return _javascript_list(text.strip(), items)
    if kind == "dict":
        return _javascript_object(text.strip())
    return text


def _javascript_list(text: str, items: str = "") -> Any:
    nested = _nested_lists(text)
    if nested is not None:
        inner = [part.strip() for part in _INNER.findall(nested)]
        if inner and inner[0].startswith("["):
            inner[0] = inner[0][1:]
        return [[_javascript_guess(value) for value in part.split(",")] for part in inner]
    found = _LIST.match(text)
    if not found:
        return text
    inside = (found[1] if found[1] is not None else found[2]).strip()
    parts = [part.strip() for part in inside.split(",")] if inside else []
    if items and items not in KINDS["javascript"]:
        return text if parts else []
    return [_javascript(part, items) if items else _javascript_guess(part) for part in parts]


def _nested_lists(text: str) -> str | None:
    """The part at the start that is a list of lists; None where there is none."""
    for start, close in _NESTED:
        if (found := start.match(text)) and (end := _end_of_lists(text, found.end(), close)) is not None:
            return text[:end]
    return None


def _end_of_lists(text: str, first: int, close: str) -> int | None:
    """Where lists that begin at `first`, with commas between them, and then `close` end.

    A list ends at the nearest ``]`` behind which the rest can be read; lists are taken as long as there are any.
    """
    tried: set[int] = set()
    open_lists: list[tuple[Iterator[int], int | None]] = [(_ends(text, first), None)]
    while open_lists:
        ends, before = open_lists[-1]
        after = next(ends, None)
        if after is None:
            open_lists.pop()
            if before is not None and text.startswith(close, before):
                return before + len(close)
        elif after not in tried:
            tried.add(after)
            more = _COMMA.match(text, after)
            open_lists.append((_ends(text, more.end()) if more else iter(()), after))
    return None


def _ends(text: str, start: int) -> Iterator[int]:
    """Where the list that begins at `start` may end, blanks behind it included, the nearest place first."""
    line = text.find("\n", start)
    for found in _CLOSED.finditer(text, start + 1):
        if 0 <= line < found.start():
            return
        yield found.end()


def _javascript_object(text: str) -> Any:
    found = _OBJECT.match(text)
    if not found:
        return text
    pairs = ((key.strip().strip("'\""), value.strip()) for key, value in _PAIR.findall(found[1]))
    return {key: _javascript_member(value) for key, value in pairs}


def _javascript_member(text: str) -> Any:
    if text.startswith("[") and text.endswith("]"):
        return _javascript_list(text)
    return _javascript_guess(text.strip("'\""))


def _javascript_guess(text: str) -> Any:
    text = text.strip()
    if text in ("true", "false"):
        return text == "true"
    return text[1:-1] if _quoted(text) else _python_number(text)


def _quoted(text: str) -> bool:
    return any(text.startswith(mark) and text.endswith(mark) for mark in "\"'")


# --- both ---------------------------------------------------------------------------------------


def _number(text: str, pattern: re.Pattern[str], kind: Callable[[str], Any], suffix: str = "") -> Any:
    try:
        return kind(text.rstrip("\n").rstrip(suffix) if suffix else text) if pattern.match(text) else text
    except ValueError:  # Python reads no integer of more than 4,300 digits
        return text


def _python_number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def written(value: Any, described: JSON, language: str) -> str:
    """A value as source of the described kind, as `read` reads it."""
    kind, items = described["type"], (described.get("items") or {}).get("type", "")
    return _write_java(value, kind, items) if language == "java" else _write_javascript(value, kind)


def _write_java(value: Any, kind: str, items: str = "") -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value}{_SUFFIXES.get(kind, '')}"
    if isinstance(value, list):
        bare = kind == "Array"  # whose texts are read with the quotes that they have
        parts = [_java_item(part, items, bare) for part in value]
        if kind == "Array":
            return f"new {items}[]{{{', '.join(parts)}}}"
        return f"new ArrayList<{items}>(Arrays.asList({', '.join(parts)}))" if parts else "new ArrayList<>()"
    if isinstance(value, dict):
        puts = " ".join(f'put("{key}", {_java_item(part, "any", False)});' for key, part in value.items())
        return f"new HashMap<String, Object>() {{{{ {puts} }}}}"
    return str(value)


_SUFFIXES = {"long": "L", "float": "f"}


def _java_item(value: Any, kind: str, bare: bool) -> str:
    quote = '"' if isinstance(value, str) and not bare else ""
    return f"{quote}{_write_java(value, kind)}{quote}"


def _write_javascript(value: Any, kind: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value}{'n' if kind == 'Bigint' else ''}"
    if isinstance(value, list):
        return f"[{', '.join(_javascript_item(part) for part in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_javascript_item(part)}' for key, part in value.items())}}}"
    return str(value)


def _javascript_item(value: Any) -> str:
    quote = '"' if isinstance(value, str) else ""
    return f"{quote}{_write_javascript(value, 'any')}{quote}"
