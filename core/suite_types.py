"""The contract of `register_suites`: other people's tasks, and what they say of a skill and its base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from agentlora.core.types import Base, Engine


@dataclass(frozen=True, slots=True)
class SuiteRequest:
    """What a suite is to do. `what` names its tasks, in its own words; `systems` maps conditions to adapters that
    `engine` knows (None: the base). `limit` counts the examples of every task; `folder` is for what the suite writes.
    `cache` (an `agentlora.eval.cache.AnswerCache`) and `identity` (``base``, ``adapter``, ``engine``, as records have
    them) are for suites that keep answers as they come.
    """

    what: str
    engine: Engine
    base: Base
    systems: Mapping[str, str | None]
    folder: Path
    limit: int | None = None
    max_tokens: int = 64
    seed: int = 0
    cache: Any = None
    identity: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SuiteSample:
    """One system's scores of one sample; `error`: there was no answer. Samples of a `group` are not independent."""

    id: str
    scores: Mapping[str, float | None]
    group: str = ""
    text: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What a suite found. `samples` are by system, `reported` holds the library's own figures by system, `settings`
    what it was told.
    """

    library: str
    version: str
    metrics: Sequence[str]
    samples: Mapping[str, Sequence[SuiteSample]]
    lower_is_better: frozenset[str] = frozenset()
    reported: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Suite(Protocol):
    """Other people's tasks, which a skill and its base are put to: ``agentlora eval RUN --suite NAME:WHAT``.

    It may have ``check(what)``, which raises what can be told before an engine is started.
    """

    def run(self, request: SuiteRequest) -> SuiteResult:
        """Put the tasks to every system.

        Raises:
            ConfigError: there is no such task, or the engine cannot do what it needs.
            MissingExtra: the library is not installed.
        """
        ...
