"""A run's evaluation once more, as its record says that it was made: what is to be published was converted since."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from agentlora.core.beside import beside_of
from agentlora.core.config import EvaluatorConfig, parse
from agentlora.core.evaluating import last_record
from agentlora.core.evaluators import EVALUATORS_FILE
from agentlora.core.run import Run

SERVING = ("vllm", "transformers")  # engines that are named as the places where something is served


def as_recorded(run: Run) -> dict[str, Any]:
    """How test was put to what the run trained, as arguments of `core.evaluating.evaluate`; nothing where it was not
    evaluated, and where a record says nothing, the run's configuration does.

    An engine that is not the one that will serve is left out, unless it is named for evaluations alone. Records do not
    say the address of an engine that was attached to, nor the options of an endpoint.

    Raises:
        EvalError: there is a record that cannot be read.
    """
    from agentlora.eval.record import Record

    file = last_record(run.eval_dir)
    if file is None:
        return {}
    record = Record.load(file)
    fits = record.engine not in SERVING or run.config.serve_on in (record.engine, "none")
    return {
        "engine_name": record.engine if fits else None,
        "limit": record.n_all,
        "probes": record.probes.n if record.probes else 0,
        "constrained": any(condition.aside for condition in record.conditions),
        "evaluators": list(_evaluators(run, record)),
        "beside": list(_beside(run, record)),
        "temperature": record.temperature,
        "seeds": record.seeds,
    }


def _evaluators(run: Run, record: Any) -> Iterator[str]:
    """Those that judged beside the run's own and its data's, as a command line says them."""
    own = {entry.called for entry in run.config.eval.evaluators}
    for raw in record.provenance.get("evaluators") or ():
        entry = parse(EvaluatorConfig, raw, "evaluators")
        if entry.called not in own and entry.params.get("in") != f"data/{EVALUATORS_FILE}":
            yield json.dumps(raw)


def _beside(run: Run, record: Any) -> Iterator[str]:
    """The endpoints that answered beside the run's own, as a command line says them."""
    own = beside_of(run.config.eval.beside)
    for name, endpoint in (record.provenance.get("beside") or {}).items():
        if name not in own:
            yield json.dumps({"endpoint": endpoint, "label": name})
