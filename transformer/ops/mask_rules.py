"""Rules of masks: each is a function of the indices of queries and keys, and a pytree of its arrays."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from transformer.axes import describe
from transformer.errors import path_of, problem
from transformer.small_example import signature_of

Rule = Callable[[Array, Array], Array]
"""Function (query index, (B or 1) T 1; key index, (B or 1) 1 S) -> booleans that broadcast to B T S, or to B N T S."""

IndexFunction = Callable[[Array, Array], Array]
"""Function of the user's own (query index, (B or 1) 1 T 1; key index, (B or 1) 1 1 S) -> booleans.

They broadcast to B N T S. It is that of `model.attention.mask`, but for the indices, which stand there for positions.
"""

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def rule(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass, and a pytree of its fields.

    >>> jax.tree.leaves(Padding(jnp.array([3, 1])))[0].shape
    (2,)
    """
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True)(cls))


@rule
class Causal:
    """Rule of `causal`."""

    def __call__(self, query: Array, key: Array) -> Array:
        return key <= query


@rule
class Window:
    """Rule of `window`."""

    size: int | Int[Array, ""]

    def __call__(self, query: Array, key: Array) -> Array:
        return (key > query - self.size) & (key < query + self.size)


@rule
class Padding:
    """Rule of `padding`."""

    lengths_B: Int[Array, "B"]

    def __call__(self, query: Array, key: Array) -> Array:
        return key < self.lengths_B[:, None, None]


@rule
class Prefix:
    """Rule of `prefix`."""

    lengths_B: Int[Array, "B"]

    def __call__(self, query: Array, key: Array) -> Array:
        return (key <= query) | (key < self.lengths_B[:, None, None])


@rule
class Segments:
    """Rule of `segments`."""

    query_BT: Int[Array, "B T"]
    key_BS: Int[Array, "B S"]

    def __call__(self, query: Array, key: Array) -> Array:
        query_BT1, key_B1S = self.query_BT[:, :, None], self.key_BS[:, None, :]
        return (query_BT1 == key_B1S) & (key_B1S != 0)


@rule
class Given:
    """Rule of `given`."""

    allowed: Bool[Array, "..."]

    def __call__(self, query: Array, key: Array) -> Array:
        return self.allowed


@rule
class Where:
    """Rule of `where`. Its function is no array: a pytree of another function is another program."""

    function: IndexFunction = dataclasses.field(metadata={"static": True})

    def __call__(self, query: Array, key: Array) -> Array:
        """Call the function. Raises UserError where it fails or returns no booleans that broadcast to B N T S."""
        what = f"the mask function {path_of(self.function)}"
        T, S = query.shape[1], key.shape[2]
        expected = f"booleans that broadcast to B N T S, here with T = {T} and S = {S}"
        try:
            found: Any = self.function(query[:, None], key[:, None])
        except Exception as error:  # the function is the user's own, and may raise anything
            got = f"{type(error).__name__}: {error}".splitlines()[0]
            raise problem(f"{what} fails", got=got, expected=expected, do=ELEMENTWISE) from error
        found = found if isinstance(found, Array) or found is None else jnp.asarray(found)
        if found is None or found.dtype != bool:
            raise problem(f"{what} returned no booleans", got=describe(found), expected=expected)
        fits = all(got in (1, want) for got, want in zip(found.shape[::-1], (S, T), strict=False))
        if found.ndim > 4 or not fits:
            raise problem(f"{what} returned another shape", got=describe(found), expected=expected)
        return jax.lax.expand_dims(found, range(4 - found.ndim))


ELEMENTWISE = "It is called with arrays of indices: write & | ~ and jnp.where in place of and, or, not and if."


def check_function(function: IndexFunction) -> None:
    """Raise a UserError for a function that cannot be called with two arguments.

    >>> check_function(lambda query, key: key <= query)
    """
    signature = signature_of(function)
    if signature is None:
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        expected = "a function of (query index, key index)"
        raise problem(
            f"the mask function {path_of(function)} takes other arguments", got=str(signature), expected=expected
        ) from error
