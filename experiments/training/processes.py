"""Processes that a command starts, and that do not outlive it."""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from experiments.training.signals import owned


@contextlib.contextmanager
def child(command: Sequence[str], output: Path, errors: Path | None = None) -> Iterator[subprocess.Popen]:
    """Start a process, and kill it at the end of the block, or where a signal ends this command, if it is still there.

    It is in a process group of its own, so that Ctrl-C reaches this command alone.

    Args:
        command: its words.
        output: path of the file for what it prints.
        errors: path of the file for its standard error; None: `output`.
    """

    def start() -> subprocess.Popen:
        with open(output, "w") as out, contextlib.ExitStack() as stack:
            err = subprocess.STDOUT if errors is None else stack.enter_context(open(errors, "w"))
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, process_group=0)

    with owned(start, kill) as process:
        yield process


def answered(command: Sequence[str], text: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Give a process a text on its standard input; return what it prints, and what it prints on its standard error.

    As with `child`, it is in a process group of its own, and does not outlive this command.
    """
    pipe = subprocess.PIPE

    def start() -> subprocess.Popen:
        return subprocess.Popen(
            command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, process_group=0
        )

    with owned(start, kill) as process:
        return process.communicate(text)


def kill(process: subprocess.Popen) -> None:
    """Kill a process, and wait for its end; one that has ended already is left as it is."""
    process.kill()
    process.wait()
