"""A run in Weights & Biases: its config, its metrics SPLIT/NAME over `step`, its pictures.

It is offline, in WORKDIR/wandb, and `wandb sync` sends it; with WANDB_MODE=online it is sent while it runs. The name of
the project is WANDB_PROJECT, else "transformer".
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.storage.event_files import metrics_of
from experiments.storage.run_facts import RunFacts


class WandbRun:
    """A run in Weights & Biases, new or gone on with.

    Args:
        facts: what is known of the run.
        key: the id of the run that is gone on with; None: a new one.
    """

    def __init__(self, facts: RunFacts, key: str | None) -> None:
        import wandb

        self._wandb = wandb
        quiet = wandb.Settings(silent=True, console="off", disable_git=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "transformer"),
            dir=str(facts.workdir),
            mode=os.environ.get("WANDB_MODE", "offline"),
            name=facts.name,
            id=key,
            resume=None if key is None else "allow",
            reinit="create_new",
            config={**facts.config, "commit": facts.commit},
            settings=quiet,
        )
        self.key = self._run.id
        self._run.define_metric("*", step_metric="step")

    def log(self, line: Mapping[str, Any], moment: float) -> None:
        """Log the metrics of a line."""
        values = {f"{line['split']}/{name}": float(x) for name, x in metrics_of(line).items()}
        self._run.log({**values, "step": line["step"]})

    def picture(self, name: str, path: Path, step: int) -> None:
        """Log a picture."""
        self._run.log({f"pictures/{name}": self._wandb.Image(str(path)), "step": step})

    def flush(self) -> None:
        """Do nothing: a process of its own writes what is logged."""

    def close(self, status: str) -> None:
        """End the run."""
        self._run.finish(exit_code=0 if status == "FINISHED" else 1)
