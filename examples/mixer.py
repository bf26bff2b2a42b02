"""A mixer of one's own: a gated linear recurrence, h_t = a_t h_{t-1} + (1 - a_t) u_t (minGRU, Feng et al. 2024)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer import build
from transformer.nn.mixers import Mixer
from transformer.nn.parameters import declare
from transformer.ops.sequences import sequence_of
from transformer.tables import Parameter


def joined(first, second):
    return first[0] * second[0], first[1] * second[0] + second[1]


class Recurrence(nn.Module):
    config: object

    @nn.compact
    def __call__(self, x_BTD, inputs):
        gate_BTD, new_BTD = (
            (x_BTD @ declare(self, "self", name, self.config).astype(x_BTD.dtype)).astype(jnp.float32)
            for name in ("gate", "input")
        )
        tokens, gate_BTD = sequence_of(inputs.mask, *x_BTD.shape[:2]), jax.nn.sigmoid(gate_BTD)
        real_BT1, begins_BT1 = tokens.real[..., None], tokens.begins[..., None]
        kept_BTD = jnp.where(begins_BT1, 0.0, jnp.where(real_BT1, gate_BTD, 1.0))  # padding changes no state
        new_BTD = jnp.where(real_BT1, (1.0 - gate_BTD) * new_BTD, 0.0)
        if inputs.cache is not None:
            new_BTD = new_BTD.at[:, 0].add(kept_BTD[:, 0] * inputs.cache["state"])
        _, state_BTD = jax.lax.associative_scan(joined, (kept_BTD, new_BTD), axis=1)
        return inputs.recorder.record("output", state_BTD.astype(x_BTD.dtype)), {"state": state_BTD[:, -1]}


def empty_cache(config, batch, length):
    return {"state": jnp.zeros((batch, config.width))}


OWN = {"self.gate": Parameter("D -> D"), "self.input": Parameter("D -> D")}
recurrence = Mixer(Recurrence, OWN, empty_cache=empty_cache, stacks=("decoder",))
if __name__ == "__main__":
    print(build(architecture="decoder_only", vocab_size=11, mixer=recurrence))
