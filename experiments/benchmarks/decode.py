"""Speed of generation, tokens per second, beside other programs on the same machine in the same run.

gpt2     GPT-2 of 124 million parameters (Radford et al. 2019), greedy, prompts of 16 tokens, 64 new ones
marian   a Seq2Seq Transformer of 6 + 6 layers as Marian's (Junczys-Dowmunt et al. 2018), 24 source tokens, 32 new ones

All have random parameters in float32 and no end token, so that each writes as many tokens as the others; the first call
checks it. The programs take turns: each is timed once in a round, after that call, in a process of its own.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import transformer
from experiments.benchmarks import decode_peers
from experiments.benchmarks.decode_cases import CASES, Case
from experiments.benchmarks.processes import Program, in_turns, share_device
from experiments.benchmarks.report import OWN, Report, ReportFlags, speed_over, spread
from transformer.decoding import Beam, Greedy, generate
from transformer.errors import counted, problem
from transformer.schema import at_least, setting

SETTINGS: dict[str, dict[str, Any]] = {
    "gpt2": dict(architecture="decoder_only", position="learned", norm_placement="pre", activation="gelu_tanh"),
    "marian": dict(architecture="seq2seq", position="sinusoidal", norm_placement="post", activation="relu"),
}
"""Model -> its settings beside its sizes."""


@dataclasses.dataclass(frozen=True)
class DecodeBenchFlags(ReportFlags):
    """Time generation by a model of GPT-2's size and one of Marian's: python -m experiments.bench decode --peers"""

    peers: bool = setting(False, "times of transformers (PyTorch) and CTranslate2 beside this library's")
    rounds: int = setting(5, "number of measurements of each program, in turn", check=at_least(1, 10_000))
    processes: int = setting(
        1, "number of processes of each program, one after another; at most one a round", check=at_least(1)
    )


def time_decoding(
    flags: DecodeBenchFlags, overrides: Sequence[Any], report: Report, *, cases: tuple[Case, ...] = CASES
) -> None:
    """Time generation, and print a table for each case as it is done.

    Args:
        overrides: none; the sizes are those of the cases.
    """
    peers = decode_peers.PEERS
    share_device()
    if flags.peers and jax.default_backend() != "cpu":
        do = "Set JAX_PLATFORMS=cpu, or leave --peers out."
        raise problem("the other programs generate on a CPU", got=f"JAX on {jax.default_backend()}", do=do)
    installed = report.installed({name: row.packages for name, row in peers.items()}) if flags.peers else []
    packages = dict.fromkeys(package for name in installed for package in peers[name].packages)
    report.begin({str(case): settings_of(case) for case in cases}, packages)
    for case in cases:
        names = [OWN, *(name for name in installed if case.model in peers[name].models)]
        programs = {name: functools.partial(program, case, name) for name in names}
        with report.progress(flags.rounds + min(flags.processes, flags.rounds), "rounds") as advance:
            options = dict(processes=flags.processes, optional=names[1:], advance=advance)
            found = in_turns(programs, flags.rounds, **options)
        seconds = {name: times for name, (_, *times) in report.completed(found).items()}
        report.table(f"{case}; median of {counted(flags.rounds, 'round')}", list(_rows(case, seconds)))


def settings_of(case: Case) -> dict[str, Any]:
    """Return the settings of the model of a case in this library; for one query a step, `fast` is no faster."""
    return {**SETTINGS[case.model], **case.sizes, "kernels": "plain"}


def program(case: Case, name: str) -> Program:
    """Return the program of a process: the seconds in which it writes the answers of a case.

    Its first turn raises a RuntimeError where these have another number of tokens than the case.
    """
    write = own(case) if name == OWN else decode_peers.PEERS[name].make(case)

    def run(number: int) -> float:
        began = time.perf_counter()
        written = write()
        seconds = time.perf_counter() - began
        if number == 0 and written != case.batch * case.steps:
            raise RuntimeError(f"{written} tokens were written, not {case.batch} x {case.steps}")
        return seconds

    return run


def own(case: Case) -> decode_peers.Write:
    """Return a function that writes the answers of a case once, by this library."""
    model = transformer.build(settings_of(case))
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

    def write() -> int:
        answers = generate(model, params, batch, steps=case.steps, end=None, strategy=strategy)
        return int(np.sum(jax.device_get(answers).lengths))

    return write


def _rows(case: Case, seconds: Mapping[str, list[float]]) -> Iterator[dict[str, Any]]:
    """Build a row for each program: its speed, and this library's as a multiple of it, each round by itself."""
    for name, times in seconds.items():
        yield {
            "program": name,
            "tokens/s": case.batch * case.steps / statistics.median(times),
            **spread("s", times, "s"),
            **speed_over(seconds[OWN], times),
        }
