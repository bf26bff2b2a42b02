"""The position-wise feed-forward.

relu, gelu, gelu_tanh   down(activation(up(x)))                  Vaswani et al. 2017; GPT-2 has the tanh GELU
swiglu, geglu           down(activation(gate(x)) * up(x))        Shazeer 2020, https://arxiv.org/abs/2002.05202
"""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
from jax import Array

from transformer.nn.modules import Linear
from transformer.nn.recorder import Recorder
from transformer.nn.settings import ModelSettings


@dataclasses.dataclass(frozen=True)
class Activation:
    """A row of ACTIVATIONS: the function, and True where it gates a second product."""

    function: Callable[[Array], Array]
    gated: bool = False


ACTIVATIONS = {
    "relu": Activation(jax.nn.relu),
    "gelu": Activation(functools.partial(jax.nn.gelu, approximate=False)),
    "gelu_tanh": Activation(functools.partial(jax.nn.gelu, approximate=True)),
    "swiglu": Activation(jax.nn.silu, gated=True),
    "geglu": Activation(functools.partial(jax.nn.gelu, approximate=False), gated=True),
}


class FeedForward(nn.Module):
    """The position-wise feed-forward, B T D -> B T D through a width of F."""

    config: ModelSettings

    @nn.compact
    def __call__(self, x_BTD: Array, recorder: Recorder) -> Array:
        """Transform each position by itself; record "hidden" (B T F) and "output"."""
        row = ACTIVATIONS[self.config.activation]
        up_BTF = Linear(self.config, "up", name="up")(x_BTD)
        if row.gated:
            hidden_BTF = row.function(Linear(self.config, "gate", name="gate")(x_BTD)) * up_BTF
        else:
            hidden_BTF = row.function(up_BTF)
        hidden_BTF = recorder.record("hidden", hidden_BTF)
        return recorder.record("output", Linear(self.config, "down", name="down")(hidden_BTF))
