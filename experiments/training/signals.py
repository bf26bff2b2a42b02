"""Signals: a training stops between two steps and saves; any other command, and a training asked again, ends at once.

    within `catch_stop_signals`   SIGTERM, Ctrl-C (SIGINT)   recorded; the training reads it between two steps
                                  Ctrl-C after that          ends at once; SIGTERM after that changes nothing
    a command with workers        SIGTERM, Ctrl-C, SIGHUP    recorded, however often: its workers save and end
    elsewhere                     SIGTERM, Ctrl-C            end at once
    everywhere                    SIGHUP, SIGQUIT            end at once

To end at once is to print one line and to leave with code 128 + number, without the clean-up of libraries, which is not
made to be interrupted. It is safe: files are renamed into place when they are complete, and the kernel releases locks.

A `CommandSignals` does this in the process of a command. Where a program of the user's calls `train`, the handlers are
the program's own outside the block, and a Ctrl-C after a request raises KeyboardInterrupt.
"""

import atexit
import contextlib
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn, TypeVar

T = TypeVar("T")

GENTLE = (signal.SIGTERM, signal.SIGINT)
"""Signals that a training stops for; received even where a script started the command in the background, with "&"."""

HANDLED = (*GENTLE, signal.SIGHUP, signal.SIGQUIT)

SAME_REQUEST_SECONDS = 0.25
"""Longest time between two signals that are one request, since `timeout` and the like send each signal twice."""

OUTPUT_SECONDS = 1.0
"""Longest wait for the reader of the output, where a command ends at once."""

SHOW_CURSOR = b"\r\x1b[K\x1b[?25h"
"""Written to a terminal: clears the line of a progress bar, and shows the cursor, which the bar hides."""


class StopRequest:
    """A signal handler that records the request to stop; `received` is the signal's number, or None.

    Args:
        clock: time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.received: int | None = None
        self._clock, self._since = clock, 0.0

    def __call__(self, number: int, _: FrameType | None = None) -> None:
        """Record a request; raise KeyboardInterrupt on one to end at once."""
        if not self.record(number):
            raise KeyboardInterrupt

    def record(self, number: int) -> bool:
        """Record a request, the first of which counts; return False where it is one to end at once."""
        if number not in GENTLE:
            return False
        if self.received is None:
            self.received, self._since = number, self._clock()
        return number == signal.SIGTERM or self._clock() - self._since <= SAME_REQUEST_SECONDS


class PatientStopRequest(StopRequest):
    """A request to stop of a command whose workers are to save: no signal but SIGQUIT ends it at once.

    Attributes:
        again: whether it was asked a second time, or its terminal has hung up; workers then get little time.
    """

    again = False

    def record(self, number: int) -> bool:
        if number not in (*GENTLE, signal.SIGHUP):
            return False
        before, self.again = self.received, self.again or number == signal.SIGHUP
        if before is None:
            self.received, self._since = number, self._clock()
        elif self._clock() - self._since > SAME_REQUEST_SECONDS:
            self.again = True
        return True


class CommandSignals:
    """The receiver of the signals of a command, from its first import to its exit.

    A thread receives them, so that they act while the main thread compiles, and never as an exception in the midst of
    a library's code. A signal that the parent lets a command ignore, as `nohup` does with SIGHUP, stays ignored.
    """

    def __init__(self) -> None:
        self.request: StopRequest | None = None
        self.stopped = False
        self._releases: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        self._reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in HANDLED:
            if number in GENTLE or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self)
        atexit.register(self._ignore)  # the first that is registered is called last
        threading.Thread(target=self._receive, name="signals", daemon=True).start()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Do nothing in the main thread; without a handler, Python would not pass the signal on to the other thread."""

    @contextlib.contextmanager
    def stopping(self, request: StopRequest) -> Iterator[None]:
        """Record requests to stop in `request` within the block."""
        before, self.request = self.request, request
        try:
            yield
        finally:
            self.request, self.stopped = before, request.received is not None

    @contextlib.contextmanager
    def owning(self, acquire: Callable[[], T], release: Callable[[T], object]) -> Iterator[T]:
        """Do what `owned` does; once the process is ending, the lock stays taken, so that nothing more is acquired."""
        with self._lock:
            owned = acquire()
            own_release = functools.partial(release, owned)
            self._releases.append(own_release)
        try:
            yield owned
        finally:
            with self._lock:
                self._releases.remove(own_release)
                release(owned)

    def _receive(self) -> None:
        while True:
            for number in os.read(self._reader, 64):
                if number not in HANDLED or signal.getsignal(number) is not self:
                    continue  # of a handler that someone else has set
                request = self.request  # the main thread may take it away at any moment
                if request is None or not request.record(number):
                    self._end(number, again=request is not None and request.received is not None)

    def _end(self, number: int, again: bool) -> None:
        """End the process: release what is owned, the newest first, print one line, leave.

        Args:
            again: whether a stop was requested before.
        """
        self._lock.acquire(timeout=OUTPUT_SECONDS)
        for release in reversed(self._releases):
            with contextlib.suppress(Exception):
                release()
        with contextlib.suppress(RuntimeError):  # no thread can be started while the interpreter ends
            printing = threading.Thread(target=self._print, args=(number, again), daemon=True)
            printing.start()
            printing.join(OUTPUT_SECONDS)
        os._exit(exit_code(number))

    def _print(self, number: int, again: bool) -> None:
        """Write what is printed but not written yet, and a line, unless the lines of a stop are printed already."""
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        with contextlib.suppress(OSError):
            for terminal in filter(os.isatty, (1, 2)):
                os.write(terminal, SHOW_CURSOR)
            if not self.stopped:
                why = " again, so nothing more is saved" if again else ""
                os.write(2, f"Interrupted by {signal.Signals(number).name}{why}\n".encode())

    def _ignore(self) -> None:
        """Ignore signals while the interpreter ends, where no handler would be called."""
        for number in HANDLED:
            if signal.getsignal(number) is self:
                signal.signal(number, signal.SIG_IGN)


