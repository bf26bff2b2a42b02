"""Transformer blocks; `nn.stack` has the stack of them.

Self-attention is a row of `nn.mixers.MIXERS`, and another one may stand in its place under the same name, "self".

A sublayer that the config leaves out (`self_attention`, `cross_attention`, a feed-forward of width 0) has no norm and
no parameters either. A stack without any sublayer returns its input, and has no final norm: nothing was added.
"""

from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from transformer.nn.attention import Attention, AttentionInputs, Cache, require_cache
from transformer.nn.block_layout import BLOCK_LAYOUTS, Map, sublayers
from transformer.nn.dropout import Dropout
from transformer.nn.intermediates import Request
from transformer.nn.mixers import MIXERS
from transformer.nn.module_rows import FEED_FORWARDS
from transformer.nn.modules import Norm
from transformer.nn.recorder import Recorder
from transformer.nn.settings import ModelSettings, of_layer, window_of
from transformer.ops import masks
from transformer.ops.masks import Mask
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.scores import Score

LayerCache = dict[str, Cache]
"""Sublayer, "self" or "cross" -> its keys and values; of a stack, each with a leading L."""

StackCache = LayerCache | tuple[LayerCache, ...]
"""The caches of a stack's layers, stacked, or one by one."""


class StackInputs(NamedTuple):
    """The inputs of a stack that all its layers share.

    Attributes:
        self_mask: order, lengths and segments; the stack joins the user's own mask to it, each block its window.
        positions: of the target, T or B T.
        dropout: of the stack.
        source_BSD: output of the encoder; None in a stack without cross-attention, or where its keys are cached.
        source_positions: S or B S, of the keys of cross-attention; their indices if absent.
        cross_mask: which keys cross-attention may see; no rule: all.
        cache_index_B: row of the cache in which the first new key is written; None: there is no cache.
        self_positions: of queries and keys of self-attention; the stack fills them in.
        new_lengths_B: number of new tokens of each example in a prompt; None: one token, or no cache.
        self_bias: addition of positions to the scores of self-attention; the stack fills it in.
        key_index_BS: index of the token in each row of a cache that is a ring; the stack fills it in.
    """

    self_mask: Mask
    positions: Array
    dropout: Dropout = Dropout()
    source_BSD: Array | None = None
    source_positions: Array | None = None
    cross_mask: Mask = Mask()
    cache_index_B: Array | None = None
    self_positions: QueryKeyPositions | None = None
    self_bias: Array | None = None
    new_lengths_B: Array | None = None
    key_index_BS: Array | None = None

    def cross_positions(self, cache: Cache | None) -> QueryKeyPositions:
        """Return the positions of queries and keys of cross-attention."""
        if self.source_positions is not None:
            return QueryKeyPositions(self.positions, self.source_positions)
        source_BSD = self.source_BSD
        length = require_cache(cache)["key"].shape[-2] if source_BSD is None else source_BSD.shape[1]
        return QueryKeyPositions(self.positions, jnp.arange(length, dtype=jnp.int32))


class LayerInputs(NamedTuple):
    """The inputs of one layer; of a stack, each with a leading L.

    Attributes:
        layer: index of the layer in its stack.
        cache: keys and values of its sublayers; None: there is no cache.
        window: sliding window of its self-attention (tokens); None: the config's.
        rotary_base: base of its rotary positions; None: the config's.
    """

    layer: Array
    cache: StackCache | None = None
    window: Array | None = None
    rotary_base: Array | None = None

    def of_sublayer(self, name: str) -> Cache | None:
        """Return the cache of a sublayer; None where there is none."""
        return self.cache.get(name) if isinstance(self.cache, dict) else None


class LayerOutputs(NamedTuple):
    """The outputs of one layer beside the residual stream; of a stack, each with a leading L.

    Attributes:
        cache: with the new keys and values; None where there is none.
        captured: name -> activation.
    """

    cache: StackCache | None
    captured: dict[str, Array]


