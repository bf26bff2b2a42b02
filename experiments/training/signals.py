"""Stopping on request: SIGTERM and Ctrl-C set a flag that the loop reads between steps."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """Whether the run was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        """The signal handler: the first request is noted, a Ctrl-C after it stops at once."""
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is None:
            self.received = number


@contextlib.contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Within the block SIGTERM and SIGINT set `.received` instead of ending the process; main thread only."""
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
    """What a shell expects of a process that a signal ended: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number
