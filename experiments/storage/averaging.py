"""The mean of a run's last checkpoints, often better than the last: mean = sum of params_i / count, in float32.

Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762, section 6.1) evaluate the mean of the last 5, saved at equal
intervals. So only checkpoints at multiples of an interval count, and the run's last (`Retention.counted`): the steps of
those saved after some seconds depend on the clock, and a mean over them would differ from run to run.
"""

from typing import Any

import jax
import jax.numpy as jnp

from experiments.storage.checkpoints import Checkpoints, Restored
from transformer.errors import counted, problem


def average(checkpoints: Checkpoints, example: Any, count: int) -> Restored:
    """Restore the newest checkpoint, with its `evaluated_params` replaced by the mean over the newest `count`.

    Args:
        checkpoints: where they are read, and which count; its `print_line` gets a line for each damaged one, and a line
            if there are fewer.
        example: a State like the saved ones (arrays, or jax.ShapeDtypeStruct).
        count: number of checkpoints; fewer are averaged where fewer can be read.

    Returns:
        The step, state and extra of the newest one read; `extra["averaged"]` has the steps averaged, oldest first.

    Raises:
        UserError: there is none, none can be read, or one is of another model.
    """
    checkpoints.wait()
    candidates, every = checkpoints.retention.counted(checkpoints.steps()), checkpoints.retention.every
    where = f"{checkpoints.directory} to average" + ("" if every is None else f" at multiples of {every} steps")
    if not candidates:
        there = ", ".join(map(str, checkpoints.steps())) or "none"
        do = "Set training.output.keep_every to an interval of the run, or average none."
        raise problem(f"no checkpoint in {where}", got=there, do=do)
    damage: dict[int, str] = {}
    found, total, steps = None, None, []
    for step in reversed(candidates):
        read = checkpoints.read(step, example)
        if not isinstance(read, Restored):
            damage[step] = read
            continue
        found = found or read
        params = jax.tree.map(lambda x: x.astype(jnp.float32), read.state.evaluated_params)
        total = params if total is None else jax.tree.map(jnp.add, total, params)
        steps.insert(0, step)
        if len(steps) == count:
            break
    if found is None:
        named = ", ".join(f"{step} is damaged ({why})" for step, why in damage.items())
        raise problem(f"no checkpoint in {where} can be read: {named}", do="Train anew in another --workdir.")
    for step, why in damage.items():
        checkpoints.set_aside(step, why, "it is not averaged")
    if len(steps) < count:
        checkpoints.print_line(
            f"{counted(len(steps), 'checkpoint')} averaged, not {count}: only {', '.join(map(str, steps))} are there"
        )
    mean = jax.tree.map(lambda x, like: (x / len(steps)).astype(like.dtype), total, found.state.evaluated_params)
    return found._replace(state=found.state.with_evaluated_params(mean), extra={**found.extra, "averaged": steps})
