"""Encoder-only: every position sees every other (BERT, Devlin et al. 2018, https://arxiv.org/abs/1810.04805)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from transformer.models.common import (
    Batch,
    Tree,
    output_head,
    predictions,
    require,
    require_token_head,
    token_table,
    visible,
)
from transformer.models.config import ModelConfig
from transformer.nn.blocks import Stack
from transformer.nn.dropout import Noise
from transformer.nn.embedding import Embedding
from transformer.nn.intermediates import Request
from transformer.nn.positions import positions_of


class EncoderOnly(nn.Module):
    """source B S -> logits B S V, or class_logits B C."""

    config: ModelConfig
    asked: Request = Request()

    def setup(self) -> None:
        config = self.config
        self.embedding = token_table(config, "embedding")
        self.input = Embedding(config, typed=True)
        self.encoder = Stack(config, "encoder", config.num_layers, cross=False, asked=self.asked)
        self.head = output_head(config)

    def __call__(self, batch: Batch, noise: Noise = Noise()) -> Tree:
        (source_BS,) = require(batch, "source")
        table_VD = self.embedding()
        positions = positions_of(source_BS.shape[1], batch.get("source_segments"))
        types_BS = batch.get("source_types")
        x_BSD = self.input(source_BS, table_VD, positions=positions, noise=noise.within(0), types_BT=types_BS)
        mask = visible(batch, "source", self.config.window)
        x_BSD, _, seen = self.encoder(x_BSD, noise=noise.within(1), self_mask=mask, positions=positions)
        out = predictions(self.head, x_BSD, table_VD, batch.get("source_lengths"))
        return {**out, "hidden": x_BSD, "seen": seen}

    def start(self, batch: Batch, steps: int) -> Tree:
        """All slots are filled at once: the cache holds the logits of the `steps` positions from prefix_lengths on."""
        require_token_head(self.config)
        (prefix_B,) = require(batch, "prefix_lengths")
        out = self({name: x for name, x in batch.items() if name != "prefix_lengths"})
        rows_BT = prefix_B[:, None] + jnp.arange(steps)
        logits_BTV = jnp.take_along_axis(out["logits"], rows_BT[..., None], axis=1, mode="clip")
        return {"logits": logits_BTV, "index": jnp.zeros((), jnp.int32), "seen": out["seen"]}

    def step(self, tokens_B: Array, cache: Tree) -> tuple[Array, Tree]:
        """The next slot's logits. They do not depend on the tokens chosen before."""
        logits_BV = jax.lax.dynamic_index_in_dim(cache["logits"], cache["index"], axis=1, keepdims=False)
        return logits_BV, {**cache, "index": cache["index"] + 1, "seen": {}}
