"""The metrics of a run with its trackers, by its config; and the pictures that trackers get at its end."""

from collections.abc import Mapping
from pathlib import Path

from experiments import settings
from experiments.settings import Config
from experiments.storage.metrics import Metrics
from experiments.storage.run_facts import RunFacts
from experiments.storage.trackers import Trackers, refuse_missing
from experiments.storage.workdir import git_state
from transformer import schema


def names_of(config: Config) -> list[str]:
    """Return the trackers of a run: rows of `storage.trackers.TRACKERS`."""
    output = config.training.output
    return [*(["tensorboard"] if output.tensorboard else []), *output.trackers]


def check_trackers(config: Config) -> None:
    """Raise a UserError where the package of a tracker is not installed."""
    refuse_missing(names_of(config))


def open_metrics(workdir: Path, config: Config) -> Metrics:
    """Open the metrics of a run, and its trackers."""
    return Metrics(workdir, _open(workdir, config))


def log_pictures(workdir: Path, config: Config, pictures: Mapping[str, Path], step: int) -> None:
    """Hand pictures to the trackers of a run that has ended.

    Args:
        pictures: name -> path of a PNG.
        step: update after which they were drawn.
    """
    trackers = _open(workdir, config)
    for name, path in pictures.items():
        if path.suffix == ".png" and path.exists():
            trackers.picture(name, path, step)
    trackers.close()


def _open(workdir: Path, config: Config) -> Trackers:
    names = names_of(config)
    if set(names) <= {"tensorboard"}:  # event files need no facts
        return Trackers(names, RunFacts(workdir, {}))
    flat = schema.flatten(settings.to_json_dict(config))
    return Trackers(names, RunFacts(workdir, flat, (git_state() or {}).get("commit")))
