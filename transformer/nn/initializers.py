"""Initial values of parameters.

    Normal        N(0, deviation^2)
    Orthogonal    Q of a normal matrix, for each gate of a cell    Saxe et al. 2014, https://arxiv.org/abs/1312.6120
    Constant      a number, or one for each gate
    Own           a function of the user's or of a score

Layer i of a stack is drawn from the parameter's key with i folded in, so it does not depend on the number of layers.

The first draw of a size compiles a program, and a model has many sizes. So that they share programs, a short draw is
made longer, up to a power of two, and cut. The numbers are those of a draw of the exact size, because JAX computes
number i from the key and i alone (threefry keys, the default, with `jax_threefry_partitionable`).
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from transformer.ops.linear import orthonormal

SHORTEST, LONGEST = 2**10, 2**16
"""Lengths of a draw (numbers): every draw has the first at least, and one of more than the second its exact size."""

Shape = tuple[int, ...]


@runtime_checkable
class Initializer(Protocol):
    """The initial values of a parameter."""

    def draw(self, key: Array, shape: Shape, layers: int | None, scale: float | Array) -> Array:
        """Draw all layers, with a leading L, or without it where `layers` is None; times `scale`."""
        ...


@dataclasses.dataclass(frozen=True)
class Normal:
    """Normal numbers with mean 0 and a standard deviation."""

    deviation: float

    def draw(self, key: Array, shape: Shape, layers: int | None, scale: float | Array) -> Array:
        """Draw numbers of any shape."""
        drawn = _each_layer(_standard_normal, key, (drawn_length(shape),), layers)
        return _cut(drawn, self.deviation, scale, _whole(shape, layers))


@dataclasses.dataclass(frozen=True)
class Orthogonal:
    """Square matrices, one for each gate, whose columns are orthogonal and of length 1."""

    def draw(self, key: Array, shape: Shape, layers: int | None, scale: float | Array) -> Array:
        """Draw E Z E."""
        drawn = _each_layer(_standard_normal, key, (drawn_length(shape),), layers)
        return _orthogonalise(drawn, scale, _whole(shape, layers))


@dataclasses.dataclass(frozen=True)
class Constant:
    """The same number everywhere, or one number for each row of the first axis."""

    rows: tuple[float, ...]

    def draw(self, key: Array, shape: Shape, layers: int | None, scale: float | Array) -> Array:
        """Fill an array of any shape."""
        return _fill(jnp.array(self.rows, jnp.float32), scale, len(shape), _whole(shape, layers))


@dataclasses.dataclass(frozen=True)
class Own:
    """The numbers of a function (key, shape) -> array."""

    function: Callable[[Array, Shape], Array]

    def draw(self, key: Array, shape: Shape, layers: int | None, scale: float | Array) -> Array:
        """Call the function for each layer."""
        return _cut(_each_layer(self.function, key, shape, layers), 1.0, scale, _whole(shape, layers))


def drawn_length(shape: Shape) -> int:
    """Return the length of the draw that an array of this shape is cut from."""
    size = math.prod(shape)
    return size if size > LONGEST else max(SHORTEST, 1 << (size - 1).bit_length())


def _whole(shape: Shape, layers: int | None) -> Shape:
    return shape if layers is None else (layers, *shape)


def _standard_normal(key: Array, shape: Shape) -> Array:
    return jax.random.normal(key, shape, jnp.float32)


@functools.partial(jax.jit, static_argnames=("function", "shape", "layers"))
def _each_layer(function: Callable[[Array, Shape], Array], key: Array, shape: Shape, layers: int | None) -> Array:
    """Draw each layer from a key of its own, with a leading L, which is 1 where `layers` is None."""
    index_L = jnp.arange(layers or 1, dtype=jnp.int32)
    return jax.vmap(lambda index: function(jax.random.fold_in(key, index), shape))(index_L)


@functools.partial(jax.jit, static_argnames="shape")
def _cut(drawn: Array, deviation: float | Array, scale: float | Array, shape: Shape) -> Array:
    """Cut as many numbers of each layer as the shape has, times a deviation and a scale."""
    layers = len(drawn)
    drawn = jax.lax.optimization_barrier(drawn)  # XLA would round once for two factors, so other bits under jit
    flat = drawn.reshape(layers, -1)[:, : math.prod(shape) // layers]
    return (flat * (deviation * scale)).reshape(shape)


@functools.partial(jax.jit, static_argnames="shape")
def _orthogonalise(drawn: Array, scale: float | Array, shape: Shape) -> Array:
    """Make the columns of a draw's square matrices orthonormal, ... E Z E, times a scale."""
    width, gates, _ = shape[-3:]
    matrices = _cut(drawn, 1.0, 1.0, (math.prod(shape) // width**2, width, width))
    orthogonal = jax.vmap(orthonormal)(matrices) * scale
    return jnp.swapaxes(orthogonal.reshape(*shape[:-3], gates, width, width), -3, -2)


@functools.partial(jax.jit, static_argnames=("axes", "shape"))
def _fill(rows: Array, scale: float | Array, axes: int, shape: Shape) -> Array:
    """Repeat rows, which lie along the first of the last `axes` axes, times a scale."""
    return jnp.broadcast_to((rows * scale).reshape(-1, *(1,) * (axes - 1)), shape)
