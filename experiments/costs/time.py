"""Estimated time of a run, from some of its steps.

    seconds of a step = sum over batch shapes (share of the shape x mean seconds of a step on it)

The steps are those of the run itself, queued as in the training loop, so that they include the input pipeline's time.
A shape without a timed step is assumed to cost, per position, what the timed steps cost on average.
"""

import collections
import dataclasses
import itertools
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from experiments.tasks.task import Task
from experiments.training.evaluation import Evaluation
from experiments.training.experiment import Experiment
from experiments.training.update import State

Shape = tuple[int, ...]

AHEAD = 8
"""Batches that are ready before timing starts (see `experiments.data.batching.Batches`); they are not timed."""

EXAMPLES = 2
"""Number of batches of an evaluation that are timed."""


@dataclasses.dataclass(frozen=True)
class TimeEstimate:
    """Estimated seconds of a training run.

    Attributes:
        step: of a step, a mean over the batches of an epoch.
        compiling: until each program has run once; less with a cache of compiled programs.
        validation: of an evaluation of the validation split.
        test: of an evaluation of the test split; 0 where it is empty.
    """

    step: float
    compiling: float
    validation: float
    test: float

    def run(self, steps: int, evaluations: int) -> float:
        """Compute the seconds of a run with so many evaluations of the validation split and one of the test split."""
        return self.compiling + steps * self.step + evaluations * self.validation + self.test


def estimate_time(experiment: Experiment, steps: int) -> TimeEstimate:
    """Time `steps` steps near the start of training, after others that are not timed, and parts of evaluations.

    Args:
        steps: 1 or more.
    """
    hyperparameters, task = experiment.hyperparameters, experiment.task
    began = time.perf_counter()
    update = experiment.update()
    state = jax.jit(experiment.initial_state)(hyperparameters)
    untimed = AHEAD + steps
    shapes = [task.plan.shape(i) for i in range(untimed + steps)]
    for first in sorted(shapes.index(shape) for shape in set(shapes)):
        state, _ = update(state, task.batches.at(first), hyperparameters)
    jax.block_until_ready(state)
    compiling = time.perf_counter() - began
    state, seconds = _timed(update, state, hyperparameters, task.training_batches(), untimed, steps)
    step = mean_over_shapes(task.plan.census, list(zip(shapes[untimed:], seconds, strict=True)))
    params = state.evaluated_params
    evaluation = Evaluation(experiment.model, task, experiment.config.decoding, experiment.config.seed)
    (first_time, validation), (_, test) = (
        _evaluation(evaluation, params, split, task) for split in (task.splits.validation, task.splits.test)
    )
    return TimeEstimate(step, compiling + first_time, validation, test)


def _timed(
    update: Any, state: State, hyperparameters: Any, batches: Iterator[Any], untimed: int, steps: int
) -> tuple[State, list[float]]:
    """Run `untimed` + `steps` steps; return the last state, and the seconds of each timed step.

    As in the training loop, the loss of a step is read after the next step is queued on the device.
    """
    ends, before = [], None
    for batch in itertools.islice(batches, untimed + steps):
        state, metrics = update(state, batch, hyperparameters)
        if before is not None:
            jax.block_until_ready(before)
            ends.append(time.perf_counter())
        before = metrics
    jax.block_until_ready(before)
    ends.append(time.perf_counter())
    return state, [after - before for before, after in itertools.pairwise(ends[untimed - 1 :])]


def mean_over_shapes(census: Mapping[Shape, tuple[int, int]], timed: list[tuple[Shape, float]]) -> float:
    """Compute the mean seconds of a step.

    Args:
        census: shape -> (any number, number of batches of an epoch that have it).
        timed: the shape and the seconds of some steps.
    """
    seconds = collections.defaultdict(list)
    for shape, time_taken in timed:
        seconds[shape].append(time_taken)
    means = {shape: sum(times) / len(times) for shape, times in seconds.items()}
    per_position = sum(time_taken for _, time_taken in timed) / sum(math.prod(shape) for shape, _ in timed)
    batches = sum(count for _, count in census.values())
    total = sum(count * means.get(shape, per_position * math.prod(shape)) for shape, (_, count) in census.items())
    return total / batches


def _evaluation(evaluation: Evaluation, params: Any, split: Any, task: Task) -> tuple[float, float]:
    """Estimate (seconds of compiling, seconds of an evaluation of a split) from its first batches."""
    if not split:
        return 0.0, 0.0
    count = min(len(split), EXAMPLES * evaluation.rows(task.max_sequence_length()))
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        evaluation.score(params, split[:count])
        seconds.append(time.perf_counter() - began)
    return max(seconds[0] - seconds[1], 0.0), seconds[1] * len(split) / count
