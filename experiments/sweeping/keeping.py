"""Checkpoints that a sweep leaves: each trial is a working directory, and those that are kept have checkpoints.

`export` writes a lane as an ordinary working directory, which `evaluate`, `generate` and a resumed `train` accept.
"""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import jax

from experiments import settings
from experiments.comparing import configs
from experiments.runs.run_data import write_run_data
from experiments.storage.checkpoints import Checkpoints
from experiments.storage.retention import Retention
from experiments.storage.workdir import Start, Workdir, open_workdir, read_record
from experiments.sweeping.groups import Trial
from experiments.sweeping.record import LaneRecord
from experiments.sweeping.storage import locked
from transformer.errors import UserError
from transformer.named_code import code_from_outside

KEEP = ("best", "all", "none")
"""Trials whose checkpoints are written at the end."""


def export_config(trial: Trial, devices: str) -> None:
    """Write config.json of a trial whose checkpoints are not kept; a trial that another worker writes is left as it is.

    Args:
        devices: the platform and its devices, in words.
    """
    if not (trial.workdir / "checkpoints").exists():
        (trial.workdir / "config.json").unlink(missing_ok=True)  # of another study
    with contextlib.suppress(UserError):
        _open(trial, devices).close()


def _open(trial: Trial, devices: str) -> Workdir:
    """Write config.json of a trial, and hold its working directory."""
    experiment = trial.experiment
    return open_workdir(
        trial.workdir,
        settings.to_json_dict(experiment.config),
        differences=configs.differences,
        devices=devices,
        data=experiment.task.splits.fingerprint,
        start=Start(origin=None if trial.origin is None else trial.origin.record),
        code=code_from_outside(experiment.config),
    )


def export(lane: LaneRecord, last: Any, best: Any, devices: str) -> None:
    """Write config, tokenizers and checkpoints of a trial beside its metrics, which exist already.

    Args:
        lane: a lane that has ended.
        last: its state at the end.
        best: its state at `lane.best`.
        devices: the platform and its devices, in words.

    Raises:
        UserError, OSError: the directory cannot be written, or holds another run.
    """
    experiment, workdir = lane.trial.experiment, lane.trial.workdir
    config, task = settings.to_json_dict(experiment.config), experiment.task
    best_metric = lane.early_stopping.metric
    with (
        _open(lane.trial, devices),
        Checkpoints(
            workdir / "checkpoints",
            Retention.of(experiment.config.training),
            best_metric,
            lane.mode,
            loss=task.names["loss"],
        ) as checkpoints,
    ):
        write_run_data(workdir, task)
        record = {
            "config": config,
            "window": lane.recent_metrics.fetch(),
            "early_stopping": lane.early_stopping.to_record(),
        }
        if lane.best is not None and lane.best[0] != lane.step:
            checkpoints.save(lane.best[0], jax.device_put(best), record, lane.evaluations["best"])
        evaluated = lane.step in dict(lane.curve)
        checkpoints.save(lane.step, jax.device_put(last), record, lane.evaluations["last"] if evaluated else None)


def remove_checkpoints(trials: Path, kept: str | None) -> None:
    """Remove the checkpoints of trials, but for those whose names begin with `kept` and those being written."""
    for checkpoints in trials.glob("*/checkpoints"):
        worse = kept is None or not checkpoints.parent.name.startswith(kept)
        if worse and not read_record(checkpoints.parent).get("extensions"):  # `train` has not continued it
            with locked(checkpoints.parent) as is_locked:
                if is_locked:
                    shutil.rmtree(checkpoints)


def remove_lanes(directory: Path) -> None:
    """Remove a directory of lanes; claims.json first, so that a worker that ends here leaves nothing to go on with."""
    (directory / "claims.json").unlink()
    shutil.rmtree(directory)


def remove_rest(directory: Path) -> None:
    """Remove what `remove_lanes` left where it was killed; a directory without checkpoints may be about to be used."""
    if (directory / "checkpoints").exists():
        shutil.rmtree(directory)
