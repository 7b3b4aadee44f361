"""Directories to serve from: a version's files, whole, verified, and never changed in place."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from agentlora.core.errors import RegistryError
from agentlora.core.files import directory_atomic, sha256_file
from agentlora.registry.blobs import Blobs, copy_hashed
from agentlora.registry.version import MANIFEST, Version


def materialise(blobs: Blobs, version: Version, final: Path) -> Path:
    """Make `final` hold the version's files, read-only, and return it; one that is there is reused.

    Raises:
        RegistryError: a blob is missing or damaged, or the disk is full; `final` is then absent.
    """
    if is_whole(version, final):
        return final
    try:
        _move_away(final)
        with directory_atomic(final) as temporary:
            for name, digest in version.files.items():
                _copy(blobs, digest, temporary / name)
            _copy(blobs, version.digest, temporary / MANIFEST)
    except OSError as exc:
        raise RegistryError(
            f"{version.served_name} cannot be laid out in {final}: {exc}. Nothing was left there. If the "
            f"disk is full, free {sum(version.sizes.values()):,} bytes; if a blob is missing, publish or "
            "pull the version again."
        ) from exc
    return final


def is_whole(version: Version, directory: Path) -> bool:
    """The fast check: the manifest has the version's digest, and every file is there in its size."""
    try:
        return sha256_file(directory / MANIFEST) == version.digest and all(
            (directory / name).stat().st_size == size for name, size in version.sizes.items()
        )
    except OSError:
        return False


def problems(version: Version, directory: Path) -> list[str]:
    """The slow check: every byte of a served directory. One that does not exist has no problem."""
    if not directory.exists():
        return []
    found = []
    for name, digest in {**version.files, MANIFEST: version.digest}.items():
        try:
            whole = sha256_file(directory / name) == digest
        except OSError:
            whole = False
        if not whole:
            found.append(
                f"served file {directory / name} is missing or damaged: stop its server, delete the folder"
            )
    return found


def _copy(blobs: Blobs, digest: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with blobs.path(digest).open("rb") as source, target.open("wb") as file:
        copied = copy_hashed(source, file)
    if copied != digest:
        raise RegistryError(
            f"blob {blobs.path(digest)} is damaged: its bytes have sha256:{copied}. Publish or pull the "
            "version again, which puts a good copy in its place."
        )
    target.chmod(0o444)


def _move_away(directory: Path) -> None:
    """Clear the name of an incomplete directory in one step, so that nobody sees it half-deleted."""
    if not directory.exists():
        return
    grave = Path(tempfile.mkdtemp(prefix=".damaged.", dir=directory.parent))
    with suppress(FileNotFoundError):  # another process was faster
        directory.replace(grave / directory.name)
    shutil.rmtree(grave, ignore_errors=True)
