"""Seconds until the first step of a size is compiled, and of four times as many layers, without a compilation cache.

A stack of layers is one scan, whose body is traced and compiled once, so that depth should cost little.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax

from experiments.benchmarks.processes import in_a_process, share_device
from experiments.benchmarks.report import Report, ReportFlags
from experiments.benchmarks.sizes import SIZES, size_experiment
from transformer.errors import counted
from transformer.schema import at_least, setting

TIMES = (1, 4)
"""Factors on the number of layers."""


@dataclasses.dataclass(frozen=True)
class CompileBenchFlags(ReportFlags):
    """Time the compiling of an update, each time in a new process: python -m experiments.bench compile"""

    size: str = setting(next(iter(SIZES)), "size of a causal language model", allowed=tuple(SIZES))
    rounds: int = setting(3, "number of measurements of each number of layers, in turn", check=at_least(1, 10_000))


def time_compiling(flags: CompileBenchFlags, overrides: Sequence[tuple[str, str]], report: Report) -> None:
    """Time the compiling of a size with each number of layers, in turns, and print the table."""
    experiment, notes = size_experiment(flags.size, overrides)
    numbers = [times * experiment.config.model.num_layers for times in TIMES]
    share_device()
    report.begin(notes=notes)
    found: dict[int, list[tuple[float, float]]] = {number: [] for number in numbers}
    for _ in range(flags.rounds):
        for number, seconds in found.items():
            deeper = [*overrides, ("model.num_layers", str(number))]
            seconds.append(in_a_process(first_step, flags.size, deeper, modules=report.modules))
    rows = [_row(number, seconds) for number, seconds in found.items()]
    for row in rows:
        row["times the first"] = row["together, s"] / rows[0]["together, s"]
    report.table(f"{flags.size}, first step, median of {counted(flags.rounds, 'round')}", rows)


def first_step(size: str, overrides: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """Compile the update of a size; return the seconds of tracing and lowering, and of compiling."""
    jax.config.update("jax_enable_compilation_cache", False)
    experiment, _ = size_experiment(size, overrides)
    update, batch = experiment.update(), experiment.task.batches.at(0)
    began = time.perf_counter()
    lowered = update.lower(experiment.state_shapes, batch, experiment.hyperparameters)
    middle = time.perf_counter()
    lowered.compile()
    return middle - began, time.perf_counter() - middle


def _row(layers: int, seconds: Sequence[tuple[float, float]]) -> dict[str, Any]:
    traced, compiled = zip(*seconds, strict=True)
    together = [sum(each) for each in seconds]
    return {
        "layers": layers,
        "trace and lower, s": statistics.median(traced),
        "compile, s": statistics.median(compiled),
        "together, s": statistics.median(together),
        "least, s": min(together),
        "most, s": max(together),
    }
