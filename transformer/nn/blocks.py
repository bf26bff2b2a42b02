"""Transformer blocks, and the stack of them.

Self-attention is a row of `nn.mixers.MIXERS`, and another one may stand in its place under the same name, "self".

A sublayer that the config leaves out (`self_attention`, `cross_attention`, a feed-forward of width 0) has no norm and
no parameters either. A stack without any sublayer returns its input, and has no final norm: nothing was added.

One layout of parameters: every block's arrays have a leading L and run under `nn.scan`, so compile time does not grow
with depth; `unroll` and `remat` change the program and no parameter.
"""

from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from transformer.errors import problem
from transformer.nn.attention import Attention, AttentionInputs, Cache, require_cache
from transformer.nn.block_layout import BLOCK_LAYOUTS, Map, ends_with_norm, sublayers
from transformer.nn.dropout import Dropout
from transformer.nn.intermediates import Request
from transformer.nn.mixers import MIXERS
from transformer.nn.modifiers import PositionBias
from transformer.nn.module_rows import FEED_FORWARDS
from transformer.nn.modules import Norm
from transformer.nn.recorder import Recorder, chosen_layers
from transformer.nn.settings import ModelSettings, of_layer
from transformer.nn.user_functions import user_mask
from transformer.ops import masks
from transformer.ops.mask_rules import Prefix
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
        self_bias: addition of positions to the scores of self-attention; the stack fills it in.
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
        x_BTD = recorder.record("residual", self.lay_out(x_BTD, functions, dropout))
        return x_BTD, LayerOutputs(None if layer.cache is None else new_cache, recorder.captured)

    def self_inputs(
        self, layer: LayerInputs, inputs: StackInputs, recorder: Recorder, dropout: Dropout
    ) -> AttentionInputs:
        """Return the inputs of self-attention, or of the mixer in its place."""
        window = of_layer(layer.window, self.config.window)
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

    def lay_out(self, x_BTD: Array, functions: dict[str, Map], dropout: Dropout) -> Array:
        """Apply the sublayers that the block has, with norms and residuals as the config's layout puts them."""
        sites = {name: site for site, name in enumerate(functions, start=2)}
        norms: dict[str, Map] = {}

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
            return norms[full]

        def drop(name: str) -> Map:
            site = dropout.fold_in(sites[name])
            return named(name, lambda y_BTD: site(y_BTD, 0))

        present = {name: named(name, functions[name]) for name in sublayers(self.config, self.cross)}
        row = BLOCK_LAYOUTS.of(self.config, "norm_placement")
        with jax.named_scope(f"{self.stack}/residual"):
            return row.function(x_BTD, present, norm, drop, **row.own)


NO_WINDOW = 2**30
"""Window that leaves no key out, and to which an index can be added in 32 bits."""


def layer_inputs(config: ModelSettings, num_layers: int, cache: StackCache | None) -> LayerInputs:
    """Return the inputs of all layers, each with a leading L; None where all layers have the same."""
    window, base = config.window, config.rotary_base
    sizes = [NO_WINDOW if size is None else size for size in window] if isinstance(window, tuple) else None
    return LayerInputs(
        layer=jnp.arange(num_layers, dtype=jnp.int32),
        cache=cache,
        window=None if sizes is None else jnp.array(sizes, jnp.int32),
        rotary_base=jnp.array(base, jnp.float32) if isinstance(base, tuple) else None,
    )


def empty_cache(config: ModelSettings, layers: int, batch: int, length: int) -> LayerCache:
    """Return the mixer's cache for a stack and sequences of at most `length` tokens, with a leading L."""
    cache = MIXERS.of(config, "mixer").cache(config, batch, length)
    return {"self": {name: jnp.broadcast_to(x, (layers, *x.shape)) for name, x in cache.items()}}


