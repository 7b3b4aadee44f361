"""A run directory: everything that one execution read, did and made, each stage in a file of its own.

::

    run.json (resolved config, provenance)  journal.jsonl  data/{train,dev,test}.jsonl  data/card.json
    data/evaluators.json (where the data brings some)  checkpoints/  adapter/  metrics.jsonl  loss.svg
    eval/{record.json,samples.jsonl,report.html,report.md}
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agentlora.core import journal
from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError, nearest
from agentlora.core.examples import Examples, read_examples, write_examples
from agentlora.core.files import read_json, write_json
from agentlora.core.home import home
from agentlora.core.provenance import provenance, redact
from agentlora.core.types import Example, Kind, RunEvent, Split

FORMAT = "agentlora.run/1"
HELD = ("data", "train", "eval")  # of the stages that count, those that hold the run (`Run.alone`)
STAGE_MARKS = ("started", "finished", "failed")
ASIDE = ("export", "merge", "suites")  # stages that leave a run as it is

log = logging.getLogger(__name__)


def _ignore(event: RunEvent) -> None:
    pass


@dataclass
class Run:
    """One run. `emit` is called with every event, after the journal has it."""

    directory: Path
    config: RunConfig
    emit: Callable[[RunEvent], None] = field(default=_ignore, repr=False)

    @property
    def id(self) -> str:
        return self.directory.name

    @property
    def as_trained_dir(self) -> Path:
        """Where the adapter lies that was converted to LoRA, as it was before."""
        return self.directory / "adapter-as-trained"

    @property
    def adapter_dir(self) -> Path:
        return self.directory / "adapter"

    @property
    def kind(self) -> Kind:
        """Of what lies in `adapter_dir`: only a whole model has a configuration of its own."""
        return "model" if (self.adapter_dir / "config.json").is_file() else "adapter"

    @property
    def checkpoints_dir(self) -> Path:
        return self.directory / "checkpoints"

    @property
    def eval_dir(self) -> Path:
        return self.directory / "eval"

    @property
    def metrics_file(self) -> Path:
        return self.directory / "metrics.jsonl"

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Journal the start and the end (or the failure) of a stage."""
        self.note(name, "started")
        try:
            yield
        except BaseException as exc:
            self.note(name, "failed", reason=f"{type(exc).__name__}: {exc}")
            raise
        self.note(name, "finished")

    def alone(self) -> AbstractContextManager[None]:
        """See `held_alone`."""
        return held_alone(self.directory)

    def has_steps(self) -> bool:
        """Whether any update was made: ``metrics.jsonl`` has a row beside its head."""
        try:
            return self.metrics_file.read_bytes().count(b"\n") > 1
        except OSError:
            return False

    def remove(self) -> None:
        """Delete the run's directory with all that is in it."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def note(self, stage: str, what: str, **data: Any) -> None:
        """Write to the journal and tell the plugins. What cannot be written there (a full disk) does not stop the
        work: the journal only tells of it.
        """
        clean = redact(data)
        try:
            journal.append(self.directory / "journal.jsonl", what, stage=stage, **clean)
        except OSError as exc:
            log.warning("the journal of run %s lacks %r: %s", self.id, f"{stage} {what}", exc.strerror or exc)
        kind = "stage" if what in STAGE_MARKS else "note"
        self.tell(kind, stage, {"what": what, **clean})

    def tell(self, kind: str, stage: str, data: Mapping[str, Any]) -> None:
        """Tell the plugins and whoever watches; the journal does not have it. See `RunEvent`."""
        self.emit(RunEvent(self.id, kind, stage, data, self.directory))

    def status(self) -> str:
        """The last stage and how it stands, for people: started, finished or failed; data, a training or an
        evaluation that was started and has not ended is running or interrupted, a publication that the gate did not
        pass was refused. What was made of the run aside (an export, a merged model) does not count, however it ended,
        nor a conversion that failed.
        """
        events = journal.read(self.directory / "journal.jsonl")
        marks = [
            event
            for event in events
            if event.get("event") in STAGE_MARKS
            and event.get("stage") not in ASIDE
            and (event.get("stage") != "convert" or event["event"] == "finished")
        ]
        if not marks:
            return "nothing done"
        stage, what = str(marks[-1].get("stage", "-")), marks[-1]["event"]
        if stage in HELD and what == "started":
            what = "running" if self._is_held() else "interrupted"
        if (stage, what) == ("publish", "failed") and str(marks[-1].get("reason")).startswith("GateRefused"):
            what = "refused"
        return f"{stage} {what}"

    def _is_held(self) -> bool:
        try:
            with self.alone():
                return False
        except ConfigError:
            return True

    def write_examples(self, split: Split, examples: Iterable[Example]) -> None:
        write_examples(self.directory / "data" / f"{split}.jsonl", examples)

    def examples(self, split: Split) -> Examples:
        """The stored examples of a split, read when they are asked for. Raises what `read_examples` does."""
        return read_examples(self.directory / "data" / f"{split}.jsonl")

    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says beside the configuration: provenance, base identity, results of stages."""
        raw = read_json(self.directory / "run.json")
        return {key: value for key, value in raw.items() if key != "config"}

    def add_facts(self, **facts: Any) -> None:
        """Merge facts into ``run.json``."""
        raw = read_json(self.directory / "run.json")
        write_json(self.directory / "run.json", {**raw, **redact(facts)})


