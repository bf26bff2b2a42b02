"""Plan of a run before it starts: parameters, operations, memory, tokens and time, as lines and tables."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from rich.console import Console

from experiments.costs.components import parameters_by_component
from experiments.costs.flops import Count, operations
from experiments.costs.memory import Memory, available, memory_of
from experiments.costs.mesh_plan import plan_of_mesh
from experiments.costs.needed import state_memory, update_memory, what_to_lower
from experiments.costs.summary import costs_of, described
from experiments.costs.time import TimeEstimate, estimate_time
from experiments.data.machine import size
from experiments.parallel.config import mesh_devices
from experiments.training.experiment import Experiment
from experiments.training.loop import batch_size_of
from experiments.training.progress import devices_in_words, duration, print_line
from experiments.training.tables import final_table, print_table
from transformer.errors import counted


class Planned(NamedTuple):
    """The plan of a run.

    Attributes:
        seconds: estimated time of the run; None where no step was timed.
        rows: its quantities for other programs, see `row`.
    """

    seconds: float | None
    rows: list[dict[str, Any]]


def row(of: str, part: str, quantity: str, value: float | None, unit: str) -> dict[str, Any]:
    """Return a row of the table for other programs.

    Args:
        of: what is planned: "run", "update", "sweep" or "power".
        part: part of it, such as "embedding", or "" for the whole.
    """
    return {"of": of, "part": part, "quantity": quantity, "value": value, "unit": unit}


def show_plan(console: Console, experiment: Experiment, timed_steps: int) -> Planned:
    """Print the plan of a run; of one that cannot fit, without compiling it.

    Args:
        timed_steps: number of steps to time; 0: print no time.
    """
    free = available(jax.local_devices()[0])  # before anything is put there
    update = experiment.update()  # traced once, for its operations and to compile it
    if mesh_devices(experiment.config.mesh) > 1:
        planned = plan_of_mesh(experiment.config)  # before anything is printed: it may not fit
        return Planned(
            None, [*show_sizes(console, experiment, update), *show_mesh(console, experiment.config, planned)]
        )
    rows, state = show_sizes(console, experiment, update), experiment.state_shapes
    arguments = state, experiment.task.batches.at(experiment.largest_batch()[1]), experiment.hyperparameters
    parts = update_memory(experiment)
    if free is not None and sum(parts.values()) > free:
        rows = [{"part": name, "memory": size(count)} for name, count in (*parts.items(), ("sum", sum(parts.values())))]
        print_table(console, final_table(rows, title="memory of that update, at least"))
        print_line(console, f"does not fit: {size(sum(parts.values()))} or more are needed, {size(free)} are free.")
        print_line(console, what_to_lower(parts))
        rows += [row("update", name, "memory, at least", count, "bytes") for name, count in parts.items()]
        return Planned(None, rows)
    memory = memory_of(update.lower(*arguments).compile())
    if memory is not None:
        print_table(console, final_table(memory_rows(state, memory), title="memory of that update"))
        print_line(console, fit(memory, free))
        rows += [row("update", name, "memory", count, "bytes") for name, count in memory_parts(state, memory).items()]
    rows += [] if free is None else [row("update", "", "free memory", free, "bytes")]
    if timed_steps and (memory is None or free is None or memory.peak <= free):
        times = estimate_time(experiment, timed_steps)
        print_line(console, time_of_run(experiment, times, timed_steps))
        seconds = times.run(experiment.config.training.steps, evaluations_of(experiment))
        return Planned(seconds, rows + time_rows(times, seconds))
    return Planned(None, rows)


def show_sizes(console: Console, experiment: Experiment, update: Any) -> list[dict[str, Any]]:
    """Print the model, the data, the length of the run and the operations of an update; return their rows.

    Args:
        update: the result of `experiment.update`.
    """
    parameters = parameters_by_component(experiment.state_shapes.params)
    count = mesh_devices(experiment.config.mesh)
    where = devices_in_words() if count == 1 else f"{count:,} devices, which need not be there"
    for line in described(experiment, costs_of(experiment), where):
        print_line(console, line)
    print_line(console, length_of_run(experiment))
    shape, first_step = experiment.largest_batch()
    arguments = experiment.state_shapes, experiment.task.batches.at(first_step), experiment.hyperparameters
    counts = operations(update, *arguments).by_component
    title = f"an update on a batch of {' x '.join(map(str, shape))}{'' if count == 1 else ', all devices together'}"
    print_table(console, final_table(component_rows(parameters, counts), title=title))
    return [*length_rows(experiment), *count_rows(parameters, counts)]


def show_mesh(console: Console, config: Any, planned: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Print what each device of a config's mesh holds and exchanges in an update; return the rows.

    Args:
        planned: the result of `plan_of_mesh`.
    """
    count = mesh_devices(config.mesh)
    parts = dict(planned["parts"])
    if planned["memory"] is not None:
        memory = Memory(**planned["memory"])
        parts |= {"activations, gradients and the like": memory.temporary, "peak": memory.peak}
    title = f"on each of {count:,} devices (compiled for CPUs; none was used)"
    table = [{"part": name, "memory": size(needed)} for name, needed in parts.items()]
    print_table(console, final_table(table, title=title))
    rows = [row("update", name, "memory of a device", needed, "bytes") for name, needed in parts.items()]
    exchanged = [
        {"collective": kind, "in an update": f"{times:,}", "bytes on each device": size(total)}
        for kind, (times, total) in planned["collectives"].items()
    ]
    if exchanged:
        print_table(console, final_table(exchanged, title="exchanged between the devices"))
    for kind, (times, total) in planned["collectives"].items():
        rows += [row("update", kind, "collectives", times, ""), row("update", kind, "collectives", total, "bytes")]
    return rows


