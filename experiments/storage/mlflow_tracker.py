"""A run in MLflow: its parameters are the config, its metrics SPLIT/NAME, its artifacts the pictures.

Where it is stored is MLflow's own choice: MLFLOW_TRACKING_URI, else files in the current folder (mlflow.db). The name
of the experiment is MLFLOW_EXPERIMENT_NAME, else "transformer".
"""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.storage.event_files import metrics_of
from experiments.storage.run_facts import RunFacts

LONGEST = 6000
"""Most characters of a parameter's value."""
AT_ONCE = 100
"""Most parameters of a request."""


class MlflowRun:
    """A run in MLflow, new or gone on with.

    Args:
        facts: what is known of the run.
        key: the id of the run that is gone on with; None: a new one.
    """

    def __init__(self, facts: RunFacts, key: str | None) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient()
        if key is not None:
            self._client.update_run(key, status="RUNNING")
            self.key = key
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "transformer")
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        tags = {"workdir": str(facts.workdir.absolute()), "mlflow.source.git.commit": facts.commit or ""}
        run = self._client.create_run(experiment, run_name=facts.name, tags=tags)
        self.key = run.info.run_id
        params = [Param(name, str(value)[:LONGEST]) for name, value in facts.config.items()]
        for first in range(0, len(params), AT_ONCE):
            self._client.log_batch(self.key, params=params[first : first + AT_ONCE])

    def log(self, line: Mapping[str, Any], moment: float) -> None:
        """Log the metrics of a line."""
        from mlflow.entities import Metric

        at, split = int(1000 * moment), line["split"]
        values = [Metric(f"{split}/{name}", float(x), at, line["step"]) for name, x in metrics_of(line).items()]
        self._client.log_batch(self.key, metrics=values)

    def picture(self, name: str, path: Path, step: int) -> None:
        """Store a picture as an artifact."""
        self._client.log_artifact(self.key, str(path), "pictures")

    def flush(self) -> None:
        """Do nothing: each line is stored at once."""

    def close(self, status: str) -> None:
        """Set the status of the run."""
        self._client.set_terminated(self.key, status, end_time=int(1000 * time.time()))
