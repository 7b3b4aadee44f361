"""An evaluation that is killed (a real process, kill -9) and goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentlora.core.config import RunConfig, parse
from agentlora.core.data import split_digest
from agentlora.core.errors import EvalError
from agentlora.core.evaluating import adapter_digest, evaluate
from agentlora.core.files import write_json
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import base_facts
from agentlora.core.run import Run, create_run, open_run
from agentlora.core.types import Example, Expected, GenerateRequest, Output, RunEvent, Score
from agentlora.eval.engines.echo import EchoEngine
from agentlora.eval.kept import FILE
from agentlora.plugins.bases.resolve import resolve_base

N = 6  # examples; the baseline under a schema has none to be held to, and finds the plain one's answers in the cache
ASKED = 9  # of 2 N requests, when the process is killed
HANGS = f"""
import sys, time
from agentlora.core.cli import main
from agentlora.eval.engines.echo import EchoEngine

asked = 0

def stream(self, requests):
    global asked
    for request in requests:
        asked += 1
        if asked > {ASKED}:
            time.sleep(600)
        yield self.generate([request])[0]

EchoEngine.stream = stream
main(["eval", sys.argv[1]])
"""


def a_run(directory: Path, model: Path) -> Run:
    """With an adapter, which the engine ``echo`` never looks into, and test examples."""
    base = resolve_base(str(model), default_plugins(), directory.parent)
    config = {"task": "distillation", "model": str(model), "eval": {"engine": "echo", "probes": 100}}
    made = create_run(parse(RunConfig, config), directory)
    asked = [
        Example(str(n), ({"role": "user", "content": f"word {n}"},), Expected(text=f"word {n % 4}"))
        for n in range(N)
    ]
    rows: dict[Any, list[Example]] = {"train": [], "dev": [], "test": asked}
    for split, examples in rows.items():
        made.write_examples(split, examples)
    digests = {split: split_digest(examples) for split, examples in rows.items()}
    write_json(directory / "data" / "card.json", {"digest": digests})
    made.adapter_dir.mkdir()
    (made.adapter_dir / "adapter_config.json").write_text("{}")
    made.add_facts(base=base_facts(base), adapter_digest=adapter_digest(made))
    return made


@pytest.fixture(scope="module")
def killed_once(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ``home`` and ``run``, whose evaluation was killed when it had all of the base's answers and half
    of the adapter's, and whose last sample was not written to its end.
    """
    place = tmp_path_factory.mktemp("killed")
    run = a_run(place / "run", tiny_model_dir)
    part = run.eval_dir / FILE
    # not from the checkout, where `import core` would work by accident
    child = subprocess.Popen(
        [sys.executable, "-c", HANGS, str(run.directory)],
        cwd=os.sep,
        env=os.environ | {"AGENTLORA_HOME": str(place / "home")},
    )
    try:
        for _ in range(1200):
            if part.is_file() and part.read_bytes().count(b"\n") == 1 + ASKED + N:  # with head and cache
                break
            assert child.poll() is None, "it ended by itself"
            time.sleep(0.1)
    finally:
        child.kill()
    assert child.wait() == -signal.SIGKILL
    lines = part.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + ASKED + N
    assert not (run.eval_dir / "record.json").exists()
    part.write_bytes(b"".join(lines)[:-20])
    return place


@pytest.fixture
def killed(killed_once: Path, tmp_path: Path) -> Run:
    """A copy of that run, and of its home."""
    shutil.copytree(killed_once / "home", os.environ["AGENTLORA_HOME"])
    shutil.copytree(killed_once / "run", tmp_path / "run")
    return open_run(str(tmp_path / "run"))


def watched(monkeypatch: pytest.MonkeyPatch, run: Run) -> tuple[list[GenerateRequest], list[str]]:
    """What the engine is asked, and what the user is told, from now on."""
    asked: list[GenerateRequest] = []
    told: list[str] = []
    generate = EchoEngine.generate

    def remembering(self: EchoEngine, requests: Any) -> list[Output]:
        asked.extend(requests)
        return generate(self, requests)

    def hear(event: RunEvent) -> None:
        told.append(str(event.data.get("message", "")))

    monkeypatch.setattr(EchoEngine, "generate", remembering)
    run.emit = hear
    return asked, told


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "created_at"}


