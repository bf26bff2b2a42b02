"""Batch norm as a function, whose averages are an argument and a result, and a stack of blocks that is built with it.

    y = (x - mean) / sqrt(variance + epsilon) * scale + bias        Ioffe and Szegedy 2015, 1502.03167

    per feature     mean and variance of each feature, over examples and positions           D
    per position    mean and variance of each feature at each position, over examples        T D

Statistics are those of the counted rows: all rows, or those that are no padding. In training, a batch is normalised
with its own statistics, else with the averages. Positions that no example of a batch has are normalised with the
averages.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from transformer import Model
from transformer.models.batch import Batch
from transformer.models.config import ModelConfig
from transformer.nn.attention import Attention, AttentionInputs
from transformer.nn.block_layout import BLOCK_LAYOUTS
from transformer.nn.dropout import Dropout
from transformer.nn.feed_forward import FeedForward
from transformer.nn.heads import Head, token_table
from transformer.nn.intermediates import Request
from transformer.nn.modifiers import PositionBias
from transformer.nn.recorder import Recorder
from transformer.ops import masks
from transformer.ops.linear import embed
from transformer.ops.norms import layer_norm
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.scores import find

EPSILON = 1e-5
Averages = dict[str, Array]
"""Mean and variance, D or T D."""


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """A way of batch norm: over which axes of B T D its statistics are, and whether padding is counted."""

    over: tuple[int, ...]
    padding: bool

    def start(self, length: int, width: int) -> Averages:
        """Return the averages before any batch: mean 0, variance 1."""
        shape = (width,) if 1 in self.over else (length, width)
        return {"mean": jnp.zeros(shape, jnp.float32), "variance": jnp.ones(shape, jnp.float32)}

    def counted(self, lengths_B: Array, length: int) -> Float[Array, "B T 1"]:
        """Return 1 where a row is counted, 0 elsewhere."""
        return (self.padding | (jnp.arange(length) < lengths_B[:, None])).astype(jnp.float32)[..., None]

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        scale: Float[Array, "D"],
        bias: Float[Array, "D"],
        lengths_B: Array,
        averages: Averages,
        learn: Array | float | None,
    ) -> tuple[Float[Array, "B T D"], Averages]:
        """Normalise x: (y, new averages).

        Args:
            learn: share of the batch's statistics in the new averages; None: the averages normalise x, and stay.
        """
        T = x_BTD.shape[1]
        averages = {name: x if x.ndim == 1 else x[:T] for name, x in averages.items()}
        used = averages
        if learn is not None:
            counted_BT1 = self.counted(lengths_B, T)
            count = jnp.sum(counted_BT1, self.over)

            def mean_of(x: Array) -> Array:
                return jnp.sum(counted_BT1 * x, self.over) / jnp.maximum(count, 1.0)

            mean = mean_of(x_BTD)
            found = {"mean": mean, "variance": mean_of(jnp.square(x_BTD - mean))}
            used = {name: jnp.where(count > 0, x, averages[name]) for name, x in found.items()}
            averages = {name: (1.0 - learn) * x + learn * used[name] for name, x in averages.items()}
        y_BTD = (x_BTD - used["mean"]) * jax.lax.rsqrt(used["variance"] + EPSILON)
        return y_BTD * scale + bias, averages


NORMS: dict[str, BatchNorm | None] = {
    "layer": None,
    "batch, per feature": BatchNorm(over=(0, 1), padding=False),
    "batch, per feature, padding counted": BatchNorm(over=(0, 1), padding=True),
    "batch, per position": BatchNorm(over=(0,), padding=False),
    "batch, per position, padding counted": BatchNorm(over=(0,), padding=True),
}
"""Ways of batch norm by name; None: layer norm."""
CHINESE = {
    "layer": "层归一化",
    "batch, per feature": "批归一化，按特征",
    "batch, per feature, padding counted": "批归一化，按特征，计入填充",
    "batch, per position": "批归一化，按位置",
    "batch, per position, padding counted": "批归一化，按位置，计入填充",
}
"""The same names in Chinese."""
LAYER, FEATURE, FEATURE_PADDED, POSITION, POSITION_PADDED = NORMS


def layer_row(x_BTD, scale, bias, lengths_B, averages, learn) -> tuple[Array, Averages]:
    """Apply layer norm with the arguments of batch norm; it has no averages."""
    return layer_norm(x_BTD, scale, bias, EPSILON), averages


class NormedStack(nn.Module):
    """A stack of pre-norm blocks of the library's attention and feed-forward, with the norms of a row of NORMS.

    Attributes:
        config: model settings; positions are those within attention, and a window is one for all layers.
        row: a way of batch norm; None: layer norm.
        causal: whether attention is causal.
        attention: (config, sublayer, score, name=) -> the sublayer.
    """

    config: ModelConfig
    row: BatchNorm | None
    causal: bool = False
    attention: Callable[..., Attention] = Attention

    @property
    def num_norms(self) -> int:
        """The number of norms."""
        return 2 * self.config.num_layers + 1

    def start(self, length: int) -> list[Averages]:
        """Return the averages of each norm before any batch."""
        return [self.row.start(length, self.config.width) if self.row else {} for _ in range(self.num_norms)]

    @nn.compact
    def __call__(
        self, batch: Batch, dropout: Dropout = Dropout(), averages: Any = None, learn: Any = 1.0
    ) -> dict[str, Any]:
        """Compute the logits of each row and the new averages of each norm. `dropout` is not used.

        `embedded` of the batch, B T D, replaces the embeddings of its tokens.
        """
        config = self.config
        tokens_BT = batch["source"]
        lengths_B = batch.get("source_lengths", jnp.full(len(tokens_BT), tokens_BT.shape[1]))
        old = self.start(tokens_BT.shape[1]) if averages is None else averages
        new: list[Averages] = []
        mask = masks.padding(lengths_B) & (masks.causal() if self.causal else masks.everything())
        if config.window is not None:
            mask = mask & masks.window(config.window)
        x_BTD = batch.get("embedded")
        table_VD = token_table(config, "embedding")()
        if x_BTD is None:
            x_BTD = embed(tokens_BT, table_VD, config.compute_dtype) * config.width**0.5

        def norm(name: str) -> Any:
            parameters = Scales(config.width, name=f"{name}_norm")()

            def apply(x_BTD: Array) -> Array:
                y_BTD, after = (self.row or layer_row)(x_BTD, *parameters, lengths_B, old[len(new)], learn)
                new.append(after)
                return y_BTD

            return apply

        index_T = jnp.arange(tokens_BT.shape[1])
        positions = QueryKeyPositions(index_T, index_T)
        bias = PositionBias(config, self.causal, name="bias")(positions)
        for i in range(config.num_layers):
            recorder = Recorder(Request(), "encoder", i)
            inputs = AttentionInputs(mask, recorder, layer=i, positions=positions, bias=bias)
            attention = self.attention(config, "self", find(config.score), name=f"self_{i}")
            forward = FeedForward(config, name=f"feed_forward_{i}")
            sublayers = {
                "self": lambda y, a=attention, inputs=inputs: a(y, y, inputs)[0],
                "feed_forward": lambda y, f=forward, r=recorder: f(y, r),
            }
            x_BTD = BLOCK_LAYOUTS["pre"].function(
                x_BTD, sublayers, lambda name, i=i: norm(f"{name}_{i}"), lambda name: lambda y: y
            )
        hidden_BTD = norm("final")(x_BTD)
        logits = Head(config, name="head")(hidden_BTD, table_VD)
        return {"logits": logits, "hidden": hidden_BTD, "captured": {}, "averages": new}


class Scales(nn.Module):
    """Scale and bias of a norm."""

    width: int

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        """Return the scale and the bias, D."""
        return (
            self.param("scale", nn.initializers.ones, (self.width,)),
            self.param("bias", nn.initializers.zeros, (self.width,)),
        )


def normed_model(config: ModelConfig, row: BatchNorm | None, *, causal: bool = False) -> Model:
    """Build a model of a NormedStack. Training normalises with the statistics of each batch; see `averages_of`."""
    return Model(config, NormedStack(config, row, causal))


def averages_of(model: Model, params: Any, batches: Any, length: int) -> list[Averages]:
    """Compute the mean and variance of all counted rows of batches (stacked, K first), at fixed parameters.

    Each batch is normalised with its own statistics, as in training; these are pooled, weighted by their numbers of
    rows, and not averaged in training: Wu and Johnson 2021, https://arxiv.org/abs/2105.07576, recommend it.

    Args:
        length: positions with averages; those that no example reaches keep mean 0 and variance 1.
    """
    stack: NormedStack = model.module
    trained = batches["source"].shape[-1]
    if stack.row is None:
        return stack.start(length)

    def one(batch: Batch) -> tuple[Any, Array]:
        found = stack.apply({"params": params}, batch, learn=1.0)["averages"]
        return found, jnp.sum(stack.row.counted(batch["source_lengths"], trained), stack.row.over)

    found, count_K = jax.lax.map(one, batches)
    share_K = count_K / jnp.maximum(jnp.sum(count_K, 0), 1.0)

    def pooled(own: Averages, start: Averages) -> Averages:
        mean = jnp.sum(share_K * own["mean"], 0)
        variance = jnp.sum(share_K * (own["variance"] + jnp.square(own["mean"] - mean)), 0)
        reached = jnp.sum(count_K, 0) > 0
        new = {"mean": jnp.where(reached, mean, 0.0), "variance": jnp.where(reached, variance, 1.0)}
        return {n: x if x.shape == start[n].shape else start[n].at[:trained].set(x) for n, x in new.items()}

    return [pooled(own, start) for own, start in zip(found, stack.start(length), strict=True)]
