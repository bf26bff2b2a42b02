"""Stop requests: SIGTERM and Ctrl-C set a flag that the loop reads between steps."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """A signal handler that records the request to stop; `received` is the signal's number, or None."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Record the first request; raise KeyboardInterrupt on a Ctrl-C after it."""
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is None:
            self.received = number


@contextlib.contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Make SIGTERM and SIGINT set `.received` within the block instead of ending the process; main thread only."""
    request = StopRequest()
    numbers = (signal.SIGTERM, signal.SIGINT)
    old = [signal.getsignal(number) for number in numbers]
    try:
        for number in numbers:
            signal.signal(number, request)
        yield request
    finally:
        for number, handler in zip(numbers, old, strict=True):
            signal.signal(number, handler)


def exit_code(number: int) -> int:
    """Return the exit code of a process that a signal ended, as shells expect it: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number
