"""The mixer "linear": attention without softmax, by sums over features; the mathematics is in `ops.linear_attention`.

    y = concat over heads of [phi(X W_q) (sum over the keys of phi(X W_k) X W_v), normalised] W_o

Katharopoulos et al. 2020, https://arxiv.org/abs/2006.16236. Its cache is a state of constant size.
"""

import flax.linen as nn
from jax import Array

from transformer.nn.attention import AttentionInputs, Cache
from transformer.nn.modules import Linear
from transformer.nn.settings import ModelSettings
from transformer.ops.linear_attention import linear_attention
from transformer.ops.sequences import sequence_of


class LinearAttention(nn.Module):
    """Linear attention from a sequence to itself.

    Attributes:
        config: model settings; num_kv_heads below num_heads shares keys, values and states among heads.
    """

    config: ModelSettings

    @nn.compact
    def __call__(self, x_BTD: Array, inputs: AttentionInputs) -> tuple[Array, Cache]:
        """Return the output, B T D, and the state after the last token."""
        record = inputs.recorder.record

        def projected(owner: str) -> Array:
            return record(owner, Linear(self.config, owner, name=owner)(x_BTD))

        sequence = sequence_of(inputs.mask, *x_BTD.shape[:2])
        head_BTNH, state = linear_attention(
            projected("query"),
            projected("key"),
            projected("value"),
            sequence,
            causal=inputs.causal,
            state=inputs.cache,
        )
        output_BTD = Linear(self.config, "output", name="output")(record("head", head_BTNH))
        return record("output", output_BTD), state
