"""Start of workers: as processes of this machine, or as Slurm jobs through submitit."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit

from transformer.errors import problem

LAUNCHING = ("--workers", "--slurm", "--slurm_options")
"""Flags that start workers and that the workers themselves do not get."""

MINUTES = 60 * 24
"""The time limit of a worker (minutes), unless an option gives another."""


def submit(flags: Any, argv: Sequence[str]) -> int:
    """Start workers with the same flags, and wait for those that run on this machine.

    Raises:
        UserError: options that submitit does not have, or no Slurm on this machine.
    """
    folder = Path(flags.workdir).absolute() / "workers"
    cluster = "slurm" if flags.slurm else "local"
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    except RuntimeError as error:
        raise problem(f"there is no Slurm here: {error}", do="Leave --slurm out: workers then run here.") from error
    options = _options(flags.slurm_options)
    try:
        executor.update_parameters(name="sweep", **{"timeout_min": MINUTES, **options})
    except (NameError, TypeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise problem(f"--slurm_options: {first}", do="See submitit's AutoExecutor for the names.") from error
    command = [sys.executable, "-m", "experiments.sweep", *_without_launching(argv)]
    jobs = [executor.submit(submitit.helpers.CommandFunction(command)) for _ in range(flags.workers or 1)]
    print(f"{len(jobs)} workers by {cluster}, their output in {folder}: " + ", ".join(job.job_id for job in jobs))
    print(f"each runs: {shlex.join(command)}")
    if flags.slurm:
        return 0
    failed = [job for job in jobs if job.exception() is not None]
    for job in failed:
        print(f"worker {job.job_id} failed, see {job.paths.stderr}", file=sys.stderr)
    print((jobs[0].result() if jobs[0] not in failed else "").strip())
    return 1 if failed else 0


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
