"""A version: an immutable manifest (card and file digests) whose sha256 is its digest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from agentlora.core.errors import RegistryError
from agentlora.core.files import sha256_json
from agentlora.registry.card import SkillCard

MANIFEST = "manifest.json"  # its name in a served directory
RECORD = "record.json"  # of the evaluation by which it was published
_KIND = "agentlora.skill/1"
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


@dataclass(frozen=True, slots=True)
class Version:
    """One published version. `files` maps a relative name to its sha256 (hex), `sizes` to its bytes.

    `created_at` is UTC in ISO form. `existing` is set by `publish` when this version was there before.
    """

    name: str
    number: int
    digest: str
    card: SkillCard = field(hash=False, repr=False)
    files: Mapping[str, str] = field(hash=False, repr=False)
    sizes: Mapping[str, int] = field(hash=False, repr=False)
    created_at: str
    existing: bool = field(default=False, compare=False)

    @property
    def served_name(self) -> str:
        """What vLLM calls it: a name whose bytes never change."""
        return f"{self.name}@{self.digest[:12]}"

    @property
    def adapter_digest(self) -> str:
        """sha256 over the names and contents of what was trained, as an evaluation's record has it."""
        trained = sorted((name, digest) for name, digest in self.files.items() if name != RECORD)
        return sha256_json([list(file) for file in trained])


@dataclass(frozen=True, slots=True)
class Move:
    """An alias came to point to `version`; `kind` is ``set`` or ``rollback``."""

    version: Version
    kind: str
    moved_at: str


def write_manifest(card: SkillCard, files: Mapping[str, tuple[str, int]]) -> str:
    """Canonical JSON: the same content gives the same text. `files` maps a name to its digest and size.

    Raises:
        RegistryError: the card holds something that JSON cannot (NaN, infinity, half a character).
    """
    value = {
        "kind": _KIND,
        # a field that older versions lack is left out where it is empty: the same content keeps its digest
        "card": card.model_dump(mode="python", exclude=None if card.conversion else {"conversion"}),
        "files": {name: {"sha256": digest, "size": size} for name, (digest, size) in files.items()},
    }
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as exc:
        raise RegistryError(
            f"the card of {card.name!r} cannot be stored as JSON ({exc}): nothing was published. Look for a "
            "figure that is not finite, or a value that is not plain JSON, in the card."
        ) from exc
    return text


def read_manifest(text: str, *, number: int, digest: str, created_at: str) -> Version:
    """The version that `write_manifest` wrote. Raises RegistryError when this agentlora cannot read it."""
    try:
        value = json.loads(text)
        if value["kind"] != _KIND:
            raise ValueError(f"it is of kind {value['kind']!r}, not {_KIND!r}")
        card = SkillCard.model_validate(value["card"])
        files = {name: entry["sha256"] for name, entry in value["files"].items()}
        sizes = {name: entry["size"] for name, entry in value["files"].items()}
    except (ValueError, KeyError, TypeError, ValidationError) as exc:
        raise RegistryError(
            f"version sha256:{digest} cannot be read: {exc}. It was written by another agentlora, or "
            "damaged; `agentlora registry verify` compares it with its digest."
        ) from exc
    return Version(card.name, number, digest, card, files, sizes, created_at)


def check_files(files: Mapping[str, Path]) -> None:
    """Raises RegistryError when there is nothing to publish, a name is unsafe, or a path is no file."""
    if not files:
        raise RegistryError("a version needs at least one file; none was given, so nothing was published.")
    for name, path in files.items():
        if not _FILE.fullmatch(name) or name == MANIFEST:
            raise RegistryError(
                f"a version cannot hold a file called {name!r}: use letters, digits, '.', '_' and '-' with "
                f"'/' between folders, and not {MANIFEST!r}, which the registry writes itself."
            )
        if not path.exists() or path.is_dir():
            raise RegistryError(
                f"{name} cannot be published: {str(path)!r} is not a file. Nothing was published; check that "
                "the run finished its export."
            )
