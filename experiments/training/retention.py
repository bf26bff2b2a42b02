"""Which checkpoints stay, and Orbax's manager set up so: the newest few, and the best of those with a score."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp


@dataclasses.dataclass
class NewestAndBest:
    """An Orbax preservation policy: the newest `keep_last`, and whichever step `best()` names.

    Orbax's own BestN reads a metrics file of every checkpoint when a directory is opened, and a damaged one stops it.
    """

    keep_last: int
    best: Callable[[], int | None]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """Whether each stays; Orbax gives them oldest first, the one being saved included."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*steps[-self.keep_last :], self.best()}
        return [step in kept for step in steps]


def open_manager(directory: Path, keep_last: int, best: Callable[[], int | None]) -> ocp.CheckpointManager:
    """Orbax's manager; opening it removes what killed saves left, and reads which steps are there."""
    options = ocp.CheckpointManagerOptions(
        preservation_policy=NewestAndBest(keep_last, best),
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
