"""Times of the parts of a training step: the input pipeline alone, and the update on batches made before."""

import itertools
import statistics
import time

import jax

from experiments.cli.terminal import terminal
from experiments.costs.memory import bytes_of
from experiments.data.machine import free_memory, too_large
from experiments.training.experiment import Experiment
from experiments.training.loop import batch_size_of
from experiments.training.progress import devices_in_words
from experiments.training.tables import final_table, print_table
from transformer.errors import counted


def print_speeds(experiment: Experiment, name: str, *, batches: int, steps: int) -> None:
    """Print the table of an experiment's speeds.

    Args:
        name: name of the recipe, for the title.
        batches: number of batches for the time of the input pipeline alone.
        steps: number of updates that are timed, after as many that are not.
    """
    pipeline = pipeline_speed(experiment, batches)
    update, milliseconds = update_speed(experiment, steps)
    rows = [
        {
            "part": "input pipeline alone",
            "tokens/s": f"{pipeline:,.0f}",
            "ms a step": "",
            "ratio": f"{pipeline / update:.1f}",
        },
        {"part": "update alone", "tokens/s": f"{update:,.0f}", "ms a step": f"{milliseconds:.1f}", "ratio": "1.0"},
    ]
    title = f"{name}, median of {counted(steps, 'step')}, {devices_in_words()}"
    print_table(terminal(), final_table(rows, title=title))


def pipeline_speed(experiment: Experiment, count: int) -> float:
    """Measure the tokens per second of `count` batches, the first of them not timed."""
    batches = experiment.task.training_batches()
    next(batches)
    began = time.perf_counter()
    tokens = sum(batch_size_of(batch)["tokens"] for batch in itertools.islice(batches, count))
    return tokens / (time.perf_counter() - began)


def update_speed(experiment: Experiment, steps: int) -> tuple[float, float]:
    """Measure updates on batches made before; return the medians of tokens per second and of milliseconds.

    Raises:
        UserError: so many batches do not fit in memory.
    """
    needed, free = 2 * steps * bytes_of(experiment.task.batches.at(experiment.largest_batch()[1])), free_memory()
    if free is not None and needed > free:
        raise too_large(f"{2 * steps:,} batches", needed, free, "Lower --steps.")
    batches = list(itertools.islice(experiment.task.training_batches(), 2 * steps))
    update, hyperparameters = experiment.update(), experiment.hyperparameters
    state = jax.jit(experiment.initial_state)(hyperparameters)
    for batch in batches:  # every shape compiles, and caches warm up
        state, _ = update(state, batch, hyperparameters)
    seconds, speeds = [], []
    for batch in batches[steps:]:
        began = time.perf_counter()
        state, metrics = update(state, batch, hyperparameters)
        jax.block_until_ready(metrics)
        seconds.append(time.perf_counter() - began)
        speeds.append(batch_size_of(batch)["tokens"] / seconds[-1])
    return statistics.median(speeds), 1e3 * statistics.median(seconds)
