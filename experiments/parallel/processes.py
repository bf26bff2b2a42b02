"""Processes of one run, each with devices of its own: how they connect, what they exchange, what must be the same.

The first one, of index 0, writes the files of the run and prints; all compute, and all save their part of a checkpoint.
"""

import collections
import dataclasses
import errno
import itertools
import json
import os
import re
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from transformer.errors import UserError, problem

T = TypeVar("T")

AUTO = "auto"

HEARTBEAT_SECONDS = 30
"""Time after which JAX takes a process that is silent for dead; what supervises it notices most deaths at once."""

CONNECT_SECONDS = 300
"""Longest wait for the other processes at the start."""


BIND_ADDRESS = "JAX_COORDINATOR_BIND_ADDRESS"
"""Variable of the environment with another address, and perhaps port, at which process 0 waits for the others."""


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them has them: their number, and its own index."""

    count: int = 1
    index: int = 0

    @property
    def first(self) -> bool:
        """True in the process that writes files and prints."""
        return self.index == 0

    def gather(self, value: Any) -> list[Any]:
        """Exchange a value, as JSON can hold it, among all processes; return those of all, in order.

        All processes wait here for each other.
        """
        if self.count == 1:
            return [value]
        text = np.frombuffer(json.dumps(value).encode(), np.uint8)
        lengths = multihost_utils.process_allgather(np.array([len(text)], np.int32)).reshape(-1)
        texts = multihost_utils.process_allgather(np.pad(text, (0, int(lengths.max()) - len(text))))
        texts = np.asarray(texts).reshape(self.count, -1)
        return [json.loads(bytes(row[:length])) for row, length in zip(texts, lengths, strict=True)]

    def of_first(self, value: T) -> T:
        """Return the value that the first process gives, as JSON can hold it; all processes wait here."""
        first: T = self.gather(value)[0]
        return first

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.gather(None)

    def whole(self, tree: Any) -> Any:
        """Copy arrays whose parts lie on the devices of all processes to the memory of the first, one after another.

        Returns:
            The tree; in the other processes its arrays are None.
        """
        if self.count == 1:
            return tree

        def of(x: Any) -> Any:
            found = multihost_utils.process_allgather(x, tiled=True)
            return found if self.first else None

        return jax.tree.map(of, tree)


ALONE = Processes()


def processes() -> Processes:
    """Return the processes of this run: one, unless `connect` was called before."""
    return Processes(jax.process_count(), jax.process_index())


class Wish(NamedTuple):
    """The processes that a command line asks for; all None: those of the environment, or of a cluster."""

    count: int | None = None
    index: int | None = None
    coordinator: str | None = None


def asked_for(words: Sequence[str]) -> Wish | None:
    """Read --processes, --process and --coordinator among the words of a command line; None: one process.

    What is missing is read from the environment: JAX_NUM_PROCESSES, JAX_PROCESS_ID, JAX_COORDINATOR_ADDRESS.

    Raises:
        UserError: a value that is none, or one that is missing.
    """
    found = given(words, VARIABLES)
    count = found.get("processes", "1")
    if count == "1":
        return None
    names = {name: f"--{name}" for name in VARIABLES}
    if count == AUTO:
        found, names = {name: os.environ.get(variable, "") for name, variable in VARIABLES.items()}, VARIABLES
        if not any(found.values()):
            return Wish()
        if found["processes"] == "1":
            return None
    missing = [name for name in VARIABLES if not found.get(name)]
    if missing:
        raise problem(
            f"--processes={count} needs " + " and ".join(f"--{name} ({VARIABLES[name]})" for name in missing),
            do="Give all three, such as --processes=2 --process=0 --coordinator=HOST:1234, the same HOST:PORT, that of"
            " process 0, to each; or, within a job of Slurm, Open MPI or on a TPU slice, --processes=auto alone.",
        )
    number, index = (_whole(names[name], found[name]) for name in ("processes", "process"))
    if number < 2:
        expected, do = f"1 or more{'' if count == AUTO else ', or auto'}", "Leave --processes out for one process."
        raise problem(f"{names['processes']} is out of range", got=found["processes"], expected=expected, do=do)
    if not 0 <= index < number:
        what, expected = f"{names['process']} does not fit {names['processes']}", f"a number from 0 to {number - 1}"
        raise problem(what, got=found["process"], expected=expected, do="Count the processes from 0.")
    address = re.fullmatch(r"(?:[^\s:]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", found["coordinator"])
    if address is None or not 0 < int(address[1]) < 2**16:
        what, got = f"{names['coordinator']} is no address", repr(found["coordinator"])
        do = "Give the name or the address of process 0's machine, and a free port of it."
        raise problem(what, got=got, expected="HOST:PORT, with a port of 1 to 65535", do=do)
    return Wish(number, index, found["coordinator"])


VARIABLES = {
    "processes": "JAX_NUM_PROCESSES",
    "process": "JAX_PROCESS_ID",
    "coordinator": "JAX_COORDINATOR_ADDRESS",
}
"""Flag -> the variable of the environment that has its value with --processes=auto."""


def given(words: Sequence[str], names: Collection[str]) -> dict[str, str]:
    """Return the values of flags among words that are not checked yet, --name=value or --name value."""
    found = {}
    for word, following in itertools.pairwise([*words, ""]):
        name, equals, text = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in names:
            found[name] = text if equals else following
    return found


def _whole(name: str, text: str) -> int:
    if not text.isdecimal():
        do = "Write, for instance, --processes=2 --process=0 --coordinator=HOST:1234."
        raise problem(f"{name} is no number", got=repr(text), expected="a whole number", do=do)
    return int(text)


def connect(wish: Wish) -> Processes:
    """Connect this process with the others of its run.

    JAX ends the process with SIGABRT where the others do not come within `CONNECT_SECONDS`.

    Raises:
        UserError: no cluster is recognised, a process does not connect, or processes have different numbers of devices.
    """
    if wish.coordinator is not None and wish.index == 0 and BIND_ADDRESS not in os.environ:
        refuse_used_port(int(wish.coordinator.rpartition(":")[2]))
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from `training.signals`
    try:
        jax.distributed.initialize(
            wish.coordinator,
            wish.count,
            wish.index,
            initialization_timeout=CONNECT_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError, OSError) as error:
        got = (str(error).splitlines() or [type(error).__name__])[0]
        if wish.count is None and isinstance(error, ValueError):  # a number or the address is missing
            do = "Give --processes=2 --process=0 --coordinator=HOST:1234 to each process."
            got, expected = "none of their variables", "a job of Slurm, one of Open MPI, or a TPU slice"
            raise problem("--processes=auto recognises no cluster", got=got, expected=expected, do=do) from error
        raise not_connected(wish, got) from error
    counts = collections.Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        disconnect()  # all do: else a process that ends at once would end the others with an error of its own
        raise problem(
            "the processes have different numbers of devices",
            got=", ".join(f"{count} in process {index}" for index, count in sorted(counts.items())),
            expected="the same number in each",
            do="Give each process as many: CUDA_VISIBLE_DEVICES or JAX_LOCAL_DEVICE_IDS name those that it takes.",
        )
    return processes()


def not_connected(wish: Wish, got: str) -> UserError:
    """Return the error of a process that does not connect with the others."""
    if wish.count is None:
        what, do = "this process is not connected with the others of its cluster", "Start all processes of the job."
    else:
        what = f"process {wish.index} of {wish.count} is not connected by {wish.coordinator}"
        do = "Start all processes with the same --coordinator, an address of process 0 that the others reach."
    return problem(what, got=got, do=do)


def listening(port: int = 0) -> socket.socket:
    """Return a socket that listens on a port of all addresses of this machine, those of IPv6 where it has them.

    Args:
        port: its number; 0: one that is free.

    Raises:
        OSError: the port is in use, also by a program that would share it with others.
    """
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
    return socket.create_server(("", port))


def refuse_used_port(port: int) -> None:
    """Try to take a port of this machine, and free it: JAX would share it with another run, and end that one.

    Raises:
        UserError: it is in use, or may not be taken.
    """
    try:
        listening(port).close()
    except OSError as error:
        used = error.errno == errno.EADDRINUSE
        raise problem(
            f"port {port} of this machine {'is in use' if used else 'cannot be taken'}",
            got=None if used else error.strerror or error,
            expected="a free port in --coordinator",
            do="Choose another, the same for all processes.",
        ) from error


def disconnect() -> None:
    """Wait for the other processes, and leave them: from here on none needs another."""
    if jax.process_count() > 1:
        jax.distributed.shutdown()


def refuse_others(
    everyone: Processes,
    facts: Mapping[str, Any],
    words: Mapping[str, Callable[[Any, Any], str]] | None = None,
    *,
    do: str = "Start all processes with the same code, the same command and the same data.",
) -> None:
    """Compare what must be the same in all processes.

    Args:
        facts: name -> value, as JSON can hold it.
        words: name -> a function of two values that returns how they differ; others are not described.
        do: what to do where one differs.

    Raises:
        UserError: a fact that differs; the message names the process and its host.
    """
    if everyone.count == 1:
        return
    (host, first), *others = everyone.gather([socket.gethostname(), dict(facts)])
    for index, (other_host, other) in enumerate(others, start=1):
        for name in (name for name in {**first, **other} if other.get(name) != first.get(name)):
            described = words is not None and name in words and name in first and name in other
            raise problem(
                f"process {index} ({other_host}) has other {name} than process 0 ({host})",
                got=words[name](first[name], other[name]) if words and described else None,
                do=do,
            )
