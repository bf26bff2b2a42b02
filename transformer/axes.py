"""The legend of axes, the same in every suffix, einsum and annotation.

| letter | axis                     | letter | axis                                |
|--------|--------------------------|--------|-------------------------------------|
| B      | batch                    | D      | model width                         |
| T      | query (target) position  | F      | feed-forward width                  |
| S      | key (source) position    | V      | vocabulary                          |
| N      | query head               | L      | layer                               |
| K      | key/value head           | R      | trial (lane) of a vectorised sweep  |
| G      | query heads per K        | C      | class                               |
| H      | head width               | P      | row of a learned position table     |
| Z      | gate of a recurrent cell | A      | token type                          |
| M      | bucket of distances      | E      | state of one direction of an RNN    |

N = K x G: query head n reads key/value head n // G.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from transformer.errors import problem, with_article

LEGEND = {
    "B": "batch",
    "T": "query position",
    "S": "key position",
    "N": "query head",
    "K": "key/value head",
    "G": "query heads per key/value head",
    "H": "head width",
    "D": "model width",
    "F": "feed-forward width",
    "V": "vocabulary",
    "L": "layer",
    "R": "trial",
    "C": "class",
    "P": "row of the position table",
    "A": "token type",
    "Z": "gate of a recurrent cell",
    "E": "recurrent state of one direction",
    "M": "bucket of distances",
}


KINDS = {jnp.floating: "floats", jnp.integer: "integers", jnp.bool_: "booleans"}
"""Kinds of arrays, in words."""


def describe(value: Any) -> str:
    """Return type and shape of an array, or the type and value of anything else, for errors.

    >>> describe(jnp.ones((2, 3))), describe([1, 2])
    ('float32 of shape (2, 3)', 'a list, [1, 2]')
    """
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} of shape {value.shape}"
    return "None" if value is None else f"{with_article(type(value).__name__)}, {value!r}"


def has_numbers(value: Any, *kinds: Any) -> bool:
    """Check that a value is a real number or an array of them, also traced; True and False are none.

    Args:
        kinds: rows of KINDS; none: integers and floats.

    >>> has_numbers(3), has_numbers(jnp.ones(2)), has_numbers(0.5, jnp.integer), has_numbers("3"), has_numbers(True)
    (True, True, False, False, False)
    """
    dtype = getattr(value, "dtype", type(value))
    return any(jnp.issubdtype(dtype, kind) for kind in kinds or (jnp.integer, jnp.floating))


def is_integer(value: Any, *, known: bool = False) -> bool:
    """Check that a value is one whole number of Python, NumPy or JAX; True and False are none.

    Args:
        known: True where it has to be known when a program is compiled; else it may be traced.

    >>> is_integer(3), is_integer(jnp.array(3)), is_integer(True), is_integer(3.0)
    (True, True, False, False)
    """
    whole = has_numbers(value, jnp.integer) and jnp.shape(value) == ()
    return whole and not (known and isinstance(value, jax.core.Tracer))


def check_shape(name: str, array: Any, axes: str, sizes: dict[str, int], kind: Any = None) -> None:
    """Check an array against axes such as "B S K H", and add the sizes of new letters to `sizes`.

    Args:
        kind: a row of KINDS; None: any.

    Raises:
        UserError: no array, another kind, another number of axes, or another size; it names the axis in words.
    """
    dtype = getattr(array, "dtype", None)
    if dtype is None or (kind is not None and not jnp.issubdtype(dtype, kind)):
        words = "numbers" if kind is None else KINDS[kind]
        raise problem(f"{name} is not an array of {words}", got=describe(array), expected=f"{words} of axes {axes}")
    letters = axes.split()
    if array.ndim != len(letters):
        axes_there = "1 axis" if array.ndim == 1 else f"{array.ndim} axes"
        raise problem(f"{name} has {axes_there}", got=f"shape {array.shape}", expected=f"axes {axes}")
    for letter, size in zip(letters, array.shape, strict=True):
        if sizes.setdefault(letter, size) != size:
            raise problem(
                f"{name} has another {LEGEND.get(letter, letter)} axis ({letter})",
                got=f"{size} in shape {array.shape}",
                expected=sizes[letter],
            )


def to_rank(array: Array, rank: int) -> Array:
    """Put axes of length 1 before those of an array, until it has `rank` of them: broadcasting that is stated.

    >>> to_rank(jax.numpy.ones((3, 5)), 4).shape
    (1, 1, 3, 5)
    """
    return jax.lax.expand_dims(array, range(rank - array.ndim))


def check_broadcast(name: str, value: Any, full: tuple[int, ...], axes: str, kind: Any, do: str | None = None) -> None:
    """Check that a value is an array of this kind, each of whose last axes is that of the full shape, or 1.

    Raises:
        UserError: no array, another kind, more axes, or another size.
    """
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", (0,) * (len(full) + 1))
    pairs = zip(shape[::-1], full[::-1], strict=False)
    fits = len(shape) <= len(full) and all(got in (1, want) for got, want in pairs)
    if dtype is None or not fits or not jnp.issubdtype(dtype, kind):
        expected = f"{KINDS[kind]} that broadcast to {axes} = {full}"
        raise problem(f"{name} does not fit", got=describe(value), expected=expected, do=do)
