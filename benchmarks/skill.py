"""What a training of a preset gives, as README quotes it: the run's own records, with machine and versions.

    .venv/bin/python benchmarks/skill.py --run RUN [--json]
    .venv/bin/python benchmarks/skill.py TASK --preset NAME --output DIR [--set KEY=VALUE] [--json]

The first reads a finished run and writes nothing. The second makes one before that: it trains with the preset,
evaluates on test and asks the gate, by the ordinary commands; what this home serves has no say in it. Prediction and
measurement come from ``run.json``, times from ``metrics.jsonl`` and ``journal.jsonl``, all else from
``eval/record.json`` and ``eval/gate.json``. Minutes are those of the clock; beside them stands what all updates would
have taken at the pace of the fastest quarter, for what else the machine does slows some of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from methods import undisturbed

from agentlora.core import journal
from agentlora.core.errors import AgentLoraError, ConfigError
from agentlora.core.files import read_json, sha256_file
from agentlora.core.provenance import machine_text
from agentlora.core.run import find_run
from agentlora.core.types import JSON
from agentlora.eval.first_view import lines
from agentlora.eval.record import Figure, Record
from agentlora.eval.report import cell, table
from agentlora.eval.verdict_report import failures, named_version, verdict_markdown
from agentlora.eval.wording import (
    NOTHING,
    applies_to,
    arrowed,
    detectable_text,
    difference_text,
    figure_text,
    label,
    probes_text,
)


def make(args: argparse.Namespace) -> Path:
    """Train, evaluate and ask the gate; the run's directory. What a command says goes to standard error."""
    settings = [part for one in ("gate.served=false", *args.set) for part in ("--set", one)]
    train = ["train", args.task, "--preset", args.preset, "--output", str(args.output), *settings]
    for words, fine in ((train, (0,)), (["eval", str(args.output), "--gate"], (0, 3))):  # 3: refused
        done = subprocess.run([sys.executable, "-m", "agentlora", *words], stdout=sys.stderr)
        if done.returncode not in fine:
            sys.exit(done.returncode)
    return args.output


# --- what the files say ---


def record_of(directory: Path, facts: JSON) -> Record:
    """The evaluation of the run's adapter on test. Raises ConfigError where there is none, EvalError for no record."""
    file = directory / "eval" / "record.json"
    if not file.is_file():
        raise ConfigError(f"run {directory.name!r} was not evaluated: agentlora eval {directory}")
    record = Record.load(file)
    if record.adapter != facts.get("adapter_digest"):
        raise ConfigError(f"the record of run {directory.name!r} is of another adapter: evaluate it again.")
    return record


def verdict_of(directory: Path) -> JSON | None:
    """What the gate said of this record; None where it was not asked since."""
    file = directory / "eval" / "gate.json"
    said = read_json(file) if file.is_file() else {}
    return said if said.get("record") == sha256_file(directory / "eval" / "record.json") else None


def training_of(directory: Path, facts: JSON) -> JSON:
    """Of the last training of the run. Raises ConfigError where none has ended."""
    measured, predicted = facts.get("measured"), facts.get("predicted") or {}
    if not measured:
        raise ConfigError(
            f"no training of run {directory.name!r} has ended: agentlora runs resume {directory}"
        )
    rows = list(journal.read(directory / "metrics.jsonl"))
    updates = [row for row in rows if row.get("seconds") and row.get("computed_tokens")]
    built = [event for event in journal.read(directory / "journal.jsonl") if event.get("event") == "built"]
    return {
        "examples": built[-1].get("train") if built else None,
        "updates": max((row["step"] for row in rows if "step" in row), default=0),
        "batch_size": facts["config"]["training"]["batch_size"],
        "seconds": measured["seconds"],
        "seconds_at_its_fastest": undisturbed(updates) * len(updates) if updates else None,
        "seconds_predicted": predicted.get("seconds"),
        "peak_bytes": measured["peak"],
        "peak_bytes_predicted": predicted.get("peak"),
        "dev_loss": next((row["dev_loss"] for row in reversed(rows) if "dev_loss" in row), None),
    }


