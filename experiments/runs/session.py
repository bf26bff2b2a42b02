"""One session of training in a working directory: open it, continue or start, train, print the results."""

import functools
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments import settings
from experiments.cli.terminal import terminal
from experiments.costs.needed import refuse_too_large
from experiments.costs.summary import costs_of, described, write_costs
from experiments.runs.drawing import draw_run
from experiments.runs.extension import extend, retention_of
from experiments.runs.init_from import InitFrom, check_fit, first_state, read_origin
from experiments.runs.open_run import Run, example_text
from experiments.runs.run_data import read_run_data, write_run_data
from experiments.runs.stored_config import code_line, origin_named
from experiments.storage.checkpoints import Checkpoints
from experiments.storage.metrics import Metrics, read
from experiments.storage.workdir import Start, open_workdir
from experiments.storage.workdir_checks import refuse_unwritable_name
from experiments.training import signals
from experiments.training.experiment import Experiment, set_up
from experiments.training.loop import Loop, NotFiniteError, restore_or_start
from experiments.training.progress import (
    devices_in_words,
    duration,
    print_line,
    print_next,
    print_paths,
    progress,
)
from experiments.training.tables import final_table, print_table
from transformer.named_code import code_from_outside


def train(
    config: Any,
    workdir: Path,
    notes: list[str],
    command: list[str],
    *,
    force: bool = False,
    init: InitFrom | None = None,
) -> int:
    """Train until the last step or until a stop is requested.

    Args:
        config: resolved from a recipe and flags.
        notes: lines about settings of the recipe that are left out.
        command: the module and the words of the command line, for "continue with".
        force: train though the memory is too small for what the run needs.
        init: the run whose parameters a new one starts from; None: none, or the recorded one.

    Returns:
        The exit code: 0, 130 after Ctrl-C, 143 after SIGTERM, 1 where the loss or the gradient was not finite.

    Raises:
        UserError, OSError: mistakes of the user, and full or read-only disks.
    """
    console = terminal()
    notes = [*notes]
    refuse_unwritable_name(workdir)
    origin = read_origin(workdir, init)
    with origin_named(workdir):
        experiment = set_up(config, read_run_data(workdir) or (origin and origin.run_data(config)))
    if origin is not None:
        notes.append(check_fit(experiment, origin))
    if not force:
        refuse_too_large(experiment)
    config_dict = settings.to_json_dict(experiment.config)
    output = experiment.config.training.output
    devices = devices_in_words()
    with (
        open_workdir(
            workdir,
            config_dict,
            differences=settings.differences,
            devices=devices,
            data=experiment.task.splits.fingerprint,
            code=code_from_outside(experiment.config),
            start=Start(functools.partial(extend, workdir, experiment.config, notes.append), origin and origin.record),
        ) as opened,
        Checkpoints(
            workdir / "checkpoints",
            retention_of(experiment.config),
            output.best,
            experiment.task.metrics[output.best].mode,
            print_line=notes.append,
        ) as checkpoints,
        Metrics(workdir, output.tensorboard) as metrics,
    ):
        notes += [code_line(name) for name in opened.changed_code]
        write_run_data(workdir, experiment.task)
        start = None if origin is None else first_state(experiment, origin)
        state, recent_metrics, early_stopping = restore_or_start(experiment, checkpoints, metrics, start)
        first = int(state.step)
        finished = first >= experiment.config.training.steps or early_stopping.stopped
        print_line(console, start_line(first, experiment.config.training.steps, finished, workdir))
        task, costs = experiment.task, costs_of(experiment)
        write_costs(workdir, costs)
        for line in (*notes, *task.splits.notes, *task.notes, *described(experiment, costs, devices)):
            print_line(console, line)
        began = time.monotonic()
        with signals.catch_stop_signals() as stop:
            loop = Loop(experiment, config_dict, checkpoints, metrics, stop, lambda line: print_line(console, line))
            try:
                with progress(experiment.config.training.steps, first, console) as shown:
                    state = loop.run(state, recent_metrics, early_stopping, shown)
            except NotFiniteError as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            checkpoints.wait()
            if stop.received is not None:
                print_line(console, f"Stopped at step {int(state.step)}; saved. Continue with the same command:")
                print_line(console, f"  {command_line(command[0], *command[1:])}")
                return signals.exit_code(stop.received)
        print_scores(console, experiment, workdir, int(state.step), time.monotonic() - began)
        pictures = draw_run(Run(experiment, state.evaluated_params, int(state.step), workdir))
    print_files(console, experiment, workdir, pictures)
    return 0


def command_line(module: str, *words: str) -> str:
    """Return a command that can be pasted, with this interpreter, relative to the current folder if it is in it."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return shlex.join([str(python), "-m", module, *words])


def start_line(step: int, steps: int, finished: bool, workdir: Path) -> str:
    """Return the line about the step at which this session starts."""
    if finished:
        return f"Finished already at step {step} of {steps}; its pictures are drawn again"
    if step:
        return f"Continuing from step {step} of {steps} in {workdir}"
    return f"Starting at step 0 of {steps} in {workdir}"


def print_scores(console: Console, experiment: Experiment, workdir: Path, step: int, seconds: float) -> None:
    """Print a short table of results."""
    last = {line["split"]: line for line in read(workdir)}
    task = experiment.task
    splits = [split for split in ("train", "validation", "test") if split in last]
    rows = [
        {"metric": name, **{split: last[split].get(name) for split in splits}, "unit": metric.unit}
        for name, metric in task.metrics.items()
    ]
    if task.splits.ceiling is not None:
        unit = "at most: some texts have several answers"
        rows.insert(1, {"metric": "ceiling", "test": task.splits.ceiling, "unit": unit})
    print_table(console, final_table(rows, title=f"step {step}, {duration(seconds)} in this session"))


def print_files(console: Console, experiment: Experiment, workdir: Path, pictures: dict[str, Path]) -> None:
    """Print the paths of files, and the commands to try next."""
    events = {"TensorBoard": workdir / "tensorboard"} if experiment.config.training.output.tensorboard else {}
    print_paths(console, {**pictures, "metrics": workdir / "metrics.jsonl", **events})
    example = example_text(experiment)
    modules = [] if example is None else ["experiments.explore", "experiments.generate"]
    commands = [command_line("experiments.evaluate", f"--workdir={workdir}")]
    commands += [command_line(name, f"--workdir={workdir}", f"--input={example}") for name in modules]
    print_next(console, commands)
