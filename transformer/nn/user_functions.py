"""Masks and score modifiers of a user's own, and the check of a config's functions from outside.

A config is checked with one call of each, on the shapes of a small example: nothing is computed, and a function that
was not made for this, such as os:system, gets no value that it could act on.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool

from transformer.errors import UserError, problem
from transformer.nn.parameters import parse_axes, sizes
from transformer.nn.settings import AttentionSettings, ModelSettings
from transformer.ops import masks
from transformer.ops.attend import raw_scores
from transformer.ops.masks import Mask
from transformer.ops.modifiers import Function, Modifiers, modify_scores
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.scores import ROWS, Score
from transformer.tables import Row, Table

EXAMPLES, QUERIES, KEYS = 3, 7, 5
"""Sizes B, T and S of the small example; self-attention has as many keys as queries."""


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreModifier(Row):
    """A row of SCORE_MODIFIERS.

    Attributes:
        function: (scores_BNTS, query positions (B or 1) 1 T 1, key positions (B or 1) 1 1 S) -> scores_BNTS; a row with
            settings also takes `settings`.
    """

    function: Function


@dataclasses.dataclass(frozen=True, eq=False)
class OwnMask(Row):
    """A row of MASKS.

    Attributes:
        function: (query positions (B or 1) 1 T 1, key positions (B or 1) 1 1 S) -> booleans that broadcast to B N T S,
            True where a query may see a key; a row with settings also takes `settings`.
    """

    function: Callable[..., Array]


SCORE_MODIFIERS = Table(
    "score_modifier",
    ScoreModifier,
    {},
    make=ScoreModifier,
    expected="a function of (scores_BNTS, query_positions, key_positions)",
)

MASKS = Table("mask", OwnMask, {}, make=OwnMask, expected="a function of (query_positions, key_positions) -> booleans")


def score_modifier(config: AttentionSettings) -> Function | None:
    """Return the function that `model.attention.score_modifier` names; None where it names none."""
    if config.score_modifier is None:
        return None
    row = SCORE_MODIFIERS.of(config, "score_modifier")
    return functools.partial(row.function, **row.own) if row.own else row.function


def user_allowed(config: AttentionSettings, positions: QueryKeyPositions, heads: int) -> Bool[Array, "..."]:
    """Compute the booleans of the user's own mask, four axes that broadcast to B N T S.

    Raises:
        UserError: the function returned no booleans, or another shape.
    """
    query, key = positions.broadcast
    row = MASKS.of(config, "mask")
    given = row.function(query, key, **row.own)
    allowed = None if given is None else jnp.asarray(given)
    B, _, T, S = jnp.broadcast_shapes(query.shape, key.shape)
    expected = (B, heads, T, S)
    if allowed is None or allowed.dtype != bool or allowed.ndim != 4 or not _fits(allowed.shape, expected):
        raise problem(
            f"model.attention.mask {str(config.mask)!r} gave something else",
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
    if config.attention.mask is None:
        return masks.everything()
    return masks.given(user_allowed(config.attention, positions, config.num_heads))


def check_functions(config: ModelSettings, score: Score | None, setting: str, *, self_alone: bool) -> None:
    """Call each function of the user's own that a resolved config names, on the shapes of a small example.

    Args:
        score: the score of the model's attention; None without attention.
        setting: full name and value of the setting that names it.
        self_alone: True in a model of self-attention alone, where there are as many keys as queries.

    Raises:
        UserError: a function that cannot be found, does not take its arguments, fails, or returns something else.
    """
    own = config.attention
    if score is not None and score not in ROWS.values():
        _check_score(config, setting, score, QUERIES if self_alone else KEYS)
    at = {
        "query_positions": jax.ShapeDtypeStruct((1, 1, QUERIES, 1), jnp.int32),
        "key_positions": jax.ShapeDtypeStruct((1, 1, 1, QUERIES), jnp.int32),
    }
    if own.mask is not None:
        row = MASKS.of(own, "mask")

        def allowed(query: Array, key: Array) -> Array:
            return user_allowed(own, QueryKeyPositions(query[0, 0, :, 0], key[0, 0, 0]), config.num_heads)

        _check_call(f"model.attention.mask {str(own.mask)!r}", row, at, allowed)
    if own.score_modifier is not None:
        function = score_modifier(own)
        shape = (EXAMPLES, config.num_heads, QUERIES, QUERIES)
        arguments = {"scores_BNTS": jax.ShapeDtypeStruct(shape, jnp.float32), **at}

        def modified(scores_BNTS: Array, query: Array, key: Array) -> Array:
            return modify_scores(scores_BNTS, Modifiers(function=function, path=str(own.score_modifier)))

        modifier = SCORE_MODIFIERS.of(own, "score_modifier")
        _check_call(f"model.attention.score_modifier {str(own.score_modifier)!r}", modifier, arguments, modified)


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
    _check_call(what, score, arguments, scores, named)


def _check_call(
    what: str,
    row: ScoreModifier | OwnMask | Score,
    arguments: Mapping[str, Any],
    call: Callable[..., Any],
    named: tuple[str, ...] = (),
) -> None:
    """Check that a row's function takes these arguments, then trace `call`, which calls it and checks what it returns.

    Args:
        arguments: name, for errors -> array or its shape; given by position.
        named: names of those that are given by name.
    """
    named = (*named, *row.own)
    expected = f"a function of ({', '.join((*arguments, *named))})"
    try:
        signature = inspect.signature(row.function)
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
