"""The content-addressed store: a file is kept under the sha256 of its bytes, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import time
from pathlib import Path
from typing import IO

from agentlora.core.files import sha256_file

_BLOCK_BYTES = 1 << 20
_STALE_S = 3600  # a temporary file that nobody wrote to for an hour belongs to a process that died


class Blobs:
    """Files by digest in ``root/sha256/<hex>`` (the layout of an OCI image directory).

    Every method may raise OSError (disk full, no permission); a failed `put` leaves nothing behind.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Where the blob lies, or would lie."""
        return self.root / "sha256" / digest

    def put(self, source: Path) -> str:
        """Copy a file in and return its digest."""
        with source.open("rb") as stream:
            return self._put(stream)

    def put_bytes(self, data: bytes) -> str:
        """Store `data` and return its digest."""
        return self._put(io.BytesIO(data))

    def problem(self, digest: str) -> str | None:
        """Why the blob cannot be used (missing, unreadable, other bytes), or None. Reads all of it."""
        path = self.path(digest)
        try:
            found = sha256_file(path)
        except FileNotFoundError:
            return f"blob sha256:{digest} is missing from {self.root}"
        except OSError as exc:
            return f"blob {path} cannot be read: {exc.strerror or exc}"
        return None if found == digest else f"blob {path} is damaged: its bytes have sha256:{found}"

    def sweep(self) -> None:
        """Remove what killed processes left half-copied."""
        for path in self.root.glob("incoming-*"):
            try:
                if time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink()
            except FileNotFoundError:
                continue  # another process swept it

    def _put(self, stream: IO[bytes]) -> str:
        folder = self.root / "sha256"
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="incoming-", dir=self.root)
        try:
            with os.fdopen(handle, "wb") as file:
                digest = copy_hashed(stream, file)
            Path(name).chmod(0o444)
            Path(name).replace(self.path(digest))  # also over a blob that is there: it mends a damaged one
            sync_directory(folder)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return digest


def copy_hashed(source: IO[bytes], target: IO[bytes]) -> str:
    """Copy to the end, sync to the disk, and return the sha256 (hex) of what was copied."""
    hasher = hashlib.sha256()
    while block := source.read(_BLOCK_BYTES):
        hasher.update(block)
        target.write(block)
    target.flush()
    os.fsync(target.fileno())
    return hasher.hexdigest()


def sync_directory(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
