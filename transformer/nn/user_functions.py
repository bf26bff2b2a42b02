"""The functions of a user that a config names by a path package.module:function."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool

from transformer.errors import look_up, problem
from transformer.nn.settings import ModelSettings
from transformer.ops import masks
from transformer.ops.masks import Mask
from transformer.ops.modifiers import Function
from transformer.ops.positions import QueryKeyPositions


def find_function(setting: str, name: str, signature: str) -> Callable[..., Array]:
    """Import the user's own function at `package.module:attribute`.

    Args:
        setting: full name of the setting that names it, for errors.
        signature: its arguments in words, for errors.

    Raises:
        UserError: not such a path, not importable, or not callable.
    """
    expected = f"package.module:function of {signature}"
    if ":" not in name:
        raise problem(f"{setting} is not a dotted path", got=repr(name), expected=expected)
    found = look_up(setting, {}, name)
    if not callable(found):
        raise problem(f"{setting} {name!r} is not a function", got=type(found).__name__, expected=expected)
    return found


def score_modifier(name: str) -> Function:
    """Import the function that `model.attention.score_modifier` names. Raises UserError as `find_function`."""
    return find_function("model.attention.score_modifier", name, "(scores_BNTS, query_positions, key_positions)")


def mask_function(name: str) -> Callable[[Array, Array], Array]:
    """Import the function that `model.attention.mask` names. Raises UserError as `find_function`."""
    return find_function("model.attention.mask", name, "(query_positions, key_positions) -> booleans")


def user_allowed(name: str, positions: QueryKeyPositions, heads: int) -> Bool[Array, "..."]:
    """Compute the booleans of the user's own mask, four axes that broadcast to B N T S.

    Raises:
        UserError: the function returned no booleans, or another shape.
    """
    query, key = positions.broadcast
    given = mask_function(name)(query, key)
    allowed = None if given is None else jnp.asarray(given)
    B, _, T, S = jnp.broadcast_shapes(query.shape, key.shape)
    expected = (B, heads, T, S)
    if allowed is None or allowed.dtype != bool or allowed.ndim != 4 or not _fits(allowed.shape, expected):
        raise problem(
            f"model.attention.mask {name!r} gave something else",
            got="None" if allowed is None else f"{allowed.dtype} of shape {allowed.shape}",
            expected=f"bool that broadcasts to B N T S, here {expected}; "
            "it is given query positions (B or 1) 1 T 1 and key positions (B or 1) 1 1 S",
        )
    return allowed


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Return whether each axis is the expected one, or 1."""
    return all(got in (1, want) for got, want in zip(shape, expected, strict=True))


def user_mask(config: ModelSettings, positions: QueryKeyPositions) -> Mask:
    """Return the user's own mask of self-attention; no rule where the config names none."""
    name = config.attention.mask
    return masks.everything() if name is None else masks.given(user_allowed(name, positions, config.num_heads))
