"""Properties of optimizers, on a tree of a stacked matrix, a table and a vector, by the update that trains models."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.training.hyperparameters import Hyperparameters
from experiments.training.optimizers import OPTIMIZERS, Optimizer, OptimizerConfig
from experiments.training.transformations import AXES, SHAPES
from experiments.training.update import Parts, State, update_of
from transformer import schema
from transformer.testing import InapplicableError

TOLERANCE = 2e-6
"""Largest difference of parameters of order 1, whose updates are of order 0.01, that float32 explains."""

RATE = 0.01
VALUES: dict[str, float] = {"learning_rate": RATE, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.98}
"""Hyperparameters of one lane."""

OTHERS = {"learning_rate": 2 * RATE, "weight_decay": 0.3, "beta1": 0.5, "beta2": 0.7}
"""Hyperparameters of another lane."""


class Size(NamedTuple):
    """The parameters of an example, and the updates."""

    arrays: tuple[str, ...]
    updates: int

    def __str__(self) -> str:
        return f"a {' and a '.join(self.arrays)}, {self.updates} update{'s' if self.updates > 1 else ''}"


SIZES = (Size(("vector",), 1), Size(("table",), 1), Size(("matrix",), 1), Size(tuple(AXES), 1), Size(tuple(AXES), 4))


def hyperparameters(values: Mapping[str, float]) -> Hyperparameters:
    """Build the hyperparameters of a lane from those that an optimizer may read."""
    numbers = {"warmup_steps": 0.0, "initial_scale": 1.0, **values}
    arrays = {name: jnp.float32(value) for name, value in numbers.items()}
    return Hyperparameters(seed=jnp.uint32(0), dropout=None, label_smoothing=None, **arrays)


@dataclasses.dataclass(frozen=True)
class Example:
    """An optimizer, a few parameters, and the loss half the squared distance from fixed ones."""

    row: Optimizer
    settings: Mapping[str, Any]
    size: Size

    @functools.cached_property
    def config(self) -> Any:
        """Section `optimizer` with the optimizer."""
        return schema.from_dict(OptimizerConfig, {"name": self.row, **self.settings}, "optimizer")

    @functools.cached_property
    def params(self) -> dict[str, Array]:
        """Parameters of order 1, none of them 0."""
        draw = np.random.default_rng(0)
        return {
            name: jnp.asarray(draw.normal(size=SHAPES[name]), jnp.float32) + 0.1 for name in AXES if name in self.arrays
        }

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names of the parameters."""
        return self.size.arrays

    def transform(self, h: Hyperparameters, config: Any = None) -> Any:
        """Build the transformation of gradients."""
        config = config or self.config
        row = OPTIMIZERS.of(config, "name")
        return row.function(config, h, {name: AXES[name] for name in self.params}, **row.own)

    def start(self, h: Hyperparameters, params: Any = None) -> State:
        """Build the state before the first update."""
        params = params or self.params
        return State(jnp.zeros((), jnp.int32), params, self.transform(h).init(params), None)

    def train(self, h: Hyperparameters, params: Any, scale: Any = 1.0, config: Any = None) -> tuple[list[Any], Any]:
        """Update the parameters; return them after each update, and the state of the optimizer at the end.

        Args:
            scale: factor on the loss, and so on its gradient.
        """

        def objective(params: Any, batch: Any, key: Array, h: Hyperparameters) -> tuple[Array, dict[str, Array]]:
            total = scale * sum(jnp.sum((p - 0.3) ** 2) for p in params.values()) / 2
            return total, {"nats": total, "tokens": jnp.ones(())}

        transform = functools.partial(self.transform, config=config)
        update = update_of(Parts(objective, lambda h, _: transform(h), lambda step, h: h.learning_rate))
        state = State(jnp.zeros((), jnp.int32), params, transform(h).init(params), None)
        path = []
        for _ in range(self.size.updates):
            state, _ = update(state, {}, h)
            path.append(state.params)
        return path, state.optimizer

    @functools.cached_property
    def compiled(self) -> Any:
        """`train` as one program, whose hyperparameters, parameters and scale are arguments."""
        return jax.jit(lambda h, params, scale: self.train(h, params, scale))

    @functools.cached_property
    def alone(self) -> dict[str, tuple[list[Any], Any]]:
        """Results of `train` for each lane by itself."""
        lanes = {"first": VALUES, "second": OTHERS}
        return {name: self.compiled(hyperparameters(values), self.params, 1.0) for name, values in lanes.items()}


@dataclasses.dataclass(frozen=True)
class Examples:
    """Trees of one array, of several, and several updates."""

    sizes: tuple[Size, ...] = SIZES

    def make(self, row: Optimizer, settings: Mapping[str, Any], size: Size) -> Example:
        """Make the example of a size; the settings are those of section `optimizer`."""
        schema.from_dict(OptimizerConfig, {"name": row, **settings}, "optimizer")
        return Example(row, settings, size)


def traced(example: Example) -> str | None:
    """Compare updates under hyperparameters that are arguments of a program with those under constants of one."""
    h = hyperparameters(VALUES)
    constant = jax.jit(lambda params: example.train(h, params)[0])(example.params)
    return _differ(example.alone["first"][0], constant, "with hyperparameters as arguments, not constants,")