def check_order(config: ModelSettings, mask: Mask) -> None:
    """Raise a UserError for a prefix that sees both ways where the mixer cannot stand in an encoder."""
    if "encoder" not in MIXERS.of(config, "mixer").stacks and any(isinstance(rule, Prefix) for rule in mask.rules):
        what = f"mixer {str(config.mixer)!r} looks back alone, and a prefix sees both ways"
        raise problem(what, got="prefix_lengths", do="Leave them out, or set model.mixer=attention.")


class Stack(nn.Module):
    """The L blocks, scanned, and a final norm where their layout asks for one. Without sublayers, the identity.

    Attributes:
        config: model settings.
        stack: "encoder" or "decoder".
        num_layers: L.
        cross: True where the blocks have cross-attention.
        request: the activations to capture and to replace.
        score: the score function that the config names.
    """

    config: ModelSettings
    stack: str
    num_layers: int
    cross: bool
    request: Request
    score: Score

    @nn.compact
    def __call__(
        self, x_BTD: Array, inputs: StackInputs, cache: StackCache | None = None
    ) -> tuple[Array, StackCache | None, dict[str, Array]]:
        """Apply all layers.

        Args:
            cache: with a leading L; a tuple of the layers' caches where the parameters "blocks" are a tuple, too.

        Returns:
            The residual stream B T D, the new cache, and the captured activations.
        """
        if not sublayers(self.config, self.cross):
            return x_BTD, None if cache is None else {}, {}
        block = nn.remat(Block, prevent_cse=False) if self.config.remat else Block
        scanned = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast),
            length=self.num_layers,
            unroll=self.num_layers if self.config.unroll and not self.config.remat else 1,
        )
        check_order(self.config, inputs.self_mask)
        causal = self.stack == "decoder"  # a decoder looks back, also where a prefix sees both ways, as in T5
        of_layer = cache[0] if isinstance(cache, tuple) else cache
        key = (of_layer or {}).get("self", {}).get("key")  # cached keys have the positions of their rows
        positions = QueryKeyPositions(
            inputs.positions, inputs.positions if key is None else jnp.arange(key.shape[-2], dtype=jnp.int32)
        )
        inputs = inputs._replace(
            self_positions=positions,
            self_mask=inputs.self_mask & user_mask(self.config, positions),
            self_bias=PositionBias(self.config, causal, name="bias")(positions),
        )
        layers = layer_inputs(self.config, self.num_layers, cache)
        stored = self.variables.get("params", {}).get("blocks")
        if isinstance(stored, tuple):
            x_BTD, outputs = self.one_by_one(stored, x_BTD, layers, inputs)
        else:
            blocks = scanned(self.config, self.stack, self.cross, self.request, self.score, name="blocks")
            x_BTD, outputs = blocks(x_BTD, layers, inputs)
        recorder = Recorder(self.request, self.stack)
        if ends_with_norm(self.config):
            x_BTD = recorder.record("final_norm", Norm(self.config, name="final_norm")(x_BTD))
        return x_BTD, outputs.cache, {**chosen_layers(outputs.captured, self.request), **recorder.captured}

    def one_by_one(
        self, params: tuple[dict[str, Any], ...], x_BTD: Array, layers: LayerInputs, inputs: StackInputs
    ) -> tuple[Array, LayerOutputs]:
        """Apply layers whose parameters and caches are not stacked, see `decoding.layout`."""
        block = Block(self.config, self.stack, self.cross, self.request, self.score, parent=None)
        caches = layers.cache if isinstance(layers.cache, tuple) else (None,) * self.num_layers
        outputs: list[LayerOutputs] = []
        for i, (own, cache) in enumerate(zip(params, caches, strict=True)):
            layer = jax.tree.map(lambda x, i=i: x[i], layers._replace(cache=None))
            applied = block.apply({"params": own}, x_BTD, layer._replace(cache=cache), inputs)
            x_BTD, output = cast(tuple[Array, LayerOutputs], applied)
            outputs.append(output)
        captured = jax.tree.map(lambda *x: jnp.stack(x), *(output.captured for output in outputs))
        return x_BTD, LayerOutputs(tuple(cast(LayerCache, output.cache) for output in outputs), captured)
