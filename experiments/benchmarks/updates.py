"""Times of whole updates: gradient, clipping and optimizer, on batches made before.

Every shape of batch is compiled and some updates run before the first that is timed. FLOP/s are the operations of
matrix products that the model needs, forward and backward (`experiments.costs`), by the plain form of attention and
without what is computed again for `remat`, over the seconds: so forms of the same model are compared by the same
count. They are nominal, as in model FLOPs utilisation (Chowdhery et al. 2022, PaLM): masked scores count, though a
program may leave them out.
"""

import dataclasses
import itertools
import resource
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.benchmarks.report import spread
from experiments.costs.memory import bytes_of
from experiments.costs.summary import operations_of_batch
from experiments.data.machine import free_memory, too_large
from experiments.training.experiment import Experiment
from experiments.training.loop import batch_size_of
from transformer import build
from transformer.read_by import unread

STATUS = Path("/proc/self/status")
"""File in which Linux describes this process."""

WARM_UP = 3
"""Updates that are not timed, after one of each shape."""

PLAIN = {"kernels": "plain", "remat": False, "remat_policy": "everything"}
"""Settings of the model whose operations are counted."""


class Turn(NamedTuple):
    """Updates that are timed together.

    Attributes:
        seconds: of each update.
        losses: of each update, before it, nats per token.
        memory: peak memory so far (bytes).
    """

    seconds: list[float]
    losses: list[float]
    memory: int


class Updates:
    """The compiled update of an experiment and its state, on batches of the first steps over and over.

    Args:
        count: number of batches.

    Raises:
        UserError: so many batches do not fit in memory.
    """

    def __init__(self, experiment: Experiment, count: int) -> None:
        self.experiment, self.update = experiment, experiment.update()
        needed, free = count * bytes_of(experiment.task.batches.at(experiment.largest_batch()[1])), free_memory()
        if free is not None and needed > free:
            raise too_large(f"{count:,} batches", needed, free, "Lower --steps.")
        made = list(itertools.islice(experiment.task.training_batches(), count))
        self.sizes = [batch_size_of(batch) for batch in made]
        self.batches = [jax.device_put(batch) for batch in made]
        self.state = jax.jit(experiment.initial_state)(experiment.hyperparameters)
        self.done = 0

    @property
    def at(self) -> int:
        """Index of the batch of the next update."""
        return self.done % len(self.batches)

    def run(self, steps: int) -> Turn:
        """Run updates; each is waited for."""
        seconds, losses = [], []
        for _ in range(steps):
            batch = self.batches[self.at]
            began = time.perf_counter()
            self.state, metrics = self.update(self.state, batch, self.experiment.hyperparameters)
            jax.block_until_ready((self.state, metrics))
            seconds.append(time.perf_counter() - began)
            losses.append(float(metrics["loss"]))
            self.done += 1
        return Turn(seconds, losses, peak_memory())

    def warm_up(self) -> None:
        """Compile every shape, and run some updates; the next update begins at the first batch."""
        shapes = {size["shape"]: i for i, size in enumerate(self.sizes)}
        for number in (*shapes.values(), *range(WARM_UP)):
            self.done = number
            self.run(1)
        self.done = 0


def time_updates(experiment: Experiment, steps: int) -> tuple[dict[str, Any], Updates]:
    """Time updates of an experiment; return the row of a table, and the updates."""
    updates = Updates(experiment, steps)
    updates.warm_up()
    turn = updates.run(steps)
    by_shape = operations_by_shape(experiment, updates)
    tokens, operations = zip(*((size["tokens"], by_shape[size["shape"]]) for size in updates.sizes), strict=True)
    return row_of("bare update, each waited for", turn, tokens, operations), updates


def row_of(program: str, turn: Turn, tokens: Sequence[int], operations: Sequence[float]) -> dict[str, Any]:
    """Build the row of a program.

    Args:
        tokens: of each update, without padding.
        operations: of each update.
    """
    done = list(zip(turn.seconds, tokens, operations, strict=True))
    return {
        "program": program,
        **spread("ms a step", [1e3 * seconds for seconds in turn.seconds]),
        "tokens/s": statistics.median(count / seconds for seconds, count, _ in done),
        "GFLOP/s": statistics.median(count / seconds for seconds, _, count in done) / 1e9,
        "peak memory of the process, MB": turn.memory / 1e6,
    }


def operations_by_shape(experiment: Experiment, updates: Updates) -> Mapping[Any, float]:
    """Count the operations of the products of an update, for each shape of batch."""
    plain = plain_form(experiment)
    first = {size["shape"]: batch for size, batch in zip(updates.sizes, updates.batches, strict=True)}
    return {shape: operations_of_batch(plain, batch).total.products for shape, batch in first.items()}


def plain_form(experiment: Experiment) -> Experiment:
    """Return the experiment with the plain form of its model, whose parameters are the same."""
    model = experiment.config.model
    not_read = unread(model, "model")
    values = {name: value for name, value in PLAIN.items() if f"model.{name}" not in not_read}
    config = dataclasses.replace(experiment.config, model=dataclasses.replace(model, **values))
    return dataclasses.replace(experiment, config=config, model=build(config.model))


def peak_memory() -> int:
    """Return the peak memory so far, in bytes: of the first device where it counts its own, else of this process."""
    counted = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return process_memory() if counted is None else counted


def process_memory() -> int:
    """Return the peak memory of this process so far, in bytes.

    Linux begins `ru_maxrss` of a new process at that of its parent, so that it is read there from another place.
    """
    if STATUS.exists():
        found = [line.split() for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        if found:
            return 1024 * int(found[0][1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
