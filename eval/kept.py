"""The samples of an evaluation that is under way, on disk as they arrive: one that is killed goes on where it was."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import ValidationError

from agentlora.core.errors import EvalError
from agentlora.core.files import write_atomic
from agentlora.core.types import JSON
from agentlora.eval.samples import SAMPLE_FORMAT, Sample

FILE: Final = "samples.part.jsonl"
FORMAT: Final = "agentlora.samples-part/1"
SYNC_EVERY_S = 1.0  # while answers arrive, against a power cut; a killed process loses nothing that was added


class Kept:
    """What an earlier evaluation of the same kind had, and where this one's samples go.

    Attributes:
        known: its samples, by condition and example; those that failed are left out, to be asked for again.
        changed: the facts in which an earlier evaluation differed, whose samples were therefore dropped.
    """

    def __init__(
        self, file: BinaryIO | None, known: Iterable[JSON] = (), changed: Iterable[str] = ()
    ) -> None:
        self.known = {(s["condition"], s["id"]): s for s in known}
        self.changed = tuple(changed)
        self._file, self._synced = file, time.monotonic()

    @property
    def lasting(self) -> bool:
        """Whether samples are on disk."""
        return self._file is not None

    def add(self, sample: JSON) -> None:
        """Raises EvalError when it cannot be written (disk full)."""
        if self._file is None:
            return
        with _told(self._file.name):
            # ASCII and in one write: a line is whole, or cut off where the file ends
            self._file.write(json.dumps(sample).encode() + b"\n")
            if time.monotonic() - self._synced > SYNC_EVERY_S:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()


@contextmanager
def keeping(path: Path | None, facts: JSON) -> Iterator[Kept]:
    """The samples in `path`, if it was begun under the same `facts` (who answers, who judges, how); else it is begun.
    Without a path nothing is kept.

    Raises:
        EvalError: the file cannot be read or written.
    """
    if path is None:
        yield Kept(None)
        return
    with ExitStack() as stack, _told(path):
        head, lines = _read(path)
        changed = sorted(name for name in {*head, *facts} if head.get(name) != facts.get(name))
        if changed:
            write_atomic(path, json.dumps({"format": FORMAT, "facts": facts}) + "\n")
        file = stack.enter_context(path.open("ab", buffering=0))
        if not changed and lines and not lines[-1].endswith(b"\n"):
            file.write(b"\n")
        opened = stack.pop_all()
    with opened:
        known = [] if changed else [sample for line in lines if (sample := _sample(line))]
        yield Kept(file, known, changed if head else ())


@contextmanager
def _told(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise EvalError(
            f"the answers so far cannot be kept in {str(path)!r}: {exc.strerror or exc}. Those that are there stay."
        ) from exc


def _read(path: Path) -> tuple[JSON, list[bytes]]:
    """The facts in the file's head, and its other lines; nothing of a file that is none of ours."""
    try:
        first, *lines = path.read_bytes().splitlines(keepends=True) or [b""]
    except FileNotFoundError:
        return {}, []
    try:
        head = json.loads(first)
        return (dict(head["facts"]), lines) if head["format"] == FORMAT else ({}, [])
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}, []


def _sample(line: bytes) -> JSON | None:
    """None for a line that was cut off, and for an answer that was none."""
    try:
        raw: JSON = json.loads(line)
        sample = Sample.model_validate(raw)
    except (ValueError, ValidationError, RecursionError):
        return None
    return raw if sample.format == SAMPLE_FORMAT and sample.status != "errored" else None
