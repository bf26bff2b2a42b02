"""Ends of the processes of a run: which of several failures was the cause, and the line about it."""

import re
import signal
from typing import NamedTuple

from experiments.training.signals import GENTLE, exit_code

MISTAKE = 2
"""Exit code of a command for a mistake of the user, which every process may have found."""

OF_A_PEER = re.compile(
    "gloo|NCCL|[Cc]onnection (closed|reset|refused)|heartbeat|coordination|DEADLINE_EXCEEDED|UNAVAILABLE"
)
"""Parts of the errors of a process whose peer has died."""


class End(NamedTuple):
    """The end of a process, as its parent reports it.

    Attributes:
        code: its exit code; below 0 the number of the signal that ended it; None: its parent is gone.
        text: the last lines that it printed on its standard error.
    """

    process: int
    host: str
    code: int | None
    text: str = ""

    @property
    def failed(self) -> bool:
        return self.code not in (0, *(exit_code(number) for number in GENTLE))

    @property
    def rank(self) -> tuple[int, int]:
        """The place of a failure among those that may be the cause: the smallest is."""
        if self.code is None or (self.code < 0 and -self.code != signal.SIGABRT):
            return 0, self.process
        if self.code == MISTAKE:
            return 1, self.process
        return (3 if self.code < 0 or OF_A_PEER.search(self.text) else 2), self.process

    def in_words(self, count: int) -> str:
        """Return the line about a failure."""
        who = f"process {self.process} of {count} ({self.host})"
        lines = [line for line in self.text.splitlines() if line.strip()]
        last = lines[-1].removeprefix("error: ").rstrip(".") if lines else "nothing was printed"
        if self.code is None:
            return f"{who} or its machine is gone"
        if self.code < 0:
            name = signal.Signals(-self.code).name
            return f"{who} was ended by {name}{' (out of memory?)' if -self.code == signal.SIGKILL else ''}"
        return f"{who}: {last}." if self.code == MISTAKE else f"{who} ended with code {self.code}: {last}"
