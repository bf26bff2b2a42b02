"""Retention of checkpoints by Orbax's manager: the newest few, those to average, and the best."""

import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from experiments.storage.checkpoint_format import is_step


def order(score: float, loss: float | None, mode: str) -> tuple[float, float]:
    """Return what evaluations are ranked by, smaller is better: the score, then the loss; of equals the first counts.

    What is not finite becomes infinity.

    Args:
        score: value of the metric that selects.
        loss: validation loss, which breaks ties; None: not measured.
        mode: "max" or "min", the direction in which scores are better.
    """
    worse = -score if mode == "max" else score
    return worse if math.isfinite(score) else math.inf, loss if loss is not None and math.isfinite(loss) else math.inf


@dataclasses.dataclass(frozen=True)
class Retention:
    """Numbers of checkpoints kept, in addition to the best.

    Attributes:
        newest: number of the newest, at any step.
        averaged: number of the newest among those that count (`counted`); 1: none, nothing is averaged.
        every: interval of those that count (steps); None: every checkpoint counts.
        last: the run's last step, which counts too.
        decay: update at which the learning rate begins to decay at the end of the run: the newest checkpoint before it
            stays too, so that a longer run can go on from it; None: no such checkpoint.
    """

    newest: int
    averaged: int = 1
    every: int | None = None
    last: int | None = None
    decay: int | None = None

    @classmethod
    def of(cls, training: Any) -> "Retention":
        """Return the settings of a run, from its section `training`."""
        output = training.output
        return cls(output.keep_last, training.average_last, output.average_every, training.steps)

    def kept(self, steps: Sequence[int]) -> set[int]:
        """Select the steps that are kept; `steps` are oldest first."""
        averaged = self.counted(steps)[-self.averaged :] if self.averaged > 1 else []
        before_decay = [step for step in steps if self.decay is not None and step <= self.decay][-1:]
        return {*steps[-self.newest :], *averaged, *before_decay}

    def counted(self, steps: Sequence[int]) -> list[int]:
        """Select the steps that can be averaged: the multiples of `every`, and the run's last."""
        return [step for step in steps if self.every is None or step % self.every == 0 or step == self.last]


@dataclasses.dataclass
class NewestAndBest:
    """An Orbax preservation policy: what `retention` keeps, and the step that `best()` returns.

    Orbax's own BestN reads a metrics file of every checkpoint when a directory is opened, and fails on a damaged one.
    """

    retention: Retention
    best: Callable[[], int | None]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """Return for each checkpoint if it is kept; Orbax passes them oldest first, the one being saved included."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*self.retention.kept(steps), self.best()}
        return [step in kept for step in steps]


def open_manager(directory: Path, retention: Retention, best: Callable[[], int | None]) -> ocp.CheckpointManager:
    """Open Orbax's manager, which removes what interrupted saves left, and reads which steps are there."""
    options = ocp.CheckpointManagerOptions(
        preservation_policy=NewestAndBest(retention, best),
        cleanup_tmp_directories=True,
        save_root_metadata=False,
        enable_async_checkpointing=True,
    )
    return ocp.CheckpointManager(directory, options=options)


def keep_orbax_quiet() -> None:
    """Silence Orbax's logs: errors that matter are raised.

    It logs each step of a save through absl; where several writes fail at once, all but the first through asyncio.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def steps_in(directory: Path) -> list[int]:
    """List the steps of the checkpoints in a directory, oldest first."""
    found = directory.iterdir() if directory.is_dir() else ()
    return sorted(int(path.name) for path in found if is_step(path.name) and path.is_dir())


def path_aside(directory: Path, step: int) -> Path:
    """Return the path to which a damaged checkpoint is moved: the first such name that is free."""
    aside, count = directory / f"damaged-{step}", 1
    while aside.exists():
        count += 1
        aside = directory / f"damaged-{step}-{count}"
    return aside
