"""Supervision of one process of a run: its parent starts it, and ends with one line where any process of the run fails.

    parent of 0  <--- a connection each: "I am alive", "mine has ended" --->  parents of 1, 2, ...
        |                  "all end now, because ..." --->                        |
    process 0  <------------------- jax.distributed ------------------->  processes 1, 2, ...

A process whose peer has died waits for it in a collective, or ends with thirty lines of C++. So each runs as a child of
the command, which holds back what the child prints when it fails. The parents connect by an address that the children
exchange once they are connected. The parent of process 0 receives every end first, decides which failure was the
cause, and sends it to the others, which then kill their children. A child reports that it has done its part; one that
ends before has failed, whatever its exit code.
"""

import contextlib
import json
import math
import queue
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from experiments.parallel.processes import HEARTBEAT_SECONDS, Processes, Wish, listening
from experiments.runs.child import Child, print_error
from experiments.runs.ends import MISTAKE, End
from experiments.runs.supervised import DONE
from experiments.storage.retention import steps_in
from experiments.training.processes import kill
from experiments.training.signals import StopRequest, catch_stop_signals, exit_code, owned

ALIVE_SECONDS = 2.0
"""Interval of the signs of life of parents."""

SILENT_SECONDS = 30.0
"""Time after which a parent that is silent, such as on a machine without power, has died."""

REPORTS_SECONDS = 3.0
"""Wait for the reports of other processes once one has failed: the first to fail is seldom the first to report."""

MOST_TEXT = 4000
"""Number of last characters of them that other processes get."""


class Peer:
    """A connection to another parent: lines of JSON; one that is silent for long, or ends, puts None in the queue."""

    def __init__(self, connection: socket.socket, lines: IO[bytes], process: int, events: queue.Queue) -> None:
        self.process, self._connection, self._lines, self._lock = process, connection, lines, threading.Lock()
        for work in (self._read, self._live):
            threading.Thread(target=work, args=(events,), daemon=True).start()

    def send(self, message: Any) -> None:
        """Send a message; one that cannot be sent is lost."""
        with contextlib.suppress(OSError), self._lock:
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def _live(self, _: queue.Queue) -> None:
        while True:
            time.sleep(ALIVE_SECONDS)
            self.send(None)

    def _read(self, events: queue.Queue) -> None:
        with contextlib.suppress(OSError, ValueError), self._lines as lines:
            for line in lines:
                if (message := json.loads(line)) is not None:
                    events.put((self.process, message))
        events.put((self.process, None))


class _Forwarded(StopRequest):
    """A request to stop that is passed on to the child, which decides what it means."""

    def __init__(self, child: subprocess.Popen) -> None:
        super().__init__()
        self.child = child

    def record(self, number: int) -> bool:
        self.received = number
        self.child.send_signal(number)
        return True


