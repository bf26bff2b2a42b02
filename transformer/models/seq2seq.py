"""Seq2Seq: an encoder, and a decoder that looks back at it through cross-attention.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762. In C = Attn(X, X'): X is the source, X' the target.
"""

import jax.numpy as jnp
from jax import Array

from transformer.models.common import (
    Batch,
    Tree,
    causal_mask,
    cross_mask,
    empty_cache,
    predictions,
    require,
    require_token_head,
    source_positions,
    visible,
)
from transformer.models.encoder_decoder import EncoderDecoder
from transformer.nn.blocks import Stack
from transformer.nn.dropout import Noise
from transformer.nn.embedding import check_length
from transformer.nn.positions import positions_of


class Seq2Seq(EncoderDecoder):
    """source B S, target B T -> logits B T V; logits at t are of the token at t + 1."""

    def setup(self) -> None:
        super().setup()
        config = self.config
        self.encoder = Stack(config, "encoder", config.num_encoder_layers, cross=False, asked=self.asked)
        self.decoder = Stack(
            config, "decoder", config.num_decoder_layers, cross=config.cross_attention, asked=self.asked
        )

    def encode(self, batch: Batch, noise: Noise = Noise()) -> tuple[Array, Tree]:
        """The encoder's output B S D, and what was captured."""
        (source_BS,) = require(batch, "source")
        positions = positions_of(source_BS.shape[1], batch.get("source_segments"))
        x_BSD = self.source_input(
            source_BS,
            self.source_table(),
            positions=positions,
            noise=noise.within(0),
            types_BT=batch.get("source_types"),
        )
        mask = visible(batch, "source", self.config.window)
        x_BSD, _, seen = self.encoder(x_BSD, noise=noise.within(1), self_mask=mask, positions=positions)
        return x_BSD, seen

    def decode(self, batch: Batch, memory_BSD: Array, noise: Noise = Noise(), cache: Tree | None = None) -> Tree:
        """The decoder over the whole target. With an empty cache, also its keys and values."""
        (target_BT,) = require(batch, "target")
        table_VD = self.target_table()
        positions = positions_of(target_BT.shape[1], batch.get("target_segments"))
        x_BTD = self.target_input(target_BT, table_VD, positions=positions, noise=noise.within(0))
        x_BTD, cache, seen = self.decoder(
            x_BTD,
            noise=noise.within(1),
            self_mask=causal_mask(batch, self.config.window),
            positions=positions,
            source_BSD=memory_BSD,
            source_positions=source_positions(self.config, batch),
            cross_mask=cross_mask(batch),
            cache=cache,
            cache_position_B=None if cache is None else jnp.zeros_like(target_BT[:, 0]),
        )
        out = predictions(self.head, x_BTD, table_VD, batch.get("target_lengths"))
        return {**out, "hidden": x_BTD, "seen": seen, "cache": cache}

    def start(self, batch: Batch, steps: int) -> Tree:
        """Encodes the source and reads the prompt `target`. The first step is given the prompt's last token again."""
        require_token_head(self.config)
        target_BT, lengths_B = require(batch, "target", "target_lengths")
        length = target_BT.shape[1] + steps
        check_length(self.config, length - 1)
        memory_BSD, seen = self.encode(batch)
        empty = empty_cache(self.config, self.config.num_decoder_layers, target_BT.shape[0], length)
        out = self.decode(batch, memory_BSD, cache=empty)
        source = {name: batch[name] for name in ("source_lengths",) if name in batch}
        seen = {**seen, **out["seen"]}
        return {"blocks": out["cache"], "position": lengths_B - 1, "source": source, "seen": seen}

    def step(self, tokens_B: Array, cache: Tree) -> tuple[Array, Tree]:
        """Reads one token of each example at its position; the logits are of the next."""
        table_VD, position_B = self.target_table(), cache["position"]
        x_B1D = self.target_input(tokens_B[:, None], table_VD, positions=position_B[:, None], noise=Noise())
        x_B1D, blocks, seen = self.decoder(
            x_B1D,
            noise=Noise(),
            self_mask=causal_mask({}, self.config.window),
            positions=position_B[:, None],
            cross_mask=cross_mask(cache["source"]),
            cache=cache["blocks"],
            cache_position_B=position_B,
        )
        logits_BV = self.head(x_B1D, table_VD)[:, 0]
        return logits_BV, {**cache, "blocks": blocks, "position": position_B + 1, "seen": seen}
