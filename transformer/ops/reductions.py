"""Sums and maxima in the order that a CPU computes in the least time: halves of a row are added to each other.

XLA adds the entries of a row one after another on a CPU, each waiting for the one before. Halves are added as vectors,
and the sum of halves has smaller rounding errors (pairwise summation, Higham 1993, https://doi.org/10.1137/0914050).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

LEAST = 16
"""Shortest row that is left to XLA."""

PIECES = 16
"""Number of parts of an array that are added to each other before the rest is left to XLA."""

SMALL = 1024
"""Entries of the largest array whose squares are left to XLA as a whole: parts are more operations and save no time."""


def sum_last(x: Float[Array, "*outer last"]) -> Float[Array, "*outer 1"]:
    """Sum over the last axis, which stays as one of length 1.

    >>> float(sum_last(jnp.ones((2, 96)))[0, 0])
    96.0
    """
    return jnp.sum(_by_halves(x, jnp.add), axis=-1, keepdims=True)


def max_last(x: Float[Array, "*outer last"]) -> Float[Array, "*outer 1"]:
    """Find the largest entry of the last axis, which stays as one of length 1.

    >>> float(max_last(jnp.arange(96.0)[None])[0, 0])
    95.0
    """
    return jnp.max(_by_halves(x, jnp.maximum), axis=-1, keepdims=True)


def sum_of_squares(x: Float[Array, "..."]) -> Float[Array, ""]:
    """Sum the squares of all entries, float32.

    Of several devices each may have a part of the array, and the pieces would be sent from one to another.

    >>> float(sum_of_squares(jnp.full((6, 800), 2.0)))
    19200.0
    """
    wide = x.astype(jnp.float32)
    if x.size <= SMALL or x.size % PIECES or not _on_one_cpu():
        return jnp.sum(jnp.square(wide))
    pieces = wide.reshape(PIECES, -1)
    return jnp.sum(sum(jnp.square(pieces[i]) for i in range(PIECES)))


def _on_one_cpu() -> bool:
    """Return whether a CPU computes alone: parts of an array that lie on several devices would be exchanged first."""
    return jax.default_backend() == "cpu" and jax.device_count() == 1


def _by_halves(x: Array, join: Callable[[Array, Array], Array]) -> Array:
    """Join the halves of the last axis for as long as it is even and long, on a CPU."""
    if not _on_one_cpu():
        return x
    while x.shape[-1] % 2 == 0 and x.shape[-1] // 2 >= LEAST:
        half = x.shape[-1] // 2
        x = join(x[..., :half], x[..., half:])
    return x


def global_norm(tree: object) -> Float[Array, ""]:
    """Compute the root of the sum of squares of all entries of all arrays, float32.

    >>> float(global_norm({"a": jnp.full((4,), 3.0), "b": jnp.full((4,), 4.0)}))
    10.0
    """
    return jnp.sqrt(sum(map(sum_of_squares, jax.tree.leaves(tree)), jnp.zeros((), jnp.float32)))
