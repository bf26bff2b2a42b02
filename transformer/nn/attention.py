"""Multi-head attention: the shell that owns the projections. The mathematics is in `ops.attend`."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from transformer.errors import problem
from transformer.nn.dropout import Noise
from transformer.nn.intermediates import Watch
from transformer.nn.modifiers import HeadNorm, OwnModifiers
from transformer.nn.parameters import Linear, Norm, ScoreParameters
from transformer.nn.positions import POSITIONS, self_places
from transformer.ops import attend as attention
from transformer.ops.cache import write
from transformer.ops.masks import Mask
from transformer.ops.modifiers import Modifiers
from transformer.ops.positions import Places, rotary, scaled_base
from transformer.ops.scores import find

Cache = dict[str, Array]
PLAIN = Modifiers()


class Attention(nn.Module):
    """C = Attn(X, X'): queries from the target X', keys and values from the source X.

    num_kv_heads = num_heads is multi-head, 1 is multi-query, in between grouped attention.
    `sublayer` is "self" or "cross": the name that activations carry.
    """

    config: Any
    sublayer: str

    @nn.compact
    def __call__(
        self,
        target_BTD: Array,
        source_BSD: Array | None,
        *,
        mask: Mask,
        layer: Array,
        bias: Array | None = None,
        noise: Noise,
        watch: Watch,
        positions: Array | None = None,
        source_positions: Array | None = None,
        rotary_base: Array | None = None,
        cache: Cache | None = None,
        cache_position_B: Array | None = None,
    ) -> tuple[Array, Cache]:
        """The mixed values after the output projection, B T D, and the keys and values that were read.

        Args:
            source_BSD: None reads the keys and values in `cache`.
            layer: its index in the stack.
            bias: added to the scores; broadcasts to B N T S.
            positions: T or B T, of the queries; in self-attention without a cache, of the keys too.
            source_positions: S or B S, of the keys in cross-attention; their indices if absent.
            rotary_base: this layer's own; absent, the config's.
            cache: earlier keys and values; with `cache_position_B`, the new ones are written there.
        """
        see = lambda name, x: watch(f"{self.sublayer}.{name}", x)  # noqa: E731
        reads_content = find(self.config.score).reads_content
        query_BTNH = (
            self.project("query", target_BTD) if reads_content else self.blank(target_BTD, self.config.num_heads)
        )
        if source_BSD is None:
            key_BSKH, value_BSKH = cache["key"], cache["value"]
        else:
            key_BSKH = (
                self.project("key", source_BSD) if reads_content else self.blank(source_BSD, self.config.num_kv_heads)
            )
            value_BSKH = self.project("value", source_BSD)
            key_BSKH = self.norm("key", key_BSKH)
        query_BTNH = self.norm("query", query_BTNH)
        if self.sublayer == "self" and POSITIONS[self.config.position].rotates:
            base = self.config.rotary_base if rotary_base is None else rotary_base
            query_BTNH, key_BSKH = self.turn(query_BTNH, positions, base), self.turn(key_BSKH, positions, base)
        query_positions = None
        if cache_position_B is not None:
            key_BSKH = write(cache["key"], key_BSKH, cache_position_B)
            value_BSKH = write(cache["value"], value_BSKH, cache_position_B)
            query_positions = cache_position_B[:, None] + jnp.arange(target_BTD.shape[1])
        kept = {"key": key_BSKH, "value": value_BSKH}
        query_BTNH, key_BSKH = see("query", query_BTNH), see("key", key_BSKH)
        value_BSKH = see("value", value_BSKH)
        modifiers = OwnModifiers(self.config, self.sublayer, name="modifiers")(layer)
        places = None
        if find(self.config.score).reads_positions or modifiers.function is not None:
            places = self.places(positions, source_positions, key_BSKH.shape[1], cache_position_B is not None)
        how = {"mask": mask, "bias": bias, "query_positions": query_positions, "places": places, "modifiers": modifiers}
        head_BTNH = see("head", self.mix(query_BTNH, key_BSKH, value_BSKH, noise, watch, **how))
        if self.config.attention.differential:
            head_BTNH = HeadNorm(self.config, name="differential")(head_BTNH, layer)
        return see("output", self.project("output", head_BTNH)), kept

    def project(self, owner: str, x: Array) -> Array:
        """The linear map "query", "key", "value" or "output"."""
        return Linear(self.config, owner, name=owner)(x)

    def norm(self, name: str, x_BTNH: Array) -> Array:
        """Queries or keys, each head of them normalised if the config says so."""
        row = self.config.attention.query_key_norm
        return x_BTNH if row is None else Norm(self.config, row, name=f"{name}_norm")(x_BTNH)

    def turn(self, x_BTNH: Array, positions: Array, base: float | Array) -> Array:
        """Queries or keys, rotated; each half of a head by itself where the halves give two maps."""
        width = self.config.head_width // (2 if self.config.attention.differential else 1)
        base = scaled_base(base, self.config.rotary_scale, width)
        if width == self.config.head_width:
            return rotary(x_BTNH, positions, base)
        return rotary(x_BTNH.reshape(*x_BTNH.shape[:2], -1, width), positions, base).reshape(x_BTNH.shape)

    def blank(self, x_BTD: Array, heads: int) -> Array:
        """What stands in for queries or keys that no score reads."""
        return jnp.zeros((*x_BTD.shape[:2], heads, self.config.head_width), x_BTD.dtype)

    def places(self, positions: Array, source_positions: Array | None, keys: int, cached: bool) -> Places:
        """Where queries and keys stand."""
        if self.sublayer == "self":
            return self_places(positions, keys if cached else None)
        return Places(positions, jnp.arange(keys) if source_positions is None else source_positions)

    def mix(self, query, key, value, noise, watch, *, mask, bias, query_positions, places, modifiers) -> Array:
        """`attend`, or the same in steps where scores or weights are asked for."""
        parameters = ScoreParameters(self.config, name="score")()
        return mixed(
            self.config, self.sublayer, parameters, query, key, value, noise, watch,
            mask=mask, bias=bias, query_positions=query_positions, places=places, modifiers=modifiers,
        )  # fmt: skip


def mixed(
    config, sublayer, parameters, query, key, value, noise, watch,
    *, mask, bias=None, query_positions=None, places=None, modifiers=PLAIN,
) -> Array:  # fmt: skip
    """What each head mixes, by the config's score with these parameters."""
    score = config.score
    if not watch.wants_weights(sublayer):
        return attention.attend(
            query, key, value, mask=mask, bias=bias, score=score, parameters=parameters,
            query_positions=query_positions, places=places, modifiers=modifiers,
            kernels=config.kernels, dropout=noise.rate, key=noise.at(0),
        )  # fmt: skip
    if config.kernels != "plain":
        raise problem(
            "fused attention does not compute scores and weights",
            got=f"kernels {config.kernels!r} and a request for them",
            do="Build the model with kernels='plain'.",
        )
    differential = modifiers.subtract is not None
    scores = watch(f"{sublayer}.scores", attention.raw_scores(query, key, score, parameters, places, differential))
    allowed = attention.allowed_keys(mask, query, key, query_positions)
    weights = attention.weigh(scores, allowed, bias=bias, modifiers=modifiers, places=places)
    return attention.mix(noise(watch(f"{sublayer}.weights", weights), 0), value)
