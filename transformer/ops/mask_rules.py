"""Rules of masks: each is a function of the indices of queries and keys, and a pytree of its arrays.

A rule also states where the keys lie that some queries may see (`span`), so that attention need not compute what no
query sees, and what it is for some of the queries and keys (`part`), so that its booleans need not be held at once.
"""

import abc
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

Index = int | Int[Array, ""]
Span = tuple[Index, Index]
"""First key that some query may see, and the first one after the last."""


class Rule(abc.ABC):
    """Function (query index, (B or 1) T 1; key index, (B or 1) 1 S) -> booleans that broadcast to B T S or B N T S."""

    @abc.abstractmethod
    def __call__(self, query: Array, key: Array) -> Array:
        """Compute the booleans."""

    def span(self, first: Index, last: Index, keys: int) -> Span:
        """Return a range outside of which no query from index `first` to `last` sees one of `keys` keys."""
        return 0, keys

    def part(self, query: Index, T: int, key: Index, S: int) -> "Rule":
        """Return the rule of T queries and S keys alone, from row `query` and row `key` on."""
        return self


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
class Causal(Rule):
    """Rule of `causal`."""

    def __call__(self, query: Array, key: Array) -> Array:
        return key <= query

    def span(self, first: Index, last: Index, keys: int) -> Span:
        return 0, smaller(keys, last + 1)


@rule
class Window(Rule):
    """Rule of `window`."""

    size: int | Int[Array, ""]

    def __call__(self, query: Array, key: Array) -> Array:
        return (key > query - self.size) & (key < query + self.size)

    def span(self, first: Index, last: Index, keys: int) -> Span:
        return larger(0, first - self.size + 1), smaller(keys, last + self.size)


@rule
class Padding(Rule):
    """Rule of `padding`."""

    lengths_B: Int[Array, "B"]

    def __call__(self, query: Array, key: Array) -> Array:
        return key < self.lengths_B[:, None, None]

    def span(self, first: Index, last: Index, keys: int) -> Span:
        return 0, smaller(keys, jnp.max(self.lengths_B).astype(jnp.int32))


@rule
class Prefix(Rule):
    """Rule of `prefix`."""

    lengths_B: Int[Array, "B"]

    def __call__(self, query: Array, key: Array) -> Array:
        return (key <= query) | (key < self.lengths_B[:, None, None])

    def span(self, first: Index, last: Index, keys: int) -> Span:
        return 0, smaller(keys, larger(last + 1, jnp.max(self.lengths_B).astype(jnp.int32)))


@rule
class Segments(Rule):
    """Rule of `segments`."""

    query_BT: Int[Array, "B T"]
    key_BS: Int[Array, "B S"]

    def __call__(self, query: Array, key: Array) -> Array:
        query_BT1, key_B1S = self.query_BT[:, :, None], self.key_BS[:, None, :]
        return (query_BT1 == key_B1S) & (key_B1S != 0)

    def part(self, query: Index, T: int, key: Index, S: int) -> "Segments":
        return Segments(
            jax.lax.dynamic_slice_in_dim(self.query_BT, query, T, axis=1),
            jax.lax.dynamic_slice_in_dim(self.key_BS, key, S, axis=1),
        )


@rule
class Given(Rule):
    """Rule of `given`."""

    allowed: Bool[Array, "..."]

    def __call__(self, query: Array, key: Array) -> Array:
        return self.allowed

    def part(self, query: Index, T: int, key: Index, S: int) -> "Given":
        return Given(part_of(self.allowed, query, T, key, S))


@rule
class Where(Rule):
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


def smaller(a: Index, b: Index) -> Index:
    """Return the smaller index, as a number where both are numbers.

    >>> smaller(2, 3)
    2
    """
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else jnp.minimum(a, b)


def larger(a: Index, b: Index) -> Index:
    """Return the larger index, as a number where both are numbers.

    >>> larger(2, 3)
    3
    """
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else jnp.maximum(a, b)


def part_of(x: Array, query: Index, T: int, key: Index, S: int) -> Array:
    """Cut an array that broadcasts to ... T S to T queries from row `query` on, and S keys from row `key` on.

    >>> part_of(jnp.ones((2, 1, 6)), 2, 3, 1, 4).shape
    (2, 1, 4)
    """
    for axis, first, size in ((x.ndim - 2, query, T), (x.ndim - 1, key, S)):
        x = x if axis < 0 or x.shape[axis] == 1 else jax.lax.dynamic_slice_in_dim(x, first, size, axis)
    return x


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
