"""The functions of a user that a config names by a path package.module:function.

A config is checked with one call of each, on the shapes of a small example: nothing is computed, and a function that
was not made for this, such as os:system, gets no value that it could act on.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool

from transformer.errors import UserError, look_up, problem
from transformer.nn.parameters import parse_axes, sizes
from transformer.nn.settings import ModelSettings
from transformer.ops import masks
from transformer.ops.attend import raw_scores
from transformer.ops.masks import Mask
from transformer.ops.modifiers import Function, Modifiers, modify_scores
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.scores import Score, find

EXAMPLES, QUERIES, KEYS = 3, 7, 5
"""Sizes B, T and S of the small example; self-attention has as many keys as queries."""


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


def check_functions(config: ModelSettings, score: str | None, setting: str, *, self_alone: bool) -> None:
    """Call each function of the user's own that a resolved config names, on the shapes of a small example.

    Args:
        score: the name or path of the score of the model's attention; None without attention.
        setting: full name of the setting that names it.
        self_alone: True in a model of self-attention alone, where there are as many keys as queries.

    Raises:
        UserError: a function that cannot be found, does not take its arguments, fails, or returns something else.
    """
    own = config.attention
    if score is not None and ":" in score:
        _check_score(config, f"{setting} {score!r}", find(score), QUERIES if self_alone else KEYS)
    at = {
        "query_positions": jax.ShapeDtypeStruct((1, 1, QUERIES, 1), jnp.int32),
        "key_positions": jax.ShapeDtypeStruct((1, 1, 1, QUERIES), jnp.int32),
    }
    if own.mask is not None:
        name = own.mask

        def allowed(query: Array, key: Array) -> Array:
            return user_allowed(name, QueryKeyPositions(query[0, 0, :, 0], key[0, 0, 0]), config.num_heads)

        _check_call(f"model.attention.mask {name!r}", mask_function(name), at, allowed)
    if own.score_modifier is not None:
        function = score_modifier(own.score_modifier)
        shape = (EXAMPLES, config.num_heads, QUERIES, QUERIES)
        arguments = {"scores_BNTS": jax.ShapeDtypeStruct(shape, jnp.float32), **at}

        def modified(scores_BNTS: Array, query: Array, key: Array) -> Array:
            return modify_scores(scores_BNTS, Modifiers(function=function, path=own.score_modifier))

        _check_call(f"model.attention.score_modifier {own.score_modifier!r}", function, arguments, modified)


def _check_score(config: ModelSettings, what: str, score: Score, keys: int) -> None:
    """Call a score of the user's own, and the functions that start its parameters."""
    size = sizes(config)
    arguments = {
        "query_BTNH": jax.ShapeDtypeStruct((EXAMPLES, QUERIES, size["N"], size["H"]), config.compute_dtype),
        "key_BSNH": jax.ShapeDtypeStruct((EXAMPLES, keys, size["K"], size["H"]), config.compute_dtype),
    }

    def scores(query_BTNH: Array, key_BSKH: Array) -> Array:
        own = {}
        for parameter, row in score.parameters.items():
            shape = tuple(size[letter] for letter in parse_axes(row.axes).letters)
            own[parameter] = row.start(jax.random.key(0), shape)
        return raw_scores(query_BTNH, key_BSKH, score, own, differential=config.attention.differential)

    named = (*score.parameters, *["positions"] * score.reads_positions)
    _check_call(what, score.function, arguments, scores, named)


def _check_call(
    what: str,
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    call: Callable[..., Any],
    named: tuple[str, ...] = (),
) -> None:
    """Check that a function takes these arguments, then trace `call`, which calls it and checks what it returns.

    Args:
        arguments: name, for errors -> array or its shape; given by position.
        named: names of those that are given by name.
    """
    expected = f"a function of ({', '.join((*arguments, *named))})"
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # a function that is not written in Python may have none
        signature = None
    if signature is not None:
        try:
            signature.bind(*arguments, **dict.fromkeys(named))
        except TypeError as error:
            name = f": {error}" if "'" in str(error) else ""  # without one it states no more than the two signatures
            raise problem(f"{what} takes other arguments{name}", got=str(signature), expected=expected) from error
    try:
        jax.eval_shape(call, *arguments.values())
    except UserError:
        raise
    except Exception as error:  # the function is the user's own, and may raise anything
        got = f"{type(error).__name__}: {error}".splitlines()[0]
        expected += " that jax.jit can trace"
        raise problem(f"{what} fails on a small example", got=got, expected=expected) from error
