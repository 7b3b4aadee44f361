"""A run is shown in the trackers that its configuration names, and none of them can end it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError, MissingExtra, TrainError
from agentlora.core.manager import load_plugins
from agentlora.core.resolving import resolve_config
from agentlora.core.run import Run, create_run, open_run
from agentlora.plugins.trackers import known


class Fake:
    """A tracker that remembers everything, and fails on request."""

    package = module = "json"
    opened: list[Fake]
    fails = ""

    def open(self, run: Run, settings: Any, known_id: str | None, again_from: int | None) -> Fake:
        if self.fails == "open":
            raise OSError("no route to host")
        self.settings, self.known_id, self.again_from = settings, known_id, again_from
        self.id = known_id or f"fake-{len(self.opened)}"
        self.figures: list[tuple[int, dict[str, float]]] = []
        self.end = ""
        self.opened.append(self)
        return self

    def log(self, figures: Any, step: int) -> None:
        if self.fails == "log":
            raise SystemExit(9)
        self.figures.append((step, dict(figures)))

    def finish(self, end: str) -> None:
        self.end = end


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    monkeypatch.setattr(Fake, "opened", [], raising=False)
    monkeypatch.setitem(known.TRACKERS, "fake", f"{__name__}:Fake")
    return Fake


def new_run(directory: Path, *trackers: str) -> Run:
    """Whose events go to the plugins, as the command line's do."""
    config = parse(
        RunConfig,
        {"task": "a-task", "trackers": trackers, "method": {"params": {"api_key": "planted-secret"}}},
    )
    return create_run(config, directory, load_plugins().emit)


def updates(run: Run, *steps: int) -> None:
    """What a trainer does: a head, and a row and an event an update."""
    head = {"method": "lora", "trainable_percent": 3.5}
    run.metrics_file.write_text(json.dumps(head) + "\n" + "".join(f'{{"step": {n}}}\n' for n in steps))
    for step in steps:
        row = {"step": step, "loss": 1 / step, "lr": 1e-3, "tokens_per_s": 10.0, "total_steps": 9}
        run.tell("step", "train", row)


def trained(run: Run, *steps: int, error: BaseException | None = None) -> None:
    with run.stage("train"):
        updates(run, *steps)
        if error:
            raise error


