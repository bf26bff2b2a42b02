"""Start of workers: as processes of this machine, or as Slurm jobs through submitit."""

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit

from experiments.storage.workdir_checks import refuse_run
from experiments.training import signals
from experiments.training.processes import child
from experiments.training.signals import PatientStopRequest
from transformer.errors import counted, problem

LAUNCHING = ("--workers", "--slurm", "--slurm_options")
"""Flags that start workers and that the workers themselves do not get."""

MINUTES = 60 * 24
"""The time limit of a Slurm job (minutes), unless an option gives another."""

POLL_SECONDS = 0.1

STOPPING_SECONDS = 600.0
"""Longest wait for workers that were asked to stop: each ends its step or its compilation, and saves."""

AGAIN_SECONDS = 30.0
"""Longest wait for them once this process was asked again, or its terminal has hung up."""


def submit(flags: Any, argv: Sequence[str]) -> int:
    """Start workers with the same flags, and wait for those that run on this machine.

    Raises:
        UserError: options that submitit does not have or that nobody reads, no Slurm on this machine, or the directory
            of a run.
    """
    refuse_run(Path(flags.workdir))
    folder = Path(flags.workdir).absolute() / "workers"
    command = [sys.executable, "-m", "experiments.sweep", *_without_launching(argv)]
    if flags.slurm:
        return _submit_jobs(flags, command, folder)
    if flags.slurm_options is not None:
        raise problem("--slurm_options are read with --slurm alone", do="Add --slurm, or leave them out.")
    return _run_here(flags.workers, command, folder)


def _submit_jobs(flags: Any, command: list[str], folder: Path) -> int:
    """Submit Slurm jobs, and leave them to Slurm."""
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm")
    except RuntimeError as error:
        raise problem(f"there is no Slurm here: {error}", do="Leave --slurm out: workers then run here.") from error
    options = _options(flags.slurm_options)
    try:
        executor.update_parameters(name="sweep", **{"timeout_min": MINUTES, **options})
    except (NameError, TypeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise problem(f"--slurm_options: {first}", do="See submitit's AutoExecutor for the names.") from error
    function = submitit.helpers.CommandFunction(command)
    jobs = [executor.submit(function) for _ in range(flags.workers or 1)]
    _print_workers("as Slurm jobs", [job.job_id for job in jobs], command, folder)
    return 0


def _run_here(count: int, command: list[str], folder: Path) -> int:
    """Run workers as processes of this machine; a request to stop is passed on to them.

    Each is in a process group of its own, so that what the terminal sends reaches it through this process alone: once,
    as SIGTERM, at which it saves, whatever this process got and however often.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{os.getpid()}-{number}" for number in range(count)]
    with contextlib.ExitStack() as stack, signals.catch_stop_signals(PatientStopRequest) as stop:
        workers = {
            name: stack.enter_context(child(command, folder / f"{name}.out", folder / f"{name}.err")) for name in names
        }
        _print_workers("on this machine", names, command, folder)
        while stop.received is None and any(worker.poll() is None for worker in workers.values()):
            time.sleep(POLL_SECONDS)
        if stop.received is not None:
            late = _stop(workers, stop)
            with contextlib.suppress(OSError):  # of a terminal that has hung up
                print(_stopped_line(late), flush=True)
            return signals.exit_code(stop.received)
    without_best = any(worker.returncode == 1 for worker in workers.values())
    failed = [name for name, worker in workers.items() if worker.returncode not in (0, 1)]
    for name in failed:
        print(f"worker {name} failed, see {folder / name}.err", file=sys.stderr)
    print("" if names[0] in failed else (folder / f"{names[0]}.out").read_text(errors="replace").strip())
    return 1 if failed or without_best else 0


def _stop(workers: Mapping[str, subprocess.Popen], stop: PatientStopRequest) -> list[str]:
    """Ask workers to save and end, and wait for them; return the names of those that have not ended in time."""
    for worker in workers.values():
        worker.terminate()
    began, asked_again = time.monotonic(), None
    while running := [name for name, worker in workers.items() if worker.poll() is None]:
        now = time.monotonic()
        asked_again = now if asked_again is None and stop.again else asked_again
        if now - began > STOPPING_SECONDS or (asked_again is not None and now - asked_again > AGAIN_SECONDS):
            break
        time.sleep(POLL_SECONDS)
    return running


def _stopped_line(late: Sequence[str]) -> str:
    """Return the line about a stop, with the names of the workers that did not end in time and are killed."""
    if not late:
        return "Stopped; saved. The same command goes on."
    names = ", ".join(late)
    return f"Stopped; not in time, so killed, with what they had saved before: {names}. The same command goes on."


def _print_workers(where: str, names: list[str], command: list[str], folder: Path) -> None:
    """Print the number of workers, their names, and what each runs."""
    print(f"{counted(len(names), 'worker')} {where}, output in {folder}: " + ", ".join(names), flush=True)
    print(f"each runs: {shlex.join(command)}", flush=True)


def _options(text: str | None) -> dict[str, Any]:
    """Parse a text such as partition=gpu,timeout_min=60 into {"partition": "gpu", "timeout_min": 60}."""
    found: dict[str, Any] = {}
    for part in (text or "").split(",") if text else []:
        name, equals, value = part.partition("=")
        if not equals:
            raise problem("--slurm_options has a part without a value", got=part, expected="NAME=VALUE,NAME=VALUE")
        found[name.strip()] = int(value) if value.strip().isdecimal() and len(value) < 20 else value.strip()
    return found


def _without_launching(argv: Sequence[str]) -> list[str]:
    """Remove the flags of LAUNCHING from the words of a command line."""
    words, left = [], list(argv)
    while left:
        word = left.pop(0)
        name, equals, _ = word.partition("=")
        if name not in LAUNCHING:
            words.append(word)
        elif not equals and left and not left[0].startswith("--"):
            left.pop(0)
    return words
