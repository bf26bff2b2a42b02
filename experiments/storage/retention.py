"""Which checkpoints stay, and Orbax's manager set up so: the newest few, those to average, and the best."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp


@dataclasses.dataclass(frozen=True)
class Retention:
    """How many checkpoints are kept, beside the best.

    Attributes:
        newest: so many of the newest, whatever their step.
        averaged: so many of the newest among those that count (`counted`); 1: none, nothing is averaged.
        every: steps; None counts every checkpoint.
        last: the run's last step, which counts too.
    """

    newest: int
    averaged: int = 1
    every: int | None = None
    last: int | None = None

    def kept(self, steps: Sequence[int]) -> set[int]:
        """Those of `steps` (oldest first) that are kept."""
        averaged = self.counted(steps)[-self.averaged :] if self.averaged > 1 else []
        return {*steps[-self.newest :], *averaged}

    def counted(self, steps: Sequence[int]) -> list[int]:
        """Those of `steps` that an average is over: the multiples of `every`, and the run's last."""
        return [step for step in steps if self.every is None or step % self.every == 0 or step == self.last]


@dataclasses.dataclass
class NewestAndBest:
    """An Orbax preservation policy: what `retention` says, and whichever step `best()` names.

    Orbax's own BestN reads a metrics file of every checkpoint when a directory is opened, and a damaged one stops it.
    """

    retention: Retention
    best: Callable[[], int | None]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """Whether each stays; Orbax gives them oldest first, the one being saved included."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*self.retention.kept(steps), self.best()}
        return [step in kept for step in steps]


def open_manager(directory: Path, retention: Retention, best: Callable[[], int | None]) -> ocp.CheckpointManager:
    """Orbax's manager; opening it removes what killed saves left, and reads which steps are there."""
    options = ocp.CheckpointManagerOptions(
        preservation_policy=NewestAndBest(retention, best),
        cleanup_tmp_directories=True,
        save_root_metadata=False,
        enable_async_checkpointing=True,
    )
    return ocp.CheckpointManager(directory, options=options)


def keep_orbax_quiet() -> None:
    """What matters is raised, so none of what Orbax logs is for the terminal.

    Through absl it logs each step of a save; through asyncio, where several writes fail at once, all but the first.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
