"""Masks as descriptions of the keys that each query may see, joined by `&` with each other and with booleans.

    allowed[b, t, s] = every rule allows (t, s) in example b

A mask is a tuple of rules, not an array: `attend` turns it into booleans.
Masks read indices, the rows in the sequence or in a cache, so that the same description serves the whole sequence at
once and one query at a time against a cache. A query that may see no key gets exactly zero (see `attend`).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from transformer.axes import check_shape, describe, is_integer
from transformer.errors import problem

Rule = Callable[[Array, Array], Array]
"""Function (query index, (B or 1) T 1; key index, 1 1 S) -> booleans that broadcast to B T S, or to B N T S."""

Booleans = Bool[Array, "..."]
"""Booleans of the caller's own, as `given` takes them."""

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def _rule(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass, and a pytree of its fields."""
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True)(cls))


@_rule
class Causal:
    """Rule of `causal`."""

    def __call__(self, query: Array, key: Array) -> Array:
        return key <= query


@_rule
class Window:
    """Rule of `window`."""

    size: int | Int[Array, ""]

    def __call__(self, query: Array, key: Array) -> Array:
        return (key > query - self.size) & (key < query + self.size)


@_rule
class Padding:
    """Rule of `padding`."""

    lengths_B: Int[Array, "B"]

    def __call__(self, query: Array, key: Array) -> Array:
        return key < self.lengths_B[:, None, None]


@_rule
class Prefix:
    """Rule of `prefix`."""

    lengths_B: Int[Array, "B"]

    def __call__(self, query: Array, key: Array) -> Array:
        return (key <= query) | (key < self.lengths_B[:, None, None])


@_rule
class Segments:
    """Rule of `segments`."""

    query_BT: Int[Array, "B T"]
    key_BS: Int[Array, "B S"]

    def __call__(self, query: Array, key: Array) -> Array:
        query_BT1, key_B1S = self.query_BT[:, :, None], self.key_BS[:, None, :]
        return (query_BT1 == key_B1S) & (key_B1S != 0)


@_rule
class Given:
    """Rule of `given`."""

    allowed: Bool[Array, "..."]

    def __call__(self, query: Array, key: Array) -> Array:
        return self.allowed


@_rule
class Mask:
    """The rules that must all hold. No rule at all allows every key."""

    rules: tuple[Rule, ...] = ()

    __array_ufunc__ = None  # NumPy then leaves `booleans & mask` to `__rand__`

    def __and__(self, other: "Mask | Booleans") -> "Mask":
        return Mask(self.rules + _mask(other).rules)

    def __rand__(self, other: Booleans) -> "Mask":
        return _mask(other) & self

    def __or__(self, other: object) -> "Mask":
        raise problem("masks are joined by & alone", got="|", do="Pass booleans to masks.given.")

    __ror__ = __or__

    def __invert__(self) -> "Mask":
        raise problem("masks are joined by & alone", got="~", do="Pass booleans to masks.given.")

    def allowed(self, query_index: Int[Array, "..."], key_length: int) -> Bool[Array, "..."] | None:
        """Return booleans of four axes that broadcast to B N T S, or None where every key is allowed.

        Args:
            query_index: T, or B T where examples stand at different indices.
            key_length: S; keys stand at 0 .. S - 1.

        >>> causal().allowed(jnp.arange(3), 5).shape
        (1, 1, 3, 5)
        """
        if not self.rules:
            return None
        query = query_index[..., :, None] if query_index.ndim == 2 else query_index[None, :, None]
        key = jnp.arange(key_length, dtype=jnp.int32)[None, None, :]
        result = jnp.ones((), bool)
        for rule in self.rules:
            allowed = rule(query, key)
            result = result & _with_heads(allowed)
        return result


def _mask(value: "Mask | Booleans") -> Mask:
    """Return a mask as it is, and booleans as `given` takes them."""
    return value if isinstance(value, Mask) else given(value)


def _with_heads(allowed: Array) -> Array:
    """Give T S, B T S or B N T S four axes."""
    if allowed.ndim == 4:
        return allowed
    return allowed[:, None] if allowed.ndim == 3 else allowed[None, None]


def everything() -> Mask:
    """Allow every key; the identity of `&`.

    >>> everything().allowed(jnp.arange(3), 5) is None
    True
    """
    return Mask()


def causal() -> Mask:
    """Allow each query its own index and those before it.

    >>> (causal() & padding(jnp.array([3, 1]))).allowed(jnp.arange(3), 3).shape
    (2, 1, 3, 3)
    """
    return Mask((Causal(),))


def window(size: int | Int[Array, ""]) -> Mask:
    """Allow the keys less than `size` tokens away, to both sides; with `causal()`, the last `size` ones.

    Child et al. 2019, https://arxiv.org/abs/1904.10509; Beltagy et al. 2020, https://arxiv.org/abs/2004.05150.

    Raises:
        UserError: no whole number, or one below 1 where it is known.

    >>> window(2).allowed(jnp.arange(3), 3).shape
    (1, 1, 3, 3)
    """
    if not is_integer(size):
        raise problem("size of masks.window is not a whole number", got=describe(size), expected="1 or more")
    if is_integer(size, known=True) and int(size) < 1:
        raise problem("a window must hold at least the query's own position", got=size, expected="1 or more")
    return Mask((Window(size),))


def padding(lengths_B: Int[Array, "B"]) -> Mask:
    """Allow the keys before an example's length. A length of zero allows none.

    Raises:
        UserError: lengths that are no integers of axes B.

    >>> padding(jnp.array([3, 1])).allowed(jnp.arange(3), 3).shape
    (2, 1, 1, 3)
    """
    if jnp.issubdtype(getattr(lengths_B, "dtype", float), jnp.bool_):
        raise problem(
            "lengths_B of masks.padding is not an array of integers",
            got=describe(lengths_B),
            expected="integers of axes B",
            do="Booleans of keys, True for a token, are masks.given(keys_BS[:, None, :]).",
        )
    check_shape("lengths_B of masks.padding", lengths_B, "B", {}, jnp.integer)
    return Mask((Padding(lengths_B),))


def segments(query_BT: Int[Array, "B T"], key_BS: Int[Array, "B S"] | None = None) -> Mask:
    """Allow keys of the query's own segment: packed examples see only themselves. Id 0 is padding, which no query sees.

    Krell et al. 2021, https://arxiv.org/abs/2107.02027.

    >>> segments(jnp.array([[1, 1, 2]])).allowed(jnp.arange(3), 3).shape
    (1, 1, 3, 3)
    """
    sizes: dict[str, int] = {}
    check_shape("query_BT of masks.segments", query_BT, "B T", sizes, jnp.integer)
    if key_BS is not None:
        check_shape("key_BS of masks.segments", key_BS, "B S", sizes, jnp.integer)
    return Mask((Segments(query_BT, query_BT if key_BS is None else key_BS),))


def prefix(lengths_B: Int[Array, "B"]) -> Mask:
    """Allow what `causal` allows, and to all queries the first `lengths_B` keys of their example (a prefix LM).

    Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 3.2.1. `&` is a logical and, so
    `causal() & prefix(l)` is `causal()`.

    >>> prefix(jnp.array([2, 1])).allowed(jnp.arange(3), 3).shape
    (2, 1, 3, 3)
    """
    check_shape("lengths_B of masks.prefix", lengths_B, "B", {}, jnp.integer)
    return Mask((Prefix(lengths_B),))


def given(allowed: Booleans) -> Mask:
    """Allow the keys where the caller's own booleans are True: T S, B T S or B N T S; each axis may also be 1.

    Raises:
        UserError: no array of booleans, or another number of axes.

    >>> given(jnp.ones((3, 5), bool)).allowed(jnp.arange(3), 5).shape
    (1, 1, 3, 5)
    """
    dtype = getattr(allowed, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.bool_):
        what = "a mask is an array of booleans, True where a query may see a key"
        raise problem(what, got=describe(allowed), do=_advice(allowed))
    if allowed.ndim not in (2, 3, 4):
        raise problem("a mask has axes T S, B T S or B N T S", got=f"shape {allowed.shape}")
    return Mask((Given(jnp.asarray(allowed)),))


def _advice(value: Any) -> str:
    """Return what to do where something else than booleans is given as a mask."""
    name = value if isinstance(value, str) else getattr(value, "__name__", None)
    if name in ("causal", "everything"):
        return f"Write masks.{name}()."
    if name in ("window", "padding", "segments", "prefix"):
        return f"Write masks.{name}(...) with its argument."
    if jnp.issubdtype(getattr(value, "dtype", bool), jnp.floating):
        return "Numbers that are added to the scores are a bias."
    return "Write jnp.asarray(mask, bool)."