def test_only_what_is_missing_is_asked_and_the_record_is_the_same(
    killed: Run, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, told = watched(monkeypatch, killed)
    record = evaluate(killed, default_plugins())
    assert [r.id for r in asked] == ["2", "3", "4", "5"]  # the third one's line was cut off
    assert all(r.adapter for r in asked)
    assert any("14 answers" in line and "are kept" in line for line in told)
    assert not (killed.eval_dir / FILE).exists()
    lines = (killed.eval_dir / "samples.jsonl").read_text().splitlines()

    monkeypatch.setenv("AGENTLORA_HOME", str(tmp_path / "another home"))
    other = a_run(tmp_path / "elsewhere" / killed.id, tiny_model_dir)
    whole = evaluate(other, default_plugins())
    assert len(asked) == 4 + 2 * N
    assert without_times(record.to_dict()) == without_times(whole.to_dict())
    assert record.data["test_readings"] == 1
    assert record.condition("base").metrics["same"].mean == pytest.approx(4 / N)
    assert lines == (other.eval_dir / "samples.jsonl").read_text().splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == N


def new_adapter(run: Run) -> None:
    (run.adapter_dir / "adapter_config.json").write_text('{"r": 8}')


def more_tokens(run: Run) -> None:
    run.config = run.config.model_copy(
        update={"eval": run.config.eval.model_copy(update={"max_new_tokens": 9})}
    )


def another_evaluator(run: Run) -> None:
    from agentlora.tasks.distillation.agreement import Agreement

    Agreement.identity = "stricter"  # type: ignore[attr-defined]


def another_engine(run: Run) -> None:
    EchoEngine.identity = "2.0"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (new_adapter, "adapter"),
        (more_tokens, "decoding"),
        (another_evaluator, "evaluator"),
        (another_engine, "engine_version"),
    ],
)
def test_nothing_is_kept_of_an_evaluation_by_others(
    killed: Run, monkeypatch: pytest.MonkeyPatch, change: Callable[[Run], None], name: str
) -> None:
    from agentlora.tasks.distillation.agreement import Agreement

    monkeypatch.setattr(Agreement, "identity", "", raising=False)
    monkeypatch.setattr(EchoEngine, "identity", "", raising=False)
    shutil.rmtree(os.environ["AGENTLORA_HOME"] + "/cache")
    change(killed)
    asked, told = watched(monkeypatch, killed)
    record = evaluate(killed, default_plugins())
    assert len(asked) == 2 * N
    assert any("since then changed" in line and name in line for line in told)
    assert record.data["test_readings"] == 2


def test_samples_of_another_example_or_prompt_are_not_kept(
    killed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = killed.eval_dir / FILE
    head, *lines = part.read_text().splitlines()
    samples = [json.loads(line) for line in lines[:-1]]
    first, second, third = (s for s in samples if s["id"] in "012" and s["condition"] == "base")
    first["example_digest"] = "0" * 64
    second["prompt_digest"] = "0" * 64
    third |= {"status": "errored", "error": "out of memory", "scores": {}}  # is asked for again
    part.write_text("\n".join([head, *map(json.dumps, samples), '{"id": "no sample"}', "[]"]) + "\n")
    shutil.rmtree(os.environ["AGENTLORA_HOME"] + "/cache")
    asked, _ = watched(monkeypatch, killed)
    record = evaluate(killed, default_plugins())
    assert [r.id for r in asked if not r.adapter] == ["0", "1", "2"]
    assert record.condition("base").statuses.errored == 0


def test_a_file_that_is_none_of_ours_is_begun_anew(killed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("", "no JSON\n", "[1]\n", '{"format": "another/1", "facts": {}}\n', "\udc80"):
        (killed.eval_dir / FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
        asked, _ = watched(monkeypatch, killed)
        evaluate(killed, default_plugins())
        assert len([r for r in asked if r.adapter]) == N


def test_what_could_not_be_judged_is_judged_again(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge that was down: nobody has to answer anew for it."""
    run = a_run(tmp_path / "run", tiny_model_dir)
    judges = type(default_plugins().get("evaluators", "agreement"))
    with monkeypatch.context() as down:
        down.setattr(judges, "score", lambda *_: Score(unscored="the judge is down"))
        with pytest.raises(EvalError, match="the judge is down"):
            evaluate(run, default_plugins())
    asked, _ = watched(monkeypatch, run)
    record = evaluate(run, default_plugins())
    for condition in record.conditions:
        assert condition.statuses is not None
        assert (condition.statuses.unscored, condition.statuses.scored) == (0, record.n_all)
    assert len(asked) == N
    assert all(request.adapter for request in asked)  # what the base said was kept
