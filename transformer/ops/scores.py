"""Score functions of a query q and a key k; softmax of the scores over the keys gives the attention weights.

    dot           q . k                    Luong et al. 2015, https://arxiv.org/abs/1508.04025
    scaled_dot    q . k / sqrt(H)          Vaswani et al. 2017, https://arxiv.org/abs/1706.03762
    fixed_dot     q . k / sqrt(d)          Gemma team 2024, https://arxiv.org/abs/2408.00118; d is a setting
    bilinear      q^T W k                  Luong et al. 2015 ("general")
    additive      v . tanh(q + k)          Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473
    cosine        g sqrt(H) q . k / |q||k| Henry et al. 2020, https://arxiv.org/abs/2010.04245
    position_only table[bucket(s - t)]     Tay et al. 2020 ("random"), https://arxiv.org/abs/2005.00743

In the papers additive and bilinear take decoder and encoder states; here q and k are already projected, so Bahdanau's
W_a and U_a are the query and key projections, and his v_a is `vector`, one for each head. Henry et al. learn one g for
a layer and start it from the longest sequence; here each head has a g, which starts at 1, and the factor sqrt(H) gives
the score the variance of scaled_dot. Tay et al. learn a number for each pair of positions; here pairs at one distance
share it, and far distances share buckets as in T5, so that a sequence may be longer than those in training.

A score is a function (query_BTNH, key_BSNH, **parameters) -> scores_BNTS. Its parameters have a leading axis N. It is
never given grouped heads: `attend` maps it over the G queries of a key head. A new score is such a function and a row
of SCORES; one of the user's own, without parameters, needs only the function. A row that reads positions is also given
`positions`, those of queries and keys.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from transformer.axes import check_shape
from transformer.errors import problem
from transformer.ops.positions import QueryKeyPositions, relative
from transformer.schema import above, setting
from transformer.tables import Choice, Parameter, Row, Table

ScoreFunction = Callable[..., Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Score(Row):
    """A row of SCORES.

    Attributes:
        function: (query_BTNH, key_BSNH, **parameters) -> scores_BNTS; a row with settings also takes `settings`.
        parameters: name -> its axes and initial value.
        dot_scale: head width -> the factor on q . k, for a score that is only this; fused kernels take those. A row
            with settings gives it `settings` too.
        reads_content: False for a score that reads no more of q and k than their shapes; a model then projects none.
        reads_positions: True for a function that takes `positions`, a `transformer.ops.positions.QueryKeyPositions`.
        path: the path package.module:attribute that it was found by; None: by a name, or not at all.
    """

    function: ScoreFunction
    parameters: Mapping[str, Parameter] = dataclasses.field(default_factory=dict)
    dot_scale: Callable[..., float] | None = None
    reads_content: bool = True
    reads_positions: bool = False

    @property
    def name(self) -> str:
        """The path that it was found by, else the function's own name with its module, for errors."""
        return str(self)


def dot(query_BTNH: Float[Array, "B T N H"], key_BSNH: Float[Array, "B S N H"]) -> Float[Array, "B N T S"]:
    """Compute q . k, in float32. Luong et al. 2015.

    >>> dot(jnp.ones((2, 3, 4, 8)), jnp.ones((2, 5, 4, 8))).shape
    (2, 4, 3, 5)
    """
    return jnp.einsum("BTNH,BSNH->BNTS", query_BTNH, key_BSNH, preferred_element_type=jnp.float32)


def scaled_dot(query_BTNH: Float[Array, "B T N H"], key_BSNH: Float[Array, "B S N H"]) -> Float[Array, "B N T S"]:
    """Compute q . k / sqrt(H): variance 1 where the entries of q and k have variance 1. Vaswani et al. 2017.

    >>> scaled_dot(jnp.ones((2, 3, 4, 8)), jnp.ones((2, 5, 4, 8))).shape
    (2, 4, 3, 5)
    """
    return dot(query_BTNH * (query_BTNH.shape[-1] ** -0.5), key_BSNH)


