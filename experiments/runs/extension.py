"""A run that goes on to another number of steps, or with more patience, than it was started with.

    rate(t; N)                               learning rate of update t, counted from 0, in a run of N steps
    rate(t; N) = rate(t; N') for all t < s   a run of N steps goes on from step s to the bits of one of N' steps

Everything else that decides an update (parameters, batch i, dropout) is a function of the seed and the step alone. For
constant and inverse_sqrt that holds at every step. For a schedule that decays at its end (wsd) it holds until the decay
begins: the run goes back to its last checkpoint before, where one is kept, and what was trained after it is kept in
WORKDIR/ended. Any other schedule (linear, cosine) goes on with a rate that jumps, and a line that says so.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.storage import checkpoint_format
from experiments.storage.checkpoints import Checkpoints
from experiments.storage.ended import keep_ended
from experiments.storage.retention import Retention
from experiments.training.hyperparameters import hyperparameters
from experiments.training.optimizers import decay_begins, scheduled_rate
from transformer.errors import counted, problem

STEPS, PATIENCE = "training.steps", "training.patience"

BLOCK = 1 << 20
"""Updates whose rates are compared at once."""


def extend(
    workdir: Path, config: Any, print_line: Callable[[str], None], changes: Mapping[str, tuple[Any, Any]]
) -> dict[str, Any]:
    """Prepare a run for the length of a config, while its directory is locked.

    Args:
        config: the resolved config of this session, which differs from the run's in `changes` alone.
        print_line: called with a line about how the run goes on.
        changes: name of a setting -> (old value, new value).

    Returns:
        The record of the change for config.json.

    Raises:
        UserError: it has more steps than it is to have, less patience than it had, or patience has ended it.
    """
    saved = Checkpoints(workdir / "checkpoints", 1, "", read_only=True, print_line=lambda _: None)
    steps = [step for step in saved.steps() if saved.checksums.damage(step) is None]
    trained = max(steps, default=0)
    if PATIENCE in changes:
        _refuse_less_patience(*changes[PATIENCE])
    if trained:
        _refuse_out_of_patience(saved.directory / str(trained), config.training.patience)
    record = {"step": trained, **{name: list(values) for name, values in changes.items()}}
    if STEPS not in changes:
        return record
    old, new = changes[STEPS]
    if new < old and new <= trained:
        raise problem(
            f"{workdir} has more steps behind it than {STEPS}",
            got=new,
            expected=f"more than {trained:,}, the step of its newest checkpoint",
            do="Give more steps, or train fewer in another --workdir.",
        )
    same = same_rates(config, old, new, trained)
    step = trained
    if same < trained and decay_begins(config.optimizer, old) is not None:
        step = max((step for step in steps if step <= same), default=trained)
    if step < trained:
        ended = keep_ended(workdir, old, step)
        print_line(
            f"The decay of {counted(old, 'step')} began at step {same:,}: the run goes back to its checkpoint of step"
            f" {step:,}, before it. What came after is kept in {ended}"
        )
    exact = step <= same
    if exact:
        way = "the run goes on to the bit as if that had been given from the start"
    else:
        (before,), (after,) = rates(config, old, step - 1, step), rates(config, new, step, step + 1)
        why = "" if decay_begins(config.optimizer, old) is None else ", since no checkpoint before the decay is kept"
        way = (
            f"the learning rate is {before:.4g} before step {step:,} and {after:.4g} after it, which a run of"
            f" {counted(new, 'step')} from the start would not have{why}"
        )
    print_line(f"{STEPS} was {old:,} and is {new:,}; schedule {config.optimizer.schedule}: {way}")
    return {**record, "step": step, "to_the_bit": exact}


def rates(config: Any, steps: int, first: int, stop: int) -> np.ndarray:
    """Compute the learning rates of updates from `first` to below `stop` in a run of so many steps."""
    rate = functools.partial(scheduled_rate, config.optimizer, hyperparameters(config), steps=steps)
    return np.asarray(jax.vmap(rate)(jnp.arange(first, stop, dtype=jnp.int32)))


def same_rates(config: Any, old: int, new: int, trained: int) -> int:
    """Count the first updates, of those that are trained, whose rates are equal bit for bit in runs of both lengths."""
    for first in range(0, trained, BLOCK):
        stop = min(first + BLOCK, trained)
        differ = np.flatnonzero(rates(config, old, first, stop) != rates(config, new, first, stop))
        if differ.size:
            return first + int(differ[0])
    return trained


def retention_of(config: Any) -> Retention:
    """Return the checkpoints that a run keeps, the last before the decay of its learning rate among them."""
    decay = decay_begins(config.optimizer, config.training.steps)
    return dataclasses.replace(Retention.of(config.training), decay=decay)


def _refuse_less_patience(old: int | None, new: int | None) -> None:
    """Raise a UserError for a patience by which the run might have ended before."""
    if old is None or (new is not None and new < old):
        raise problem(
            f"{PATIENCE} of a run that was started can be raised or unset alone: with less it may have ended before",
            got=new,
            expected="none" if old is None else f"{old} or more, or none",
            do="Leave it as it was, or choose another --workdir.",
        )


def _refuse_out_of_patience(checkpoint: Path, patience: int | None) -> None:
    """Raise a UserError for a run that early stopping has ended, and which the new patience does not continue."""
    record = checkpoint_format.read_record(checkpoint)["extra"].get("early_stopping")
    if record and record["stopped"] and patience is not None and record["since"] >= patience:
        raise problem(
            f"the run was ended by {PATIENCE} = {patience} at step {checkpoint.name}, so more steps do not continue it",
            do=f"Raise --config.{PATIENCE} above {record['since']} too, or set it to none.",
        )
