"""The position-wise feed-forward.

relu, gelu, gelu_tanh, silu   down(activation(up(x)))             Vaswani et al. 2017; GPT-2 has gelu_tanh, Marian silu
swiglu, geglu, geglu_tanh     down(activation(gate(x)) * up(x))   Shazeer 2020, https://arxiv.org/abs/2002.05202

silu is x sigmoid(x), "swish" of Ramachandran et al. 2017, https://arxiv.org/abs/1710.05941. T5 v1.1 and Gemma have
geglu_tanh.
"""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from transformer.axes import check_shape
from transformer.nn.modules import Linear
from transformer.nn.recorder import Recorder
from transformer.nn.settings import ModelSettings
from transformer.small_example import check_call
from transformer.tables import Row, Table


@dataclasses.dataclass(frozen=True, eq=False)
class Activation(Row):
    """A row of ACTIVATIONS.

    Attributes:
        function: array -> array of the same shape; a row with settings also takes `settings`.
        gated: True where it gates a second product.
    """

    function: Callable[..., Array]
    gated: bool = False


def _check(row: Activation, what: str) -> None:
    """Call an activation function from outside on the shapes of a small example."""

    def activated(x_BTF: Array) -> None:
        y_BTF = row.function(x_BTF, **row.own)
        check_shape(f"what {what} returns", y_BTF, "B T F", dict(zip("BTF", x_BTF.shape, strict=True)), jnp.floating)

    x_BTF = jax.ShapeDtypeStruct((2, 3, 8), jnp.float32)
    check_call(what, row.function, ("x",), activated, (x_BTF,), named=row.own)


ACTIVATIONS = Table(
    "activation",
    Activation,
    {
        "relu": Activation(jax.nn.relu),
        "gelu": Activation(functools.partial(jax.nn.gelu, approximate=False)),
        "gelu_tanh": Activation(functools.partial(jax.nn.gelu, approximate=True)),
        "silu": Activation(jax.nn.silu),
        "swiglu": Activation(jax.nn.silu, gated=True),
        "geglu": Activation(functools.partial(jax.nn.gelu, approximate=False), gated=True),
        "geglu_tanh": Activation(functools.partial(jax.nn.gelu, approximate=True), gated=True),
    },
    make=Activation,
    expected="a function of an array, or a transformer.nn.feed_forward.Activation",
    check=_check,
)


class FeedForward(nn.Module):
    """The position-wise feed-forward, B T D -> B T D through a width of F."""

    config: ModelSettings

    @nn.compact
    def __call__(self, x_BTD: Array, recorder: Recorder) -> Array:
        """Transform each position by itself; record "hidden" (B T F) and "output"."""
        row = ACTIVATIONS.of(self.config, "activation")
        activate = functools.partial(row.function, **row.own)
        up_BTF = Linear(self.config, "up", name="up")(x_BTD)
        if row.gated:
            hidden_BTF = activate(Linear(self.config, "gate", name="gate")(x_BTD)) * up_BTF
        else:
            hidden_BTF = activate(up_BTF)
        hidden_BTF = recorder.record("hidden", hidden_BTF)
        return recorder.record("output", Linear(self.config, "down", name="down")(hidden_BTF))