@dataclasses.dataclass(frozen=True)
class FixedWidth:
    """Settings of `fixed_dot`."""

    width: float = setting(64.0, "d, width whose square root divides the product of query and key", check=above(0.0))


def fixed_scale(head_width: int, settings: FixedWidth = FixedWidth()) -> float:
    """Compute 1 / sqrt(d), whatever the width of a head.

    >>> fixed_scale(8, FixedWidth(16.0))
    0.25
    """
    return float(settings.width**-0.5)


def fixed_dot(
    query_BTNH: Float[Array, "B T N H"], key_BSNH: Float[Array, "B S N H"], settings: FixedWidth = FixedWidth()
) -> Float[Array, "B N T S"]:
    """Compute q . k / sqrt(d) for a d that is no width of a head, as Gemma 2 does ("query_pre_attn_scalar").

    Gemma team 2024, https://arxiv.org/abs/2408.00118.

    >>> fixed_dot(jnp.ones((2, 3, 4, 8)), jnp.ones((2, 5, 4, 8)), FixedWidth(256.0)).shape
    (2, 4, 3, 5)
    """
    return dot(query_BTNH * fixed_scale(query_BTNH.shape[-1], settings), key_BSNH)


def bilinear(
    query_BTNH: Float[Array, "B T N H"], key_BSNH: Float[Array, "B S N H"], matrix: Float[Array, "N H H"]
) -> Float[Array, "B N T S"]:
    """Compute q^T W k, with one W for each head. Luong et al. 2015.

    >>> bilinear(jnp.ones((2, 3, 4, 8)), jnp.ones((2, 5, 4, 8)), jnp.ones((4, 8, 8))).shape
    (2, 4, 3, 5)
    """
    return dot(jnp.einsum("BTNH,NHJ->BTNJ", query_BTNH, matrix.astype(query_BTNH.dtype)), key_BSNH)


def additive(
    query_BTNH: Float[Array, "B T N H"], key_BSNH: Float[Array, "B S N H"], vector: Float[Array, "N H"]
) -> Float[Array, "B N T S"]:
    """Compute v . tanh(q + k), with one v for each head. Takes memory B T S N H. Bahdanau et al. 2015.

    >>> additive(jnp.ones((2, 3, 4, 8)), jnp.ones((2, 5, 4, 8)), jnp.ones((4, 8))).shape
    (2, 4, 3, 5)
    """
    hidden_BTSNH = jnp.tanh(query_BTNH[:, :, None] + key_BSNH[:, None])
    vector = vector.astype(query_BTNH.dtype)
    return jnp.einsum("BTSNH,NH->BNTS", hidden_BTSNH, vector, preferred_element_type=jnp.float32)


def cosine(
    query_BTNH: Float[Array, "B T N H"], key_BSNH: Float[Array, "B S N H"], scale: Float[Array, "N"]
) -> Float[Array, "B N T S"]:
    """Compute g sqrt(H) cos(q, k), with one g for each head. 0 where q or k is 0, with a finite gradient.

    Henry et al. 2020, https://arxiv.org/abs/2010.04245.

    >>> cosine(jnp.ones((2, 3, 4, 8)), jnp.ones((2, 5, 4, 8)), jnp.ones(4)).shape
    (2, 4, 3, 5)
    """
    factor_N = scale * query_BTNH.shape[-1] ** 0.5
    return dot(_unit(query_BTNH), _unit(key_BSNH)) * factor_N[None, :, None, None]


def _unit(x: Array) -> Array:
    """Compute x / |x|; a vector shorter than 0.001 keeps its share of that, so that the gradient is bounded."""
    wide = x.astype(jnp.float32)
    square = jnp.sum(jnp.square(wide), axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(jnp.maximum(square, 1e-6))).astype(x.dtype)


