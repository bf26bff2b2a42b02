"""Decoder-only: every position sees itself and the positions before it (GPT-2, Radford et al. 2019).

With `prefix_lengths` in the batch, the prefix sees both ways (a prefix LM, Raffel et al. 2020, section 3.2.1).
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from transformer.models.batch import Batch, Tree, causal_mask, extent, require, without
from transformer.nn.blocks import LayerCache, StackCache, StackInputs
from transformer.nn.dropout import Dropout
from transformer.nn.embedding import Embedding, check_length, longest_sequence
from transformer.nn.heads import last, next_logits, output_head, predictions, require_token_head, token_table
from transformer.nn.intermediates import Request
from transformer.nn.positions import positions_of
from transformer.nn.recorder import Recorder
from transformer.nn.settings import ModelSettings
from transformer.nn.stack import Stack, empty_cache
from transformer.ops.scores import find


class DecoderOnly(nn.Module):
    """The decoder-only model: target B T -> logits B T V; logits at t are of the token at t + 1."""

    config: ModelSettings
    request: Request = Request()

    stepped_stack: ClassVar[str] = "decoder"
    """Name of the stack that `step` applies; its parameters and cache may be tuples of its layers', see `Stack`."""

    def setup(self) -> None:
        config = self.config
        self.embedding = token_table(config, "embedding")
        self.input = Embedding(config)
        self.decoder = Stack(
            config, "decoder", config.num_layers, cross=False, request=self.request, score=find(config.score)
        )
        self.head = output_head(config)

    def __call__(self, batch: Batch, dropout: Dropout = Dropout()) -> Tree:
        """Apply the model to the whole sequence at once."""
        x_BTD, _, captured = self.read(batch, dropout)
        recorder = Recorder(self.request, "decoder")
        out = predictions(self.head, x_BTD, self.embedding(), extent(batch, "target"), recorder)
        return {**out, "hidden": x_BTD, "captured": {**captured, **recorder.captured}}

    def read(
        self, batch: Batch, dropout: Dropout = Dropout(), cache: LayerCache | None = None
    ) -> tuple[Array, StackCache | None, dict[str, Array]]:
        """Return the hidden states of `target`, B T D, the keys and values in an empty cache, and what was captured."""
        (target_BT,) = require(batch, "target")
        positions = positions_of(target_BT.shape[1], batch.get("target_segments"))
        x_BTD, embedded = self.embed(target_BT, positions, dropout.fold_in(0))
        inputs = StackInputs(
            self_mask=causal_mask(batch),
            positions=positions,
            dropout=dropout.fold_in(1),
            cache_index_B=None if cache is None else jnp.zeros_like(target_BT[:, 0]),
            new_lengths_B=None if cache is None else batch["target_lengths"],
        )
        x_BTD, new_cache, captured = self.decoder(x_BTD, inputs, cache)
        return x_BTD, new_cache, {**embedded, **captured}

    def embed(
        self,
        target_BT: Array,
        positions: Array,
        dropout: Dropout = Dropout(),
        types_BT: Array | None = None,
        side: str = "target",
    ) -> tuple[Array, dict[str, Array]]:
        """Return what the first layer reads, B T D, and what was captured of it."""
        recorder = Recorder(self.request, "decoder")
        x_BTD = self.input(target_BT, self.embedding(), positions=positions, dropout=dropout, recorder=recorder)
        return x_BTD, recorder.captured

    def unembed(self, hidden: Array) -> Array:
        """Return the logits of hidden states, ... D -> ... V."""
        return self.head(hidden, self.embedding())

    def start(self, batch: Batch, steps: int) -> tuple[Array, Tree, dict[str, Array]]:
        """Read the prompt `target`; return the logits B V of its next token, the cache, and what was captured."""
        require_token_head(self.config)
        target_BT, lengths_B = require(batch, "target", "target_lengths")
        length = target_BT.shape[1] + steps
        check_length(self.config, target_BT.shape[1], steps)
        empty = empty_cache(self.config, self.config.num_layers, target_BT.shape[0], length, self.request)
        x_BTD, blocks, captured = self.read(without(batch, "target_segments"), cache=empty)
        recorder = Recorder(self.request, "decoder")
        logits_BV = next_logits(self.head, last(x_BTD, lengths_B), self.embedding(), recorder)
        remaining_B = min(length, longest_sequence(self.config) or length) - lengths_B
        cache = {"blocks": blocks, "index": lengths_B, "remaining": remaining_B}
        return logits_BV, cache, {**captured, **recorder.captured}

    def step(self, tokens_B: Array, cache: Tree) -> tuple[Array, Tree, dict[str, Array]]:
        """Read one token of each example; return the logits B V of the next one, the cache, and what was captured."""
        index_B, recorder = cache["index"], Recorder(self.request, "decoder")
        x_B1D, embedded = self.embed(tokens_B[:, None], index_B[:, None])
        inputs = StackInputs(causal_mask({}), positions=index_B[:, None], cache_index_B=index_B)
        x_B1D, blocks, captured = self.decoder(x_B1D, inputs, cache["blocks"])
        logits_BV = next_logits(self.head, x_B1D[:, 0], self.embedding(), recorder)
        captured = {**embedded, **captured, **recorder.captured}
        return logits_BV, {**cache, "blocks": blocks, "index": index_B + 1}, captured