def evaluation_seconds(directory: Path, record: Record) -> float | None:
    """From its start (the last one, where it was ended and went on) to this record; None where answers were known."""
    began = None
    for event in journal.read(directory / "journal.jsonl"):
        if event.get("stage") == "eval" and event.get("event") == "started":
            began = datetime.fromisoformat(event["at"])
        if event.get("record") == record.digest and began and not any(c.cached for c in record.conditions):
            return (datetime.fromisoformat(event["at"]) - began).total_seconds()
    return None


def command(arguments: Sequence[str]) -> str:
    """The training's command line, without where its directory lies."""
    dropped = {i + j for i, word in enumerate(arguments) if word == "--output" for j in (0, 1)}
    return " ".join(["agentlora", *(word for i, word in enumerate(arguments) if i not in dropped)])


def made_with(provenance: JSON) -> str:
    """Machine, versions and commit."""
    git = provenance.get("git")
    commit = f"; commit {git['commit'][:7]}{' with changes' if git['dirty'] else ''}" if git else ""
    return machine_text(provenance) + commit


def figures(directory: Path) -> tuple[JSON, Record, JSON | None]:
    """(all that is published, the record, the gate's verdict). Raises ConfigError for a run that is not finished."""
    facts = read_json(directory / "run.json")
    training, record, verdict = (
        training_of(directory, facts),
        record_of(directory, facts),
        verdict_of(directory),
    )
    metrics = [metric for metric in record.metrics if applies_to(record, metric)]
    systems = {c.name for c in record.conditions if c.decides}
    found = {
        "run": directory.name,
        "task": facts["config"]["task"],
        "preset": facts["config"]["preset"],
        "base": record.base["name"],
        "method": facts["config"]["method"]["name"],
        "command": command(facts["provenance"]["argv"]),
        "trained_on": made_with(facts["provenance"]),
        "evaluated_on": made_with(record.provenance),
        "training": training,
        "evaluation": {
            "seconds": evaluation_seconds(directory, record),
            "engine": record.engine,
            "max_tokens": record.max_tokens,
            "examples": record.n,
            "groups": record.groups,
            "test_readings": record.data.get("test_readings"),
            "best_baseline": record.best_baseline,
            "systems": {c.name: {m: _short(c.metrics[m]) for m in metrics} for c in record.conditions},
            "cases": {
                c.name: {case: _short(figure) for case, figure in c.slices.get("case", {}).items()}
                for c in record.conditions
            },
            "differences": [
                d.model_dump(
                    mode="json", include={"metric", "system", "baseline", "n", "mean", "low", "high"}
                )
                for d in record.differences
                if d.system in systems and d.metric in metrics
            ],
            "probes": record.probes
            and record.probes.model_dump(
                mode="json", include={"n", "available", "base", "adapter", "difference"}
            ),
        },
        "gate": verdict and {"passed": verdict["passed"], "failed": failures(verdict)},
    }
    return found, record, verdict


def _short(figure: Figure) -> JSON:
    return {"n": figure.scored, "mean": figure.mean, "low": figure.low, "high": figure.high}


# --- what is printed ---


