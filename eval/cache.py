"""Answers of base models, teachers and adapters, kept by content, so that nobody asks for the same one twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from agentlora.core.errors import EvalError
from agentlora.core.files import sha256_json
from agentlora.core.types import ChoiceRequest, Engine, GenerateRequest, Output

_TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, output TEXT NOT NULL) WITHOUT ROWID"


def answer_key(base_digest: str, engine: str, request: GenerateRequest | ChoiceRequest) -> str:
    """What makes two answers the same: base, engine and request, without the request's id."""
    raw = asdict(request)
    del raw["id"]
    if raw.get("seed") is None:  # as of answers that were kept before there were seeds
        raw.pop("seed", None)
    return sha256_json({"base": base_digest, "engine": engine, "request": raw})


def answerer(engine_name: str, engine: Engine) -> str:
    """Who answers, as a key has it: an engine by its name, and what else its answers depend on."""
    decoding = getattr(engine, "decoding", None)
    said = json.dumps(decoding, sort_keys=True) if decoding else ""
    return f"{engine_name} {getattr(engine, 'identity', '')} {said}".strip()


def answer_keys(
    requests: Iterable[GenerateRequest | ChoiceRequest],
    identity: Mapping[str, Any],
    engine: Engine,
    *,
    adapted: bool = False,
) -> list[str]:
    """Under which the cache knows the answers of the base that `identity` names, or (`adapted`) of its adapter: by the
    digest of that, and not by a name. Empty texts, under which it knows nothing, where these are not named.

    Args:
        identity: as for `agentlora.eval.runner.evaluate`; `requests` are to the one that is meant, whatever they say.
    """
    base, digest = (identity.get("base") or {}).get("digest"), identity.get("adapter")
    who = answerer(str(identity.get("engine", "")), engine)
    known = bool(base and (digest or not adapted))
    adapter = f"adapter {digest}" if adapted else None
    return [answer_key(str(base), who, replace(r, adapter=adapter)) if known else "" for r in requests]


class AnswerCache:
    """One SQLite file in `directory`. Each `put` is a transaction: being killed loses that one only.

    Several processes may use it at once. Answers that failed are not kept.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "answers.sqlite"

    def get(self, keys: Iterable[str]) -> dict[str, Output]:
        """The known answers among `keys`; their `id` is empty."""
        if not self.path.exists():
            return {}
        found = {}
        with closing(self._connect()) as db:
            for key in set(keys):
                row = db.execute("SELECT output FROM answers WHERE key = ?", (key,)).fetchone()
                if row:
                    found[key] = Output(id="", **json.loads(row[0]))
        return found

    def put(self, outputs: Mapping[str, Output]) -> None:
        """Keep answers by key. Raises EvalError when the file is not ours or cannot be written."""
        rows = [(key, _dump(output)) for key, output in outputs.items() if output.error is None]
        if not rows:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as db:
            try:
                with db:
                    db.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)
            except sqlite3.Error as exc:
                raise self._unusable(exc) from exc

    def _connect(self) -> sqlite3.Connection:
        try:
            db = sqlite3.connect(self.path, timeout=60)
            db.execute(_TABLE)
        except sqlite3.Error as exc:
            raise self._unusable(exc) from exc
        return db

    def _unusable(self, exc: sqlite3.Error) -> EvalError:
        return EvalError(
            f"the cache of answers {str(self.path)!r} cannot be used: {exc}. Move it away: what it holds is "
            "computed, or asked of a teacher, again."
        )


def _dump(output: Output) -> str:
    raw = asdict(output)
    # what is of the asking and not of the answer is not kept: whoever gets it from here does not wait
    kept = {key: part for key, part in raw.items() if key not in ("id", "latency_s", "nats", "no_nats")}
    return json.dumps(kept)
