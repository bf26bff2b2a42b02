"""Multi-head attention: the module that owns the projections; the mathematics is in `ops.attend`.

    Attn(X, X') = concat over heads of [softmax over the keys that the mask allows (score(X' W_q, X W_k)) X W_v] W_o

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.2. X is the source, X' the target; self-attention has
X' = X. With fewer key/value heads than query heads: Ainslie et al. 2023, https://arxiv.org/abs/2305.13245.
"""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from transformer.errors import problem
from transformer.nn.dropout import Dropout
from transformer.nn.modifiers import HeadNorm, OwnModifiers
from transformer.nn.modules import Linear, Norm, RowParameters
from transformer.nn.positions import POSITIONS
from transformer.nn.recorder import Recorder
from transformer.nn.settings import ModelSettings, of_layer
from transformer.ops import attend as attention
from transformer.ops import masks
from transformer.ops import scoring as ops_scoring
from transformer.ops.cache import ring_of, write
from transformer.ops.kernels import WITH_WEIGHTS
from transformer.ops.masks import Mask
from transformer.ops.modifiers import Modifiers
from transformer.ops.positions import QueryKeyPositions, scaled_base
from transformer.ops.scores import Score, find

Cache = dict[str, Array]
"""Keys and values, `key` and `value`, each B K S H."""


def require_cache(cache: Cache | None) -> Cache:
    """Return the cache. Raises a UserError without one."""
    if cache is None:
        raise problem("attention without a source reads its keys and values from a cache", got="no cache")
    return cache


class AttentionInputs(NamedTuple):
    """The inputs of attention beside its target and source, and of any mixer in its place beside the sequence.

    Attributes:
        mask: which keys each query may see, by their index; `ops.sequences.sequence_of` reads it as a recurrence does.
        recorder: of this sublayer.
        dropout: of this sublayer; drops weights.
        layer: index of the layer in its stack.
        positions: of queries and keys, for what reads positions.
        bias: added to the scores; broadcasts to B N T S.
        rotary_base: this layer's own; None: the config's.
        cache: earlier keys and values; None: there are none.
        cache_index_B: row of the cache in which the first new key is written; None: the cache is read as it is.
        causal: True in a stack that looks back.
        new_lengths_B: number of new tokens of each example, where all of a prompt are read at once; None: one token.
        key_index_BS: index of the token in each row of the cache, where it is a ring; None: that of the row.
    """

    mask: Mask
    recorder: Recorder
    dropout: Dropout = Dropout()
    layer: Array | int = 0
    positions: QueryKeyPositions | None = None
    bias: Array | None = None
    rotary_base: Array | None = None
    cache: Cache | None = None
    cache_index_B: Array | None = None
    causal: bool = False
    new_lengths_B: Array | None = None
    key_index_BS: Array | None = None


class Scoring(NamedTuple):
    """The computation of weights from queries and keys.

    Attributes:
        score: the score function.
        parameters: those of a learned score, each with a leading N.
        modifiers: soft cap, sink, difference of two maps, the user's own function, weights other than softmax.
        kernels: row of `ops.kernels.KERNELS`.
    """

    score: Score
    parameters: dict[str, Array]
    modifiers: Modifiers = Modifiers()
    kernels: str = "plain"