def test_it_sees_the_settings_every_update_dev_and_the_end(fake: type[Fake], tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", "fake")
    with run.stage("train"):
        updates(run, 1, 2)
        run.tell("step", "train", {"step": 2, "dev_loss": 0.25, "total_steps": 9})
    (view,) = fake.opened
    assert view.figures == [
        (1, {"train/loss": 1.0, "train/lr": 1e-3, "train/tokens_per_s": 10.0}),
        (2, {"train/loss": 0.5, "train/lr": 1e-3, "train/tokens_per_s": 10.0}),
        (2, {"dev/loss": 0.25}),
    ]
    assert view.end == "finished"
    assert view.settings["method"] == "lora"
    assert view.settings["config.training.lr"] == 1e-3
    assert "provenance.packages.agentlora" in view.settings or "provenance.python" in view.settings
    assert "planted-secret" not in str(view.settings)
    assert run.facts()["trackers"] == {"fake": "fake-0"}


def test_what_is_resumed_or_evaluated_goes_on_in_the_same_place(fake: type[Fake], tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", "fake")
    with pytest.raises(KeyboardInterrupt):
        trained(run, 1, 2, 3, error=KeyboardInterrupt())
    with pytest.raises(TrainError):
        trained(run, 3, 4, error=TrainError("the loss became nan"))
    with run.stage("eval"):
        figures = {"exact_match": 0.5, "baseline_exact_match": 0.1}
        run.note("eval", "recorded", record="0" * 64, split="test", figures=figures)
    first, resumed, evaluated = fake.opened
    assert (first.end, resumed.end, evaluated.end) == ("interrupted", "failed", "finished")
    assert (first.known_id, resumed.known_id, evaluated.known_id) == (None, "fake-0", "fake-0")
    assert (resumed.again_from, evaluated.again_from) == (3, None)
    assert evaluated.figures == [(4, {"test/exact_match": 0.5, "test/baseline_exact_match": 0.1})]


@pytest.mark.parametrize("fails", ["open", "log"])
def test_one_that_fails_is_told_once_and_ends_nothing(
    fails: str,
    fake: type[Fake],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    class Broken(Fake):
        pass

    monkeypatch.setattr(Broken, "fails", fails)
    monkeypatch.setitem(globals(), "Broken", Broken)
    monkeypatch.setitem(known.TRACKERS, "broken", f"{__name__}:Broken")
    run = new_run(tmp_path / "run", "broken", "fake")
    trained(run, 1, 2, 3)
    assert caplog.text.count("tracker broken failed, and the run goes on without it") == 1
    assert [step for step, _ in fake.opened[-1].figures] == [1, 2, 3]


def test_one_that_nobody_asked_for_sees_nothing(fake: type[Fake], tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    trained(run, 1)
    assert fake.opened == []


def test_names_and_packages_are_checked_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolved(name: str) -> RunConfig:
        return resolve_config(load_plugins(), "tool-calling", {"trackers": [name]})

    with pytest.raises(
        ConfigError, match=r"trackers: unknown tracker 'tensorbord'\. Did you mean 'tensorboard'\?"
    ):
        resolved("tensorbord")
    monkeypatch.setattr(known, "find_spec", lambda module: None)
    for name in known.TRACKERS:
        with pytest.raises(MissingExtra, match=f"tracker '{name}' needs .* Run: pip install {name}"):
            resolved(name)
    monkeypatch.setattr(known, "find_spec", lambda module: module)
    assert resolved("mlflow").trackers == ["mlflow"]


def shown_twice(run: Run, name: str, between: Callable[[], None] = lambda: None) -> str:
    """Three updates, an interruption, and the last of them and two more after it; the id in the tracker."""
    with pytest.raises(KeyboardInterrupt):
        trained(run, 1, 2, 3, error=KeyboardInterrupt())
    between()
    trained(run, 3, 4, 5)
    with run.stage("eval"):
        run.note("eval", "recorded", record="0" * 64, split="test", figures={"exact_match": 0.5})
    return str(open_run(str(run.directory)).facts()["trackers"][name])


def test_tensorboard_files_read_back(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = new_run(tmp_path / "run", "tensorboard")
    assert shown_twice(run, "tensorboard") == "tensorboard"
    read = EventAccumulator(str(run.directory / "tensorboard"))
    read.Reload()
    assert set(read.Tags()["scalars"]) == {"train/loss", "train/lr", "train/tokens_per_s", "test/exact_match"}
    losses = [(event.step, event.value) for event in read.Scalars("train/loss")]
    assert losses == [(step, pytest.approx(1 / step)) for step in (1, 2, 3, 4, 5)]
    assert [(event.step, event.value) for event in read.Scalars("test/exact_match")] == [(5, 0.5)]
    assert "settings/text_summary" in read.Tags()["tensors"]


def test_mlflow_has_one_run_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    run = new_run(tmp_path / "run", "mlflow")
    client = mlflow.MlflowClient()

    def interrupted() -> None:
        known_id = run.facts()["trackers"]["mlflow"]
        assert client.get_run(known_id).info.status == "KILLED"

    shown = client.get_run(shown_twice(run, "mlflow", interrupted))
    assert shown.info.status == "FINISHED"
    assert shown.data.params["config.task"] == "a-task"
    assert shown.data.metrics["test/exact_match"] == 0.5
    losses = {m.step: m.value for m in client.get_metric_history(shown.info.run_id, "train/loss")}
    assert losses == {step: 1 / step for step in (1, 2, 3, 4, 5)}
    assert len(client.search_runs([client.get_experiment_by_name("a-task").experiment_id])) == 1


def test_trackio_has_one_run_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio")
    run = new_run(tmp_path / "run", "trackio")
    name = shown_twice(run, "trackio")
    (found,) = trackio.Api().runs("agentlora")
    assert found.name == name
    assert capsys.readouterr().out == ""  # the output may be JSON


def test_wandb_keeps_an_offline_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = new_run(tmp_path / "run", "wandb")
    run_id = shown_twice(run, "wandb")
    files = list(run.directory.glob(f"wandb/offline-run-*{run_id}/run-{run_id}.wandb"))
    kept = b"".join(file.read_bytes() for file in files)
    assert all(name in kept for name in (b"train/loss", b"test/exact_match", b"config.training.lr"))
    assert capsys.readouterr().out == ""
