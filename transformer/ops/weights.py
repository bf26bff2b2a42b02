"""Weights from scores: softmax over the keys that a query may see, and what may stand in its place.

    softmax   w_ts = exp(z_ts) / sum over s' of exp(z_ts')   Vaswani et al. 2017, https://arxiv.org/abs/1706.03762
    sigmoid   w_ts = sigmoid(z_ts - log n_t)                 Ramapuram et al. 2024, https://arxiv.org/abs/2409.04431
    relu      w_ts = max(z_ts, 0) / n_t                      Wortsman et al. 2023, https://arxiv.org/abs/2309.08586
    entmax    w_ts = max(z_ts / 2 - tau_t, 0)^2, where       Peters et al. 2019, https://arxiv.org/abs/1905.05702
              tau_t makes their sum 1 (alpha = 1.5)

z are the scores, n_t is the number of keys that query t may see. Ramapuram et al. and Wortsman et al. take the length
of the sequence for n, also where a causal mask hides half of it. With n_t, weights depend neither on padding nor on the
length of a cache. Weights of softmax and entmax sum to 1, those of the others need not (sigmoid: to n_t / (n_t + 1)
where all scores are 0). A key that may not be seen has a weight of exactly 0, and a query without any key has no other.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from transformer.axes import check_shape
from transformer.errors import problem
from transformer.ops.softmax import masked_softmax
from transformer.small_example import check_call
from transformer.tables import Choice, Row, Table


@dataclasses.dataclass(frozen=True, eq=False)
class Weights(Row):
    """A row of WEIGHTS.

    Attributes:
        function: (scores_BNTS, allowed_BNTS) -> weights_BNTS, all float32 but the booleans `allowed`; scores are 0
            where they are False, and weights are set to 0 there. A row with settings also takes `settings`.
        is_softmax: True for the softmax, which fused kernels compute and which alone takes a sink.
    """

    function: Callable[..., Array]
    is_softmax: bool = False


def sigmoid(scores_BNTS: Float[Array, "B N T S"], allowed_BNTS: Bool[Array, "B N T S"]) -> Float[Array, "B N T S"]:
    """Compute sigmoid(z - log n), n the number of allowed keys. Ramapuram et al. 2024.

    >>> sigmoid(jnp.zeros((2, 4, 3, 5)), jnp.ones((2, 4, 3, 5), bool)).shape
    (2, 4, 3, 5)
    """
    return jax.nn.sigmoid(scores_BNTS - jnp.log(_number(allowed_BNTS)))


def relu(scores_BNTS: Float[Array, "B N T S"], allowed_BNTS: Bool[Array, "B N T S"]) -> Float[Array, "B N T S"]:
    """Compute max(z, 0) / n, n the number of allowed keys. Wortsman et al. 2023.

    >>> relu(jnp.ones((2, 4, 3, 5)), jnp.ones((2, 4, 3, 5), bool)).shape
    (2, 4, 3, 5)
    """
    return jax.nn.relu(scores_BNTS) / _number(allowed_BNTS)


def _number(allowed_BNTS: Bool[Array, "B N T S"]) -> Float[Array, "B N T 1"]:
    """Count the allowed keys of each query; 1 where there are none."""
    return jnp.maximum(jnp.sum(allowed_BNTS, axis=-1, keepdims=True, dtype=jnp.float32), 1.0)


def entmax(scores_BNTS: Float[Array, "B N T S"], allowed_BNTS: Bool[Array, "B N T S"]) -> Float[Array, "B N T S"]:
    """Compute 1.5-entmax over the allowed keys, exactly, by sorting: sparse weights that sum to 1.

    Of the k largest x = z / 2, with mean m and sum of squared deviations d, tau is m - sqrt((1 - d) / k); the largest k
    is taken whose smallest x is not below its tau. Peters et al. 2019, algorithm 2.

    >>> entmax(jnp.zeros((2, 4, 3, 5)), jnp.ones((2, 4, 3, 5), bool)).shape
    (2, 4, 3, 5)
    """
    half = jnp.where(allowed_BNTS, scores_BNTS / 2.0, -jnp.inf)
    highest = jnp.max(half, axis=-1, keepdims=True, initial=jnp.finfo(jnp.float32).min)
    # The largest x is 0 from here on and tau at least -1; what lies below -2 has no weight, wherever it lies.
    half = jnp.maximum(jnp.where(allowed_BNTS, half - jax.lax.stop_gradient(highest), -2.0), -2.0)
    # The search for the keys with a weight needs no gradient: it is that of tau of these keys.
    ordered = -jnp.sort(-jax.lax.stop_gradient(half), axis=-1)
    k = jnp.arange(1, ordered.shape[-1] + 1, dtype=jnp.float32)[None, None, None]
    mean = jnp.cumsum(ordered, axis=-1) / k
    deviations = jnp.cumsum(jnp.square(ordered), axis=-1) - k * jnp.square(mean)
    taus = mean - jnp.sqrt(jnp.maximum((1.0 - deviations) / k, 0.0))
    last = jnp.sum(taus <= ordered, axis=-1, keepdims=True) - 1
    tau = jnp.take_along_axis(taus, last, axis=-1)
    has_weight = allowed_BNTS & (jax.lax.stop_gradient(half) > tau)

    size = _number(has_weight)
    mean = jnp.sum(jnp.where(has_weight, half, 0.0), axis=-1, keepdims=True) / size
    deviations = jnp.sum(jnp.where(has_weight, jnp.square(half - mean), 0.0), axis=-1, keepdims=True)
    tau = mean - jnp.sqrt(jnp.maximum(1.0 - deviations, 1e-6) / size)
    return jnp.square(jnp.where(has_weight, jax.nn.relu(half - tau), 0.0))


def _check(row: Weights, what: str) -> None:
    """Call weights from outside on the shapes of a small example."""
    shape = (2, 4, 3, 5)
    examples = jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct(shape, bool)

    def weights(scores_BNTS: Array, allowed_BNTS: Array) -> Array:
        return weights_by(row, scores_BNTS, allowed_BNTS)

    check_call(what, row.function, ("scores_BNTS", "allowed_BNTS"), weights, examples, named=row.own)


SOFTMAX = Weights(masked_softmax, is_softmax=True)

WEIGHTS = Table(
    "weights",
    Weights,
    {"softmax": SOFTMAX, "sigmoid": Weights(sigmoid), "relu": Weights(relu), "entmax": Weights(entmax)},
    make=Weights,
    expected="a function (scores_BNTS, allowed_BNTS) -> weights_BNTS, or a transformer.ops.weights.Weights",
    check=_check,
)


def weights_by(
    row: Choice | Callable[..., Array],
    scores_BNTS: Float[Array, "B N T S"],
    allowed: Bool[Array, "..."] | None,
    sink_N: Float[Array, "N"] | None = None,
) -> Float[Array, "B N T S"]:
    """Compute the weights by a row of WEIGHTS, float32; exactly zero where not allowed, also in rows of no key.

    Args:
        row: its name, a path package.module:attribute, a Weights, or a function (scores_BNTS, allowed_BNTS) ->
            weights_BNTS.
        allowed: booleans that broadcast to B N T S; None allows every key. A score of -inf allows none.
        sink_N: logits of the sinks of softmax.

    Raises:
        UserError: no such row, a sink where it takes none, or the function returned another shape or no floats.

    >>> weights_by("relu", jnp.ones((2, 4, 3, 5)), jnp.arange(5) < 2).shape
    (2, 4, 3, 5)
    """
    row = WEIGHTS.find(row)
    if row.is_softmax:
        return masked_softmax(scores_BNTS, allowed, sink_N)
    if sink_N is not None:
        raise problem("an attention sink is a key of the softmax", got=f"weights {str(row)!r}", expected="softmax")
    scores_BNTS = scores_BNTS.astype(jnp.float32)
    allowed_BNTS = jnp.broadcast_to(True if allowed is None else allowed, scores_BNTS.shape) & (scores_BNTS != -jnp.inf)
    weights_BNTS = row.function(jnp.where(allowed_BNTS, scores_BNTS, 0.0), allowed_BNTS, **row.own)
    sizes = dict(zip("BNTS", scores_BNTS.shape, strict=True))
    check_shape(f"what weights {str(row)!r} returns", weights_BNTS, "B N T S", sizes, jnp.floating)
    return jnp.where(allowed_BNTS, weights_BNTS, 0.0).astype(jnp.float32)
