"""Masks as descriptions of the keys that each query may see, joined by `&`, `|` and `~` with each other.

    allowed[b, t, s] = every rule allows (t, s) in example b

A mask is a tuple of rules, not an array: `attend` turns it into booleans. `|` and `~` are rules that hold masks, so a
mask is a tree. Booleans, and functions of (query index, key index), are masks wherever one is taken.
Masks read indices, the rows in the sequence or in a cache, so that the same description serves the whole sequence at
once and one query at a time against a cache. A query that may see no key gets exactly zero (see `attend`).
"""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from transformer.axes import check_shape, describe, is_integer
from transformer.errors import problem
from transformer.ops.mask_rules import (
    Causal,
    Given,
    Index,
    IndexFunction,
    Padding,
    Prefix,
    Rule,
    Segments,
    Span,
    Where,
    Window,
    check_function,
    larger,
    rule,
    smaller,
)

Booleans = Bool[Array, "..."]
"""Booleans of the caller's own, as `given` takes them."""


@rule
class Mask:
    """The rules that must all hold. No rule at all allows every key."""

    rules: tuple[Rule, ...] = ()

    __array_ufunc__ = None  # NumPy then leaves `booleans & mask` to `__rand__`

    def __and__(self, other: "Mask | Booleans | IndexFunction") -> "Mask":
        """Allow what both masks allow."""
        return Mask(self.rules + as_mask(other).rules)

    def __rand__(self, other: "Booleans | IndexFunction") -> "Mask":
        return as_mask(other) & self

    def __or__(self, other: "Mask | Booleans | IndexFunction") -> "Mask":
        """Allow what either mask allows."""
        other = as_mask(other)
        return Mask((Union((self, other)),)) if self.rules and other.rules else Mask()

    def __ror__(self, other: "Booleans | IndexFunction") -> "Mask":
        return as_mask(other) | self

    def __invert__(self) -> "Mask":
        """Allow what this mask does not: of `~padding(lengths)` the padding, of `~everything()` nothing.

        A model joins its own masks by `&`, so in a model padding stays hidden whatever the user's mask allows.
        """
        return Mask((Complement(self),))

    def __bool__(self) -> bool:
        """Raise a UserError: `mask and other` would be `other` alone."""
        do = "Join masks by &, | and ~ in the place of and, or and not; compare with None for one that is left out."
        raise problem("a mask has no truth value", got="a mask where True or False is read", do=do)

    def allowed(
        self, query_index: Int[Array, "..."], key_length: int, key_index_BS: Int[Array, "B S"] | None = None
    ) -> Bool[Array, "..."] | None:
        """Return booleans of four axes that broadcast to B N T S, or None where every key is allowed.

        Args:
            query_index: T, or B T where examples stand at different indices.
            key_length: S.
            key_index_BS: where the keys stand; None: at 0 .. S - 1.

        >>> causal().allowed(jnp.arange(3), 5).shape
        (1, 1, 3, 5)
        """
        if not self.rules:
            return None
        query = query_index[..., :, None] if query_index.ndim == 2 else query_index[None, :, None]
        key = jnp.arange(key_length, dtype=jnp.int32)[None] if key_index_BS is None else key_index_BS
        key = key[:, None, :]
        return _every(self, query, key)

    def span(self, first: Index, last: Index, keys: int) -> Span:
        """Return a range of keys outside of which no query from index `first` to `last` sees one of `keys` keys.

        Its ends are numbers where the mask holds no arrays that they depend on.

        >>> (causal() & window(4)).span(8, 11, 64)
        (5, 12)
        """
        low: Index = 0
        high: Index = keys
        for each in self.rules:
            rule_low, rule_high = each.span(first, last, keys)
            low, high = larger(low, rule_low), smaller(high, rule_high)
        return low, high

    def part(self, query: Index, T: int, key: Index, S: int) -> "Mask":
        """Return the mask of T queries from row `query` on and S keys from row `key` on; it still reads their indices.

        >>> segments(jnp.array([[1, 1, 2]])).part(1, 2, 0, 2).allowed(jnp.arange(1, 3), 2).shape
        (1, 1, 2, 2)
        """
        return Mask(tuple(each.part(query, T, key, S) for each in self.rules))


