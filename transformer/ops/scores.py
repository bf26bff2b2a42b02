"""Score functions: how well does key s answer query t?

    dot           q . k                    Luong et al. 2015, https://arxiv.org/abs/1508.04025
    scaled_dot    q . k / sqrt(H)          Vaswani et al. 2017, https://arxiv.org/abs/1706.03762
    bilinear      q^T W k                  Luong et al. 2015 ("general")
    additive      v . tanh(q + k)          Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473

In the papers additive and bilinear take decoder and encoder states; here q and k are already projected, so Bahdanau's
W_a and U_a are the query and key projections, and his v_a is `vector`, one for each head.

A score is a function (query_BTNH, key_BSNH, **parameters) -> scores_BNTS. Its parameters have a leading axis N. It
never sees grouped heads: `attend` maps it over the G queries of a key head. A new score is such a function and a row
of SCORES; one of the user's own, without parameters, needs only the function.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from transformer.errors import look_up, problem

ScoreFunction = Callable[..., Array]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """How one parameter of a score starts.

    Attributes:
        axes: "N H -> H" for a matrix that is applied (inputs on the left of the arrow), "N H" for a vector.
        start: (key, shape) -> array; the shape has a leading N.
    """

    axes: str
    start: Callable[[Array, tuple[int, ...]], Array]


@dataclasses.dataclass(frozen=True)
class Score:
    """A row: the function, its parameters, and the factor on q . k if that is all it is (fused kernels take those)."""

    function: ScoreFunction
    parameters: Mapping[str, Parameter] = dataclasses.field(default_factory=dict)
    dot_scale: Callable[[int], float] | None = None


def dot(query_BTNH: Float[Array, "B T N H"], key_BSNH: Float[Array, "B S N H"]) -> Float[Array, "B N T S"]:
    """q . k, in float32."""
    return jnp.einsum("BTNH,BSNH->BNTS", query_BTNH, key_BSNH, preferred_element_type=jnp.float32)


def scaled_dot(query_BTNH: Float[Array, "B T N H"], key_BSNH: Float[Array, "B S N H"]) -> Float[Array, "B N T S"]:
    """q . k / sqrt(H): variance 1 where the entries of q and k have variance 1."""
    return dot(query_BTNH * (query_BTNH.shape[-1] ** -0.5), key_BSNH)


def bilinear(
    query_BTNH: Float[Array, "B T N H"], key_BSNH: Float[Array, "B S N H"], matrix: Float[Array, "N H H"]
) -> Float[Array, "B N T S"]:
    """q^T W k, with one W for each head."""
    return dot(jnp.einsum("BTNH,NHJ->BTNJ", query_BTNH, matrix.astype(query_BTNH.dtype)), key_BSNH)


def additive(
    query_BTNH: Float[Array, "B T N H"], key_BSNH: Float[Array, "B S N H"], vector: Float[Array, "N H"]
) -> Float[Array, "B N T S"]:
    """v . tanh(q + k), with one v for each head. Takes memory B T S N H."""
    hidden_BTSNH = jnp.tanh(query_BTNH[:, :, None] + key_BSNH[:, None])
    vector = vector.astype(query_BTNH.dtype)
    return jnp.einsum("BTSNH,NH->BNTS", hidden_BTSNH, vector, preferred_element_type=jnp.float32)


def _normal(power: float) -> Callable[[Array, tuple[int, ...]], Array]:
    """Normal with standard deviation H ** power."""
    return lambda key, shape: jax.random.normal(key, shape, jnp.float32) * shape[-1] ** power


SCORES: dict[str, Score] = {
    "dot": Score(dot, dot_scale=lambda head_width: 1.0),
    "scaled_dot": Score(scaled_dot, dot_scale=lambda head_width: head_width**-0.5),
    # Entries of variance H^-2 give q^T W k the variance that q . k / sqrt(H) has.
    "bilinear": Score(bilinear, {"matrix": Parameter("N H -> H", _normal(-1.0))}),
    "additive": Score(additive, {"vector": Parameter("N H", _normal(-0.5))}),
}


def find(score: "str | Score | ScoreFunction") -> Score:
    """The Score that is meant: a row's name, a dotted path, a row, or a plain function.

    Raises:
        UserError: no such row, not importable, or not callable.
    """
    found = look_up("score", SCORES, score) if isinstance(score, str) else score
    if isinstance(found, Score):
        return found
    if not callable(found):
        raise problem(
            f"score {score!r} is a {type(found).__name__}",
            expected="a function (query_BTNH, key_BSNH) -> scores_BNTS, or a transformer.ops.scores.Score",
        )
    return Score(found)
