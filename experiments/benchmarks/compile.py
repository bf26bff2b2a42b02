"""Seconds until the first step of a size is compiled, and of four times as many layers, without a compilation cache.

A size has `model.unroll`: up to 12 layers are one after the other in the program, more are a loop, so that 24 layers
should compile in at most 1.3 times the time of 6.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax

from experiments import settings
from experiments.benchmarks.processes import in_a_process, share_device
from experiments.benchmarks.report import Report, ReportFlags, spread
from experiments.benchmarks.sizes import SIZES, size_experiment
from transformer.errors import counted
from transformer.schema import at_least, setting

DEPTH_FACTORS = (1, 4)
"""Factors on the number of layers."""


@dataclasses.dataclass(frozen=True)
class CompileBenchFlags(ReportFlags):
    """Time the compiling of an update, each time in a new process: python -m experiments.bench compile"""

    size: str = setting("nano_6x384", "size of a causal language model", allowed=tuple(SIZES))
    rounds: int = setting(3, "number of measurements of each number of layers, in turn", check=at_least(1, 10_000))


def time_compiling(flags: CompileBenchFlags, overrides: Sequence[tuple[str, str]], report: Report) -> None:
    """Time the compiling of a size with each number of layers, in turns, and print the table."""
    share_device()
    experiment, notes = size_experiment(flags.size, overrides)
    numbers = [factor * experiment.config.model.num_layers for factor in DEPTH_FACTORS]
    report.begin(settings.to_json_dict(experiment.config), notes=notes)
    found: dict[int, list[tuple[float, float]]] = {number: [] for number in numbers}
    with report.progress(flags.rounds * len(numbers), "programs") as advance:
        for _ in range(flags.rounds):
            for number, seconds in found.items():
                deeper = [*overrides, ("model.num_layers", str(number))]
                seconds.append(in_a_process(compile_seconds, flags.size, deeper, modules=report.modules))
                advance(1)
    rows = [_row(number, seconds) for number, seconds in found.items()]
    for row in rows:
        row["times the first"] = row["together, s"] / rows[0]["together, s"]
    report.table(f"{flags.size}, first step, median of {counted(flags.rounds, 'round')}", rows)


def compile_seconds(size: str, overrides: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """Compile the update of a size; return the seconds of tracing and lowering, and of compiling."""
    jax.config.update("jax_enable_compilation_cache", False)
    experiment, _ = size_experiment(size, overrides)
    update, batch = experiment.update(), experiment.task.batches.at(0)
    began = time.perf_counter()
    lowered = update.lower(experiment.state_shapes, batch, experiment.hyperparameters)
    traced = time.perf_counter()
    lowered.compile()
    return traced - began, time.perf_counter() - traced


def _row(layers: int, seconds: Sequence[tuple[float, float]]) -> dict[str, Any]:
    traced, compiled = (statistics.median(part) for part in zip(*seconds, strict=True))
    together = spread("together, s", [sum(each) for each in seconds], "s")
    return {"layers": layers, "trace and lower, s": traced, "compile, s": compiled, **together}
