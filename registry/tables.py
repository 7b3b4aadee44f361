"""The metadata: four tables, the same SQL on SQLite (the default) and PostgreSQL."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from agentlora.core.errors import ConfigError, MissingExtra, RegistryError

SCHEMA = 1
_BUSY_TIMEOUT_MS = 30_000
_CREATION_LOCK = 0x6C6F7261  # any number that is ours: the key of PostgreSQL's advisory lock

metadata = MetaData()

# `schema` is the version of these tables; `generation` grows whenever a version or an alias changes.
meta = Table(
    "agentlora_meta", metadata, Column("key", String(32), primary_key=True), Column("value", BigInteger)
)

versions = Table(
    "agentlora_versions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(128), nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("manifest", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    UniqueConstraint("name", "number"),
)

# Each move remembers the one that it replaced, so that rolling back twice goes back two versions.
moves = Table(
    "agentlora_alias_moves",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(128), nullable=False),
    Column("alias", String(64), nullable=False),
    Column("version_id", ForeignKey("agentlora_versions.id"), nullable=False),
    Column("previous_id", ForeignKey("agentlora_alias_moves.id")),
    Column("kind", String(16), nullable=False),
    Column("moved_at", String(32), nullable=False),
)

aliases = Table(
    "agentlora_aliases",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("alias", String(64), primary_key=True),
    Column("move_id", ForeignKey("agentlora_alias_moves.id"), nullable=False),
)


class Database:
    """An open metadata store; its tables are made on first use.

    Raises:
        ConfigError: the URL cannot be understood. MissingExtra: its driver is not installed.
        RegistryError: the store cannot be reached, or was written by a newer agentlora.
    """

    def __init__(self, url: str | URL, folder: Path) -> None:
        self._engine = _open(url)
        self.where = self._engine.url.render_as_string(hide_password=True)
        try:
            with self._errors("opening the registry"), self._one_creator(folder), self._engine.begin() as db:
                _create(db)
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for queries."""
        with self._errors("reading the registry"), self._engine.connect() as db:
            yield db

    @contextmanager
    def write(self, doing: str) -> Iterator[Connection]:
        """One transaction, alone among writers from its first statement on; all of it happens, or nothing."""
        with self._errors(doing), self._engine.begin() as db:
            # Takes SQLite's write lock, or this row's lock in PostgreSQL: what is read next stays true.
            db.execute(update(meta).where(meta.c.key == "generation").values(value=meta.c.value))
            yield db

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as exc:
            cause = getattr(exc, "orig", None) or exc
            raise RegistryError(
                f"{doing} failed: {str(cause).strip()} (metadata in {self.where}). Nothing was changed. See "
                "that the store can be reached and written and that its disk has room, then run the command "
                "again."
            ) from exc

    @contextmanager
    def _one_creator(self, folder: Path) -> Iterator[None]:
        """Two processes that open a new SQLite file would meet in the switch to WAL, which never waits."""
        if self._engine.dialect.name != "sqlite":
            yield
            return
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def grow_generation(db: Connection) -> None:
    """Tell pollers that something changed. Call it inside `Database.write`."""
    db.execute(update(meta).where(meta.c.key == "generation").values(value=meta.c.value + 1))


def generation(db: Connection) -> int:
    """The counter that `grow_generation` advances."""
    return int(db.execute(select(meta.c.value).where(meta.c.key == "generation")).scalar_one())


def _open(url: str | URL) -> Engine:
    try:
        engine = create_engine(url, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError) as exc:
        raise ConfigError(
            f"the registry's URL cannot be used: {exc}. Give one such as sqlite:////data/index.sqlite or "
            "postgresql+psycopg://user@host/database, or none for a SQLite file in the home directory."
        ) from exc
    except ImportError as exc:
        raise MissingExtra(
            f"the registry's URL needs a driver that is not installed ({exc.name}): pip install "
            f"'{'psycopg[binary]' if exc.name == 'psycopg' else exc.name}'."
        ) from exc
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",  # with WAL the default may lose the last commit in a power cut
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _create(db: Connection) -> None:
    if db.dialect.name == "postgresql":
        db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATION_LOCK})
    metadata.create_all(db)
    found = db.execute(select(meta.c.value).where(meta.c.key == "schema")).scalar_one_or_none()
    if found is None:
        db.execute(insert(meta), [{"key": "schema", "value": SCHEMA}, {"key": "generation", "value": 0}])
    elif found != SCHEMA:
        raise RegistryError(
            f"this registry has schema {found} and this agentlora knows {SCHEMA}: use the agentlora that "
            "wrote it, or a newer one."
        )
