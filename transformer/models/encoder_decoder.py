"""The parts that models of an encoder and a decoder share: token tables, inputs, the head."""

import flax.linen as nn
from jax import Array

from transformer.models.batch import Batch, Tree
from transformer.nn.dropout import Dropout
from transformer.nn.embedding import Embedding
from transformer.nn.heads import output_head, token_table
from transformer.nn.intermediates import Request
from transformer.nn.recorder import Recorder
from transformer.nn.settings import ModelSettings


class EncoderDecoder(nn.Module):
    """A base class: a subclass has `encode`, which returns what the decoder reads of the source, and `decode`."""

    config: ModelSettings
    request: Request = Request()

    def setup(self) -> None:
        config = self.config
        if config.tie_embeddings:
            self.embedding = token_table(config, "embedding")
        else:
            self.source_embedding = token_table(config, "source_embedding")
            self.target_embedding = token_table(config, "target_embedding")
        self.source_input = Embedding(config, typed=True)
        self.target_input = Embedding(config)
        self.head = output_head(config)

    def __call__(self, batch: Batch, dropout: Dropout = Dropout()) -> Tree:
        """Apply encoder and decoder to the whole source and the whole target."""
        memory, captured = self.encode(batch, dropout.fold_in(0))
        out = self.decode(batch, memory, dropout.fold_in(1))
        return {**out, "captured": {**captured, **out["captured"]}}

    def embed_source(
        self, source_BS: Array, positions: Array, dropout: Dropout = Dropout(), types_BS: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Return what the encoder's first layer reads, B S D, and what was captured of it."""
        recorder, table_VD = Recorder(self.request, "encoder"), self.source_table()
        x_BSD = self.source_input(
            source_BS, table_VD, positions=positions, dropout=dropout, recorder=recorder, types_BT=types_BS
        )
        return x_BSD, recorder.captured

    def embed_target(
        self, target_BT: Array, positions: Array, dropout: Dropout = Dropout()
    ) -> tuple[Array, dict[str, Array]]:
        """Return what the decoder's first layer reads, B T D, and what was captured of it."""
        recorder, table_VD = Recorder(self.request, "decoder"), self.target_table()
        x_BTD = self.target_input(target_BT, table_VD, positions=positions, dropout=dropout, recorder=recorder)
        return x_BTD, recorder.captured

    def unembed(self, hidden: Array) -> Array:
        """Return the logits of hidden states, ... D -> ... V."""
        return self.head(hidden, self.target_table())

    def source_table(self) -> Array:
        """Return the table of source tokens, V D."""
        return self.embedding() if self.config.tie_embeddings else self.source_embedding()

    def target_table(self) -> Array:
        """Return the table of target tokens, V D."""
        return self.embedding() if self.config.tie_embeddings else self.target_embedding()
