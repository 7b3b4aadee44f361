"""MLflow: an experiment for each task, in the store that MLFLOW_TRACKING_URI names, or MLflow's own default."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from agentlora.core.run import Run
from agentlora.plugins.trackers.known import End

AT_ONCE = 100  # parameters that a server takes in one request
LONGEST = 500  # characters of a parameter that every version of the server takes
STATUS: dict[End, str] = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MLflow:
    """See `agentlora.plugins.trackers.known.Tracker`."""

    package = module = "mlflow"

    def open(
        self, run: Run, settings: Mapping[str, Any], known_id: str | None, again_from: int | None
    ) -> _Open:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # figures go where the user sends them
        from mlflow import MlflowClient
        from mlflow.entities import Param

        client = MlflowClient()
        if known_id:
            client.update_run(known_id, status="RUNNING")
            return _Open(client, known_id)
        experiment = client.get_experiment_by_name(run.config.task)
        where = experiment.experiment_id if experiment else client.create_experiment(run.config.task)
        made = client.create_run(where, run_name=run.id).info.run_id
        params = [Param(key, str(value)[:LONGEST]) for key, value in settings.items()]
        for begin in range(0, len(params), AT_ONCE):
            client.log_batch(made, params=params[begin : begin + AT_ONCE])
        return _Open(client, made)


class _Open:
    def __init__(self, client: Any, run_id: str) -> None:
        self.id = run_id
        self._client = client

    def log(self, figures: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        self._client.log_batch(
            self.id, metrics=[Metric(name, value, now_ms, step) for name, value in figures.items()]
        )

    def finish(self, end: End) -> None:
        self._client.set_terminated(self.id, status=STATUS[end])
