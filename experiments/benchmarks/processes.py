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
    optional: Collection[str] = (),
    modules: Sequence[str] = (),
) -> dict[str, list[Any] | Failed]:
    """Run programs in turns, each in a process of its own, after a warm-up turn.

    Args:
        programs: name -> function that makes the program, in its process.
        rounds: number of turns of each, the warm-up apart.
        optional: programs whose failure is returned; any other failure is raised.
        modules: those that each process imports first, which may register rows of tables.

    Returns:
        Name -> the results of its turns, that of the warm-up first.
    """
    results: dict[str, list[Any] | Failed] = {}
    with contextlib.ExitStack() as stack:
        pools = {name: stack.enter_context(_process(modules)) for name in programs}
        for name, make in programs.items():
            first = pools[name].submit(_prepare, make, name in optional).result()
            results[name] = first if isinstance(first, Failed) else [first]
        for number in range(1, rounds + 1):
            for name, turns in results.items():
                if isinstance(turns, list):
                    turns.append(pools[name].submit(_turn, number).result())
    return results


_programs: list[Program] = []
"""The program of this process, once `_prepare` has made it."""


def _prepare(make: Callable[[], Program], optional: bool) -> Any:
    """Make the program of this process, and return the result of its warm-up."""
    try:
        _programs.append(make())
        return _turn(0)
    except Exception as error:  # of another library: any kind
        if not optional:
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return Failed(shorten(" ".join([f"{type(error).__name__}:", *lines[:2]])))


def _turn(number: int) -> Any:
    return _programs[0](number)


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