@rule
class Union(Rule):
    """Rule of `|`."""

    masks: tuple[Mask, ...]

    def __call__(self, query: Array, key: Array) -> Array:
        result = jnp.zeros((), bool)
        for mask in self.masks:
            result = result | _every(mask, query, key)
        return result

    def span(self, first: Index, last: Index, keys: int) -> Span:
        low: Index = keys
        high: Index = 0
        for mask in self.masks:
            mask_low, mask_high = mask.span(first, last, keys)
            low, high = smaller(low, mask_low), larger(high, mask_high)
        return low, high

    def part(self, query: Index, T: int, key: Index, S: int) -> "Union":
        return Union(tuple(mask.part(query, T, key, S) for mask in self.masks))


@rule
class Complement(Rule):
    """Rule of `~`."""

    mask: Mask

    def __call__(self, query: Array, key: Array) -> Array:
        return ~_every(self.mask, query, key)

    def part(self, query: Index, T: int, key: Index, S: int) -> "Complement":
        return Complement(self.mask.part(query, T, key, S))


def _every(mask: Mask, query: Array, key: Array) -> Array:
    """Compute the booleans that all rules of a mask allow, with four axes."""
    result = jnp.ones((1, 1, 1, 1), bool)
    for each in mask.rules:
        result = result & _with_heads(each(query, key))
    return result


def _with_heads(allowed: Array) -> Array:
    """Give T S, B T S or B N T S four axes."""
    if allowed.ndim == 4:
        return allowed
    return allowed[:, None] if allowed.ndim == 3 else allowed[None, None]


MaskLike = Mask | Booleans | IndexFunction
"""Anything that `as_mask` takes."""


def as_mask(value: MaskLike) -> Mask:
    """Return a mask as it is, booleans as `given` takes them, and a function as `where` does.

    Raises:
        UserError: anything else.

    >>> as_mask(lambda query, key: key <= query).allowed(jnp.arange(3), 5).shape
    (1, 1, 3, 5)
    """
    if isinstance(value, Mask):
        return value
    if callable(value) and value not in MAKERS:  # one that was not called, such as `masks.causal`, is a mistake
        return where(value)
    return given(value)  # type: ignore[arg-type]  # refuses what are no booleans


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
        raise problem(
            what, got=describe(allowed), expected="booleans of axes T S, B T S or B N T S", do=_advice(allowed)
        )
    if allowed.ndim not in (2, 3, 4):
        raise problem("a mask has axes T S, B T S or B N T S", got=f"shape {allowed.shape}")
    return Mask((Given(jnp.asarray(allowed)),))


def where(function: IndexFunction) -> Mask:
    """Allow the keys where a function of (query index, key index) is True.

    Args:
        function: called with arrays of indices, (B or 1) 1 T 1 and 1 1 1 S, and returns booleans that broadcast to
            B N T S.

    Raises:
        UserError: a function that cannot be called with two arguments; where the mask is used, one that fails or
            returns anything else.

    >>> where(lambda query, key: key % 2 == query % 2).allowed(jnp.arange(3), 5).shape
    (1, 1, 3, 5)
    """
    if not callable(function):
        raise problem("a mask function is needed", got=describe(function), expected="(query index, key index) -> bool")
    check_function(function)
    return Mask((Where(function),))


MAKERS = (everything, causal, window, padding, segments, prefix, given, where)
"""The functions that return masks."""


def _advice(value: Any) -> str:
    """Return what to do where something else than booleans is given as a mask."""
    name = value if isinstance(value, str) else getattr(value, "__name__", None)
    if name in ("causal", "everything"):
        return f"Write masks.{name}()."
    if name in ("window", "padding", "segments", "prefix"):
        return f"Write masks.{name}(...) with its argument."
    if jnp.issubdtype(getattr(value, "dtype", bool), jnp.floating):
        return "Numbers that are added to the scores are a bias."
    if isinstance(value, list | tuple) and any(isinstance(part, Mask) for part in value):
        return "Join masks by &."
    return "Write jnp.asarray(mask, bool)."