class Block(nn.Module):
    """Self-attention, cross-attention, feed-forward, with norms and residuals as the config's layout puts them.

    Attributes:
        config: model settings.
        stack: "encoder" or "decoder".
        cross: True where the block has cross-attention.
        request: the activations to capture and to replace.
        score: the score function that the config names.
    """

    config: ModelSettings
    stack: str
    cross: bool
    request: Request
    score: Score

    @nn.compact
    def __call__(self, x_BTD: Array, layer: LayerInputs, inputs: StackInputs) -> tuple[Array, LayerOutputs]:
        """Apply one layer to the residual stream, B T D."""
        recorder = Recorder(self.request, self.stack, layer.layer)
        dropout = inputs.dropout.fold_in(layer.layer)
        new_cache: LayerCache = {}

        def apply_mixer(y_BTD: Array) -> Array:
            module = cast(Any, MIXERS.of(self.config, "mixer").make(self.config, name="self"))
            y_BTD, new_cache["self"] = module(y_BTD, self.self_inputs(layer, inputs, recorder, dropout.fold_in(0)))
            return y_BTD

        def attend_cross(y_BTD: Array) -> Array:
            attention = Attention(self.config, "cross", self.score, name="cross")
            y_BTD, new_cache["cross"] = attention(
                y_BTD, inputs.source_BSD, self.cross_inputs(layer, inputs, recorder, dropout.fold_in(1))
            )
            return y_BTD

        def feed_forward(y_BTD: Array) -> Array:
            row = FEED_FORWARDS.of(self.config, "feed_forward")
            module = cast(Any, row.make(self.config, name="feed_forward"))
            return cast(Array, module(y_BTD, recorder.sublayer("feed_forward")))

        functions: dict[str, Map] = {"self": apply_mixer, "cross": attend_cross, "feed_forward": feed_forward}
        x_BTD = recorder.record("residual", self.lay_out(x_BTD, functions, dropout, layer.layer))
        return x_BTD, LayerOutputs(None if layer.cache is None else new_cache, recorder.captured)

    def self_inputs(
        self, layer: LayerInputs, inputs: StackInputs, recorder: Recorder, dropout: Dropout
    ) -> AttentionInputs:
        """Return the inputs of self-attention, or of the mixer in its place."""
        window = of_layer(layer.window, window_of(self.config, self.stack))
        return AttentionInputs(
            mask=inputs.self_mask if window is None else inputs.self_mask & masks.window(window),
            recorder=recorder.sublayer("self"),
            dropout=dropout,
            layer=layer.layer,
            positions=inputs.self_positions,
            bias=inputs.self_bias,
            rotary_base=layer.rotary_base,
            cache=layer.of_sublayer("self"),
            cache_index_B=inputs.cache_index_B,
            causal=self.stack == "decoder",
            new_lengths_B=inputs.new_lengths_B,
            key_index_BS=inputs.key_index_BS,
        )

    def cross_inputs(
        self, layer: LayerInputs, inputs: StackInputs, recorder: Recorder, dropout: Dropout
    ) -> AttentionInputs:
        """Return the inputs of cross-attention."""
        cache = layer.of_sublayer("cross")
        return AttentionInputs(
            mask=inputs.cross_mask,
            recorder=recorder.sublayer("cross"),
            dropout=dropout,
            layer=layer.layer,
            positions=inputs.cross_positions(cache),
            cache=cache,
        )

    def lay_out(self, x_BTD: Array, functions: dict[str, Map], dropout: Dropout, layer: Array) -> Array:
        """Apply the sublayers that the block has, with norms and residuals as the config's layout puts them."""
        sites = {name: site for site, name in enumerate(functions, start=2)}
        norms: dict[str, Map] = {}
        first = sublayers(self.config, self.cross)[0]
        bare = None if self.config.embedding.first_norm else f"{first}_norm"

        def named(name: str, function: Map) -> Map:
            def apply(y_BTD: Array) -> Array:
                # Within a scan, an operation that needs no gradient has no other names than these.
                with jax.named_scope(f"{self.stack}/{name}"):
                    return function(y_BTD)

            return apply

        def norm(name: str, part: str = "") -> Map:
            full = f"{name}_{part}norm"
            if full not in norms:
                norms[full] = named(name, Norm(self.config, name=full))
            return norms[full] if full != bare else lambda y_BTD: jnp.where(layer == 0, y_BTD, norms[full](y_BTD))

        def drop(name: str) -> Map:
            site = dropout.fold_in(sites[name])
            return named(name, lambda y_BTD: site(y_BTD, 0))

        present = {name: named(name, functions[name]) for name in sublayers(self.config, self.cross)}
        row = BLOCK_LAYOUTS.of(self.config, "norm_placement")
        with jax.named_scope(f"{self.stack}/residual"):
            return row.function(x_BTD, present, norm, drop, **row.own)
