"""Reporters: where a session writes its lines, tables, warnings and progress.

Silent             of a process whose run another one reports
Reporter           of Python code: warnings are Python's own, nothing else is shown
Terminal           of a command: everything is printed
ProgressAlone      of Python code that shows progress: evaluations and a bar, on standard error or in a notebook
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.training.progress import Progress, print_line, progress
from experiments.training.tables import print_table
from transformer.errors import warn

NOTEBOOK_SECONDS = 0.5
"""Interval between two changes of the line of progress in a notebook (seconds)."""


class Reporter:
    """A reporter that shows nothing, and raises remarks as Python's warnings."""

    def line(self, text: str) -> None:
        """Report a line about the session as a whole."""

    def event(self, text: str) -> None:
        """Report a line while training goes on, such as the scores of an evaluation."""

    def table(self, table: Table) -> None:
        """Report a table."""

    def remark(self, text: str) -> None:
        """Report what may be a mistake, or what is done in place of what was asked for."""
        warn(text.removeprefix("note: "))

    @contextlib.contextmanager
    def progress(self, total_steps: int, start_step: int) -> Iterator[Progress]:
        """Show the progress of a training within the block."""
        yield Progress(total_steps, start_step, lambda now: None, time.monotonic)


class Silent(Reporter):
    """A reporter that shows nothing at all: of a process whose run another one reports."""

    def remark(self, text: str) -> None:
        """Do nothing."""


class Terminal(Reporter):
    """The reporter of a command, which prints everything on its console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def line(self, text: str) -> None:
        print_line(self.console, text)

    def event(self, text: str) -> None:
        print_line(self.console, text)

    def table(self, table: Table) -> None:
        print_table(self.console, table)

    def remark(self, text: str) -> None:
        print_line(self.console, text)

    @contextlib.contextmanager
    def progress(self, total_steps: int, start_step: int) -> Iterator[Progress]:
        with progress(total_steps, start_step, self.console) as shown:
            yield shown


class ProgressAlone(Reporter):
    """The reporter of Python code that shows the progress of a training, and its evaluations.

    Args:
        console: outside a notebook, where it is shown.
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    def event(self, text: str) -> None:
        print_line(self.console, text)

    @contextlib.contextmanager
    def progress(self, total_steps: int, start_step: int) -> Iterator[Progress]:
        display = notebook_display()
        if display is None:
            with progress(total_steps, start_step, self.console) as shown:
                yield shown
        else:
            yield Progress(total_steps, start_step, in_notebook(display, time.monotonic), time.monotonic)


def notebook_display() -> Callable[..., Any] | None:
    """Return IPython's `display` in a notebook; None elsewhere, an IPython terminal included."""
    module = sys.modules.get("IPython")
    shell = module and module.get_ipython()
    return module.display.display if type(shell).__name__ == "ZMQInteractiveShell" else None


def in_notebook(display: Callable[..., Any], clock: Callable[[], float]) -> Callable[[Progress], None]:
    """Build a function that shows a Progress as one line of a notebook, which it then changes."""
    handle, last = display({"text/plain": "compiling"}, raw=True, display_id=True), clock()

    def show(now: Progress) -> None:
        nonlocal last
        if clock() - last >= NOTEBOOK_SECONDS or now.step >= now.total_steps:
            last = clock()
            line = f"step {now.step}/{now.total_steps}  {now.summary()}"
            handle.update({"text/plain": line}, raw=True)

    return show
