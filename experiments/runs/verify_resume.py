"""The proof of resuming: a run that is killed and continued ends with the bits of one that never was killed.

at once     2n steps in one process
continued   the same command in a process that is killed (SIGKILL) once its checkpoint of step n is complete, at
            whatever step it then is; then in another, to step 2n

`storage.bitwise` compares both results.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from experiments import settings
from experiments.cli.terminal import terminal
from experiments.runs.run_data import require_run_data
from experiments.runs.stored_config import stored_config
from experiments.storage import bitwise, retention
from experiments.training import signals
from experiments.training.experiment import set_up
from experiments.training.processes import child
from experiments.training.progress import duration, print_line
from experiments.training.tables import final_table, print_table
from transformer.errors import UserError, problem, shorten

DIFFERENT = 1
"""The exit code where the bits differ."""

SMALLER = {"data.evaluation_examples": "64", "decoding.max_new_tokens": "1"}
"""Settings that make evaluations fast, where the experiment reads them and no flag gives them."""

POLL_SECONDS = 0.01
TERMINAL_SECONDS, LINE_SECONDS = 1.0, 10.0
"""Intervals at which the progress is shown: on a terminal, and as lines elsewhere."""

ATTEMPTS = 5
"""The number of runs to kill, where one ends before it is killed."""

NEXT_BATCHES = 3
"""The number of batches after the last step that are compared."""


@dataclasses.dataclass(frozen=True)
class Trainer:
    """The processes that train: each is started, and killed at a checkpoint.

    Args:
        words: words of the command, without its working directory.
        steps: steps of a training.
        console: where lines and the status are printed.
    """

    words: Sequence[str]
    steps: int
    console: Console

    def run(self, workdir: Path, doing: str, until: int) -> int:
        """Train in `workdir`, and kill the process as soon as a checkpoint of step `until` or later is complete.

        A run that is killed at its last step lacks the pictures alone, since metrics are written before the checkpoint.

        Args:
            doing: description of the run, for the console.

        Returns:
            The newest step that is saved.

        Raises:
            UserError: the process ended with an error.
        """
        log, began = workdir.with_suffix(".log"), time.monotonic()
        command = [sys.executable, "-m", "experiments.train", *self.words, f"--workdir={workdir}"]
        with child(command, log) as process:
            self._wait(process, doing, log, lambda: newest_saved(workdir) >= until)
        if process.returncode not in (0, -signal.SIGKILL):
            raise problem(f"training failed ({doing})", got=f"exit code {process.returncode}: {newest_line(log)}")
        saved = newest_saved(workdir)
        print_line(
            self.console, f"{doing}: {duration(time.monotonic() - began)}, killed with checkpoint {saved} complete"
        )
        return saved

    def _wait(self, process: subprocess.Popen, doing: str, log: Path, reached: Callable[[], bool]) -> None:
        """Wait until a process has ended or reached its goal; show how far it is, as a line where no terminal is."""
        began, is_terminal = time.monotonic(), self.console.is_terminal
        due = every = TERMINAL_SECONDS if is_terminal else LINE_SECONDS
        with self.console.status(doing) as status:
            while process.poll() is None and not reached():
                seconds = time.monotonic() - began
                if seconds >= due:
                    due = seconds + every
                    line = f"{doing}, {duration(seconds)}: {newest_line(log)}"
                    if is_terminal:
                        status.update(Text(line))
                    else:
                        print_line(self.console, line)
                time.sleep(POLL_SECONDS)


def verify(recipe: str, overrides: Sequence[tuple[str, str]], n: int) -> int:
    """Train 2n steps twice, at once and killed after n, and print whether the results are the same bits.

    Args:
        recipe: the path of a recipe.
        overrides: full names of settings and their texts, as the flags gave them.
        n: steps before the kill, and after it.

    Returns:
        The exit code: 0 for the same bits, else DIFFERENT.

    Raises:
        UserError: mistakes in the settings, or training that fails or ends before step 2n.
    """
    console, flags = terminal(), flags_of(recipe, overrides, n)
    retention.keep_orbax_quiet()
    print_line(console, f"The recipe with {' '.join(flags)}")
    with signals.owned(lambda: tempfile.mkdtemp(prefix="verify_resume_"), shutil.rmtree) as directory:
        trainer = Trainer([f"--config={recipe}", *flags], 2 * n, console)
        at_once = Path(directory) / "at_once"
        last = trainer.run(at_once, f"at once, {2 * n} steps", until=2 * n)
        if last != 2 * n:
            what = f"training ended at step {last} of {2 * n}, by training.patience"
            raise problem(what, do="Leave it out, or make it longer.")
        killed, continued = run_and_kill(trainer, Path(directory), n)
        runs = [
            bitwise.read_saved(path, last, name, next_batches(path, last))
            for path, name in ((at_once, "at once"), (continued, "continued"))
        ]
    difference = bitwise.first_difference(*runs)
    if difference is not None:
        print_line(console, f"not the same bits: killed after the checkpoint of step {killed}. What differs first:")
        print_line(console, f"  {difference}")
        return DIFFERENT
    print_line(console, f"the same bits at step {last}; killed and continued from step {killed}")
    print_table(console, final_table(runs[1].contents()))
    return 0


def flags_of(recipe: str, overrides: Sequence[tuple[str, str]], n: int) -> list[str]:
    """Return the flags of all three processes: the overrides, and those of the proof.

    Raises:
        UserError: the settings do not fit each other.
    """
    log_every = next(every for every in itertools.count(3) if n % every)  # so that step n lies between two lines
    own = {
        "training.steps": f"{2 * n}",
        "training.output.log_every": f"{log_every}",
        "training.output.evaluate_every": f"{n}",
        "training.output.tensorboard": "false",
    }
    loaded, flags = settings.load_recipe(recipe), {**dict(overrides), **own}
    for name, text in overrides:
        if own.get(name, text) != text:
            print(f"note: --config.{name} = {text} is not read: --verify_resume sets {own[name]}", file=sys.stderr)
    settings.resolve(loaded, flags.items())
    for name, text in SMALLER.items():
        with contextlib.suppress(UserError):  # an experiment that does not read it
            settings.resolve(loaded, {name: text, **flags}.items())
            flags = {name: text, **flags}
    return [f"--config.{name}={text}" for name, text in flags.items()]


def run_and_kill(trainer: Trainer, directory: Path, n: int) -> tuple[int, Path]:
    """Train until the run is killed, and continue it in another process to its end.

    Returns:
        The step that the killed run had saved, and the directory of the run.

    Raises:
        UserError: the run could not be killed in time, or it started again in place of continuing.
    """
    for attempt in range(ATTEMPTS):
        workdir = directory / f"continued_{attempt}"
        step = trainer.run(workdir, f"continued, step 0 to at least {n}", until=n)
        if step < trainer.steps:
            trainer.run(workdir, f"continued, step {step} to {trainer.steps}", until=trainer.steps)
            output = workdir.with_suffix(".log").read_text(errors="replace")
            if f"Continuing from step {step} of" not in output:
                raise problem(f"the killed run did not continue from step {step}", got=output.partition("\n")[0])
            return step, workdir
        print_line(
            trainer.console, "the run was killed too late, so nothing was left to continue; another run is killed"
        )
    raise problem(f"the run could not be killed between step {n} and its end", do="Make --verify_steps larger.")


def newest_saved(workdir: Path) -> int:
    """Return the newest step with a complete checkpoint (its directory is renamed into place); 0 without one."""
    return max((int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*") if p.name.isdecimal()), default=0)


def newest_line(log: Path) -> str:
    """Return the last line of a process's output, at most 200 characters of it; "starting" before the first."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return shorten(lines[-1], 200) if lines else "starting"


def next_batches(workdir: Path, step: int) -> str:
    """Compute the SHA-256 of the batches after `step`, by the directory's own config and tokenizers."""
    config, _ = stored_config(workdir, trust_code=True)  # this command has just written it, from its own recipe
    task = set_up(config, require_run_data(workdir, config)).task
    digest = hashlib.sha256()
    for i in range(step, step + NEXT_BATCHES):
        batch: dict[str, Any] = task.batches.at(i)
        for name in sorted(batch):
            digest.update(f"{name} {batch[name].shape} {batch[name].dtype}".encode() + batch[name].tobytes())
    return digest.hexdigest()