class Attention(nn.Module):
    """Attention from a target X' to a source X; self-attention where both are the same.

    Attributes:
        config: model settings; num_kv_heads = num_heads is multi-head attention, 1 multi-query, in between grouped.
        sublayer: "self" or "cross".
        score: the score function that the config names.
    """

    config: ModelSettings
    sublayer: str
    score: Score

    @nn.compact
    def __call__(self, target_BTD: Array, source_BSD: Array | None, inputs: AttentionInputs) -> tuple[Array, Cache]:
        """Attend from the target to the source.

        Args:
            source_BSD: None reads the keys and values in `inputs.cache`.

        Returns:
            The output, B T D, and the cache after the source.
        """
        query_BTNH = self.project("query", target_BTD, self.config.num_heads, inputs)
        if source_BSD is None:
            read = cache = require_cache(inputs.cache)
        else:
            read, cache = self.write(source_BSD, inputs)
        head_BTNH = self.attend(query_BTNH, read, inputs)
        return self.combine(head_BTNH, inputs), cache

    def project(self, owner: str, x_BTD: Array, heads: int, inputs: AttentionInputs) -> Array:
        """Project to "query" or "key", each head normalised if asked for and rotated to its position."""
        return self.rotate(self.normalise(owner, self.projection(owner, x_BTD, heads)), inputs)

    def projection(self, owner: str, x_BTD: Array, heads: int) -> Array:
        """Project to queries or keys; to zeros without parameters where the score reads neither."""
        if not self.score.reads_content:
            return jnp.zeros((*x_BTD.shape[:2], heads, self.config.head_width), x_BTD.dtype)
        return self.linear_map(owner, x_BTD)

    def linear_map(self, owner: str, x: Array) -> Array:
        """Apply the linear map "query", "key", "value" or "output"."""
        return Linear(self.config, owner, name=owner)(x)

    def normalise(self, owner: str, x_BTNH: Array) -> Array:
        """Normalise each head of queries or keys by the norm that the config names. Henry et al. 2020, 2010.04245."""
        if self.config.attention.query_key_norm is None:
            return x_BTNH
        return Norm(self.config, name=f"{owner}_norm")(x_BTNH)

    def rotate(self, x_BTNH: Array, inputs: AttentionInputs) -> Array:
        """Rotate queries or new keys of self-attention, which have the same positions."""
        row = POSITIONS.of(self.config, "position")
        if self.sublayer != "self" or row.rotates is None:
            return x_BTNH
        halves = 2 if self.config.attention.differential else 1  # each half of a head gives a map of its own
        width = self.config.head_width // halves
        base = scaled_base(of_layer(inputs.rotary_base, self.config.rotary_base), self.config.rotary_scale, width)
        if inputs.positions is None:
            raise problem("attention that rotates needs the positions of queries and keys", got="none")
        parts = x_BTNH if halves == 1 else x_BTNH.reshape(*x_BTNH.shape[:2], -1, width)
        return row.rotates(parts, inputs.positions.query, base, **row.own).reshape(x_BTNH.shape)

    def write(self, source_BSD: Array, inputs: AttentionInputs) -> tuple[Cache, Cache]:
        """Return the keys and values to read, those of the source and of the cache, and the cache that holds them."""
        key_BSKH = self.project("key", source_BSD, self.config.num_kv_heads, inputs)
        new = {"key": key_BSKH, "value": self.linear_map("value", source_BSD)}
        turned = {name: jnp.swapaxes(x_BSKH, 1, 2) for name, x_BSKH in new.items()}
        if inputs.cache_index_B is None:
            return turned, turned
        cache = require_cache(inputs.cache)
        rows, index_B = cache["key"].shape[2], inputs.cache_index_B
        if inputs.new_lengths_B is not None and source_BSD.shape[1] > rows:  # a window sees less than the prompt
            return turned, {name: ring_of(x, inputs.new_lengths_B, rows) for name, x in new.items()}
        index_B = index_B if inputs.key_index_BS is None else index_B % rows
        cache = {name: write(cache[name], x_BSKH, index_B) for name, x_BSKH in new.items()}
        return cache, cache

    def attend(self, query_BTNH: Array, cache: Cache, inputs: AttentionInputs) -> Array:
        """Compute the weighted sum of each head's values, B T N H."""
        record = inputs.recorder.record
        query_BTNH, key_BSKH = record("query", query_BTNH), record("key", jnp.swapaxes(cache["key"], 1, 2))
        value_BSKH = record("value", jnp.swapaxes(cache["value"], 1, 2))
        modifiers = OwnModifiers(self.config, self.sublayer, name="modifiers")(inputs.layer)
        parameters = RowParameters(self.config, "score", self.score.parameters, name="score")()
        scoring = Scoring(self.score, parameters, modifiers, self.config.kernels)
        own_BTNH, own = by_source(query_BTNH, in_ring(inputs), examples=key_BSKH.shape[0])
        head_BTNH = attend_recorded(own_BTNH, key_BSKH, value_BSKH, scoring, own)
        return record("head", head_BTNH.reshape(query_BTNH.shape))

    def combine(self, head_BTNH: Array, inputs: AttentionInputs) -> Array:
        """Project the heads to the output, B T D; those of differential attention are normalised before."""
        if self.config.attention.differential:
            head_BTNH = HeadNorm(self.config, name="differential")(head_BTNH, inputs.layer)
        return inputs.recorder.record("output", self.linear_map("output", head_BTNH))


