"""One session of training in a working directory: open it, continue or start, train."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments import settings
from experiments.comparing import configs
from experiments.costs.needed import refuse_too_large
from experiments.costs.summary import costs_of, described, write_costs
from experiments.parallel.processes import ALONE, Processes, processes, refuse_others
from experiments.runs.extension import extend, retention_of
from experiments.runs.init_from import InitFrom, check_fit, first_states, read_origin
from experiments.runs.origin import Origin
from experiments.runs.run_data import read_run_data, write_run_data
from experiments.runs.same_everywhere import refuse_other_folder, refuse_other_settings
from experiments.runs.stored_config import code_line, origin_named
from experiments.runs.tracking import check_trackers, open_metrics
from experiments.runs.trained import TrainedExperiment
from experiments.storage.checkpoints import Checkpoints
from experiments.storage.metrics import Metrics, UnwrittenMetrics
from experiments.storage.trackers import STOPPED
from experiments.storage.units import write_units
from experiments.storage.workdir import Start, open_workdir
from experiments.storage.workdir_checks import refuse_unwritable_name
from experiments.training import signals
from experiments.training.experiment import Experiment, set_up
from experiments.training.loop import Loop, restore_or_start
from experiments.training.progress import devices_in_words
from experiments.training.reporter import Reporter, Silent
from transformer.named_code import code_from_outside


class Session(NamedTuple):
    """A session that has ended.

    Attributes:
        run: the experiment with the parameters that it reached.
        seconds: time of the updates, evaluations and checkpoints.
        stopped: number of the signal that stopped it; None: it reached the end of training.
    """

    run: TrainedExperiment
    seconds: float
    stopped: int | None


def train(
    config: Any,
    workdir: Path,
    reporter: Reporter,
    *,
    notes: Sequence[str] = (),
    again: str | None = None,
    force: bool = False,
    init: InitFrom | None = None,
) -> Session:
    """Train until the last step or until a stop is requested.

    Args:
        config: resolved from a recipe and overrides.
        notes: lines about settings of the recipe that are left out.
        again: the command that continues this run, for "continue with"; None: a call from Python.
        force: train though the memory is too small for what the run needs.
        init: the run whose parameters a new one starts from; None: none, or the recorded one.

    Raises:
        NotFiniteError: the loss or the gradient is not finite.
        UserError, OSError: mistakes of the user, and full or read-only disks.
    """
    notes, together = [*notes], processes()
    refuse_other_settings(together, config)
    reporter = reporter if together.first else Silent()
    refuse_unwritable_name(workdir)
    check_trackers(config)
    origin = read_origin(workdir, init)
    with origin_named(workdir):
        run_data = read_run_data(workdir, config.tokenizer.name) or (origin and origin.run_data(config))
        experiment = set_up(config, run_data, placed=True)
    refuse_others(together, {"data": experiment.task.splits.fingerprint})
    parameters = [] if origin is None else [check_fit(experiment, origin)]
    if not force:
        refuse_too_large(experiment)
    devices = devices_in_words()
    if together.count > 1:
        devices += f" in each of {together.count} processes"
    if experiment.placement is not None:
        devices += f", a {experiment.placement.in_words()}"
    with opened_run(experiment, workdir, origin, notes, together) as (checkpoints, metrics, config_dict):
        start = None if origin is None else first_states(experiment, origin)(experiment.hyperparameters)
        state, recent_metrics, early_stopping = restore_or_start(experiment, checkpoints, metrics, start)
        first = int(state.step)
        finished = first >= experiment.config.training.steps or early_stopping.stopped
        reporter.line(start_line(first, experiment.config.training.steps, finished, workdir))
        task, costs = experiment.task, costs_of(experiment)
        if together.first:
            write_costs(workdir, costs)
        for note in notes:
            reporter.remark(note)
        for line in (*parameters, *task.splits.notes, *task.notes, *described(experiment, costs, devices)):
            reporter.line(line)
        began = time.monotonic()
        with signals.catch_stop_signals() as stop:
            loop = Loop(experiment, config_dict, checkpoints, metrics, stop, reporter.event)
            with reporter.progress(experiment.config.training.steps, first) as shown:
                state = loop.run(state, recent_metrics, early_stopping, shown)
            checkpoints.wait()
            seconds = time.monotonic() - began
            if loop.stopped is not None:
                metrics.status = STOPPED
                reporter.line(f"Stopped at step {int(state.step)}; saved. Continue with the same command:")
                reporter.line(f"  {again}")
    params, step = state.evaluated_params, int(state.step)
    if together.count > 1 and loop.stopped is None:  # what comes now, the first process does alone
        experiment, params = dataclasses.replace(experiment, placement=None), together.whole(params)
    return Session(TrainedExperiment(experiment, params, step, workdir), seconds, loop.stopped)


@contextlib.contextmanager
def opened_run(
    experiment: Experiment, workdir: Path, origin: Origin | None, notes: list[str], together: Processes = ALONE
) -> Iterator[tuple[Checkpoints, Metrics, dict[str, Any]]]:
    """Open the directory of a run, new or started before, and write what is known before an update.

    Of several processes the first one writes; the others read it, and save their parts of checkpoints.

    Args:
        notes: receives lines about checkpoints, a new length, and code or flags that have changed.

    Yields:
        Its checkpoints, its metrics, and its config as JSON has it.

    Raises:
        UserError: another run holds the directory, its config or data differs, or it cannot be written.
    """
    config, task = experiment.config, experiment.task
    config_dict, output = settings.to_json_dict(config), config.training.output
    with contextlib.ExitStack() as stack:
        if together.first:
            opened = open_workdir(
                workdir,
                config_dict,
                differences=configs.differences,
                devices=devices_in_words(),
                data=task.splits.fingerprint,
                code=code_from_outside(config),
                start=Start(functools.partial(extend, workdir, config, notes.append), origin and origin.record),
            )
            stack.enter_context(opened)
            notes += [*(code_line(name) for name in opened.changed_code), *opened.notes()]
            write_run_data(workdir, task)
            write_units(workdir, config.task, task.metrics)
        refuse_other_folder(together, workdir)
        checkpoints = Checkpoints(
            workdir / "checkpoints",
            retention_of(config),
            output.best,
            task.metrics[output.best].mode,
            loss=task.names["loss"],
            processes=together,
            print_line=notes.append,
        )
        metrics = open_metrics(workdir, config) if together.first else UnwrittenMetrics(workdir)
        yield stack.enter_context(checkpoints), stack.enter_context(metrics), config_dict


def start_line(step: int, steps: int, finished: bool, workdir: Path) -> str:
    """Return the line about the step at which this session starts."""
    if finished:
        return f"Finished already at step {step} of {steps}; its pictures are drawn again"
    if step:
        return f"Continuing from step {step} of {steps} in {workdir}"
    return f"Starting at step 0 of {steps} in {workdir}"
