"""A GRU in the place of self-attention: the library's cell as a mixer, so that the other parts of a model are the same.

    h_t = cell(h_(t-1), x_t),    y_t = h_t        Cho et al. 2014, arXiv:1406.1078; see `transformer.nn.recurrent.cells`

Its state of D numbers is all that it has of earlier tokens. Self-attention has four maps of D to D, the GRU six.
"""

from typing import Any

import flax.linen as nn
from jax import Array

from transformer.nn.attention import AttentionInputs
from transformer.nn.mixers import Mixer
from transformer.nn.parameters import declare
from transformer.nn.recurrent.cells import CELLS, gate_inputs, read_inputs, recur, zero_state
from transformer.nn.settings import ModelSettings
from transformer.ops.sequences import sequence_of
from transformer.tables import Parameter

PARAMETERS = {
    "self.input": Parameter("D -> Z D"),
    "self.recurrent": Parameter("D -> Z D"),
    "self.bias": Parameter("Z D"),
    "self.recurrent_bias": Parameter("D"),
}
PATH = f"{__name__}:MIXER"
"""Value of the setting model.mixer."""


class Recurrence(nn.Module):
    """The mixer: the states of a GRU that reads a row from its first token on. Rows are not padded and not packed."""

    config: ModelSettings

    @nn.compact
    def __call__(self, x_BTD: Array, inputs: AttentionInputs) -> tuple[Array, Any]:
        """Return the states, B T D, and no cache: it trains and scores alone."""
        names = [name.removeprefix("self.") for name in PARAMETERS]
        own = {name: declare(self, "self", name, self.config) for name in names}
        cell = CELLS["gru"]
        sequence_of(inputs.mask, *x_BTD.shape[:2])  # raises where the mask is none that a recurrence follows
        begin = zero_state(cell, x_BTD.shape[0], self.config.width)
        (state_BTD,), _, _ = recur(cell, own, gate_inputs(own, x_BTD), begin, read_inputs)
        return inputs.recorder.record("output", state_BTD.astype(x_BTD.dtype)), {}


MIXER = Mixer(Recurrence, PARAMETERS, stacks=("decoder",))
