"""Encoder-only: every position sees every other (BERT, Devlin et al. 2018, https://arxiv.org/abs/1810.04805)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from transformer.models.batch import Batch, Tree, extent, require, visible
from transformer.nn.blocks import StackInputs
from transformer.nn.dropout import Dropout
from transformer.nn.embedding import Embedding
from transformer.nn.heads import output_head, predictions, require_token_head, token_table
from transformer.nn.intermediates import Request
from transformer.nn.positions import positions_of
from transformer.nn.recorder import Recorder
from transformer.nn.settings import ModelSettings
from transformer.nn.stack import Stack
from transformer.ops.scores import find


class EncoderOnly(nn.Module):
    """The encoder-only model: source B S -> logits B S V, or class_logits B C."""

    config: ModelSettings
    request: Request = Request()

    def setup(self) -> None:
        config = self.config
        self.embedding = token_table(config, "embedding")
        self.input = Embedding(config, typed=True)
        self.encoder = Stack(
            config, "encoder", config.num_layers, cross=False, request=self.request, score=find(config.score)
        )
        self.head = output_head(config)

    def __call__(self, batch: Batch, dropout: Dropout = Dropout()) -> Tree:
        """Apply the model to the whole source."""
        (source_BS,) = require(batch, "source")
        positions = positions_of(source_BS.shape[1], batch.get("source_segments"))
        x_BSD, embedded = self.embed(source_BS, positions, dropout.fold_in(0), batch.get("source_types"))
        inputs = StackInputs(visible(batch, "source"), positions, dropout.fold_in(1))
        x_BSD, _, captured = self.encoder(x_BSD, inputs)
        recorder = Recorder(self.request, "encoder")
        out = predictions(self.head, x_BSD, self.embedding(), extent(batch, "source"), recorder)
        return {**out, "hidden": x_BSD, "captured": {**embedded, **captured, **recorder.captured}}

    def embed(
        self,
        source_BS: Array,
        positions: Array,
        dropout: Dropout = Dropout(),
        types_BS: Array | None = None,
        side: str = "source",
    ) -> tuple[Array, dict[str, Array]]:
        """Return what the first layer reads, B S D, and what was captured of it."""
        recorder, table_VD = Recorder(self.request, "encoder"), self.embedding()
        x_BSD = self.input(
            source_BS, table_VD, positions=positions, dropout=dropout, recorder=recorder, types_BT=types_BS
        )
        return x_BSD, recorder.captured

    def unembed(self, hidden: Array) -> Array:
        """Return the logits of hidden states, ... D -> ... V."""
        return self.head(hidden, self.embedding())

    def start(self, batch: Batch, steps: int) -> tuple[Array, Tree, dict[str, Array]]:
        """Fill all mask slots at once: the cache holds the logits of `steps` positions from `prefix_lengths` on.

        Those of positions that the source does not have, or that are padding behind it, are NaN.

        Returns:
            The logits B V of the first slot, the cache, and what was captured.
        """
        require_token_head(self.config)
        (prefix_B,) = require(batch, "prefix_lengths")
        out = self({name: x for name, x in batch.items() if name != "prefix_lengths"})
        B, S = batch["source"].shape
        rows_BT = prefix_B[:, None] + jnp.arange(steps, dtype=jnp.int32)[None]
        logits_BTV = jnp.take_along_axis(out["logits"], rows_BT[..., None], axis=1, mode="clip")
        end_B = jnp.minimum(batch.get("source_lengths", S), S)
        logits_BTV = jnp.where((rows_BT < jnp.broadcast_to(end_B, B)[:, None])[..., None], logits_BTV, jnp.nan)
        remaining_B = jnp.full(B, steps - 1, jnp.int32)
        cache = {"logits": logits_BTV, "slot": jnp.ones((), jnp.int32), "remaining": remaining_B}
        return logits_BTV[:, 0], cache, out["captured"]

    def step(self, tokens_B: Array, cache: Tree) -> tuple[Array, Tree, dict[str, Array]]:
        """Return the logits B V of the next slot, the cache, and nothing captured. The tokens are not read."""
        logits_BV = jax.lax.dynamic_index_in_dim(cache["logits"], cache["slot"], axis=1, keepdims=False)
        return logits_BV, {**cache, "slot": cache["slot"] + 1}, {}
