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

    def embed(
        self,
        tokens_BT: Array,
        positions: Array,
        dropout: Dropout = Dropout(),
        types_BT: Array | None = None,
        side: str = "target",
    ) -> tuple[Array, dict[str, Array]]:
        """Return what the first layer of a side's stack reads, B T D, and what was captured of it."""
        stack, module, table_VD = (
            ("encoder", self.source_input, self.source_table())
            if side == "source"
            else ("decoder", self.target_input, self.target_table())
        )
        recorder = Recorder(self.request, stack)
        x_BTD = module(tokens_BT, table_VD, positions=positions, dropout=dropout, recorder=recorder, types_BT=types_BT)
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
