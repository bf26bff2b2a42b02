"""Dropout: each entry is zero with probability `rate`, else divided by 1 - rate. Srivastava et al. 2014."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from transformer.axes import describe, has_numbers
from transformer.errors import problem


def dropout(
    x: Float[Array, "*shape"], rate: "float | Float[Array, ''] | None", key: Array | None
) -> Float[Array, "*shape"]:
    """Drop entries of `x`; the rate may be a traced array, so a sweep can vary it in one program.

    Args:
        rate: from 0 to below 1. None compiles to nothing; 0.0 changes nothing.
        key: a typed key; needed unless the rate is None.

    Raises:
        UserError: a rate without a key, or outside its range.

    >>> dropout(jnp.ones((2, 5)), 0.1, jax.random.key(0)).shape
    (2, 5)
    """
    if rate is None:
        return x
    kept = kept_entries(x.shape, rate, key)
    return jnp.where(kept, x / (1.0 - jnp.asarray(rate, x.dtype)), 0).astype(x.dtype)


def kept_entries(shape: tuple[int, ...], rate: "float | Float[Array, '']", key: Array | None) -> Bool[Array, "..."]:
    """Draw the entries that dropout keeps: 16 bits decide over an entry, so a rate is met to 2^-16.

    A random word decides over two entries next to each other: the words are most of the time that dropout takes.

    Raises:
        UserError: a rate without a key, or outside its range.

    >>> kept_entries((2, 5), 0.1, jax.random.key(0)).shape
    (2, 5)
    """
    check_rate(rate)
    if key is None:
        raise problem("dropout needs a random key", got=f"rate {rate} and no key", do="Pass key=jax.random.key(...).")
    *outer, size = shape or (1,)
    words = jax.random.bits(key, (*outer, -(-size // 2)), jnp.uint32)
    bits = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(*outer, 2 * words.shape[-1])[..., :size]
    dropped = (jnp.asarray(rate, jnp.float32) * 2.0**16).astype(jnp.uint16)  # a rate is below 1, so this fits
    return (bits >= dropped).reshape(shape)


def check_rate(rate: Any) -> None:
    """Check a rate of dropout; of a traced one, its kind alone.

    Raises:
        UserError: no number, several, or one outside of its range.

    >>> check_rate(0.1)
    """
    one = has_numbers(rate) and jnp.shape(rate) == ()
    known = not isinstance(rate, jax.core.Tracer) and getattr(rate, "is_fully_addressable", True)
    if not one or (known and not 0 <= float(rate) < 1):
        got = rate if one else describe(rate)
        raise problem("a rate of dropout is a share of the entries", got=got, expected="a number from 0 to below 1")
