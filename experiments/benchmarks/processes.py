"""Processes of benchmarks: a function in a new one, and programs that take turns, each in one of its own.

A process has a JAX and threads of its own, and inherits the environment. None outlives the command.
"""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.training import signals
from transformer.errors import shorten
from transformer.named_code import import_modules

Program = Callable[[int], Any]
"""(number of the round, 0 of the warm-up) -> the result of one turn."""


class Failed(NamedTuple):
    """A program that could not be made or run; in place of its results."""

    reason: str


def share_device() -> None:
    """Let processes share an accelerator: JAX takes its memory when it is needed, unless the environment has it."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def in_a_process(function: Callable[..., Any], *arguments: Any, modules: Sequence[str] = ()) -> Any:
    """Call a function in a new process, which imports some modules first, and return its result."""
    with _process(modules) as pool:
        return pool.submit(function, *arguments).result()


def in_turns(
    programs: Mapping[str, Callable[[], Program]],
    rounds: int,
    *,
    processes: int = 1,
    optional: Collection[str] = (),
    modules: Sequence[str] = (),
    advance: Callable[[int], object] = lambda count: None,
) -> dict[str, list[Any] | Failed]:
    """Run programs in turns, each in a process of its own, after a warm-up turn.

    Args:
        programs: name -> function that makes the program, in its process.
        rounds: number of turns of each, the warm-up apart.
        processes: number of processes that each has, one after another, of which each runs a part of the rounds: a
            process may keep a speed of its own as long as it lives. At most one a round.
        optional: programs whose failure is returned; any other failure is raised.
        modules: those that each process imports first, which may register rows of tables.
        advance: called with 1 after each round, those of warm-ups included.

    Returns:
        Name -> the results of its turns, that of the first warm-up first; those of other warm-ups are left out.
    """
    results: dict[str, list[Any] | Failed] = {name: [] for name in programs}
    for part in range(min(processes, rounds)):
        with contextlib.ExitStack() as stack:
            pools = {name: stack.enter_context(_process(modules)) for name in programs}
            for number in (0, *range(part + 1, rounds + 1, min(processes, rounds))):
                for name, turns in results.items():
                    if isinstance(turns, Failed):
                        continue
                    make = None if number else programs[name]
                    call = pools[name].submit(_turn, number, name in optional, make).result
                    result = _attempt(call, name in optional)
                    if isinstance(result, Failed):
                        results[name] = result
                    elif number or not part:
                        turns.append(result)
                advance(1)
    return results


_programs: list[Program] = []
"""The program of this process, which keeps it from turn to turn: it cannot be pickled."""


def _turn(number: int, optional: bool, make: Callable[[], Program] | None) -> Any:
    """Run a turn of this process's program, which the first turn makes."""

    def run() -> Any:
        if make is not None:
            _programs.append(make())
        return _programs[0](number)

    return _attempt(run, optional)


def _attempt(call: Callable[[], Any], optional: bool) -> Any:
    """Return the result of a call, or, where the program is optional, why it failed.

    It is done within the process, since an error may not be one that can be pickled, and by its parent, since the
    process itself may end.
    """
    try:
        return call()
    except Exception as error:  # of another library: any kind
        if not optional:
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return Failed(shorten(" ".join([f"{type(error).__name__}:", *lines[:2]])))


@contextlib.contextmanager
def _process(modules: Sequence[str]) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """Start a process, and end it with the block, or where a signal ends this command at once."""
    spawn = multiprocessing.get_context("spawn")

    def start() -> tuple[concurrent.futures.ProcessPoolExecutor, set[Any]]:
        pool = concurrent.futures.ProcessPoolExecutor(1, spawn, import_modules, (list(modules),))
        others = multiprocessing.active_children()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: its parent ends it
        try:
            pool.submit(os.getpid)
            return pool, {*multiprocessing.active_children()} - {*others}
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def kill(started: tuple[Any, set[Any]]) -> None:
        for process in started[1]:
            process.kill()

    with signals.owned(start, kill) as (pool, _):
        yield pool
        pool.shutdown()