def lanes(example: Example) -> str | None:
    """Compare two trainings side by side with each alone."""
    both = jax.tree.map(lambda *x: jnp.stack(x), hyperparameters(VALUES), hyperparameters(OTHERS))
    side_by_side = jax.jit(jax.vmap(lambda h: example.train(h, example.params)[0]))(both)
    for number, path in enumerate((example.alone["first"][0], example.alone["second"][0])):
        lane = [{name: x[number] for name, x in params.items()} for params in side_by_side]
        if found := _differ(lane, path, f"of lane {number}, side by side,"):
            return found
    return None


def state(example: Example) -> str | None:
    """Compare the shapes and types of the state before and after updates, and its start for two hyperparameters."""
    one, two = (example.start(hyperparameters(values)).optimizer for values in (VALUES, OTHERS))
    after = example.alone["first"][1]
    if strange := [x for x in jax.tree.leaves(one) if not isinstance(x, jax.Array | np.ndarray)]:
        return f"the state holds {type(strange[0]).__name__}, which is no array"
    if _shapes(one) != _shapes(after):
        return f"the state is {_shapes(after)} after {example.size.updates} updates, {_shapes(one)} before"
    if not all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)):
        return "the state before the first update depends on the hyperparameters"
    return None


def layers(example: Example) -> str | None:
    """Compare the layers of the stacked matrix with each of them alone."""
    if "matrix" not in example.arrays:
        raise InapplicableError("nothing is stacked")
    path = example.alone["first"][0]
    for layer in range(SHAPES["matrix"][0]):
        params = {**example.params, "matrix": example.params["matrix"][layer : layer + 1]}
        alone = example.compiled(hyperparameters(VALUES), params, 1.0)[0]
        mine = [{"matrix": p["matrix"][layer : layer + 1]} for p in path]
        if found := _differ(mine, [{"matrix": p["matrix"]} for p in alone], f"of layer {layer}, beside the others,"):
            return found
    return None


def zero_rate(example: Example) -> str | None:
    """Update with a learning rate of 0, which changes no parameter."""
    path, _ = example.compiled(hyperparameters({**VALUES, "learning_rate": 0.0}), example.params, 1.0)
    return _differ(path, [example.params] * len(path), "with a learning rate of 0", tolerance=0.0)


def descends(example: Example) -> str | None:
    """Compute the loss, half the squared distance from fixed parameters: each update lowers it."""
    h = hyperparameters({**VALUES, "learning_rate": RATE / 10, "weight_decay": 0.0})
    path, _ = example.compiled(h, example.params, 1.0)
    losses = [float(sum(jnp.sum((p - 0.3) ** 2) for p in params.values())) / 2 for params in (example.params, *path)]
    for number, (before, after) in enumerate(itertools.pairwise(losses), start=1):
        if not after < before:
            return f"update {number} takes the loss from {before:.6g} to {after:.6g}"
    return None


def zero_gradients(example: Example) -> str | None:
    """Update with gradients of 0, and with very small and very large ones: the parameters stay finite."""
    for scale in (0.0, 1e-30, 1e6):
        path, state = example.compiled(hyperparameters(VALUES), example.params, scale)
        for what, tree in (("parameters", path), ("state", state)):
            if not all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(tree)):
                return f"gradients times {scale:g} give {what} that are not finite"
    return None


def reads(example: Example) -> str | None:
    """Compare updates with those under other settings that the row does not list in `reads`."""
    path, _ = example.alone["first"]
    for name in ("beta1", "beta2"):
        if name not in example.row.reads:
            other, _ = example.compiled(hyperparameters({**VALUES, name: OTHERS[name]}), example.params, 1.0)
            if found := _differ(other, path, f"with another {name}, which `reads` does not name,"):
                return found
    if "epsilon" not in example.row.reads:
        config = dataclasses.replace(example.config, epsilon=0.3)
        other, _ = jax.jit(lambda h, p: example.train(h, p, config=config))(hyperparameters(VALUES), example.params)
        return _differ(other, path, "with another epsilon, which `reads` does not name,")
    return None


def _differ(found: Any, expected: Any, words: str, tolerance: float = TOLERANCE) -> str | None:
    """Write the first difference of parameters after each update, relative to the length of the update."""
    for number, (one, other) in enumerate(zip(found, expected, strict=True), start=1):
        for name in one:
            difference = float(jnp.max(jnp.abs(one[name] - other[name])))
            if not difference <= tolerance:
                return f"after update {number} the {name} {words} differs by {difference:.3g}"
    return None


def _shapes(tree: Any) -> str:
    return ", ".join(f"{jnp.result_type(x)}{list(jnp.shape(x))}" for x in jax.tree.leaves(tree)) or "nothing"


PROPERTIES = (
    ("traced", traced),
    ("lanes", lanes),
    ("state", state),
    ("layers", layers),
    ("zero_rate", zero_rate),
    ("descends", descends),
    ("zero_gradients", zero_gradients),
    ("reads", reads),
)
"""Name -> property."""
