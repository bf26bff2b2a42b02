"""The check of an optimizer from outside, on a tree of a matrix, a table and a vector.

The update subtracts rate x direction, and builds the transformation anew in each step, with hyperparameters that may be
traced. So a transformation has no learning rate, its direction is that of the gradient, not its negative, and its state
is the same whatever the hyperparameters are.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.training.hyperparameters import Hyperparameters
from transformer.errors import problem, shorten
from transformer.nn.parameter_axes import parse_axes
from transformer.small_example import check_call

AXES = {
    "matrix": dataclasses.replace(parse_axes("D -> F"), stacked=True),
    "table": parse_axes("V, D"),
    "vector": parse_axes("D"),
}
"""Axes of the parameters of the small example."""

SHAPES = {"matrix": (2, 3, 5), "table": (7, 3), "vector": (3,)}

Make = Callable[[Hyperparameters, Any], optax.GradientTransformation]


def check_transformation(what: str, function: Callable[..., Any], make: Make, own: Mapping[str, Any]) -> None:
    """Check a function (config, hyperparameters, axes) -> transformation.

    Args:
        what: names the function, for errors.
        make: calls it with a config and its own settings.
        own: the keywords that it takes beside the three.

    Raises:
        UserError: it takes other arguments, fails, returns something else, keeps hyperparameters in its state, or
            points uphill.
    """

    def step(hyperparameters: Hyperparameters, params: Any, gradient: Any) -> tuple[Any, Any]:
        transform: Any = make(hyperparameters, AXES)
        if not isinstance(transform, optax.GradientTransformation):
            got = shorten(repr(transform))
            raise problem(f"{what} gave something else", got=got, expected="an optax.GradientTransformation")
        start = transform.init(params)
        direction, state = transform.update(gradient, start, params)
        if _shapes(direction) != _shapes(params):
            got, expected = _shapes(direction), "the shapes and types of the parameters"
            raise problem(f"{what} gives a direction of another shape or type", got=got, expected=expected)
        if _shapes(state) != _shapes(start):
            got, expected = _shapes(state), f"the shapes and types of its start, {_shapes(start)}"
            raise problem(f"{what} changes the shape or type of its state", got=got, expected=expected)
        return start, direction

    params = {name: jnp.sin(jnp.arange(1.0, 1.0 + size)).reshape(SHAPES[name]) for name, size in _sizes().items()}
    gradient = jax.tree.map(jnp.cos, params)
    some, others = _hyperparameters(0.5), _hyperparameters(0.25)
    takes = ("config", "hyperparameters", "axes")
    check_call(what, function, takes, step, (some, params, gradient), named=own)
    run = jax.jit(step)
    (one, direction), (two, _) = (run(h, params, gradient) for h in (some, others))
    if not jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), one, two)):
        expected = "a state that is the same for all hyperparameters, which may be traced"
        raise problem(f"{what} keeps hyperparameters in its state", expected=expected)
    if sum(jax.tree.leaves(jax.tree.map(jnp.vdot, direction, gradient))) < 0:
        do = "Leave out the learning rate, the update subtracts rate x direction: optax.scale_by_adam, not optax.adam."
        raise problem(f"{what} points uphill", expected="a direction like the gradient's", do=do)


def _sizes() -> dict[str, int]:
    return {name: math.prod(shape) for name, shape in SHAPES.items()}


def _shapes(tree: Any) -> str:
    """Write the structure of a tree with the shape and type of each array."""
    return str(jax.tree.map(lambda x: f"{jnp.result_type(x)}{list(jnp.shape(x))}", tree))


def _hyperparameters(value: float) -> Hyperparameters:
    """Build hyperparameters that all have one value but for the decay, which is 0."""
    names = {field.name for field in dataclasses.fields(Hyperparameters)} - {"seed", "weight_decay"}
    values = dict.fromkeys(names, jnp.float32(value))
    return Hyperparameters(seed=jnp.uint32(0), weight_decay=jnp.float32(0.0), **values)
