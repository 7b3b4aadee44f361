"""Reading JSON and YAML that somebody else wrote: bounded in size and depth, never executed, never fetched."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from agentlora.core.errors import DataError
from agentlora.core.files import yaml_loader

MOST_JSON = 64 << 20  # bytes
MOST_YAML = 8 << 20  # its parser takes a minute for that much


def read_document(path: Path) -> Any:
    """The JSON or YAML value in a file, which may be packed (``.json.gz``).

    Raises:
        DataError: it cannot be read, is too large, or is neither.
    """
    try:
        size = path.stat().st_size
        as_json = path.name.removesuffix(".gz").endswith(".json")
        most = MOST_JSON if as_json else MOST_YAML
        if size > most:
            raise DataError(
                f"{path} has {size >> 20} MB; at most {most >> 20} MB of {'JSON' if as_json else 'YAML'} are read. "
                f"{'Split it by tag or path.' if as_json else 'Convert it to JSON, or split it.'}"
            )
        text = _unpacked(path, most) if path.suffix == ".gz" else path.read_text(encoding="utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise DataError(f"{path} is no whole gzip file: {exc}") from exc
    except OSError as exc:
        raise DataError(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise DataError(f"{path} is not UTF-8: {exc.reason} at byte {exc.start}") from exc
    return parse_document(text, str(path), as_json)


def _unpacked(path: Path, most: int) -> str:
    with gzip.open(path) as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise DataError(f"{path} unpacks to more than {most >> 20} MB, and is not read")
    return raw.decode("utf-8-sig")


def parse_document(text: str, name: str, as_json: bool) -> Any:
    """The value of a text. Raises DataError naming `name` and the place."""
    import yaml

    try:
        if as_json or text.lstrip()[:1] in ("{", "["):
            return json.loads(text)
        return _plain(yaml.load(text, Loader=_loader()))
    except json.JSONDecodeError as exc:
        raise DataError(f"{name} is not JSON: {exc.msg} in line {exc.lineno}, column {exc.colno}") from exc
    except yaml.YAMLError as exc:
        where = getattr(exc, "problem_mark", None)
        place = f" in line {where.line + 1}" if where else ""
        raise DataError(f"{name} is not YAML: {getattr(exc, 'problem', None) or exc}{place}") from exc
    except RecursionError as exc:
        raise DataError(f"{name} is nested too deeply to be read") from exc
    except ValueError as exc:  # an integer of thousands of digits
        raise DataError(f"{name} has a value that cannot be read: {exc}") from exc


@lru_cache(maxsize=1)
def _loader() -> Any:
    """YAML 1.2's core schema: ``on`` and ``NO`` are texts, 12:30 and 2026-03-01 too, as the writer of an API means."""

    class Core(yaml_loader()):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}

    for tag, pattern, first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?[0-9]+", list("-+0123456789")),
        ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
        ("merge", r"<<", ["<"]),
    ):
        Core.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), first)

    def number(loader: Any, node: Any) -> int:
        return int(loader.construct_scalar(node))  # 0755 is no octal number

    Core.add_constructor("tag:yaml.org,2002:int", number)
    return Core


def _plain(value: Any) -> Any:
    """With texts as keys, as JSON has them: ``200:`` is a key of responses.

    Shared parts (anchors) stay shared: a few lines of them can stand for more than fits into memory.
    """
    done: dict[int, Any] = {}

    def plain(part: Any, depth: int) -> Any:
        if depth > 200:
            raise RecursionError
        if isinstance(part, dict | list):
            if id(part) not in done:
                done[id(part)] = (
                    {_key(k): plain(v, depth + 1) for k, v in part.items()}
                    if isinstance(part, dict)
                    else [plain(v, depth + 1) for v in part]
                )
            return done[id(part)]
        return part

    return plain(value, 0)


def _key(key: Any) -> str:
    if key is None or isinstance(key, bool):
        return json.dumps(key)
    return str(key)
