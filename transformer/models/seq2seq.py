"""Seq2Seq: an encoder, and a decoder that reads its output through cross-attention.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762. In C = Attn(X, X'): X is the source, X' the target.
"""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from transformer.models.batch import (
    Batch,
    Tree,
    causal_mask,
    cross_mask,
    extent,
    of_source,
    require,
    source_positions,
    visible,
    without,
)
from transformer.models.encoder_decoder import EncoderDecoder
from transformer.nn.blocks import LayerCache, StackCache, StackInputs
from transformer.nn.dropout import Dropout
from transformer.nn.embedding import check_length, longest_sequence
from transformer.nn.heads import last, next_logits, predictions, require_token_head
from transformer.nn.positions import positions_of
from transformer.nn.recorder import Recorder
from transformer.nn.stack import Stack, empty_cache
from transformer.ops.scores import find


class Seq2Seq(EncoderDecoder):
    """The Transformer of 2017: source B S, target B T -> logits B T V; logits at t are of the token at t + 1."""

    shared_cache: ClassVar[tuple[str, ...]] = ("cross", "source")
    """Names of what `step` reads of a cache for rows 0 .. W - 1 from row 0, where a beam has W rows for an example."""

    stepped_stack: ClassVar[str] = "decoder"
    """Name of the stack that `step` applies; its parameters and cache may be tuples of its layers', see `Stack`."""

    def setup(self) -> None:
        super().setup()
        config, score = self.config, find(self.config.score)
        self.score = score
        self.encoder = Stack(
            config, "encoder", config.num_encoder_layers, cross=False, request=self.request, score=score
        )
        cross = config.cross_attention
        self.decoder = Stack(
            config, "decoder", config.num_decoder_layers, cross=cross, request=self.request, score=score
        )

    def encode(self, batch: Batch, dropout: Dropout = Dropout()) -> tuple[Array, dict[str, Array]]:
        """Return the encoder's output B S D, and what was captured."""
        (source_BS,) = require(batch, "source")
        positions = positions_of(source_BS.shape[1], batch.get("source_segments"))
        types_BS = batch.get("source_types")
        x_BSD, embedded = self.embed(source_BS, positions, dropout.fold_in(0), types_BS, "source")
        x_BSD, _, captured = self.encoder(x_BSD, StackInputs(visible(batch, "source"), positions, dropout.fold_in(1)))
        return x_BSD, {**embedded, **captured}

    def decode(self, batch: Batch, memory_BSD: Array, dropout: Dropout = Dropout()) -> Tree:
        """Apply the decoder to the whole target."""
        x_BTD, _, captured = self.read(batch, memory_BSD, dropout)
        recorder = Recorder(self.request, "decoder")
        out = predictions(self.head, x_BTD, self.target_table(), extent(batch, "target"), recorder)
        return {**out, "hidden": x_BTD, "captured": {**captured, **recorder.captured}}

    def read(
        self, batch: Batch, memory_BSD: Array, dropout: Dropout = Dropout(), cache: LayerCache | None = None
    ) -> tuple[Array, StackCache | None, dict[str, Array]]:
        """Return the hidden states of `target`, B T D, the keys and values in an empty cache, and what was captured."""
        (target_BT,) = require(batch, "target")
        positions = positions_of(target_BT.shape[1], batch.get("target_segments"))
        x_BTD, embedded = self.embed(target_BT, positions, dropout.fold_in(0))
        inputs = StackInputs(
            self_mask=causal_mask(batch),
            positions=positions,
            dropout=dropout.fold_in(1),
            source_BSD=memory_BSD,
            source_positions=source_positions(self.score, batch),
            cross_mask=cross_mask(batch),
            cache_index_B=None if cache is None else jnp.zeros_like(target_BT[:, 0]),
            new_lengths_B=None if cache is None else batch["target_lengths"],
        )
        x_BTD, new_cache, captured = self.decoder(x_BTD, inputs, cache)
        return x_BTD, new_cache, {**embedded, **captured}

    def start(self, batch: Batch, steps: int) -> tuple[Array, Tree, dict[str, Array]]:
        """Encode the source and read the prompt `target`.

        Returns:
            The logits B V of the prompt's next token, the cache, and what was captured.
        """
        require_token_head(self.config)
        target_BT, lengths_B = require(batch, "target", "target_lengths")
        length = target_BT.shape[1] + steps
        check_length(self.config, target_BT.shape[1], steps)
        memory_BSD, of_encoder = self.encode(batch)
        empty = empty_cache(self.config, self.config.num_decoder_layers, target_BT.shape[0], length, self.request)
        x_BTD, blocks, of_decoder = self.read(without(batch, "target_segments"), memory_BSD, cache=empty)
        recorder = Recorder(self.request, "decoder")
        logits_BV = next_logits(self.head, last(x_BTD, lengths_B), self.target_table(), recorder)
        remaining_B = min(length, longest_sequence(self.config) or length) - lengths_B
        cache = {"blocks": blocks, "index": lengths_B, "remaining": remaining_B, "source": of_source(batch)}
        return logits_BV, cache, {**of_encoder, **of_decoder, **recorder.captured}

    def step(self, tokens_B: Array, cache: Tree) -> tuple[Array, Tree, dict[str, Array]]:
        """Read one token of each example; return the logits B V of the next one, the cache, and what was captured."""
        index_B, recorder = cache["index"], Recorder(self.request, "decoder")
        x_B1D, embedded = self.embed(tokens_B[:, None], index_B[:, None])
        inputs = StackInputs(
            self_mask=causal_mask({}),
            positions=index_B[:, None],
            source_positions=source_positions(self.score, cache["source"]),
            cross_mask=cross_mask(cache["source"]),
            cache_index_B=index_B,
        )
        x_B1D, blocks, captured = self.decoder(x_B1D, inputs, cache["blocks"])
        logits_BV = next_logits(self.head, x_B1D[:, 0], self.target_table(), recorder)
        captured = {**embedded, **captured, **recorder.captured}
        return logits_BV, {**cache, "blocks": blocks, "index": index_B + 1}, captured
