"""Blocks and the stack of them.

    pre       x + f(norm(x))         GPT-2, Xiong et al. 2020; the stack ends with a norm
    post      norm(x + f(x))         Vaswani et al. 2017, BERT
    sandwich  x + norm(f(norm(x)))   Ding et al. 2021, 2105.13290, Gemma 2; the stack ends with a norm

A sublayer that the config leaves out (`self_attention`, `cross_attention`, a feed-forward of width 0) takes its norm
and its parameters with it. A stack without any gives on what it was given, and has no final norm: nothing was added.

One layout of parameters: every block's arrays have a leading L and run under `nn.scan`, so compile time does not grow
with depth; `unroll` and `remat` change the program and no parameter.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from transformer.nn.attention import Attention
from transformer.nn.dropout import Noise
from transformer.nn.feed_forward import FeedForward
from transformer.nn.intermediates import Request, Watch, chosen_layers
from transformer.nn.parameters import Norm
from transformer.nn.positions import PositionBias, self_places
from transformer.ops import masks
from transformer.ops.masks import Mask
from transformer.ops.modifiers import own_allowed

Tree = dict[str, Any]


Map = Callable[[Array], Array]


@dataclasses.dataclass(frozen=True)
class NormPlacement:
    """A row: (x, sublayer, norm, drop) -> the residual stream, and whether the stack ends with a norm.

    `norm(part)` is the sublayer's norm, or another one of that part.
    """

    function: Callable[[Array, Map, Callable[..., Map], Map], Array]
    final_norm: bool


def _pre(x: Array, sublayer: Map, norm: Callable[..., Map], drop: Map) -> Array:
    return x + drop(sublayer(norm()(x)))


def _post(x: Array, sublayer: Map, norm: Callable[..., Map], drop: Map) -> Array:
    return norm()(x + drop(sublayer(x)))


def _sandwich(x: Array, sublayer: Map, norm: Callable[..., Map], drop: Map) -> Array:
    return x + drop(norm("after_")(sublayer(norm()(x))))


NORM_PLACEMENTS = {
    "pre": NormPlacement(_pre, final_norm=True),
    "post": NormPlacement(_post, final_norm=False),
    "sandwich": NormPlacement(_sandwich, final_norm=True),
}


class Block(nn.Module):
    """Self-attention, cross-attention if `cross`, feed-forward (see `sublayers`); each with its norm and residual."""

    config: Any
    stack: str
    cross: bool
    asked: Request

    @nn.compact
    def __call__(self, x_BTD: Array, layer: Tree, shared: Tree) -> tuple[Array, Tree]:
        """One layer.

        Args:
            layer: `index` of this layer; `cache` of its keys and values, `window` and `rotary_base`, None where it has
                none of its own.
            shared: `noise`, `self_mask`, `self_bias`, `cross_mask`, `positions`, `source`, `source_positions`,
                `cache_position`; None where not used.

        Returns:
            The residual stream, and `cache` and `seen` of this layer.
        """
        watch = Watch(self.asked, self.stack, layer["index"])
        noise = shared["noise"].within(layer["index"])
        old, new = layer["cache"] or {}, {}

        def attend_self(y: Array) -> Array:
            mask = shared["self_mask"]
            if layer["window"] is not None:
                mask = mask & masks.window(layer["window"])
            y, new["self"] = Attention(self.config, "self", name="self")(
                y, y, mask=mask, bias=shared["self_bias"], layer=layer["index"],
                noise=noise.within(0), watch=watch, positions=shared["positions"], rotary_base=layer["rotary_base"],
                cache=old.get("self"), cache_position_B=shared["cache_position"],
            )  # fmt: skip
            return y

        def attend_cross(y: Array) -> Array:
            y, new["cross"] = Attention(self.config, "cross", name="cross")(
                y,
                shared["source"],
                mask=shared["cross_mask"],
                layer=layer["index"],
                noise=noise.within(1),
                watch=watch,
                positions=shared["positions"],
                source_positions=shared["source_positions"],
                cache=old.get("cross"),
            )
            return y

        def feed_forward(y: Array) -> Array:
            return FeedForward(self.config, name="feed_forward")(y, watch)

        functions = {"self": attend_self, "cross": attend_cross, "feed_forward": feed_forward}
        for place, (name, function) in enumerate(functions.items(), start=2):
            if name in sublayers(self.config, self.cross):
                x_BTD = self.sublayer(name, function, x_BTD, noise.within(place))
        x_BTD = watch("residual", x_BTD)
        return x_BTD, {"cache": new if layer["cache"] is not None else None, "seen": watch.seen}

    def sublayer(self, name: str, function: Callable[[Array], Array], x: Array, noise: Noise) -> Array:
        """The sublayer with its norm and residual."""
        norm = lambda part="": Norm(self.config, name=f"{name}_{part}norm")  # noqa: E731
        # Within a scan, an operation that needs no gradient knows no other names than these.
        with jax.named_scope(f"{self.stack}/{name}"):
            return NORM_PLACEMENTS[self.config.norm_placement].function(x, function, norm, lambda y: noise(y, 0))


EVERYTHING = 2**30
"""A window that leaves nothing out, and to which a position can be added in 32 bits."""


def by_layer(config: Any) -> Tree:
    """The window and the rotary base of each layer, L; None where all layers have the same."""
    window, base = config.window, config.rotary_base
    sizes = [EVERYTHING if size is None else size for size in window] if isinstance(window, tuple) else None
    return {
        "window": None if sizes is None else jnp.array(sizes, jnp.int32),
        "rotary_base": jnp.array(base, jnp.float32) if isinstance(base, tuple) else None,
    }


def sublayers(config: Any, cross: bool) -> tuple[str, ...]:
    """The sublayers of a block, in their order."""
    there = {"self": config.self_attention, "cross": cross, "feed_forward": config.feed_forward_width != 0}
    return tuple(name for name, has in there.items() if has)


class Stack(nn.Module):
    """L blocks, scanned; a final norm where norms come before the sublayers. Without sublayers, nothing."""

    config: Any
    stack: str
    num_layers: int
    cross: bool
    asked: Request

    @nn.compact
    def __call__(
        self,
        x_BTD: Array,
        *,
        noise: Noise,
        self_mask: Mask,
        positions: Array,
        source_BSD: Array | None = None,
        source_positions: Array | None = None,
        cross_mask: Mask | None = None,
        cache: Tree | None = None,
        cache_position_B: Array | None = None,
    ) -> tuple[Array, Tree | None, dict[str, Array]]:
        """The residual stream after L blocks, the new cache (leading L), and what was captured."""
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
        # A decoder looks back, also where a prefix sees both ways, as in T5.
        causal = self.stack == "decoder"
        cache_length = cache["self"]["key"].shape[2] if cache is not None and "self" in cache else None
        shared = {
            "noise": noise,
            "self_mask": self.own_mask(self_mask, positions, cache_length),
            "self_bias": PositionBias(self.config, causal, name="bias")(positions, cache_length),
            "cross_mask": cross_mask,
            "positions": positions,
            "source": source_BSD,
            "source_positions": source_positions,
            "cache_position": cache_position_B,
        }
        layers = {"index": jnp.arange(self.num_layers), "cache": cache, **by_layer(self.config)}
        blocks = scanned(self.config, self.stack, self.cross, self.asked, name="blocks")
        x_BTD, out = blocks(x_BTD, layers, shared)
        if NORM_PLACEMENTS[self.config.norm_placement].final_norm:
            x_BTD = Norm(self.config, name="final_norm")(x_BTD)
        return x_BTD, out["cache"], chosen_layers(out["seen"], self.asked)

    def own_mask(self, mask: Mask, positions: Array, cache_length: int | None) -> Mask:
        """The mask, and the user's own where the config names one."""
        name = self.config.attention.mask
        return (
            mask
            if name is None
            else mask & masks.given(own_allowed(name, self_places(positions, cache_length), self.config.num_heads))
        )
