"""A process of a run that its parent supervises: what it reports to the parent, and how it ends."""

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

from experiments.parallel.processes import Processes, disconnect

SUPERVISOR = "TRANSFORMER_SUPERVISOR"
"""Variable of the environment with which a parent names its channel and its address to its child."""

DONE = {"done": True}
"""Report of a process that has done its part, and that no other process needs any longer."""


def supervised() -> bool:
    """Return whether this process has a parent that supervises it."""
    return SUPERVISOR in os.environ


class Parent:
    """The parent of this process, which ends at once when the parent does, from here on."""

    def __init__(self) -> None:
        number, self._port = map(int, os.environ.pop(SUPERVISOR).split())
        os.set_inheritable(number, False)
        self._channel = socket.socket(fileno=number)
        threading.Thread(target=_end_with, args=(self._channel,), daemon=True).start()

    def report(self, everyone: Processes, coordinator: str | None) -> None:
        """Report that this process is connected, and where the other parents are; all processes wait for each other.

        Args:
            coordinator: the address of process 0, by which other machines reach its parent as well; None: its name.
        """
        name = socket.gethostname()
        host = name if coordinator is None else coordinator.rpartition(":")[0].strip("[]")
        found = everyone.gather([name, host, self._port, secrets.token_hex(16)])
        names, (_, *address, token) = [row[0] for row in found], found[0]
        here = {"count": everyone.count, "index": everyone.index}
        self._send({**here, "hosts": names, "address": address, "token": token})
        if not everyone.first:  # what it prints, the first one prints as well
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def leave(self) -> None:
        """Leave the other processes, and report that this one has done its part; without it, its end is a failure."""
        disconnect()
        self._send(DONE)

    def _send(self, message: Any) -> None:
        self._channel.sendall(json.dumps(message).encode() + b"\n")


@contextlib.contextmanager
def ends_at_once() -> Iterator[None]:
    """End a supervised process at once where the block fails: else it would wait for the others at its exit."""
    if not supervised():
        yield
        return
    try:
        yield
    except SystemExit as error:
        if error.code in (0, None):
            raise
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    else:
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _end_with(channel: socket.socket) -> None:
    """End this process at once when the parent's end of the channel is closed."""
    with contextlib.suppress(OSError):
        while channel.recv(1):
            pass
    os._exit(1)
