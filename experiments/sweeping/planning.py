"""The costs of a sweep, before it runs: groups of trials, their programs, memory and time."""

import itertools
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from experiments.costs.memory import memory_of
from experiments.sweeping.groups import Experiments, Trial, grouped, lanes_for
from experiments.sweeping.lanes import MOST_LANES, Programs, lane_counts, lanes_mesh, mode_of, started
from experiments.sweeping.search import Sweep
from experiments.training.progress import duration, print_line
from experiments.training.tables import final_table, print_table
from transformer.errors import counted

MOST_PLANNED = 256
"""Corners of a space with ranges that are planned; of a larger space, this many spread evenly."""

NOWHERE = Path("nowhere")
"""The working directory of trials that are not trained."""


def print_sweep_plan(
    console: Console, sweep: Sweep, lanes: int | None, timed_steps: int
) -> tuple[float | None, list[dict[str, Any]]]:
    """Print the plan of a sweep; for a space with ranges, that of its corners.

    Args:
        lanes: trials at once; None: as many as memory holds.
        timed_steps: steps that are timed of each group, after as many that are not; 0: none, and no time is printed.

    Returns:
        The estimated seconds of training of all points with one seed, None where no step was timed; and a row for each
        group, for other programs.
    """
    space, sampler, points, *_ = sweep.search
    grid = sampler == "grid"
    experiments, trials = Experiments(), []
    for number, point in enumerate(points if grid else list(space.some_corners(MOST_PLANNED))):
        for seed in space.seeds:
            config = sweep.resolve(space.settings_of(point), seed)
            trials.append(Trial(number, seed, experiments.of(config), NOWHERE))
    groups = grouped(trials, shared=True)
    seeds, total = len(space.seeds), len(points) * len(space.seeds)
    sizes = f"{counted(len(points), 'setting')} with {counted(seeds, 'seed')}"
    print_line(console, f"a sweep of {sizes}, chosen by {sampler}: {counted(total, 'trial')}")
    share = total / len(trials)
    rows, numbers, seconds = [], [], 0.0
    for group in groups:
        row, number, group_seconds = _group_plan(group, lanes, timed_steps)
        rows.append(row)
        numbers.append(number)
        seconds += share * group_seconds
    corners = "" if grid else ", of the corners of the space"
    title = f"{counted(len(groups), 'group')}, each with its own programs{corners}"
    print_table(console, final_table(rows, title=title))
    if timed_steps:
        print_line(console, f"about {duration(seconds)} of training by one worker, without evaluations and compiling")
    return seconds / seeds if timed_steps else None, numbers


def _group_plan(
    group: Sequence[Trial], lanes: int | None, timed_steps: int
) -> tuple[dict[str, str], dict[str, Any], float]:
    """Return a row of the table, the same in numbers, and the seconds that the updates of the group take."""
    experiment, mesh = group[0].experiment, lanes_mesh()
    programs = Programs(experiment.update_of_one(), mode_of("auto"), mesh, shared=True)
    most = lanes_for(programs, group[:MOST_LANES], lanes, shared=True)
    size = lane_counts(len(group), max(most, mesh.size), mesh.size)[0]
    memory = memory_of(next(iter(programs.compiled.values())))
    state = experiment.state_shapes
    parameters = sum(x.size for x in jax.tree.leaves(state.params))
    numbers = {
        "of": "sweep",
        "part": ", ".join(_sizes(experiment)),
        "trials": len(group),
        "parameters": parameters,
        "lanes": size,
        "programs": experiment.task.num_programs,
        "peak_memory_bytes": None if memory is None else memory.peak,
    }
    row = {
        "model": ", ".join(_sizes(experiment)),
        "trials": str(len(group)),
        "parameters": f"{parameters:,}",
        "lanes at once": str(size),
        "programs": str(experiment.task.num_programs),
        "peak memory": "" if memory is None else f"{memory.peak / 1e6:,.1f} MB on each device",
    }
    if not timed_steps:
        return row, numbers, 0.0
    step = _seconds_of_a_step(group[:size], size, programs, timed_steps)
    seconds = math.ceil(len(group) / size) * experiment.config.training.steps * step
    return {**row, "a step": f"{1e3 * step:.1f} ms"}, {**numbers, "step_seconds": step}, seconds


def _seconds_of_a_step(trials: Sequence[Trial], size: int, programs: Programs, steps: int) -> float:
    """Time a step of all lanes together: the mean of `steps` steps after as many that are not timed."""
    experiment, mesh = trials[0].experiment, programs.mesh
    hyperparameters = [trial.experiment.hyperparameters for trial in trials]
    states, running, h = started(jax.jit(experiment.initial_state), hyperparameters, size, mesh)
    batches = list(itertools.islice(experiment.task.training_batches(), 2 * steps))
    for batch in batches:  # every shape of them compiles
        states, running, _ = programs(states, running, batch, h)
    jax.block_until_ready(states)
    began = time.perf_counter()
    for batch in batches[steps:]:
        states, running, _ = programs(states, running, batch, h)
    jax.block_until_ready(states)
    return (time.perf_counter() - began) / steps


def _sizes(experiment: Any) -> list[str]:
    model = experiment.config.model
    stacks = [parts.get("residual", 0) for parts in experiment.model.stacks.values()]
    layers = f"{' + '.join(map(str, stacks))} layers" if len(stacks) > 1 else counted(stacks[0], "layer")
    return [str(model.architecture), layers, f"width {model.width}"]
