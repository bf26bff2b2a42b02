"""Terminal output of a run: a progress bar while it runs; paths and the next commands when it ends.

In a log file or on a CI machine a bar would be escape codes, so there it is a plain line every few seconds.
"""

import collections
import contextlib
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.segment import Segment, Segments

STEADY = 2
"""Number of steady intervals between updates before a speed is shown."""


class Progress:
    """Loss, speed and time left of a run; `update` it after each step or every few.

    Speeds and time left are means over the last `seconds` that are known to be steady: an interval between two updates
    in which a program ran for the first time, and so was compiled, does not count, nor do its steps.
    """

    def __init__(
        self,
        total_steps: int,
        start_step: int,
        show: Callable[["Progress"], None],
        clock: Callable[[], float],
        seconds: float = 30.0,
    ) -> None:
        self.total_steps, self.step, self.loss = total_steps, start_step, None
        self._show, self._clock, self._seconds = show, clock, seconds
        self._updated_at, self._ran = clock(), set[Hashable]()
        self._samples = collections.deque([(0.0, 0, 0, 0)])

    def update(
        self,
        step: int,
        *,
        loss: float | None = None,
        examples: int = 0,
        tokens: int = 0,
        shape: Hashable = None,
        evaluated: bool = False,
    ) -> None:
        """Show the state after `step`.

        Args:
            step: updates done.
            loss: nats per token of this step, as a Python float; None: it is not known, and none is shown.
            examples: number of examples since the last call.
            tokens: number of tokens since the last call.
            shape: shape of the batch of the update that began since the last call; each has a program of its own.
            evaluated: whether there was an evaluation since the last call.
        """
        now = self._clock()
        interval = (now - self._updated_at, step - self.step, examples, tokens)
        self.step, self.loss, self._updated_at = step, loss, now
        programs = {("update", shape), *(["evaluation"] if evaluated else [])}
        if programs <= self._ran:
            last = self._samples[-1]
            self._samples.append(tuple(before + added for before, added in zip(last, interval, strict=True)))
            while len(self._samples) > STEADY + 1 and self._samples[1][0] <= self._samples[-1][0] - self._seconds:
                self._samples.popleft()
        self._ran |= programs
        self._show(self)

    def _per_second(self, column: int) -> float | None:
        first, last = self._samples[0], self._samples[-1]
        seconds = last[0] - first[0]
        return (last[column] - first[column]) / seconds if len(self._samples) > STEADY and seconds > 0 else None

    @property
    def examples_per_second(self) -> float | None:
        return self._per_second(2)

    @property
    def tokens_per_second(self) -> float | None:
        return self._per_second(3)

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the present speed; None before enough intervals are steady."""
        speed = self._per_second(1)
        return (self.total_steps - self.step) / speed if speed else None

    def summary(self) -> str:
        """Format loss, speeds and time left in one line."""
        parts = [] if self.loss is None else [f"loss {self.loss:.4f}"]
        if self.tokens_per_second is not None:
            parts.append(f"{self.examples_per_second:,.0f} examples/s")
            parts.append(f"{self.tokens_per_second:,.0f} tokens/s")
        if self.seconds_left is not None:
            parts.append(f"{duration(self.seconds_left)} left")
        return "  ".join(parts)


@contextlib.contextmanager
def progress(
    total_steps: int,
    start_step: int,
    console: Console,
    *,
    every_seconds: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Show a Progress on `console`: as a bar on a terminal, elsewhere as a line every `every_seconds`.

    Lines printed to the same console in the meantime appear above the bar.
    """
    if not console.is_terminal:
        yield Progress(total_steps, start_step, _lines(console, every_seconds, clock), clock)
        return
    columns = [TextColumn("step {task.completed}/{task.total}"), TextColumn("{task.fields[summary]}")]
    if console.width >= 100:  # else the numbers would be cut off
        columns.insert(1, BarColumn(bar_width=20))
    with Bar(*columns, console=console, refresh_per_second=4) as bar:
        task = bar.add_task("", total=total_steps, completed=start_step, summary="compiling")
        yield Progress(
            total_steps, start_step, lambda now: bar.update(task, completed=now.step, summary=now.summary()), clock
        )


def _lines(console: Console, every_seconds: float, clock: Callable[[], float]) -> Callable[[Progress], None]:
    """Build a `show` that prints a line when the last one is `every_seconds` old, and one at the last step."""
    last = clock()

    def show(now: Progress) -> None:
        nonlocal last
        if clock() - last >= every_seconds or now.step >= now.total_steps:
            last = clock()
            print_line(console, f"step {now.step}/{now.total_steps}  {now.summary()}")

    return show


@contextlib.contextmanager
def count_progress(total: int, done: int, unit: str, console: Console) -> Iterator[Callable[[int], None]]:
    """Show how many of a number of things are done, as a bar that goes when the block ends; only on a terminal.

    Args:
        done: number of those that were done before.
        unit: their name, in the plural.

    Yields:
        A function to be called with the number of those that were done since its last call.
    """
    if not console.is_terminal or total == 1:
        yield lambda count: None
        return
    columns = (TextColumn(f"{unit} {{task.completed}}/{{task.total}}"), BarColumn(bar_width=20), "{task.fields[speed]}")
    redirected = {"redirect_stdout": False, "redirect_stderr": False}  # the results themselves go there
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True, **redirected) as bar:
        task = bar.add_task("", total=total, completed=done, speed="compiling")

        def advance(count: int) -> None:
            bar.update(task, advance=count)
            if speed := bar.tasks[task].speed:
                bar.update(task, speed=f"{speed:,.1f} {unit}/s")

        yield advance


def print_paths(console: Console, paths: Mapping[str, Any]) -> None:
    """Print one line for each path, "meaning  path"."""
    width = max(map(len, paths), default=0)
    for meaning, path in paths.items():
        print_line(console, f"{meaning:<{width}}  {path}")


def print_next(console: Console, commands: Iterable[str]) -> None:
    """Print the commands to try next, each on its own line to be copied."""
    print_line(console, "Next:")
    for command in commands:
        print_line(console, f"  {command}")


def print_line(console: Console, line: str) -> None:
    """Print a line unchanged: not wrapped (a path or command stays whole), without markup, no tab of it expanded."""
    console.print(Segments([Segment(f"{line}\n")]), soft_wrap=True, end="")


def devices_in_words() -> str:
    """Describe the devices of this process, such as "1 x cpu (cpu)": number, name, platform."""
    return f"{jax.local_device_count()} x {jax.devices()[0].device_kind} ({jax.default_backend()})"


def duration(seconds: float) -> str:
    """Format a time: 75 -> "1 min 15 s"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
