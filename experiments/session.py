"""One session of training in a working directory: open it, continue or start, train, say how it went."""

import shlex
import sys
import time
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from experiments import settings
from experiments.runs import TOKENIZER, draw_run
from experiments.training import reporting, signals
from experiments.training.checkpoints import Checkpoints
from experiments.training.config import BEST_MODE
from experiments.training.experiment import Experiment, set_up
from experiments.training.loop import Loop, NotFiniteError, restore_or_start
from experiments.training.progress import duration, final_table, print_next, print_paths, progress, say
from experiments.training.workdir import open_workdir, write_text_atomically


def train(config: Any, workdir: Path, notes: list[str], command: list[str]) -> int:
    """Trains until the last step or until asked to stop.

    Args:
        config: resolved from a recipe and flags.
        notes: lines about what was left out of the recipe.
        command: the module and the words of the command line, for "continue with".

    Returns:
        The exit code: 0, 130 after Ctrl-C, 143 after SIGTERM, 1 where the loss or the gradient was not finite.

    Raises:
        UserError, OSError: mistakes of the user's, and full or read-only disks.
    """
    console = Console()
    notes = [*notes]
    experiment = set_up(config)
    stored = settings.to_json_dict(experiment.config)
    output = experiment.config.training.output
    devices = f"{jax.device_count()} x {jax.devices()[0].device_kind} ({jax.default_backend()})"
    with (
        open_workdir(workdir, stored, differences=settings.differences, devices=devices),
        signals.catch_stop_signals() as stop,
        Checkpoints(
            workdir / "checkpoints",
            output.keep_last,
            output.best,
            BEST_MODE[output.best],
            say=notes.append,
        ) as checkpoints,
        reporting.Metrics(workdir, output.tensorboard) as metrics,
    ):
        write_text_atomically(workdir / TOKENIZER, experiment.task.tokenizer.to_json())
        state, window = restore_or_start(experiment, checkpoints, metrics)
        first = int(state.step)
        announce(console, experiment, state.params, workdir, first, notes, devices)
        loop = Loop(experiment, stored, checkpoints, metrics, stop, lambda line: say(console, line))
        began = time.monotonic()
        try:
            with progress(experiment.config.training.steps, first, console) as shown:
                state = loop.run(state, window, shown)
        except NotFiniteError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        checkpoints.wait()
        if stop.received is not None:
            say(console, f"Stopped at step {int(state.step)}; saved. Continue with the same command:")
            say(console, f"  {shown_command(command[0], *command[1:])}")
            return signals.exit_code(stop.received)
        pictures = draw_run(experiment, state.evaluated_params, int(state.step), workdir)
    finish(console, experiment, workdir, time.monotonic() - began, pictures)
    return 0


def shown_command(module: str, *words: str) -> str:
    """A command that can be pasted: with the interpreter that runs now, by its path from here if it is below."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return shlex.join([str(python), "-m", module, *words])


def announce(
    console: Console, experiment: Experiment, params: Any, workdir: Path, first: int, notes: list[str], devices: str
) -> None:
    """What will run, in a few lines; the first says where it starts."""
    config, task = experiment.config, experiment.task
    steps = config.training.steps
    if first >= steps:
        say(console, f"Finished already at step {first} of {steps}; its pictures are drawn again")
    elif first:
        say(console, f"Continuing from step {first} of {steps} in {workdir}")
    else:
        say(console, f"Starting at step 0 of {steps} in {workdir}")
    for note in notes:
        say(console, note)
    count = sum(x.size for x in jax.tree.leaves(params))
    say(console, f"{config.model.architecture}, {count:,} parameters, {config.model.vocab_size} tokens, on {devices}")
    shapes = ", ".join(" x ".join(map(str, shape)) for shape in task.plan.shapes)
    sizes = [len(split) for split in (task.splits.train, task.splits.validation, task.splits.test)]
    say(console, f"{sizes[0]:,} training, {sizes[1]:,} validation, {sizes[2]:,} test examples, padded to {shapes}")
    say(
        console,
        f"programs that compile: 1 of the start, {task.num_programs} of the update, 1 of losses, 2 of generation",
    )


def finish(console: Console, experiment: Experiment, workdir: Path, seconds: float, pictures: dict[str, Path]) -> None:
    """A short table of results, the paths to look at, and what to try next."""
    last = {line["split"]: line for line in reporting.read(workdir)}
    names = {"loss": "loss (nats per token)", "accuracy": "token accuracy", "exact_match": "exact match"}
    rows = [
        {"split": split, **{title: last[split][name] for name, title in names.items() if name in last[split]}}
        for split in ("train", "validation", "test")
    ]
    console.print(
        final_table(rows, title=f"step {experiment.config.training.steps}, {duration(seconds)} in this session")
    )
    print_paths(console, {**pictures, "metrics": workdir / "metrics.jsonl", "TensorBoard": workdir / "tensorboard"})
    example = experiment.task.splits.test[0].source
    print_next(
        console,
        [
            shown_command("experiments.evaluate", f"--workdir={workdir}"),
            shown_command("experiments.explore", f"--workdir={workdir}", f"--input={example}"),
        ],
    )
