"""The journal: one JSON line an event, synced to disk, so that a killed run can say how far it got."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO


def now() -> str:
    """The time in UTC, ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def append(path: Path, event: str, **data: Any) -> None:
    """Add one line and sync it. Raises OSError."""
    # pure ASCII: a crash cannot cut a character in two
    line = json.dumps({"at": now(), "event": event, **data}).encode() + b"\n"
    with path.open("ab+", buffering=0) as file:  # one write, so that two processes do not mix their lines
        file.write(line if _is_whole(file) else b"\n" + line)
        os.fsync(file.fileno())


def _is_whole(file: BinaryIO) -> bool:
    """Whether the last line was finished; after a crash it may not be."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole line; one that a crash cut short is left out."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict):
                yield event
