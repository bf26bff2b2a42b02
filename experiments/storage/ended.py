"""The end of a run that a longer one does not go on from, kept as a run of its own.

    WORKDIR/ended/STEPS/checkpoints         the checkpoints after the one from which the longer run goes on
    WORKDIR/ended/STEPS/config.json, ...    copies of the run's files as they were

So what was trained and evaluated stays, and `evaluate --workdir=WORKDIR/ended/STEPS` reads it.
"""

import os
import shutil
from pathlib import Path

from experiments.storage.retention import steps_in


def keep_ended(workdir: Path, steps: int, after: int) -> Path:
    """Move the checkpoints after step `after` into a directory beside copies of the run's files; return it.

    Where this is interrupted, it can be done again.

    Args:
        steps: number of steps of the run that ended, the name of the directory.

    Raises:
        OSError: it cannot be written.
    """
    ended = workdir / "ended" / str(steps)
    sums = ended / "checkpoints" / "checksums"
    sums.mkdir(parents=True, exist_ok=True)
    for file in workdir.iterdir():
        if file.is_file() and file.name != "lock":
            shutil.copy2(file, ended / file.name)
    checkpoints = workdir / "checkpoints"
    for step in [step for step in steps_in(checkpoints) if step > after]:
        beside = checkpoints / "checksums" / f"{step}.json"
        if beside.exists():
            os.replace(beside, sums / beside.name)
        if (ended / "checkpoints" / str(step)).exists():
            shutil.rmtree(ended / "checkpoints" / str(step))
        os.replace(checkpoints / str(step), ended / "checkpoints" / str(step))
    return ended