def command_signals() -> CommandSignals | None:
    """Return the receiver of this process's signals; None in a process that is no command's."""
    handler = signal.getsignal(signal.SIGINT)
    return handler if isinstance(handler, CommandSignals) else None


Request = TypeVar("Request", bound=StopRequest)


@contextlib.contextmanager
def catch_stop_signals(kind: Callable[[], Request] = StopRequest) -> Iterator[Request]:
    """Make SIGTERM and Ctrl-C set `.received` within the block instead of ending the process.

    In a thread that is not the main one of a user's program, signals are left to the program, and none is received.
    """
    request, receiver = kind(), command_signals()
    if receiver is not None:
        with receiver.stopping(request):
            yield request
    elif threading.current_thread() is not threading.main_thread():
        yield request
    else:
        old = [signal.getsignal(number) for number in GENTLE]
        try:
            for number in GENTLE:
                signal.signal(number, request)
            yield request
        finally:
            for number, handler in zip(GENTLE, old, strict=True):
                signal.signal(number, handler)


@contextlib.contextmanager
def owned(acquire: Callable[[], T], release: Callable[[T], object]) -> Iterator[T]:
    """Acquire what must not outlive the block, a process or a temporary file, and release it at the block's end.

    It is released too where a signal ends the command at once within the block, as `finally` is then not reached.

    Args:
        acquire: returns it.
        release: ends or removes it; may be called in another thread.
    """
    receiver = command_signals()
    if receiver is not None:
        with receiver.owning(acquire, release) as held:
            yield held
        return
    held = acquire()
    try:
        yield held
    finally:
        release(held)


def give_back(number: int) -> NoReturn:
    """Let the program's own handler receive a signal that a training stopped for; Ctrl-C raises KeyboardInterrupt.

    Raises:
        KeyboardInterrupt: also where the handler returns, since the training has not reached its end.
    """
    signal.raise_signal(number)
    raise KeyboardInterrupt


def exit_code(number: int) -> int:
    """Return the exit code of a process that a signal ended, as shells expect it: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number
