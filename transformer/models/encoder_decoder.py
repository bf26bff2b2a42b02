"""What models of an encoder and a decoder share: token tables, inputs, the head."""

from typing import Any

import flax.linen as nn
from jax import Array

from transformer.models.common import Batch, Tree, output_head, token_table
from transformer.models.config import ModelConfig
from transformer.nn.dropout import Noise
from transformer.nn.embedding import Embedding
from transformer.nn.intermediates import Request


class EncoderDecoder(nn.Module):
    """A subclass has `encode`, which gives what the decoder gets of the source, and `decode`."""

    config: ModelConfig
    asked: Request = Request()

    def setup(self) -> None:
        config = self.of_shells()
        if config.tie_embeddings:
            self.embedding = token_table(config, "embedding")
        else:
            self.source_embedding = token_table(config, "source_embedding")
            self.target_embedding = token_table(config, "target_embedding")
        self.source_input = Embedding(config, typed=True)
        self.target_input = Embedding(config)
        self.head = output_head(config)

    def __call__(self, batch: Batch, noise: Noise = Noise()) -> Tree:
        memory, seen = self.encode(batch, noise.within(0))
        out = self.decode(batch, memory, noise.within(1))
        return {**out, "seen": {**seen, **out["seen"]}}

    def of_shells(self) -> Any:
        """The config that the shells read."""
        return self.config

    def source_table(self) -> Array:
        return self.embedding() if self.config.tie_embeddings else self.source_embedding()

    def target_table(self) -> Array:
        return self.embedding() if self.config.tie_embeddings else self.target_embedding()
