"""Several runs beside each other on dev, each paired with the best one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentlora.core import journal
from agentlora.core.files import read_json
from agentlora.core.run import Run
from agentlora.eval.metrics import Aggregate, aggregate, paired_difference
from agentlora.eval.record import load_samples


@dataclass(frozen=True)
class Standing:
    """A run beside the best one, which has no difference: figures of the headline metric, in 0..1 unless `unbounded`.

    `difference`, `diff_low` and `diff_high` are member - best over the dev examples that both were scored on, with a
    95 % interval clustered by group; None too where its dev examples are others.
    """

    label: str
    run: str
    n: int
    mean: float | None
    low: float | None
    high: float | None
    difference: float | None
    diff_low: float | None
    diff_high: float | None
    trainable_percent: float | None
    seconds: float
    unbounded: bool = False


def standings(
    members: Sequence[tuple[str, Run]], headline: str, lower_is_better: bool, seed: int
) -> list[Standing]:
    """Labelled runs that were evaluated on dev, from the best to the worst by the headline metric. Only those with the
    same dev examples as the best one have a difference to it.
    """
    found = [_figures(label, run, headline) for label, run in members]
    found.sort(key=lambda f: _rank(f.figure.mean, lower_is_better))
    return [
        _standing(figures, None if number == 0 else found[0], seed) for number, figures in enumerate(found)
    ]


@dataclass(frozen=True)
class _Figures:
    label: str
    run: Run
    dev_digest: str
    values: Mapping[str, float | None]
    groups: Mapping[str, str]
    figure: Aggregate


def _rank(mean: float | None, lower_is_better: bool) -> float:
    return float("inf") if mean is None else mean if lower_is_better else -mean


def _figures(label: str, run: Run, headline: str) -> _Figures:
    record = read_json(run.directory / "eval-dev" / "record.json")
    where = record.get("headline_where") or {}
    values: dict[str, float | None] = {}
    groups: dict[str, str] = {}
    for sample in load_samples(run.directory / "eval-dev" / "samples.jsonl"):
        tags = sample.get("tags") or {}
        if sample["condition"] == "adapter" and all(tags.get(key) == value for key, value in where.items()):
            values[sample["id"]] = (sample.get("scores") or {}).get(headline)
            groups[sample["id"]] = sample.get("group") or sample["id"]
    digest = str(record["data"].get("dev_digest"))
    unbounded = any(
        (c["metrics"].get(headline) or {}).get("unbounded", False) for c in record.get("conditions", ())
    )
    figure = aggregate(values.values(), groups=[groups[name] for name in values], unbounded=unbounded)
    return _Figures(label, run, digest, values, groups, figure)


def _standing(mine: _Figures, best: _Figures | None, seed: int) -> Standing:
    beside = None
    if best and best.dev_digest == mine.dev_digest:
        beside = paired_difference(
            mine.values,
            best.values,
            mine.groups,
            seed,
            unbounded=mine.figure.unbounded or best.figure.unbounded,
        )
    head, seconds = _of_metrics(mine.run)
    figure = mine.figure
    return Standing(
        label=mine.label,
        run=str(mine.run.directory),
        n=figure.scored,
        mean=figure.mean,
        low=figure.low,
        high=figure.high,
        difference=beside.mean if beside else None,
        diff_low=beside.low if beside else None,
        diff_high=beside.high if beside else None,
        trainable_percent=head.get("trainable_percent"),
        seconds=seconds,
        unbounded=figure.unbounded,
    )


def _of_metrics(run: Run) -> tuple[dict[str, Any], float]:
    """The head of ``metrics.jsonl`` and the seconds of all updates, as far as the trainer wrote them."""
    rows = list(journal.read(run.metrics_file))
    return rows[0] if rows else {}, sum(row.get("seconds", 0.0) for row in rows)
