"""Ends of the processes of a run: which of several failures was the cause, and the line about it."""

import re
import signal
from typing import NamedTuple

from experiments.parallel.processes import CONNECT_SECONDS, Wish, not_connected
from experiments.training.signals import GENTLE, exit_code
from transformer.errors import UserError

MISTAKE = 2
"""Exit code of a command for a mistake of the user, which every process may have found."""

STOPPED = {exit_code(number): number for number in GENTLE}
"""Exit code of a process that was asked to stop -> the number of the signal."""

OF_A_PEER = re.compile(
    "gloo|NCCL|[Cc]onnection (closed|reset|refused)|heartbeat|coordination|DEADLINE_EXCEEDED|UNAVAILABLE"
)
"""Parts of the errors of a process whose peer has died."""

NOT_CONNECTED = re.compile(r"JAX distributed service.*absl::Status: (.*)")
"""The line with which JAX ends a process that does not connect; in front of it, the reason."""


class End(NamedTuple):
    """The end of a process, as its parent reports it.

    Attributes:
        code: its exit code; below 0 the number of the signal that ended it; None: its parent is gone.
        text: the last lines that it printed on its standard error.
        done: whether it had done its part, saved, and left the others before it ended.
    """

    process: int
    host: str
    code: int | None
    text: str = ""
    done: bool = False

    @property
    def failed(self) -> bool:
        """True also where it was asked to stop and ended at once, so that the others have lost it."""
        return not self.done or self.code not in (0, *STOPPED)

    @property
    def rank(self) -> tuple[int, int]:
        """The place of a failure among those that may be the cause: the smallest is."""
        if self.code is None or (self.code < 0 and -self.code != signal.SIGABRT) or self.code in (0, *STOPPED):
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
            memory = " (out of memory?)" if -self.code == signal.SIGKILL else ""
            return f"{who} was ended by {_name(-self.code)}{memory}"
        if self.code in STOPPED:
            return f"{who} was stopped by {_name(STOPPED[self.code])} before it could save"
        return f"{who}: {last}." if self.code == MISTAKE else f"{who} ended with code {self.code}: {last}"

    def of_connecting(self, wish: Wish) -> UserError | None:
        """Return the error of a process that JAX ended because it did not connect; None: another end."""
        found = NOT_CONNECTED.search(self.text)
        if self.code != -signal.SIGABRT or found is None:
            return None
        late = found[1].startswith("DEADLINE_EXCEEDED")
        return not_connected(wish, f"nothing within {CONNECT_SECONDS} s" if late else found[1])


def _name(number: int) -> str:
    """Return the name of a signal; real-time signals have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
