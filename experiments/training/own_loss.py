"""A loss of the caller's own as the objective of an update: what it takes and returns is checked."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array

from experiments.training.update import Batch, Metrics
from transformer.axes import describe, has_numbers
from transformer.errors import path_of, problem
from transformer.small_example import signature_of

TAKES = "a function of (params, batch, key)"
RETURNS = "a float without axes, or such a float and a dict of further ones"


def own_objective(loss: Any) -> Any:
    """Build `Parts.objective` of a loss of the caller's own, which counts as one token a batch.

    Args:
        loss: (params, batch, key) -> a scalar, or a scalar and a dict of scalars.

    Raises:
        UserError: no such function; when it is called, that it returned something else.
    """
    if not callable(loss):
        do = "Leave it out for the cross-entropy of the labels."
        raise problem("loss is no function", got=describe(loss), expected=TAKES, do=do)
    name = path_of(loss)
    signature = signature_of(loss)
    if signature is not None:
        try:
            signature.bind("params", "batch", "key")
        except TypeError as error:
            do = "A loss without dropout takes the key all the same."
            raise problem(f"the loss {name} takes other arguments", got=signature, expected=TAKES, do=do) from error

    def objective(params: Any, batch: Batch, key: Array | None, hyperparameters: Any) -> tuple[Array, Metrics]:
        found = loss(params, batch, key)
        value, more = found if isinstance(found, tuple) and len(found) == 2 else (found, {})
        for scalar in (value, *more.values()) if isinstance(more, Mapping) else (more,):
            if not has_numbers(scalar) or jnp.shape(scalar) != () or not has_numbers(value, jnp.floating):
                do = "Return the mean over the batch, such as losses.mean()."
                raise problem(f"the loss {name} is no scalar", got=describe(scalar), expected=RETURNS, do=do)
        return jnp.asarray(value), {"nats": value, **more, "tokens": jnp.ones(())}

    return objective
