"""Placements of the norm of a sublayer f in the residual stream x.

pre       x + f(norm(x))         GPT-2, Xiong et al. 2020; the stack ends with a norm
post      norm(x + f(x))         Vaswani et al. 2017, BERT
sandwich  x + norm(f(norm(x)))   Ding et al. 2021, 2105.13290, Gemma 2; the stack ends with a norm
"""

import dataclasses
from collections.abc import Callable

from jax import Array

Map = Callable[[Array], Array]


@dataclasses.dataclass(frozen=True)
class NormPlacement:
    """A row of NORM_PLACEMENTS.

    Attributes:
        function: (x, sublayer, norm, drop) -> the residual stream; `norm(part)` is the sublayer's norm, or a second one
            whose name begins with that part.
        final_norm: True where the stack ends with a norm.
    """

    function: Callable[[Array, Map, Callable[..., Map], Map], Array]
    final_norm: bool


def _pre(x: Array, sublayer: Map, norm: Callable[..., Map], drop: Map) -> Array:
    return x + drop(sublayer(norm()(x)))


def _post(x: Array, sublayer: Map, norm: Callable[..., Map], drop: Map) -> Array:
    return norm()(x + drop(sublayer(x)))


def _sandwich(x: Array, sublayer: Map, norm: Callable[..., Map], drop: Map) -> Array:
    return x + drop(norm("after_")(sublayer(norm()(x))))


NORM_PLACEMENTS = {
    "pre": NormPlacement(_pre, final_norm=True),
    "post": NormPlacement(_post, final_norm=False),
    "sandwich": NormPlacement(_sandwich, final_norm=True),
}
