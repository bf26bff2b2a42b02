"""Masks as descriptions: which key each query may see, joined by `&`.

    allowed[b, t, s] = every rule allows (t, s) in example b

A mask is a tuple of rules, not an array: `attend` turns it into booleans, or hands it to a fused kernel as flags.
Positions are indices into the sequence, so that the same description serves the whole sequence at once and one query
at a time against a cache. A query that may see nothing gets exactly zero (see `attend`).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from transformer.errors import problem

Rule = Callable[[Array, Array], Array]
"""(query positions, (B or 1) T 1; key positions, 1 1 S) -> booleans that broadcast to B T S, or to B N T S."""


def _rule(*static: str) -> Callable[[type], type]:
    """A frozen dataclass that is a pytree, with the fields `static` part of its structure."""

    def register(cls: type) -> type:
        cls = dataclasses.dataclass(frozen=True)(cls)
        arrays = [f.name for f in dataclasses.fields(cls) if f.name not in static]
        return jax.tree_util.register_dataclass(cls, data_fields=arrays, meta_fields=list(static))

    return register


@_rule()
class Causal:
    def __call__(self, query: Array, key: Array) -> Array:
        return key <= query


@_rule()
class Window:
    size: int | Int[Array, ""]

    def __call__(self, query: Array, key: Array) -> Array:
        return (key > query - self.size) & (key < query + self.size)


@_rule()
class Padding:
    lengths_B: Int[Array, "B"]

    def __call__(self, query: Array, key: Array) -> Array:
        return key < self.lengths_B[:, None, None]


@_rule()
class Prefix:
    lengths_B: Int[Array, "B"]

    def __call__(self, query: Array, key: Array) -> Array:
        return (key <= query) | (key < self.lengths_B[:, None, None])


@_rule()
class Segments:
    query_BT: Int[Array, "B T"]
    key_BS: Int[Array, "B S"]

    def __call__(self, query: Array, key: Array) -> Array:
        query_BT1, key_B1S = self.query_BT[:, :, None], self.key_BS[:, None, :]
        return (query_BT1 == key_B1S) & (key_B1S != 0)


@_rule()
class Given:
    allowed: Bool[Array, "..."]

    def __call__(self, query: Array, key: Array) -> Array:
        return self.allowed


@_rule()
class Mask:
    """Rules that must all hold. No rule at all allows everything."""

    rules: tuple[Rule, ...] = ()

    def __and__(self, other: "Mask") -> "Mask":
        return Mask(self.rules + other.rules)

    def allowed(self, query_positions: Array, key_length: int) -> Bool[Array, "..."] | None:
        """Booleans of four axes that broadcast to B N T S, or None where everything is allowed.

        Args:
            query_positions: T, or B T where examples stand at different positions.
            key_length: S; keys stand at 0 .. S - 1.
        """
        if not self.rules:
            return None
        query = query_positions[..., :, None] if query_positions.ndim == 2 else query_positions[None, :, None]
        key = jnp.arange(key_length)[None, None, :]
        result = jnp.ones((), bool)
        for rule in self.rules:
            allowed = rule(query, key)
            result = result & _with_heads(allowed)
        return result


def _with_heads(allowed: Array) -> Array:
    """T S, B T S or B N T S as four axes."""
    if allowed.ndim == 4:
        return allowed
    return allowed[:, None] if allowed.ndim == 3 else allowed[None, None]


def everything() -> Mask:
    """No restriction; the identity of `&`."""
    return Mask()


def causal() -> Mask:
    """A query sees its own position and those before it."""
    return Mask((Causal(),))


def window(size: int | Int[Array, ""]) -> Mask:
    """A query sees the keys less than `size` positions away, to both sides; with `causal()`, the last `size` ones."""
    if isinstance(size, int) and size < 1:
        raise problem("a window must hold at least the query's own position", got=size, expected="1 or more")
    return Mask((Window(size),))


def padding(lengths_B: Int[Array, "B"]) -> Mask:
    """Keys at or after an example's length are not seen. A length of zero leaves nothing to see."""
    return Mask((Padding(lengths_B),))


def segments(query_BT: Int[Array, "B T"], key_BS: Int[Array, "B S"] | None = None) -> Mask:
    """Packed examples see only themselves: segment ids must be equal. Id 0 is padding, and is seen by nobody."""
    return Mask((Segments(query_BT, query_BT if key_BS is None else key_BS),))


def prefix(lengths_B: Int[Array, "B"]) -> Mask:
    """Causal, but the first `lengths_B` positions of an example are seen by all its queries (a prefix LM).

    `&` is a logical and, so `causal() & prefix(l)` is `causal()`.
    """
    return Mask((Prefix(lengths_B),))


def given(allowed: Bool[Array, "..."]) -> Mask:
    """Booleans of the caller's own, True where a query may see a key: T S, B T S or B N T S."""
    if allowed.ndim not in (2, 3, 4):
        raise problem("a mask has axes T S, B T S or B N T S", got=f"shape {allowed.shape}")
    return Mask((Given(allowed),))
