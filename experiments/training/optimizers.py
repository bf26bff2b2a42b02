"""Optimizers as rows of a table; what a sweep may vary is an argument, never a constant of the program.

A row is a function (OptimizerConfig, Hyperparameters, tree of Axes) -> optax transformation of gradients into a
direction, which the update scales by the learning rate. Its state must not depend on the hyperparameters. Which
arrays are matrices, and along which axes, is in the table of axes; each stacked layer is treated by itself.
One of a user's own is such a function; an `Optimizer` states what it reads, and its own settings.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from experiments.training.hyperparameters import Hyperparameters
from experiments.training.schedules import SCHEDULES, learning_rate
from experiments.training.transformations import check_transformation
from transformer.nn.parameter_axes import Axes
from transformer.ops.reductions import global_norm
from transformer.read_by import when_row_reads
from transformer.schema import at_least, fraction, setting
from transformer.tables import Choice, Row, Table

Transformation = optax.GradientTransformation


@dataclasses.dataclass(frozen=True, eq=False)
class Optimizer(Row):
    """A row of OPTIMIZERS.

    Attributes:
        function: (OptimizerConfig, Hyperparameters, tree of Axes) -> transformation; a row with settings also takes
            `settings`.
        reads: the settings of section `optimizer` that it reads, of beta1, beta2 and epsilon.
    """

    function: Callable[..., Transformation]
    reads: tuple[str, ...] = ("beta1", "beta2", "epsilon")


def adamw(config: "OptimizerConfig", hyperparameters: Hyperparameters, axes: Any) -> Transformation:
    """Build AdamW. Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101."""
    return optax.chain(
        optax.scale_by_adam(hyperparameters.beta1, hyperparameters.beta2, config.epsilon),
        decay(hyperparameters, axes),
    )


def sgd(config: "OptimizerConfig", hyperparameters: Hyperparameters, axes: Any) -> Transformation:
    """Build gradient descent with heavy-ball momentum beta1, not Nesterov's: m = beta1 m + g; the direction is m.

    The decoupled decay is that of SGDW, Loshchilov and Hutter 2019. Neither beta2 nor epsilon is read.
    """
    return optax.chain(optax.trace(hyperparameters.beta1), decay(hyperparameters, axes))


def lion(config: "OptimizerConfig", hyperparameters: Hyperparameters, axes: Any) -> Transformation:
    """Build Lion: sign(beta1 m + (1 - beta1) g), then m = beta2 m + (1 - beta2) g.

    Chen et al. 2023, https://arxiv.org/abs/2302.06675, use a learning rate 3 to 10 times smaller than AdamW's, and a
    weight decay as many times larger. Epsilon is not read.
    """
    return optax.chain(optax.scale_by_lion(hyperparameters.beta1, hyperparameters.beta2), decay(hyperparameters, axes))


def adafactor(config: "OptimizerConfig", hyperparameters: Hyperparameters, axes: Any) -> Transformation:
    """Build Adafactor without momentum. Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235.

    Second moments of a matrix or table are kept as the means of its rows and columns, and directions are clipped to a
    root mean square of 1. Differences: the step size is the schedule's, neither relative nor scaled by the
    parameter; the decay 1 - t^-0.8 of the second moments stops at beta2, as in Zhai et al. 2021
    (https://arxiv.org/abs/2106.04560); epsilon is that of AdamW, so its square is added to the squared gradient.
    Beta1 is not read: a momentum would be as large as the parameters.
    """
    factored = optax.scale_by_factored_rms(
        min_dim_size_to_factor=1,
        epsilon=config.epsilon**2,
        decay_rate_fn=lambda step, exponent: jnp.minimum(1.0 - (step + 1.0) ** -exponent, hyperparameters.beta2),
    )
    inner = optax.chain(factored, optax.clip_by_block_rms(1.0))
    return optax.chain(each_layer(inner, axes), decay(hyperparameters, axes))


def muon(config: "OptimizerConfig", hyperparameters: Hyperparameters, axes: Any) -> Transformation:
    """Build Muon: Nesterov momentum beta1, made orthogonal. Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.

    Each layer's matrix is taken as inputs x outputs, heads among them, and scaled by 0.2 sqrt(max(inputs, outputs)),
    with which its root mean square is that of AdamW and so AdamW's learning rate and decay carry over (Liu et al.
    2025, https://arxiv.org/abs/2502.16982). AdamW, with the same settings, updates tables, vectors and the heads over
    tokens or classes. Jordan uses 0.95 for beta1.
    """
    orthogonal = jax.tree.map(_orthogonal, axes)
    dimensions = jax.tree.map(lambda a, chosen: _dimensions(a) if chosen else optax.MaskedNode(), axes, orthogonal)
    matrices = optax.chain(
        optax.contrib.scale_by_muon(
            beta=hyperparameters.beta1, eps=config.epsilon, weight_dimension_numbers=dimensions
        ),
        optax.stateless(lambda updates, _: jax.tree.map(_scale_to_adamw, updates, dimensions)),
    )
    others = optax.scale_by_adam(hyperparameters.beta1, hyperparameters.beta2, config.epsilon)
    labels = jax.tree.map(lambda chosen: "matrices" if chosen else "others", orthogonal)
    return optax.chain(optax.partition({"matrices": matrices, "others": others}, labels), decay(hyperparameters, axes))


def _check(row: Optimizer, what: str) -> None:
    """Run an optimizer from outside on a small tree of parameters."""

    def make(hyperparameters: Hyperparameters, axes: Any) -> Transformation:
        return row.function(OptimizerConfig(), hyperparameters, axes, **row.own)

    check_transformation(what, row.function, make, row.own)


OPTIMIZERS = Table(
    "optimizer",
    Optimizer,
    {
        "adamw": Optimizer(adamw),
        "adafactor": Optimizer(adafactor, reads=("beta2", "epsilon")),
        "lion": Optimizer(lion, reads=("beta1", "beta2")),
        "muon": Optimizer(muon),
        "sgd": Optimizer(sgd, reads=("beta1",)),
    },
    make=Optimizer,
    expected="a function of (config, hyperparameters, axes) -> optax.GradientTransformation, or an"
    " experiments.training.optimizers.Optimizer",
    check=_check,
)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer, learning rate and schedule."""

    name: Choice = setting("adamw", "optimizer of the parameters", table=OPTIMIZERS)
    learning_rate: float = setting(1e-3, "peak learning rate", check=at_least(1e-12, 1e6))
    schedule: Choice = setting("cosine", "learning-rate schedule after warm-up", table=SCHEDULES)
    warmup_steps: int = setting(100, "steps of linear warm-up to the peak learning rate", check=at_least(0))
    final_fraction: float = setting(
        0.1,
        "final learning rate as a fraction of the peak",
        check=at_least(0.0, 1.0),
        read_by=when_row_reads("optimizer.schedule", SCHEDULES, "final_fraction"),
    )
    decay_fraction: float = setting(
        0.2,
        "fraction of all steps, at their end, in which the learning rate decays",
        check=fraction,
        read_by=when_row_reads("optimizer.schedule", SCHEDULES, "decay_fraction"),
    )
    weight_decay: float = setting(0.1, "decoupled weight decay of matrices and embeddings", check=at_least(0.0, 1e6))
    beta1: float = setting(
        0.9,
        "decay rate of the mean gradient, or momentum",
        check=fraction,
        read_by=when_row_reads("optimizer.name", OPTIMIZERS, "beta1"),
    )
    beta2: float = setting(
        0.98,
        "decay rate of the mean squared gradient, or of lion's mean",
        check=fraction,
        read_by=when_row_reads("optimizer.name", OPTIMIZERS, "beta2"),
    )
    epsilon: float = setting(
        1e-8,
        "constant added to the root of the mean squared gradient",
        check=at_least(1e-15, 1e3),
        read_by=when_row_reads("optimizer.name", OPTIMIZERS, "epsilon"),
    )
    clip_norm: float | None = setting(
        1.0, "maximum global norm of the gradient; none: no clipping", check=at_least(1e-12, 1e12)
    )


def scheduled_rate(config: OptimizerConfig, hyperparameters: Hyperparameters, step: Array, steps: int) -> Array:
    """Compute the learning rate of update `step`, counted from 0, in a run of so many steps."""
    row = SCHEDULES.of(config, "schedule")
    return learning_rate(
        functools.partial(row.function, **row.own),
        step,
        peak=hyperparameters.learning_rate,
        warmup_steps=hyperparameters.warmup_steps,
        steps=steps,
        final=config.final_fraction,
        decay_fraction=config.decay_fraction,
    )


def decay_begins(config: OptimizerConfig, steps: int) -> int | None:
    """Compute the update at which a schedule that decays at its end begins to; None for any other schedule."""
    decays_at_end = SCHEDULES.of(config, "schedule").decays_at_end
    return math.floor(steps - config.decay_fraction * steps) if decays_at_end else None


def optimizer(config: OptimizerConfig, hyperparameters: Hyperparameters, parameter_axes: Any) -> Transformation:
    """Chain clipping and the optimizer that the config names."""
    clip = optax.identity() if config.clip_norm is None else clip_by_norm(config.clip_norm)
    row = OPTIMIZERS.of(config, "name")
    return optax.chain(clip, row.function(config, hyperparameters, parameter_axes, **row.own))


def clip_by_norm(largest: float) -> Transformation:
    """Build optax.clip_by_global_norm with a norm that a CPU computes in less time; see `ops.reductions`."""

    def clip(gradients: Any, _: Any) -> Any:
        norm = global_norm(gradients)
        factor = jnp.where(norm < largest, 1.0, largest / norm)
        return jax.tree.map(lambda gradient: factor * gradient, gradients)

    return optax.stateless(clip)


def decay(hyperparameters: Hyperparameters, axes: Any) -> Transformation:
    """Build decoupled weight decay of matrices and tables; biases and scales do not decay."""
    decayed = jax.tree.map(lambda a: a.kind != "vector", axes)
    return optax.add_decayed_weights(hyperparameters.weight_decay, decayed)


def each_layer(inner: Transformation, axes: Any) -> Transformation:
    """Apply `inner` to each layer of each array by itself: a matrix or table as inputs x outputs, a vector as one axis.

    The state is a tree of inner states like the parameters, each with a leading L (1 where nothing is stacked).
    """

    def view(x: Array, a: Axes) -> Array:
        layers, *shape = x.shape if a.stacked else (1, *x.shape)
        inputs = math.prod(shape[: len(a.inputs)])
        return x.reshape(layers, -1) if a.kind == "vector" else x.reshape(layers, inputs, -1)

    def start(params: Any) -> Any:
        return jax.tree.map(lambda a, p: jax.vmap(inner.init)(view(p, a)), axes, params)

    def update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        def one(a: Axes, gradient: Array, inner_state: Any, p: Array) -> tuple[Array, Any]:
            direction, inner_state = jax.vmap(inner.update)(view(gradient, a), inner_state, view(p, a))
            return direction.reshape(gradient.shape), inner_state

        pairs = jax.tree.map(one, axes, gradients, state, params)
        direction, state = (jax.tree.map(lambda _, pair, i=i: pair[i], axes, pairs) for i in (0, 1))
        return direction, state

    return optax.GradientTransformation(start, update)


def _orthogonal(axes: Axes) -> bool:
    """Check that Muon makes the array orthogonal: a matrix within the model, not one from or to tokens and classes."""
    return axes.kind == "matrix" and not {"V", "C"} & {*axes.inputs, *axes.outputs}


def _dimensions(axes: Axes) -> optax.contrib.MuonDimensionNumbers:
    """List the axes of the matrix's inputs and of its outputs; the axis that is neither, L, is mapped over."""
    first = int(axes.stacked)
    middle, last = first + len(axes.inputs), first + len(axes.inputs) + len(axes.outputs)
    return optax.contrib.MuonDimensionNumbers(tuple(range(first, middle)), tuple(range(middle, last)))


def _scale_to_adamw(direction: Array, dimensions: optax.contrib.MuonDimensionNumbers) -> Array:
    sizes = [math.prod(direction.shape[i] for i in axes) for axes in dimensions]
    return 0.2 * math.sqrt(max(sizes)) * direction
