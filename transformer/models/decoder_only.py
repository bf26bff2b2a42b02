"""Decoder-only: every position sees itself and what came before (GPT-2, Radford et al. 2019).

With `prefix_lengths` in the batch, the prefix sees both ways (a prefix LM, Raffel et al. 2020, section 3.2.1).
"""

import flax.linen as nn
from jax import Array

from transformer.models.common import (
    Batch,
    Tree,
    causal_mask,
    empty_cache,
    output_head,
    predictions,
    require,
    require_token_head,
    token_table,
)
from transformer.models.config import ModelConfig
from transformer.nn.blocks import Stack
from transformer.nn.dropout import Noise
from transformer.nn.embedding import Embedding, check_length
from transformer.nn.intermediates import Request
from transformer.nn.positions import positions_of


class DecoderOnly(nn.Module):
    """target B T -> logits B T V; logits at t are of the token at t + 1."""

    config: ModelConfig
    asked: Request = Request()

    def setup(self) -> None:
        config = self.config
        self.embedding = token_table(config, "embedding")
        self.input = Embedding(config)
        self.decoder = Stack(config, "decoder", config.num_layers, cross=False, asked=self.asked)
        self.head = output_head(config)

    def __call__(self, batch: Batch, noise: Noise = Noise(), cache: Tree | None = None) -> Tree:
        """The whole sequence at once. With an empty cache, also its keys and values."""
        (target_BT,) = require(batch, "target")
        table_VD = self.embedding()
        positions = positions_of(target_BT.shape[1], batch.get("target_segments"))
        x_BTD = self.input(target_BT, table_VD, positions=positions, noise=noise.within(0))
        x_BTD, cache, seen = self.decoder(
            x_BTD,
            noise=noise.within(1),
            self_mask=causal_mask(batch, self.config.window),
            positions=positions,
            cache=cache,
            cache_position_B=None if cache is None else target_BT[:, 0] * 0,
        )
        out = predictions(self.head, x_BTD, table_VD, batch.get("target_lengths"))
        return {**out, "hidden": x_BTD, "seen": seen, "cache": cache}

    def start(self, batch: Batch, steps: int) -> Tree:
        """Reads the prompt `target`. The first step is given the prompt's last token again."""
        require_token_head(self.config)
        target_BT, lengths_B = require(batch, "target", "target_lengths")
        length = target_BT.shape[1] + steps
        check_length(self.config, length - 1)
        empty = empty_cache(self.config, self.config.num_layers, target_BT.shape[0], length)
        out = self(batch, cache=empty)
        return {"blocks": out["cache"], "position": lengths_B - 1, "seen": out["seen"]}

    def step(self, tokens_B: Array, cache: Tree) -> tuple[Array, Tree]:
        """Reads one token of each example at its position; the logits are of the next."""
        table_VD, position_B = self.embedding(), cache["position"]
        x_B1D = self.input(tokens_B[:, None], table_VD, positions=position_B[:, None], noise=Noise())
        x_B1D, blocks, seen = self.decoder(
            x_B1D,
            noise=Noise(),
            self_mask=causal_mask({}, self.config.window),
            positions=position_B[:, None],
            cache=cache["blocks"],
            cache_position_B=position_B,
        )
        logits_BV = self.head(x_B1D, table_VD)[:, 0]
        return logits_BV, {"blocks": blocks, "position": position_B + 1, "seen": seen}
