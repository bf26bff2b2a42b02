"""Masks and score modifiers of a user's own, and the check of functions from outside whose shapes a config gives."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool

from transformer.axes import check_broadcast, check_shape
from transformer.errors import problem
from transformer.nn.parameter_axes import parse_axes, shape_of, sizes
from transformer.nn.parameters import Brought
from transformer.nn.positions import POSITIONS, Position
from transformer.nn.positions import ROWS as POSITION_ROWS
from transformer.nn.settings import AttentionSettings, ModelSettings
from transformer.ops import masks
from transformer.ops.mask_rules import Index, Rule, rule
from transformer.ops.masks import Mask
from transformer.ops.modifiers import Function, Modifiers, modify_scores
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.scores import ROWS, Score
from transformer.ops.scoring import raw_scores
from transformer.small_example import check_call, trace
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


@rule
class OwnRule(Rule):
    """Rule of the user's own mask: a function of positions, which it holds, so that it reads no index.

    Attributes:
        query, key: positions, T or B T, and S or B S.
        config: settings of attention, with `mask`.
        heads: number of heads.
    """

    query: Array
    key: Array
    config: AttentionSettings = dataclasses.field(metadata={"static": True})
    heads: int = dataclasses.field(metadata={"static": True})

    def __call__(self, query: Array, key: Array) -> Array:
        """Call the function. Raises UserError where it returns no booleans, or another shape."""
        return user_allowed(self.config, QueryKeyPositions(self.query, self.key), self.heads)

    def part(self, query: Index, T: int, key: Index, S: int) -> "OwnRule":
        return dataclasses.replace(
            self,
            query=jax.lax.dynamic_slice_in_dim(self.query, query, T, axis=-1),
            key=jax.lax.dynamic_slice_in_dim(self.key, key, S, axis=-1),
        )


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
    return Mask((OwnRule(positions.query, positions.key, config.attention, config.num_heads),))


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
    position = POSITIONS.of(config, "position")
    if position not in POSITION_ROWS.values():
        _check_position(config, f"model.position {str(config.position)!r}", position)
    takes = ("query_positions", "key_positions")
    at = _whole_numbers(1, 1, QUERIES, 1), _whole_numbers(1, 1, 1, QUERIES)
    if own.mask is not None:
        row = MASKS.of(own, "mask")

        def allowed(query: Array, key: Array) -> Array:
            return user_allowed(own, QueryKeyPositions(query[0, 0, :, 0], key[0, 0, 0]), config.num_heads)

        check_call(f"model.attention.mask {str(own.mask)!r}", row.function, takes, allowed, at, named=row.own)
    if own.score_modifier is not None:
        function, modifier = score_modifier(own), SCORE_MODIFIERS.of(own, "score_modifier")

        def modified(scores_BNTS: Array, query: Array, key: Array) -> Array:
            return modify_scores(scores_BNTS, Modifiers(function=function, path=str(own.score_modifier)))

        what = f"model.attention.score_modifier {str(own.score_modifier)!r}"
        examples = (_floats(EXAMPLES, config.num_heads, QUERIES, QUERIES), *at)
        check_call(what, modifier.function, ("scores_BNTS", *takes), modified, examples, named=modifier.own)


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _whole_numbers(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def _check_score(config: ModelSettings, what: str, score: Score, keys: int) -> None:
    """Call a score of the user's own, and the functions that start its parameters."""
    size = sizes(config)
    parameters = _parameters(what, score.parameters, size)
    query_BTNH = jax.ShapeDtypeStruct((EXAMPLES, QUERIES, size["N"], size["H"]), config.compute_dtype)
    key_BSKH = jax.ShapeDtypeStruct((EXAMPLES, keys, size["K"], size["H"]), config.compute_dtype)

    def scores(query_BTNH: Array, key_BSKH: Array, own: dict[str, Array]) -> Array:
        return raw_scores(query_BTNH, key_BSKH, score, own, differential=config.attention.differential)

    named = (*parameters, *["positions"] * score.reads_positions, *score.own)
    examples = (query_BTNH, key_BSKH, parameters)
    check_call(what, score.function, ("query_BTNH", "key_BSNH"), scores, examples, named=named)


def _parameters(what: str, rows: Brought, size: Mapping[str, int]) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of the parameters that a row brings along, and call the functions that start them."""
    found = {}
    for name, row in rows.items():
        axes, full = parse_axes(row.axes), f"{name!r} of {what}"
        found[name] = _floats(*shape_of(axes, size, full))
        if callable(row.start):
            start, shape = row.start, found[name].shape
            drawn = trace(
                f"the start of {full}",
                lambda key, start=start, shape=shape: start(key, shape),
                (jax.random.key(0),),
                "a function of (key, shape)",
            )
            known = dict(zip(axes.letters, found[name].shape, strict=True))
            check_shape(f"the start of {full}", drawn, " ".join(axes.letters), known, jnp.floating)
    return found


def _check_position(config: ModelSettings, what: str, row: Position) -> None:
    """Call the functions of a position of the user's own."""
    size = {"P": QUERIES, **sizes(config)}
    parameters = _parameters(what, row.parameters, size)
    positions_BT, named = _whole_numbers(EXAMPLES, QUERIES), (*parameters, *row.own)
    if (adds := row.adds) is not None:

        def added(positions_BT: Array, own: dict[str, Array]) -> None:
            y = adds(positions_BT, config, **own, **row.own)
            check_broadcast(f"what {what} adds", y, (EXAMPLES, QUERIES, size["D"]), "B T D", jnp.floating)

        check_call(what, adds, ("positions", "config"), added, (positions_BT, parameters), named=named)
    if (rotates := row.rotates) is not None:
        width = size["H"] // (2 if config.attention.differential else 1)

        def rotated(x_BTNH: Array, positions_BT: Array) -> None:
            y = rotates(x_BTNH, positions_BT, 1e4, **row.own)
            known = dict(zip("BTNH", x_BTNH.shape, strict=True))
            check_shape(f"what {what} rotates", y, "B T N H", known, jnp.floating)

        examples = (_floats(EXAMPLES, QUERIES, size["N"], width), positions_BT)
        check_call(what, rotates, ("x_BTNH", "positions", "base"), rotated, examples, named=row.own)
    if (bias := row.bias) is not None:

        def biased(positions_BT: Array, own: dict[str, Array]) -> None:
            y = bias(QueryKeyPositions(positions_BT, positions_BT), config, True, **own, **row.own)
            full = (EXAMPLES, size["N"], QUERIES, QUERIES)
            check_broadcast(f"the bias of {what}", y, full, "B N T S", jnp.floating)

        takes = ("positions", "config", "causal")
        check_call(what, bias, takes, biased, (positions_BT, parameters), named=named)