def markdown(found: JSON, record: Record, verdict: JSON | None) -> str:
    asked = found["evaluation"]
    parts = [
        f"# {cell(found['task'])}, preset {cell(found['preset'] or NOTHING)}: {cell(found['run'])}",
        f"{cell(found['base'])}, {cell(found['method'])}: `{found['command']}`. {cell(found['trained_on'])}.",
    ]
    if found["evaluated_on"] != found["trained_on"]:
        parts.append(f"Evaluated on {cell(found['evaluated_on'])}.")
    parts.append(table(["training", "measured", "predicted"], list(_training_rows(found))))
    parts += [(f"**{cell(said)}:** " if said else "") + cell(line) for said, line in lines(record)]
    parts.append(
        f"{asked['examples']} examples of test in {asked['groups']} groups (reading {asked['test_readings']}), engine "
        f"{cell(asked['engine'])}, at most {asked['max_tokens']} new tokens; per cent with 95 % intervals, of how many."
    )
    names = [c.name for c in record.conditions]
    parts.append(table(["", *names], list(_figure_rows(record))))
    for system in (c.name for c in record.conditions if c.decides):
        others = list(dict.fromkeys(d.baseline for d in record.differences if d.system == system))
        parts.append(table([f"{system} −", *others], list(_difference_rows(record, system, others))))
    cases = list(dict.fromkeys(case for c in record.conditions for case in c.slices.get("case", {})))
    if cases:
        rows = [
            [label(case), *(_counted(c.slices["case"][case]) for c in record.conditions)] for case in cases
        ]
        parts.append(table(["right answers by case", *names], rows))
    parts += [cell(said) for said in (probes_text(record), detectable_text(record)) if said]
    parts.append(
        verdict_markdown(verdict, named_version(verdict)).rstrip() if verdict else "The gate was not asked."
    )
    return "\n\n".join(parts)


def _training_rows(found: JSON) -> Iterator[list[str]]:
    training = found["training"]
    yield ["examples", _number(training["examples"], "{:,}"), ""]
    yield ["updates", f"{training['updates']:,} of {training['batch_size']}", ""]
    yield ["minutes", _minutes(training["seconds"]), _minutes(training["seconds_predicted"])]
    yield ["minutes at the pace of its fastest quarter", _minutes(training["seconds_at_its_fastest"]), ""]
    peaks = (training[key] for key in ("peak_bytes", "peak_bytes_predicted"))
    yield ["GB at the peak", *(_number(peak and peak / 1e9, "{:.2f}") for peak in peaks)]
    yield ["loss on dev at the end, nats a token", _number(training["dev_loss"], "{:.3f}"), ""]
    yield ["minutes of evaluation", _minutes(found["evaluation"]["seconds"]), ""]


def _figure_rows(record: Record) -> Iterator[list[str]]:
    for metric in record.metrics:
        if applies_to(record, metric):
            yield [arrowed(record, metric), *(_counted(c.metrics[metric]) for c in record.conditions)]


def _difference_rows(record: Record, system: str, others: Sequence[str]) -> Iterator[list[str]]:
    for metric in record.metrics:
        differences = [record.difference(system, other, metric) for other in others]
        if applies_to(record, metric):
            yield [
                arrowed(record, metric),
                *(f"{difference_text(d)} of {d.n}" if d else NOTHING for d in differences),
            ]


def _counted(figure: Figure) -> str:
    return f"{figure_text(figure)} of {figure.scored}"


def _minutes(seconds: float | None) -> str:
    return _number(seconds and seconds / 60, "{:.1f}")


def _number(value: Any, form: str) -> str:
    return NOTHING if value is None else form.format(value)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", nargs="?", help="tool-calling, structured-output …")
    parser.add_argument("--run", help="a finished run's id or directory, or `last`")
    parser.add_argument("--preset", help="of the task's: demo, starter …")
    parser.add_argument("--output", type=Path, help="the run's directory, where it is made here")
    parser.add_argument("--set", action="append", default=[], help="any further setting of the training")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.run and (args.task or args.preset or args.output or args.set):
        parser.error("--run reads a run that is there: it goes with --json alone")
    if not args.run and not (args.task and args.preset and args.output):
        parser.error("give --run RUN, or TASK with --preset and --output")
    try:
        found, record, verdict = figures(find_run(args.run) if args.run else make(args))
    except AgentLoraError as exc:
        print(f"Error: {exc}", file=sys.stderr)
        return exc.exit_code
    print(json.dumps(found, indent=2, ensure_ascii=False) if args.json else markdown(found, record, verdict))
    return 0


if __name__ == "__main__":
    sys.exit(main())
