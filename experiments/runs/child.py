"""A supervised process of a run, as its parent has it: what it prints is passed on, and held back where it may fail.

the child prints a line            passed on at once
one that begins an error, and all  held until the child ends and its parent has the ends of the others, one of which may
that follow                        be the cause; or until the child is still alive HELD_SECONDS after the first one
"""

import contextlib
import json
import os
import queue
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO, cast

from experiments.runs.supervised import SUPERVISOR
from experiments.training.processes import kill

LAST_LINES_SECONDS = 2.0
"""Longest wait for the last lines of a process that has ended; one that it has started may hold them open."""

HELD_LINES = 400
"""Number of last lines that are kept of what a child prints when it fails."""

HELD_SECONDS = 10.0
"""Time after which a child that is still alive has not failed by the error that it has printed."""

BEGINS_HOLDING = re.compile(r"[EF]\d{4} \d\d:\d\d|Traceback \(most recent call last\)|error: |\*\*\* ")
"""Beginning of the lines that stand behind each other where a process fails: of C++, of Python, of a command."""

CHATTER = "[Gloo]"
"""Beginning of lines that are no news: of the library that connects CPUs."""


class Child:
    """A supervised process of a run; events get (None, its end) and (None, what it reports to its parent).

    Attributes:
        held: the lines that are held back.
        errors: the lines since the last beginning of an error, the held ones and those that were passed on late.

    Args:
        command: its words.
        port: of this parent, which the other parents get.
    """

    def __init__(self, command: Sequence[str], port: int, events: queue.Queue) -> None:
        channel, theirs = socket.socketpair()
        self.channel = channel  # the child ends once it is closed, in whatever way
        self.held: list[str] = []
        self.errors: list[str] = []
        self._lock = threading.Lock()
        environment = {**os.environ, SUPERVISOR: f"{theirs.fileno()} {port}"}
        with theirs:
            self.process = subprocess.Popen(
                command,
                env=environment,
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
                text=True,
                errors="backslashreplace",
                process_group=0,
            )
        self._stderr = cast(IO[str], self.process.stderr)
        self._passing = threading.Thread(target=self._pass_on, daemon=True)
        self._listening = threading.Thread(target=self._listen, args=(events,), daemon=True)
        self._waiting = threading.Thread(target=self._wait, args=(events,), daemon=True)
        for thread in (self._passing, self._listening, self._waiting):
            thread.start()

    def end(self) -> None:
        """Kill the process if it is still there, and close what connects it."""
        kill(self.process)
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)
        for thread in (self._passing, self._listening, self._waiting):
            thread.join(LAST_LINES_SECONDS)
        self.channel.close()
        if not self._passing.is_alive():
            self._stderr.close()

    def print_held(self) -> None:
        """Print the lines that are held back."""
        with self._lock:
            print_error("".join(self.held))
            self.held = []

    def _wait(self, events: queue.Queue) -> None:
        code = self.process.wait()
        for thread in (self._passing, self._listening):
            thread.join(LAST_LINES_SECONDS)
        events.put((None, code))

    def _pass_on(self) -> None:
        """Pass on what the child prints on its standard error, but for what may be the error of its end."""
        for line in self._stderr:
            with self._lock:
                self._take(line)

    def _take(self, line: str) -> None:
        begins = BEGINS_HOLDING.match(line)
        if begins and not self.held:
            self.errors = []
            release = threading.Timer(HELD_SECONDS, self._release)
            release.daemon = True
            release.start()
        if self.held or begins:
            self.held = [*self.held[1 - HELD_LINES :], line]
            self.errors = [*self.errors[1 - HELD_LINES :], line]
        elif not line.startswith(CHATTER):
            print_error(line)

    def _release(self) -> None:
        """Print what is held if the child is still alive, which then has not failed by it."""
        if self.process.poll() is None:
            self.print_held()

    def _listen(self, events: queue.Queue) -> None:
        with contextlib.suppress(OSError), self.channel.makefile("rb") as lines:
            for line in lines:
                events.put((None, json.loads(line)))


def print_error(text: str) -> None:
    """Write to standard error; what its reader no longer takes is lost, as the child must not wait for it."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