def length_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the rows of the length of a run."""
    plan = experiment.task.plan
    counts = {"steps": experiment.config.training.steps, "steps of an epoch": plan.batches_per_epoch}
    found = [row("run", "", name, count, "updates") for name, count in counts.items()]
    found.append(row("run", "", "tokens", tokens_of_run(experiment), "tokens without padding"))
    return [*found, row("run", "", "padding", plan.padding, "share of the tokens of batches")]


def count_rows(parameters: Mapping[str, int], counts: Mapping[str, Count]) -> list[dict[str, Any]]:
    """Return the rows of parameters and operations by part."""
    found = [row("update", part, "parameters", count, "") for part, count in parameters.items()]
    for part, count in counts.items():
        found.append(row("update", part, "operations of products", count.products, "FLOPs"))
        found.append(row("update", part, "all operations", count.all, "FLOPs"))
        found.append(row("update", part, "transcendentals", count.transcendentals, ""))
    return found


def time_rows(times: TimeEstimate, seconds: float) -> list[dict[str, Any]]:
    """Return the rows of the estimated times."""
    parts = {"compiling": times.compiling, "a step": times.step, "an evaluation": times.validation, "test": times.test}
    found = [row("run", part, "time", value, "seconds") for part, value in parts.items()]
    return [*found, row("run", "", "time", seconds, "seconds")]


def length_of_run(experiment: Experiment) -> str:
    """Describe steps, epochs and tokens without padding; a shape's tokens are those of its first batch."""
    steps, plan = experiment.config.training.steps, experiment.task.plan
    epochs = f"{steps / plan.batches_per_epoch:.3g} epochs of {counted(plan.batches_per_epoch, 'step')}"
    return f"{counted(steps, 'step')}, {epochs}; about {tokens_of_run(experiment):,.0f} tokens"


def tokens_of_run(experiment: Experiment) -> float:
    """Estimate the tokens of a run, without padding."""
    plan, batches = experiment.task.plan, experiment.task.batches
    number = sum(count for _, count in plan.census.values())
    tokens = sum(count * batch_size_of(batches.at(first))["tokens"] for first, count in plan.census.values())
    return experiment.config.training.steps * tokens / number


def component_rows(parameters: dict[str, int], counts: dict[str, Count]) -> list[dict[str, Any]]:
    """Build a row of parameters and operations for each part, and one of their sums."""
    total = sum(parameters.values()), Count(*(sum(column) for column in zip(*counts.values(), strict=True)))
    parts = {name: (parameters.get(name, 0), counts.get(name, Count())) for name in {**parameters, **counts}}
    return [
        {
            "part": name,
            "parameters": f"{held:,}",
            "MFLOPs of products": f"{count.products / 1e6:,.2f}",
            "all MFLOPs": f"{count.all / 1e6:,.2f}",
            "share": f"{count.all / total[1].all:.1%}",
            "transcendentals (M)": f"{count.transcendentals / 1e6:,.2f}",
        }
        for name, (held, count) in {**parts, "total": total}.items()
    ]


def memory_rows(state: Any, memory: Memory) -> list[dict[str, str]]:
    """Build a row for each part of the state, one of temporary values, and one of the peak."""
    return [{"part": name, "memory": size(count)} for name, count in memory_parts(state, memory).items()]


def memory_parts(state: Any, memory: Memory) -> dict[str, int]:
    """Return the bytes of each part of the state, of temporary values, and of the peak."""
    return {**state_memory(state), "activations, gradients and the like": memory.temporary, "peak": memory.peak}


def fit(memory: Memory, free: int | None) -> str:
    """Describe how the update fits in the free memory, and what to lower where it does not."""
    if free is None:
        return f"{size(memory.peak)} are needed; the platform does not report its free memory"
    if memory.peak <= free:
        return f"fits: {size(memory.peak)} of {size(free)} that are free"
    do = what_to_lower({"arguments": memory.arguments, "activations": memory.temporary})
    return f"does not fit: {size(memory.peak)} are needed, {size(free)} are free. {do}"


def evaluations_of(experiment: Experiment) -> int:
    """Count the evaluations of the validation split of a whole run."""
    training = experiment.config.training
    return math.ceil(training.steps / training.output.evaluate_every)


def time_of_run(experiment: Experiment, times: TimeEstimate, timed_steps: int) -> str:
    """Describe the estimated time of the whole run, its parts, and what it leaves out."""
    training = experiment.config.training
    evaluations = evaluations_of(experiment)
    test = f" + {times.test:.2g} s of the test" if times.test else ""
    writing = ", writing until the last slot" if experiment.task.generates else ""
    return (
        f"about {duration(times.run(training.steps, evaluations))} = {times.compiling:.1f} s until all has compiled"
        f" + {counted(training.steps, 'step')} x {1e3 * times.step:.1f} ms (mean of {timed_steps})"
        f" + {counted(evaluations, 'evaluation')} x {times.validation:.2g} s{writing}{test};"
        " without reading the data, checkpoints and pictures"
    )
