"""The command that trains, around its session: what is printed, and the exit code."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.cli.imports import import_words
from experiments.cli.terminal import terminal
from experiments.parallel.processes import disconnect, processes
from experiments.runs.drawing import draw_run
from experiments.runs.init_from import InitFrom
from experiments.runs.open_run import example_text
from experiments.runs.session import train
from experiments.runs.tracking import log_pictures
from experiments.storage.metrics import read
from experiments.tasks.task import Task
from experiments.training import signals
from experiments.training.experiment import Experiment
from experiments.training.loop import NotFiniteError
from experiments.training.progress import duration, print_next, print_paths
from experiments.training.reporter import Terminal
from experiments.training.tables import final_table, print_table


def train_and_report(
    config: Any,
    workdir: Path,
    notes: list[str],
    command: list[str],
    *,
    force: bool = False,
    init: InitFrom | None = None,
    leave: Callable[[], object] = disconnect,
) -> int:
    """Train until the last step or until a stop is requested, and print the results.

    Args:
        config: resolved from a recipe and flags.
        notes: lines about settings of the recipe that are left out.
        command: the module and the words of the command line, for "continue with".
        force: train though the memory is too small for what the run needs.
        init: the run whose parameters a new one starts from; None: none, or the recorded one.
        leave: called once this process has trained and saved; it leaves the other processes.

    Returns:
        The exit code: 0, 130 after Ctrl-C, 143 after SIGTERM, 1 where the loss or the gradient was not finite.

    Raises:
        UserError, OSError: mistakes of the user, and full or read-only disks.
    """
    console = terminal()
    try:
        again = command_line(*command)
        ended = train(config, workdir, Terminal(console), notes=notes, again=again, force=force, init=init)
    except NotFiniteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    leave()
    if ended.stopped is not None:
        return signals.exit_code(ended.stopped)
    if not processes().first:
        return 0
    experiment = ended.run.experiment
    print_scores(console, experiment, workdir, ended.run.step, ended.seconds)
    pictures = draw_run(ended.run)
    log_pictures(workdir, experiment.config, pictures, ended.run.step)
    print_files(console, experiment, workdir, pictures, import_words(command))
    return 0


def command_line(module: str, *words: str) -> str:
    """Return a command that can be pasted, with this interpreter, relative to the current folder if it is in it."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return shlex.join([str(python), "-m", module, *words])


def print_scores(console: Console, experiment: Experiment, workdir: Path, step: int, seconds: float) -> None:
    """Print a short table of results."""
    title = f"step {step}, {duration(seconds)} in this session"
    print_table(console, scores_table(experiment.task, workdir, title))


def scores_table(task: Task, workdir: Path, title: str) -> Table:
    """Build the table of the last scores of a run on each split."""
    last = {line["split"]: line for line in read(workdir)}
    splits = [split for split in ("train", "validation", "test") if split in last]
    rows = [
        {"metric": name, **{split: last[split].get(name) for split in splits}, "unit": metric.unit}
        for name, metric in task.metrics.items()
    ]
    if task.splits.ceiling is not None:
        unit = "at most: some texts have several answers"
        rows.insert(1, {"metric": "ceiling", "test": task.splits.ceiling, "unit": unit})
    return final_table(rows, title=title)


def print_files(
    console: Console, experiment: Experiment, workdir: Path, pictures: dict[str, Path], imports: Sequence[str] = ()
) -> None:
    """Print the paths of files, and the commands to try next; `imports` are their words for modules to import."""
    events = {"TensorBoard": workdir / "tensorboard"} if experiment.config.training.output.tensorboard else {}
    print_paths(console, {**pictures, "metrics": workdir / "metrics.jsonl", **events})
    example = example_text(experiment)
    modules = [] if example is None else ["experiments.explore", "experiments.generate"]
    words = [f"--workdir={workdir}", *imports]
    commands = [command_line("experiments.evaluate", *words)]
    commands += [command_line(name, *words, f"--input={example}") for name in modules]
    print_next(console, commands)
