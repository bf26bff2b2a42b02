"""Speed of generation, tokens per second, beside other programs on the same machine in the same run.

gpt2     GPT-2 of 124 million parameters (Radford et al. 2019), greedy, prompts of 16 tokens, 64 new ones
marian   a Seq2Seq Transformer of 6 + 6 layers as Marian's (Junczys-Dowmunt et al. 2018), 24 source tokens, 32 new ones

All have random parameters in float32 and no end token, so that each writes as many tokens as the others. The programs
take turns: each is timed once in a round, after one call that is not timed, in a process of its own.
"""

import concurrent.futures
import contextlib
import importlib.metadata
import importlib.util
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

import transformer
from experiments.benchmarks import decode_peers
from experiments.benchmarks.decode_cases import CASES, Case
from experiments.cli.terminal import terminal
from experiments.training.progress import devices_in_words
from experiments.training.tables import final_table, print_table
from transformer.decoding import Beam, Greedy, generate
from transformer.errors import counted

OWN = "this library"

SETTINGS: dict[str, dict[str, Any]] = {
    "gpt2": dict(architecture="decoder_only", position="learned", norm_placement="pre", activation="gelu_tanh"),
    "marian": dict(architecture="seq2seq", position="sinusoidal", norm_placement="post", activation="relu"),
}
"""Model -> its settings beside its sizes."""


def print_decode_benchmark(*, peers: bool, rounds: int, cases: tuple[Case, ...] = CASES) -> None:
    """Time generation, and print a table for each case as it is done.

    Args:
        peers: True times the other programs, too; a line names those that are not installed.
        rounds: number of measurements of each program.
    """
    missing = [name for name, row in decode_peers.PEERS.items() if peers and not importlib.util.find_spec(row.package)]
    if missing:
        print(f"not installed: {', '.join(missing)}. Install them: pip install 'transformer[peers]'")
    print(f"{devices_in_words()}, {counted(os.cpu_count() or 1, 'core')}, {', '.join(versions(peers, missing))}")
    for case in cases:
        others = [name for name, peer in decode_peers.PEERS.items() if case.model in peer.models]
        names = [OWN, *(name for name in others if peers and name not in missing)]
        seconds = measure(case, names, rounds)
        title = f"{case}; median of {counted(rounds, 'round')}"
        print_table(terminal(), final_table(list(_rows(case, seconds)), title=title))


def versions(peers: bool, missing: list[str]) -> list[str]:
    """Return the versions of the programs that are timed."""
    found = [f"JAX {jax.__version__}"]
    for name, row in decode_peers.PEERS.items():
        if peers and name not in missing:
            found += [f"{package} {importlib.metadata.version(package)}" for package in row.versions]
    return found


def own(case: Case) -> Callable[[], Any]:
    """Return a function that writes the answers of a case once, by this library."""
    model = transformer.build({**SETTINGS[case.model], **case.sizes})
    params = jax.jit(model.init)(jax.random.key(0))
    tokens_BT = jnp.asarray(case.tokens())
    lengths_B = jnp.full(case.batch, case.read, jnp.int32)
    if case.model == "gpt2":
        batch = {"target": tokens_BT, "target_lengths": lengths_B}
    else:
        start_B1 = jnp.zeros((case.batch, 1), jnp.int32)
        batch = {"source": tokens_BT, "source_lengths": lengths_B, "target": start_B1}
        batch["target_lengths"] = jnp.ones(case.batch, jnp.int32)
    strategy = Greedy() if case.width == 1 else Beam(case.width)
    return lambda: jax.block_until_ready(
        generate(model, params, batch, steps=case.steps, end=None, strategy=strategy).tokens
    )


def measure(case: Case, names: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Measure the seconds of each program in each round; they take turns, each in a process with its own threads."""
    spawn = multiprocessing.get_context("spawn")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with contextlib.ExitStack() as stack:
        pools = {
            name: stack.enter_context(concurrent.futures.ProcessPoolExecutor(1, spawn, _prepare, (case, name)))
            for name in names
        }
        for turn in range(rounds + 1):
            for name, pool in pools.items():
                elapsed = pool.submit(_timed).result()
                if turn:  # the first one compiles
                    seconds[name].append(elapsed)
    return seconds


_programs: list[Callable[[], Any]] = []
"""The program of this process, once `_prepare` has made it."""


def _prepare(case: Case, name: str) -> None:
    _programs.append(own(case) if name == OWN else decode_peers.PEERS[name].make(case))


def _timed() -> float:
    began = time.perf_counter()
    _programs[0]()
    return time.perf_counter() - began


def _rows(case: Case, seconds: Mapping[str, list[float]]) -> Iterator[dict[str, Any]]:
    """Build a row for each program: its speed, and this library's as a multiple of it, each round by itself."""
    for name, times in seconds.items():
        speed = case.batch * case.steps / statistics.median(times)
        ratio = statistics.median(other / mine for other, mine in zip(times, seconds[OWN], strict=True))
        yield {
            "program": name,
            "tokens/s": f"{speed:,.1f}",
            "s": f"{statistics.median(times):.2f}",
            "speed of this library over it": f"{ratio:.2f}",
        }