class SelfAttention(nn.Module):
    """The mixer "attention": attention from a sequence to itself, by the score that the config names.

    Attributes:
        config: model settings.
    """

    config: ModelSettings

    def setup(self) -> None:
        self.attention = Attention(self.config, "self", find(self.config.score))
        nn.share_scope(self, self.attention)  # its parameters are this module's own

    def __call__(self, x_BTD: Array, inputs: AttentionInputs) -> tuple[Array, Cache]:
        """Attend from the sequence to itself, and to the keys in the cache."""
        return self.attention(x_BTD, x_BTD, inputs)


def in_ring(inputs: AttentionInputs) -> AttentionInputs:
    """Return inputs whose mask is of the rows of a ring, where the keys stand in one."""
    index_BS, query_B = inputs.key_index_BS, inputs.cache_index_B
    if index_BS is None or query_B is None:
        return inputs
    written = (index_BS >= 0)[:, None, None]
    allowed = inputs.mask.allowed(query_B[:, None], index_BS.shape[1], index_BS)
    return inputs._replace(mask=masks.given(written if allowed is None else written & allowed), cache_index_B=None)


def by_source(query_BTNH: Array, inputs: AttentionInputs, examples: int) -> tuple[Array, AttentionInputs]:
    """Return the queries as rows of their sources, where several rows read one: a beam stores a source once.

    Args:
        query_BTNH: rows 0 .. W - 1 read source 0, the next W source 1, and so on.
        inputs: their mask may not depend on the query.
        examples: number of sources.
    """
    if query_BTNH.shape[0] == examples:
        return query_BTNH, inputs
    positions = inputs.positions
    if positions is not None and positions.query.ndim == 2:
        positions = dataclasses.replace(positions, query=positions.query.reshape(examples, -1))
    return query_BTNH.reshape(examples, -1, *query_BTNH.shape[2:]), inputs._replace(positions=positions)


def attend_recorded(
    query_BTNH: Float[Array, "B T N H"],
    key_BSKH: Float[Array, "B S K H"],
    value_BSKH: Float[Array, "B S K H"],
    scoring: Scoring,
    inputs: AttentionInputs,
) -> Float[Array, "B T N H"]:
    """Attend by `ops.attend.attend`, or by the same in steps where scores or weights are to be recorded.

    Raises:
        UserError: scores or weights are requested of fused attention.
    """
    score, parameters, modifiers, kernels = scoring
    cache_index_B, recorder = inputs.cache_index_B, inputs.recorder
    query_index = None
    if cache_index_B is not None:
        query_index = cache_index_B[:, None] + jnp.arange(query_BTNH.shape[1], dtype=jnp.int32)[None]
    reads_positions = score.reads_positions or modifiers.function is not None
    positions = inputs.positions if reads_positions else None
    if not recorder.needs_weights:
        return attention.attend(
            query_BTNH,
            key_BSKH,
            value_BSKH,
            mask=inputs.mask,
            bias=inputs.bias,
            score=score,
            parameters=parameters,
            query_index=query_index,
            positions=positions,
            modifiers=modifiers,
            kernels=kernels,
            dropout=inputs.dropout.rate,
            key=inputs.dropout.key_at(0),
        )
    if kernels not in WITH_WEIGHTS:
        raise problem(
            "fused attention does not compute scores and weights",
            got=f"kernels {kernels!r} and a request for them",
            do="Build the model with kernels='fast', which takes the plain form where weights are requested.",
        )
    differential = modifiers.subtract is not None
    scores = ops_scoring.raw_scores(query_BTNH, key_BSKH, score, parameters, positions, differential)
    scores = recorder.record("scores", scores)
    allowed = ops_scoring.allowed_keys(inputs.mask, query_BTNH, key_BSKH, query_index)
    weights_BNTS = ops_scoring.weights_from_scores(
        scores, allowed, bias=inputs.bias, modifiers=modifiers, positions=positions
    )
    return ops_scoring.mix(inputs.dropout(recorder.record("weights", weights_BNTS), 0), value_BSKH)
