"""The stack of Transformer blocks, its layers scanned or one by one, and its cache.

One layout of parameters: every block's arrays have a leading L and run in a loop whose compile time does not grow with
depth; `unroll` and `remat` change the program and no parameter. Generation takes the layers apart, see
`decoding.layout`.
"""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from transformer.errors import problem
from transformer.nn.block_layout import ends_with_norm, sublayers
from transformer.nn.blocks import Block, LayerCache, LayerInputs, LayerOutputs, StackCache, StackInputs
from transformer.nn.intermediates import Request
from transformer.nn.mixers import MIXERS
from transformer.nn.modifiers import PositionBias
from transformer.nn.modules import Norm
from transformer.nn.recorder import Recorder, chosen_layers
from transformer.nn.settings import ModelSettings, longest_window, window_of
from transformer.nn.user_functions import user_mask
from transformer.ops.cache import ring_index
from transformer.ops.mask_rules import Prefix
from transformer.ops.masks import Mask
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.scores import Score

UNROLLED = 12
"""Most layers that are unrolled; more are a loop, which compiles in less time.

A loop whose steps are several layers takes longer to compile and is no faster: what costs time is that a loop stacks
what the backward pass reads.
"""

REMATS = {
    "everything": jax.checkpoint_policies.nothing_saveable,
    "all_but_products": jax.checkpoint_policies.dots_saveable,
    "all_but_linear": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
"""Value of model.remat_policy -> what is kept of a layer for the backward pass."""

NO_WINDOW = 2**30
"""Window that leaves no key out, and to which an index can be added in 32 bits."""


def layer_inputs(config: ModelSettings, stack: str, num_layers: int, cache: StackCache | None) -> LayerInputs:
    """Return the inputs of all layers, each with a leading L; None where all layers have the same."""
    window, base = window_of(config, stack), config.rotary_base
    sizes = [NO_WINDOW if size is None else size for size in window] if isinstance(window, tuple) else None
    return LayerInputs(
        layer=jnp.arange(num_layers, dtype=jnp.int32),
        cache=cache,
        window=None if sizes is None else jnp.array(sizes, jnp.int32),
        rotary_base=jnp.array(base, jnp.float32) if isinstance(base, tuple) else None,
    )


def empty_cache(config: ModelSettings, layers: int, batch: int, length: int, request: Request) -> LayerCache:
    """Return the mixer's cache for a stack and sequences of at most `length` tokens, with a leading L.

    That of attention whose layers all have a window has as many rows as the largest; a row for each token, in order,
    where activations are captured or replaced.
    """
    window = longest_window(config) if is_ring(config) and request == Request() else None
    cache = MIXERS.of(config, "mixer").cache(config, batch, length if window is None else min(length, window))
    return {"self": {name: jnp.broadcast_to(x, (layers, *x.shape)) for name, x in cache.items()}}


def is_ring(config: ModelSettings) -> bool:
    """Return whether rows of the cache are written again once no window sees them."""
    return MIXERS.of(config, "mixer").keeps_window and longest_window(config) is not None


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
        check_order(self.config, inputs.self_mask)
        causal = self.stack == "decoder"  # a decoder looks back, also where a prefix sees both ways, as in T5
        key_positions, ring_BS = self.keys(inputs, cache)
        positions = QueryKeyPositions(inputs.positions, key_positions)
        inputs = inputs._replace(
            self_positions=positions,
            key_index_BS=ring_BS,
            self_mask=inputs.self_mask & user_mask(self.config, positions),
            self_bias=PositionBias(self.config, causal, name="bias")(positions),
        )
        layers = layer_inputs(self.config, self.stack, self.num_layers, cache)
        block = Block(self.config, self.stack, self.cross, self.request, self.score, parent=None)
        stored = self.variables.get("params", {}).get("blocks")
        if stored is None:
            stored = self.param("blocks", self.initial_blocks, block, x_BTD, layers, inputs)
        if isinstance(stored, tuple):
            x_BTD, outputs = self.one_by_one(block, stored, x_BTD, layers, inputs)
        else:
            x_BTD, outputs = self.in_a_loop(block, stored, x_BTD, layers, inputs)
        recorder = Recorder(self.request, self.stack)
        if ends_with_norm(self.config):
            x_BTD = recorder.record("final_norm", Norm(self.config, name="final_norm")(x_BTD))
        return x_BTD, outputs.cache, {**chosen_layers(outputs.captured, self.request), **recorder.captured}

    def keys(self, inputs: StackInputs, cache: StackCache | None) -> tuple[Array, Array | None]:
        """Return the positions of self-attention's keys, and the indices of those that stand in a ring."""
        of_layer = cache[0] if isinstance(cache, tuple) else cache
        key = (of_layer or {}).get("self", {}).get("key")
        if key is None:
            return inputs.positions, None
        rows = key.shape[-2]
        if inputs.cache_index_B is None or inputs.new_lengths_B is not None or not is_ring(self.config):
            # Cached keys have the positions of their rows; a prompt that is longer than its window reads its own keys.
            return inputs.positions if inputs.positions.shape[-1] > rows else jnp.arange(rows, dtype=jnp.int32), None
        index_BS = ring_index(inputs.cache_index_B, rows)
        return index_BS, index_BS

    def initial_blocks(
        self, key: Array, block: Block, x_BTD: Array, layers: LayerInputs, inputs: StackInputs
    ) -> dict[str, Any]:
        """Make the parameters of all layers, each with a leading L."""
        first = jax.tree.map(lambda x: x[0], layers)
        keys = jax.random.split(key, self.num_layers)

        def one(key: Array) -> dict[str, Any]:
            return cast(dict[str, Any], block.init(key, x_BTD, first, inputs).get("params", {}))

        return jax.lax.map(one, keys)

    def in_a_loop(
        self, block: Block, params: dict[str, Any], x_BTD: Array, layers: LayerInputs, inputs: StackInputs
    ) -> tuple[Array, LayerOutputs]:
        """Apply layers whose parameters have a leading L: `nn.scan`, which traces a block twice, does the same."""
        remat = REMATS[self.config.remat_policy] if self.config.remat else None
        # Without a loop, XLA computes layers again before it needs them, and saves no memory.
        unrolled = self.config.unroll and remat is None and self.num_layers <= UNROLLED

        def one(x_BTD: Array, own: tuple[dict[str, Any], LayerInputs]) -> tuple[Array, LayerOutputs]:
            params, layer = own
            return cast(tuple[Array, LayerOutputs], block.apply({"params": params}, x_BTD, layer, inputs))

        if remat is not None:
            one = jax.checkpoint(one, prevent_cse=False, policy=remat)
        return jax.lax.scan(
            one, x_BTD, (params, layers), length=self.num_layers, unroll=self.num_layers if unrolled else 1
        )

    def one_by_one(
        self,
        block: Block,
        params: tuple[dict[str, Any], ...],
        x_BTD: Array,
        layers: LayerInputs,
        inputs: StackInputs,
    ) -> tuple[Array, LayerOutputs]:
        """Apply layers whose parameters and caches are not stacked, see `decoding.layout`."""
        caches = layers.cache if isinstance(layers.cache, tuple) else (None,) * self.num_layers
        outputs: list[LayerOutputs] = []
        for i, (own, cache) in enumerate(zip(params, caches, strict=True)):
            layer = jax.tree.map(lambda x, i=i: x[i], layers._replace(cache=None))
            applied = block.apply({"params": own}, x_BTD, layer._replace(cache=cache), inputs)
            x_BTD, output = cast(tuple[Array, LayerOutputs], applied)
            outputs.append(output)
        captured = jax.tree.map(lambda *x: jnp.stack(x), *(output.captured for output in outputs))
        return x_BTD, LayerOutputs(tuple(cast(LayerCache, output.cache) for output in outputs), captured)
