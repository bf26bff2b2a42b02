"""A run at step 0 whose parameters are those of a checkpoint: started from it, without an update."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.costs.needed import refuse_state
from experiments.runs.init_from import check_fit, first_states, open_origin
from experiments.runs.origin import InitFrom
from experiments.runs.session import opened_run
from experiments.training.early_stopping import EarlyStopping
from experiments.training.experiment import set_up
from transformer.interop.new_directory import new_directory


def write_run(config: Any, wish: InitFrom, workdir: Path, notes: Sequence[str] = ()) -> list[str]:
    """Write a run that evaluate, generate and explore read, and that train continues; return lines about it.

    Args:
        config: resolved from a recipe with the settings of the checkpoint.
        wish: the checkpoint.
        workdir: a new directory.
        notes: lines about settings of the recipe that are left out.

    Raises:
        UserError: a directory that is there, a checkpoint that cannot be read, or that does not fit the config.
        OSError: it cannot be written.
    """
    with new_directory(workdir, "workdir") as beside:
        origin = open_origin(wish)
        experiment = set_up(config, origin.run_data(config))
        refuse_state(experiment)
        lines = [*notes, check_fit(experiment, origin), *experiment.task.splits.notes, *experiment.task.notes]
        with opened_run(experiment, beside, origin, lines) as (checkpoints, _, config_dict):
            state = first_states(experiment, origin)(experiment.hyperparameters)
            stopping = EarlyStopping(experiment.config.training.output.best)
            record = {"config": config_dict, "window": [], "early_stopping": stopping.to_record()}
            checkpoints.save(0, state, record)
    return lines