class Supervisor:
    """The supervision of one process: `run` returns when the run has ended, here and everywhere.

    Args:
        workdir: of the run, whose checkpoints an error names; None: not known.
        wish: the processes that the command asks for; None: those of a cluster.
    """

    def __init__(self, workdir: Path | None, wish: Wish | None = None) -> None:
        self.workdir, self.wish = workdir, wish or Wish()
        self.events: queue.Queue = queue.Queue()
        self.here, self.hosts = Processes(), [socket.gethostname()]
        self.peers: dict[int, Peer] = {}
        self.ends: dict[int, End] = {}
        self.done = False

    def run(self, command: Sequence[str]) -> int:
        """Start the process, wait for its end, and return the exit code of this command."""
        with listening() as listener:
            port = listener.getsockname()[1]
            started = owned(lambda: Child(command, port, self.events), Child.end)
            with started as child, catch_stop_signals(lambda: _Forwarded(child.process)):
                return self._run(child, listener)

    def _run(self, child: Child, listener: socket.socket) -> int:
        deadline = math.inf
        while not self._over():
            try:
                left = None if deadline == math.inf else max(deadline - time.monotonic(), 0.0)
                source, message = self.events.get(timeout=left)
            except queue.Empty:  # all who can report have reported
                return self._fail(child)
            if isinstance(message, dict) and "cause" in message:
                return self._end(child, End(**message["cause"]))
            if source is None and message == DONE:
                self.done = True
            elif source is None and isinstance(message, dict):
                self._connect(message, listener)
            else:
                self._note(child, source, message)
            if deadline == math.inf and any(end.failed for end in self.ends.values()):
                wait = 0 if self.here.count == 1 else 1 if self.here.first else 2
                deadline = time.monotonic() + wait * REPORTS_SECONDS
        child.print_held()
        code = self.ends[self.here.index].code
        assert code is not None
        return code

    def _over(self) -> bool:
        """Return whether the process has ended as it should; for the first one, all that are connected as well."""
        waiting = {self.here.index, *(self.peers if self.here.first else ())}
        return waiting <= self.ends.keys() and not any(end.failed for end in self.ends.values())

    def _note(self, child: Child, source: int | None, message: Any) -> None:
        """Note the end of a process: of the child, or as its parent reports it, or since its parent is gone."""
        if source is None:
            index = self.here.index
            done = self.done or self.here.count == 1
            text = "".join(child.errors)[-MOST_TEXT:]
            end = self.ends[index] = End(index, self.hosts[index], message, text, done)
            if not self.here.first and self.peers:
                self.peers[0].send(end._asdict())
        elif message is not None:
            self.ends[source] = End(**message)
        elif source not in self.ends:
            self.ends[source] = End(source, self.hosts[source], None)

    def _connect(self, message: dict[str, Any], listener: socket.socket) -> None:
        """Connect with the other parents, once the children have exchanged the address of that of process 0."""
        self.here, self.hosts = Processes(message["count"], message["index"]), message["hosts"]
        if self.here.first:
            threading.Thread(target=self._accept, args=(listener, message["token"]), daemon=True).start()
            return
        try:
            connection = socket.create_connection(message["address"], timeout=SILENT_SECONDS)
            connection.sendall(json.dumps([message["token"], self.here.index]).encode() + b"\n")
        except OSError as error:
            host, port = message["address"]
            print_error(
                f"note: process 0 is not reached by {host}:{port} ({error.strerror or error}), so this process ends"
                f" {HEARTBEAT_SECONDS} s after another has died, without the reason\n"
            )
            return
        self.peers[0] = Peer(connection, connection.makefile("rb"), 0, self.events)

    def _accept(self, listener: socket.socket, token: str) -> None:
        """Take the connections of the other parents, each of which begins with the token of this run."""
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.settimeout(SILENT_SECONDS)
                with contextlib.suppress(OSError, ValueError, TypeError):
                    lines = connection.makefile("rb")
                    given, process = json.loads(lines.readline(1000))
                    if secrets.compare_digest(given, token):
                        self.peers[process] = Peer(connection, lines, process, self.events)

    def _fail(self, child: Child) -> int:
        """End the run for the failure that is its cause."""
        cause = min((end for end in self.ends.values() if end.failed), key=lambda end: end.rank)
        if self.here.first:
            for peer in self.peers.values():
                peer.send({"cause": cause._asdict()})
        return self._end(child, cause)

    def _end(self, child: Child, cause: End) -> int:
        """Kill the child, and print what happened: a mistake on process 0 alone, everything else on all."""
        kill(child.process)
        own = cause.process == self.here.index
        if self.here.count == 1:
            whole = cause._replace(text="".join(child.errors))  # its beginning has the reason
            if (error := whole.of_connecting(self.wish)) is not None:
                print_error(f"error: {error}\n")
                return MISTAKE
        if own and (self.here.first or cause.code != MISTAKE or not self.peers):
            child.print_held()
        if cause.code == MISTAKE:
            if self.here.first and not own:
                print_error(f"error: {cause.in_words(self.here.count)}\n")
            return MISTAKE
        if self.here.count > 1:
            print_error(f"error: {cause.in_words(self.here.count)}. {self._again()}\n")
        code = cause.code if own and cause.code else 1
        return code if code >= 0 else exit_code(-code)

    def _again(self) -> str:
        """Return how to continue."""
        try:
            steps = steps_in(self.workdir / "checkpoints") if self.workdir is not None else []
            where = f"continues from checkpoint {steps[-1]}" if steps else "starts anew, as there is no checkpoint yet"
        except OSError:  # of a file system that may be the cause
            where = "continues from the newest checkpoint"
        return f"All processes have ended. The same command on each machine {where}; their number may be another."
