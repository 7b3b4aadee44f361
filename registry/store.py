"""The registry: versions that never change, aliases that move, and the bytes behind both."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Row, Select, func, insert, select, update

from agentlora.core import home as homes
from agentlora.core.errors import RegistryError
from agentlora.registry import serve
from agentlora.registry.blobs import Blobs
from agentlora.registry.card import SkillCard
from agentlora.registry.names import NotFound, Ref, check_alias, parse_ref
from agentlora.registry.tables import Database, aliases, generation, grow_generation, moves, versions
from agentlora.registry.version import Move, Version, check_files, read_manifest, write_manifest

__all__ = ["Move", "Registry", "Version", "open_registry"]

DEFAULT_ALIAS = "prod"
URL_VARIABLE = "AGENTLORA_REGISTRY_URL"


def open_registry(home: Path | None = None) -> Registry:
    """The registry of `home` (default: the user's), metadata at ``$AGENTLORA_REGISTRY_URL``."""
    return Registry(home or homes.home(), os.environ.get(URL_VARIABLE) or None)


class Registry:
    """Versions in ``home/registry``: metadata in SQLite (or at a SQLAlchemy `url`), bytes in ``blobs/``.

    Any number of processes may use one registry at a time. Every method raises RegistryError when the
    store fails; a write then changed nothing. An unknown name or reference is a NotFound.
    """

    def __init__(self, home: Path, url: str | None = None) -> None:
        folder = home / "registry"
        self.home = home
        self.blobs = Blobs(folder / "blobs")
        default = URL.create("sqlite", database=str(folder / "index.sqlite"))
        self._db = Database(url or default, folder)

    def close(self) -> None:
        """Close the connections to the metadata."""
        self._db.close()

    # --- writing ---

    def publish(
        self, card: SkillCard, files: Mapping[str, Path], alias: str | None = DEFAULT_ALIAS
    ) -> Version:
        """Make a version of `files` (relative name → path) and point `alias` to it.

        Content that was published before gives the version that it gave then, with `existing` set; only the
        alias moves. The bytes are stored first and one transaction makes them a version, so that a process
        killed at any point leaves the registry as it was, or with the whole version.
        """
        if alias is not None:
            check_alias(alias)
        check_files(files)
        manifest = self._store(card, files)
        digest = self._store_manifest(card, manifest)
        with self._db.write(f"publishing {card.name!r}") as db:
            row = db.execute(select(versions).where(versions.c.digest == digest)).one_or_none()
            existing = row is not None
            if row is None:
                row = _insert_version(db, card.name, digest, manifest)
            if alias is not None:
                _move(db, card.name, alias, row.id)
        return replace(_version(row), existing=existing)

    def set_alias(self, name: str, alias: str, version: Version) -> None:
        """Point `alias` to a version of skill `name`. Pointing it where it points is no move."""
        check_alias(alias)
        if version.name != name:
            raise RegistryError(
                f"alias {name}@{alias} cannot point to {version.served_name}, another skill's version."
            )
        with self._db.write(f"moving {name}@{alias}") as db:
            row = db.execute(select(versions.c.id).where(versions.c.digest == version.digest)).one_or_none()
            if row is None:
                raise NotFound.among("version", version.served_name, self._labels(db, name))
            _move(db, name, alias, row.id)

    def rollback(self, name: str, alias: str = DEFAULT_ALIAS) -> Version:
        """Point `alias` back to the version before; a second rollback goes back one more."""
        with self._db.write(f"rolling back {name}@{alias}") as db:
            now = _current_move(db, name, alias)
            if now is None:
                raise self._no_alias(db, name, alias)
            if now.previous_id is None:
                raise RegistryError(
                    f"{name}@{alias} has no earlier version to go back to. `agentlora registry show {name}` "
                    f"lists the versions, `agentlora registry alias {name}@v1 {alias}` chooses one."
                )
            back = db.execute(select(moves).where(moves.c.id == now.previous_id)).one()
            _record_move(db, name, alias, back.version_id, back.previous_id, "rollback")
            return _version(db.execute(select(versions).where(versions.c.id == back.version_id)).one())

    # --- reading ---

    def resolve(self, ref: str) -> Version:
        """The version that `ref` names now.

        ``skill`` is its prod alias, else its newest version; ``skill@prod``; ``skill@v3``;
        ``skill@sha256:<hex>`` or ``skill@<hex>``: 8 digits or more that only one version begins with.
        """
        parsed = parse_ref(ref)
        with self._db.read() as db:
            rows = db.execute(_query(parsed).limit(3)).all()
            if not rows and parsed.selector == "default":
                rows = db.execute(_of(parsed.name).order_by(versions.c.number.desc()).limit(1)).all()
            if not rows:
                raise self._not_found(db, parsed, ref)
        if len(rows) > 1:
            found = ", ".join(f"v{row.number} sha256:{row.digest}" for row in rows)
            raise NotFound(f"{ref!r} fits more than one version; write more digits. There is: {found}.")
        return _version(rows[0])

    def skills(self) -> list[str]:
        """The names of all skills, sorted."""
        with self._db.read() as db:
            return sorted(db.execute(select(versions.c.name).distinct()).scalars())

    def versions(self, name: str) -> list[Version]:
        """All versions of a skill, oldest first."""
        with self._db.read() as db:
            rows = db.execute(_of(name).order_by(versions.c.number)).all()
            if not rows:
                raise self._not_found(db, Ref(name, "default"), name)
        return [_version(row) for row in rows]

    def aliases(self, name: str) -> dict[str, Version]:
        """Where the aliases of a skill point; empty when it has none."""
        query = (
            select(aliases.c.alias, versions)
            .join(moves, moves.c.id == aliases.c.move_id)
            .join(versions, versions.c.id == moves.c.version_id)
            .where(aliases.c.name == name)
            .order_by(aliases.c.alias)
        )
        with self._db.read() as db:
            return {row.alias: _version(row) for row in db.execute(query)}

    def history(self, name: str, alias: str = DEFAULT_ALIAS) -> list[Move]:
        """Every move of an alias, oldest first; empty when there is no such alias."""
        query = (
            select(moves.c.kind, moves.c.moved_at, versions)
            .join(versions, versions.c.id == moves.c.version_id)
            .where(moves.c.name == name, moves.c.alias == alias)
            .order_by(moves.c.id)
        )
        with self._db.read() as db:
            return [Move(_version(row), row.kind, row.moved_at) for row in db.execute(query)]

    def generation(self) -> int:
        """A counter that grows whenever a version or an alias changes: one cheap query, made to be polled."""
        with self._db.read() as db:
            return generation(db)

    # --- bytes ---

    def materialise(self, version: Version) -> Path:
        """``home/serve/<name>@<digest12>`` with the version's files: verified, read-only, reused."""
        return serve.materialise(self.blobs, version, self._served(version))

    def verify(self, version: Version) -> list[str]:
        """What is wrong with a version's bytes, stored and served; empty when nothing is. Reads them all."""
        found = [problem for digest in self._digests(version) if (problem := self.blobs.problem(digest))]
        return found + serve.problems(version, self._served(version))

    def _digests(self, version: Version) -> list[str]:
        return sorted({version.digest, *version.files.values()})

    def _served(self, version: Version) -> Path:
        return self.home / "serve" / version.served_name

    def _store(self, card: SkillCard, files: Mapping[str, Path]) -> str:
        stored: dict[str, tuple[str, int]] = {}
        for name, path in sorted(files.items()):
            with self._storing(card.name, name):
                digest = self.blobs.put(path)
                stored[name] = (digest, self.blobs.path(digest).stat().st_size)
        return write_manifest(card, stored)

    def _store_manifest(self, card: SkillCard, manifest: str) -> str:
        with self._storing(card.name, "the manifest"):
            self.blobs.sweep()
            return self.blobs.put_bytes(manifest.encode())

    @contextmanager
    def _storing(self, skill: str, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = "Free some space there" if full else "Mend that"
            raise RegistryError(
                f"{what} of {skill!r} could not be stored in {self.blobs.root}: {exc.strerror or exc}. "
                f"Nothing was published and every alias points where it did. {advice}, then publish again."
            ) from exc

    # --- messages ---

    def _labels(self, db: Connection, name: str) -> list[str]:
        rows = db.execute(_of(name).order_by(versions.c.number.desc())).all()
        named = db.execute(
            select(aliases.c.alias).where(aliases.c.name == name).order_by(aliases.c.alias)
        ).scalars()
        return [f"{name}@{alias}" for alias in named] + [
            f"{name}@v{r.number} ({r.digest[:12]})" for r in rows
        ]

    def _not_found(self, db: Connection, ref: Ref, text: str) -> NotFound:
        labels = self._labels(db, ref.name)
        if labels:
            return NotFound.among("version", text, labels)
        return NotFound.among(
            "skill", ref.name, sorted(db.execute(select(versions.c.name).distinct()).scalars())
        )

    def _no_alias(self, db: Connection, name: str, alias: str) -> NotFound:
        return self._not_found(db, Ref(name, "alias", alias), f"{name}@{alias}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(row: Row[Any]) -> Version:
    return read_manifest(row.manifest, number=row.number, digest=row.digest, created_at=row.created_at)


def _of(name: str) -> Select[Any]:
    return select(versions).where(versions.c.name == name)


def _query(ref: Ref) -> Select[Any]:
    if ref.selector == "number":
        return _of(ref.name).where(versions.c.number == int(ref.value))
    if ref.selector == "digest":
        return _of(ref.name).where(versions.c.digest.startswith(ref.value))
    alias = ref.value if ref.selector == "alias" else DEFAULT_ALIAS
    return (
        _of(ref.name)
        .join(moves, moves.c.version_id == versions.c.id)
        .join(aliases, aliases.c.move_id == moves.c.id)
        .where(aliases.c.alias == alias)
    )


def _insert_version(db: Connection, name: str, digest: str, manifest: str) -> Row[Any]:
    newest = db.execute(select(func.max(versions.c.number)).where(versions.c.name == name)).scalar()
    values = {
        "name": name,
        "number": (newest or 0) + 1,
        "digest": digest,
        "manifest": manifest,
        "created_at": _now(),
    }
    db.execute(insert(versions).values(values))
    grow_generation(db)
    return db.execute(select(versions).where(versions.c.digest == digest)).one()


def _current_move(db: Connection, name: str, alias: str) -> Row[Any] | None:
    query = select(moves).join(aliases, aliases.c.move_id == moves.c.id)
    return db.execute(query.where(aliases.c.name == name, aliases.c.alias == alias)).one_or_none()


def _move(db: Connection, name: str, alias: str, version_id: int) -> None:
    now = _current_move(db, name, alias)
    if now is None or now.version_id != version_id:
        _record_move(db, name, alias, version_id, None if now is None else now.id, "set")


def _record_move(
    db: Connection, name: str, alias: str, version_id: int, previous_id: int | None, kind: str
) -> None:
    values = {"name": name, "alias": alias, "version_id": version_id, "previous_id": previous_id}
    made = db.execute(insert(moves).values(values | {"kind": kind, "moved_at": _now()}))
    move_id = made.inserted_primary_key[0]  # type: ignore[index]  # None only after executemany
    here = (aliases.c.name == name, aliases.c.alias == alias)
    if not db.execute(update(aliases).where(*here).values(move_id=move_id)).rowcount:
        db.execute(insert(aliases).values(name=name, alias=alias, move_id=move_id))
    grow_generation(db)
