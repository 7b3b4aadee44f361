"""Sweeps: the grid's combinations, and how members stand beside the best one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError
from agentlora.core.run import Run, create_run
from agentlora.core.sweep import combinations
from agentlora.eval.standings import standings

KEYS = {"rank": "method.params.r", "lr": "training.lr"}


def test_every_combination_once_in_order() -> None:
    found = combinations(["rank=8,16,8", "lr=1e-3,2e-3"], KEYS)
    assert [label for label, _ in found] == [
        "rank=8 lr=1e-3",
        "rank=8 lr=2e-3",
        "rank=16 lr=1e-3",
        "rank=16 lr=2e-3",
    ]
    assert found[1][1] == {"method": {"params": {"r": 8}}, "training": {"lr": 2e-3}}


def test_values_with_commas_end_in_semicolons() -> None:
    found = combinations(["method.params.target=q_proj,v_proj;all-linear"], KEYS)
    assert [layer["method"]["params"]["target"] for _, layer in found] == ["q_proj,v_proj", "all-linear"]
    (one,) = combinations(["method.params.target=q_proj,v_proj;"], KEYS)
    assert one[1] == {"method": {"params": {"target": "q_proj,v_proj"}}}


@pytest.mark.parametrize(
    ("grids", "why"),
    [
        (["rank"], "write key=value,value"),
        (["rank=8;;16"], "values with commas end in semicolons"),
        (["rank=8,"], "write key=value,value"),
        (["rank=8,16", "method.params.r=4"], "method.params.r has a grid already"),
        (["rank=" + ",".join(map(str, range(65)))], "65 combinations, and a sweep trains at most 64"),
    ],
)
def test_bad_grids_are_refused(grids: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        combinations(grids, KEYS)


def member(directory: Path, name: str, scores: list[float | None], digest: str = "d") -> tuple[str, Run]:
    """A finished run: its adapter's scores on examples of three groups, two that do not decide, and a baseline."""
    config = parse(RunConfig, {"task": "x"})
    run = create_run(config, directory / name)
    run.metrics_file.write_text(
        '{"trainable_percent": 3.5}\n{"step": 1, "seconds": 60.0}\n{"step": 2, "seconds": 60}\n'
    )
    samples = [
        {
            "id": str(i),
            "condition": condition,
            "group": f"g{i % 3}",
            "tags": {"tools": tools},
            "scores": {"hit": score},
        }
        for condition, tools, of in (("adapter", "new", scores), ("base", "new", [0.0] * len(scores)))
        for i, score in enumerate(of)
    ]
    samples += [{"id": "t", "condition": "adapter", "tags": {"tools": "trained"}, "scores": {"hit": 1.0}}]
    (run.directory / "eval-dev").mkdir()
    (run.directory / "eval-dev" / "samples.jsonl").write_text("".join(json.dumps(s) + "\n" for s in samples))
    record = {"headline_where": {"tools": "new"}, "data": {"dev_digest": digest}, "n_all": len(scores) + 1}
    (run.directory / "eval-dev" / "record.json").write_text(json.dumps(record))
    return name, run


def test_members_stand_in_order_with_paired_differences(tmp_path: Path) -> None:
    worse = member(tmp_path, "worse", [1.0, 0.0, 0.0, 0.0, None, 0.0])
    better = member(tmp_path, "better", [1.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    other = member(tmp_path, "other", [1.0, 0.0, 1.0, 0.0, 0.0, 0.0], digest="e")
    first, second, third = standings([worse, better, other], "hit", lower_is_better=False, seed=0)
    assert [row.label for row in (first, second, third)] == ["better", "other", "worse"]
    assert (first.n, first.mean, first.difference) == (6, pytest.approx(4 / 6), None)
    assert first.trainable_percent == 3.5
    assert first.seconds == 120
    assert second.difference is None  # its dev examples are others, though their ids are the same
    assert third.n == 5
    assert third.difference == pytest.approx(-2 / 5)  # over the five that both were scored on
    assert third.diff_low is not None
    assert third.diff_high is not None
    assert third.diff_low <= third.difference <= third.diff_high


def test_where_less_is_better_the_least_stands_first(tmp_path: Path) -> None:
    members = [member(tmp_path, "much", [1.0, 1.0, 1.0]), member(tmp_path, "little", [0.0, 1.0, 0.0])]
    assert [row.label for row in standings(members, "hit", lower_is_better=True, seed=0)] == [
        "little",
        "much",
    ]
