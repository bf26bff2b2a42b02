"""An activation of one's own: the square of ReLU (So et al. 2021)."""

import jax

from transformer import build

print(build(architecture="decoder_only", vocab_size=11, activation=lambda x: jax.nn.relu(x) ** 2))
