"""Normalisation over the model width; statistics in float32.

layer_norm   (x - mean) / sqrt(variance + epsilon) * scale + bias     Ba et al. 2016, https://arxiv.org/abs/1607.06450
rms_norm     x / sqrt(mean(x^2) + epsilon) * scale                    Zhang and Sennrich 2019, 1910.07467
             * (1 + scale) in rms_norm_plus_one                       Gemma team 2024, 2403.08295; scale starts at 0
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from transformer.axes import check_shape, to_rank
from transformer.ops import fast_norms
from transformer.small_example import check_call
from transformer.tables import Row, Table

T = TypeVar("T")


def layer_norm(
    x: Float[Array, "... D"],
    scale: Float[Array, "D"],
    bias: Float[Array, "D"] | None = None,
    epsilon: float = 1e-5,
) -> Float[Array, "... D"]:
    """Normalise to mean 0 and variance 1 over D (biased variance), then scale and add the bias; in x's type.

    Ba et al. 2016, https://arxiv.org/abs/1607.06450.

    >>> layer_norm(jnp.ones((2, 5, 4)), jnp.ones(4), jnp.zeros(4)).shape
    (2, 5, 4)
    """
    wide = x.astype(jnp.float32)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    y = centred * jax.lax.rsqrt(variance + epsilon) * to_rank(scale, x.ndim)
    return (y if bias is None else y + to_rank(bias, x.ndim)).astype(x.dtype)


def rms_norm(x: Float[Array, "... D"], scale: Float[Array, "D"], epsilon: float = 1e-5) -> Float[Array, "... D"]:
    """Normalise to mean square 1 over D, then scale; in x's type. Zhang and Sennrich 2019, 1910.07467.

    >>> rms_norm(jnp.ones((2, 5, 4)), jnp.ones(4)).shape
    (2, 5, 4)
    """
    wide = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(mean_square + epsilon) * to_rank(scale, x.ndim)).astype(x.dtype)


def rms_norm_plus_one(
    x: Float[Array, "... D"], scale: Float[Array, "D"], epsilon: float = 1e-5
) -> Float[Array, "... D"]:
    """Normalise to mean square 1 over D, then multiply by 1 + scale, in float32; in x's type.

    Gemma team 2024, https://arxiv.org/abs/2403.08295: weight decay draws the factor to 1 in place of 0.

    >>> rms_norm_plus_one(jnp.ones((2, 5, 4)), jnp.zeros(4)).shape
    (2, 5, 4)
    """
    return rms_norm(x, 1.0 + scale.astype(jnp.float32), epsilon)


@dataclasses.dataclass(frozen=True, eq=False)
class Norm(Row):
    """A row of NORMS.

    Attributes:
        function: (x ... D, **parameters, epsilon) -> ... D, over the last axis, in x's type; a row with settings also
            takes `settings`.
        parameters: name -> its initial values, a number or (key, shape) -> array; each has the width of the last axis.
            One of the name `bias` is made where model.bias is true; the function then has a default for it.
        fast: the same function with a derivative of its own, for model.kernels other than plain; None: there is none.
    """

    function: Callable[..., Array]
    parameters: Mapping[str, Callable[[Any, tuple[int, ...]], Any] | float] = dataclasses.field(default_factory=dict)
    fast: Callable[..., Array] | None = None

    def by(self, kernels: str) -> Callable[..., Array]:
        """Return the function for a value of model.kernels."""
        return self.function if kernels == "plain" or self.fast is None else self.fast


def kept(parameters: Mapping[str, T], *, bias: bool) -> dict[str, T]:
    """Return the parameters of a norm that a model has, by name; those of the name `bias` only where it has biases.

    >>> kept({"scale": 1.0, "bias": 0.0}, bias=False)
    {'scale': 1.0}
    """
    return {name: value for name, value in parameters.items() if bias or name != "bias"}


def _check(row: Norm, what: str) -> None:
    """Call a norm from outside on the shapes of a small example, with and without a bias."""

    def normed(x_BTD: Array, parameters: dict[str, Array]) -> None:
        y_BTD = row.function(x_BTD, **parameters, epsilon=1e-5, **row.own)
        check_shape(f"what {what} returns", y_BTD, "B T D", dict(zip("BTD", x_BTD.shape, strict=True)), jnp.floating)

    x_BTD, vector_D = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 3, 8), (8,)))
    for bias in (True, False):
        parameters = dict.fromkeys(kept(row.parameters, bias=bias), vector_D)
        named = (*parameters, "epsilon", *row.own)
        check_call(what, row.function, ("x",), normed, (x_BTD, parameters), named=named)


NORMS = Table(
    "norm",
    Norm,
    {
        "layer": Norm(layer_norm, {"scale": 1.0, "bias": 0.0}, fast_norms.layer_norm),
        "rms": Norm(rms_norm, {"scale": 1.0}, fast_norms.rms_norm),
        "rms_plus_one": Norm(rms_norm_plus_one, {"scale": 0.0}, fast_norms.rms_norm_plus_one),
    },
    make=Norm,
    expected="a function (x, epsilon) -> an array of the same shape, or a transformer.ops.norms.Norm",
    check=_check,
)