def position_only(
    query_BTNH: Float[Array, "B T N H"],
    key_BSNH: Float[Array, "B S N H"],
    table: Float[Array, "N M"],
    positions: QueryKeyPositions,
) -> Float[Array, "B N T S"]:
    """Look up the learned number of each head and bucket of distances, half of them to each side, up to 4 M positions.

    Tay et al. 2020, https://arxiv.org/abs/2005.00743.

    >>> positions = QueryKeyPositions(jnp.arange(3), jnp.arange(5))
    >>> position_only(jnp.ones((2, 3, 4, 8)), jnp.ones((2, 5, 4, 8)), jnp.ones((4, 32)), positions).shape
    (2, 4, 3, 5)
    """
    size = table.shape[-1]
    scores_NTS = relative(positions, table, 4 * size, causal=False)
    return jnp.broadcast_to(scores_NTS, (len(query_BTNH), *scores_NTS.shape[-3:])).astype(jnp.float32)


def _normal(power: float) -> Callable[[Array, tuple[int, ...]], Array]:
    """Return a start that draws from a normal distribution with standard deviation H ** power."""

    def start(key: Array, shape: tuple[int, ...]) -> Array:
        return jax.random.normal(key, shape, jnp.float32) * shape[-1] ** power

    return start


def _ones(key: Array, shape: tuple[int, ...]) -> Array:
    return jnp.ones(shape, jnp.float32)


def _standard(key: Array, shape: tuple[int, ...]) -> Array:
    """Draw with variance 1, that of scaled_dot where the entries of q and k have variance 1."""
    return jax.random.normal(key, shape, jnp.float32)


ROWS: dict[str, Score] = {
    "dot": Score(dot, dot_scale=lambda head_width: 1.0),
    "scaled_dot": Score(scaled_dot, dot_scale=lambda head_width: head_width**-0.5),
    "fixed_dot": Score(fixed_dot, dot_scale=fixed_scale, settings=FixedWidth),
    # Entries of variance H^-2 give q^T W k the variance that q . k / sqrt(H) has.
    "bilinear": Score(bilinear, {"matrix": Parameter("N H -> H", _normal(-1.0))}),
    "additive": Score(additive, {"vector": Parameter("N H", _normal(-0.5))}),
    "cosine": Score(cosine, {"scale": Parameter("N", _ones)}),
    "position_only": Score(
        position_only, {"table": Parameter("N M", _standard)}, reads_content=False, reads_positions=True
    ),
}


SCORES = Table(
    "score",
    Score,
    ROWS,
    make=Score,
    expected="a function (query_BTNH, key_BSNH) -> scores_BNTS, or a transformer.ops.scores.Score",
)


def find(score: "Choice | ScoreFunction") -> Score:
    """Return the Score of a row's name, of a path package.module:attribute, or of a plain function.

    Raises:
        UserError: no such row, not importable, or not callable.

    >>> find("additive").parameters["vector"].axes
    'N H'
    """
    return SCORES.find(score)


def check_parameters(score: Score, parameters: Mapping[str, Any] | None, sizes: Mapping[str, int]) -> None:
    """Raise a UserError if the parameters are not those of the score's row, or have other axes.

    Args:
        parameters: name -> array; a function without a row takes what it is given.
        sizes: of the letters that are known.

    >>> check_parameters(SCORES["additive"], {"vector": jnp.ones((4, 8))}, {"N": 4, "H": 8})
    """
    name = next((name for name, row in SCORES.items() if row is score), None)
    if name is None and not score.parameters:
        return
    what, got = f"score {(name or score.name)!r}", parameters or {}
    if set(got) != set(score.parameters):
        rows = [f"{parameter} ({row.axes})" for parameter, row in score.parameters.items()]
        raise problem(
            f"{what} {'needs' if rows else 'has no'} parameters",
            got=", ".join(map(str, got)) or "none",
            expected=", ".join(rows) or None,
        )
    known = dict(sizes)
    for parameter, row in score.parameters.items():
        axes = row.axes.replace("->", " ").replace(",", " ")
        check_shape(f"parameter {parameter!r} of {what}", got[parameter], axes, known)