@contextmanager
def held_alone(directory: Path) -> Iterator[None]:
    """Hold a run's directory against every other process that would write into it; released when this one ends,
    however.

    Raises:
        ConfigError: another process holds it.
    """
    folder = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as exc:
        raise ConfigError(
            f"another process is at work on run {directory.name!r}. Let it end, or end it."
        ) from exc
    finally:
        os.close(folder)


@contextmanager
def kept_if_begun(run: Run) -> Iterator[None]:
    """Remove a run whose training fails before its first update: nothing is in it that the same command, which may then
    be given again with the same directory, would not make again.
    """
    try:
        yield
    except BaseException:
        if not run.has_steps():
            run.remove()
        raise


def create_run(
    config: RunConfig, output: Path | None = None, emit: Callable[[RunEvent], None] = _ignore
) -> Run:
    """Make a run directory: `output`, or a new one under the home.

    Raises:
        ConfigError: `output` exists and is not empty, or cannot be made; nothing is left behind.
    """
    wanted = output or home() / "runs" / _new_id(config.task)
    try:
        directory = wanted.expanduser().absolute()
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise ConfigError(
                f"--output {str(directory)!r} already exists and is not an empty directory. Choose another one; "
                "a run never overwrites an earlier one."
            )
        with _made(directory):
            write_json(
                directory / "run.json",
                {
                    "format": FORMAT,
                    "id": directory.name,
                    "created_at": journal.now(),
                    "config": redact(config.model_dump(mode="json")),
                    "provenance": redact(provenance(config.seed)),
                },
            )
            if output is not None:
                _remember(directory)
    # RuntimeError: no such user in ~user; ValueError: text that is not UTF-8, a number that is not finite
    except (OSError, RuntimeError, ValueError) as exc:
        raise ConfigError(f"cannot make the run directory {str(wanted)!r}: {exc}.") from exc
    return Run(directory, config, emit)


@contextmanager
def _made(directory: Path) -> Iterator[None]:
    """Make an empty directory and what it lies in; when the block fails, remove what was not there before."""
    new = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):
            (directory / "run.json").unlink(missing_ok=True)
            for path in new:
                path.rmdir()  # refuses what somebody else put something into meanwhile
        raise


def open_run(ref: str, emit: Callable[[RunEvent], None] = _ignore) -> Run:
    """A run by id, by directory, or ``last``.

    Raises:
        ConfigError: there is no such run, with the nearest id; or this version cannot read it.
    """
    directory = find_run(ref)
    return Run(directory, _stored_config(directory / "run.json"), emit)


def find_run(ref: str) -> Path:
    """The directory of a run by id, by directory, or ``last``, whether this version can read it or not.

    Raises:
        ConfigError: there is no such run, with the nearest id.
    """
    for directory in _candidates(ref):
        if _is_run(directory):
            return directory.absolute()
    known = [run.name for run in list_runs()]
    raise ConfigError(
        f"there is no run {ref!r}: neither a directory with a run.json nor an id in {str(home() / 'runs')!r}."
        f"{nearest(ref, known)} See: agentlora runs list"
    )


def _stored_config(file: Path) -> RunConfig:
    config = read_json(file).get("config")
    if not isinstance(config, dict):
        raise ConfigError(f"{str(file)!r} is damaged (it has no configuration): remove it or train again.")
    try:
        return parse(RunConfig, config)
    except ConfigError as exc:
        raise ConfigError(
            f"{str(file)!r} does not fit this version of agentlora: {exc}\n"
            "Use the version that made it (its provenance names it), or train again."
        ) from exc


def _is_run(directory: Path) -> bool:
    try:
        return (directory / "run.json").is_file()
    except OSError:  # a name that is too long, a directory that may not be read
        return False


def list_runs() -> list[Path]:
    """Every run directory known here, oldest first."""
    found = {path.parent for path in (home() / "runs").glob("*/run.json")}
    elsewhere = home() / "runs" / "elsewhere.jsonl"
    for line in journal.read(elsewhere):
        directory = Path(str(line.get("directory", "")))
        if directory.is_absolute() and _is_run(directory):
            found.add(directory)
    return sorted(found, key=lambda path: (path / "run.json").stat().st_mtime)


def _candidates(ref: str) -> Iterator[Path]:
    if ref == "last":
        yield from reversed(list_runs())
        return
    yield home() / "runs" / ref
    with suppress(RuntimeError):  # ~user of a user that there is not
        yield Path(ref).expanduser()
    yield from (path for path in list_runs() if path.name == ref)


def _remember(directory: Path) -> None:
    index = home() / "runs" / "elsewhere.jsonl"
    index.parent.mkdir(parents=True, exist_ok=True)
    journal.append(index, "created", directory=str(directory))


def _new_id(task: str) -> str:
    return f"{task.replace('/', '-')}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
