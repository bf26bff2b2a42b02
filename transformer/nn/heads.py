"""The heads: hidden states to the logits of tokens, or to one vector and from it to the logits of classes.

first   h_1          BERT's [CLS], Devlin et al. 2018
last    h_length     GPT, Radford et al. 2018: the first state that has seen everything under a causal mask
mean    sum over t < length of h_t / length
max     the largest entry over t < length, one by one     Collobert et al. 2011; Kim 2014, "max-over-time pooling"

Before its logits a head may transform what it reads:

tanh    tanh(h W + b)                    the pooler of BERT's classifier, Devlin et al. 2018
norm    norm(activation(h W + b))        BERT's masked-language-model head; both heads of ModernBERT
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, Shaped

from transformer.axes import to_rank
from transformer.errors import problem
from transformer.nn.feed_forward import ACTIVATIONS
from transformer.nn.modules import Linear, Norm, Table, kernel
from transformer.nn.parameters import declare
from transformer.nn.recorder import Recorder
from transformer.nn.settings import ModelSettings
from transformer.ops.linear import logits, unembed


def from_first(x_BT: Shaped[Array, "B T *inner"], first_B: Int[Array, "B"]) -> Shaped[Array, "B T *inner"]:
    """Move each row to the left, so that it begins at its own index; what stood before comes last."""
    T = x_BT.shape[1]
    index_BT = (jnp.arange(T, dtype=jnp.int32)[None] + first_B[:, None]) % max(T, 1)
    return jnp.take_along_axis(x_BT, index_BT.reshape(*index_BT.shape, *(1 for _ in x_BT.shape[2:])), axis=1)


def first(hidden_BTD: Float[Array, "B T D"], lengths_B: Int[Array, "B"]) -> Float[Array, "B D"]:
    """Read the first state."""
    return hidden_BTD[:, 0]


def last(hidden_BTD: Float[Array, "B T D"], lengths_B: Int[Array, "B"]) -> Float[Array, "B D"]:
    """Read the last state within each example's length; the first one of an example without any."""
    at_B = jnp.maximum(lengths_B - 1, 0)
    return jnp.take_along_axis(hidden_BTD, at_B[:, None, None], axis=1, mode="clip")[:, 0]


def mean(hidden_BTD: Float[Array, "B T D"], lengths_B: Int[Array, "B"]) -> Float[Array, "B D"]:
    """Compute the mean over each example's length, summed in float32; zero for an example without any state."""
    inside_BT1 = (jnp.arange(hidden_BTD.shape[1], dtype=jnp.int32)[None] < lengths_B[:, None])[..., None]
    total_BD = jnp.sum(jnp.where(inside_BT1, hidden_BTD.astype(jnp.float32), 0.0), axis=1)
    return (total_BD / jnp.maximum(lengths_B, 1)[:, None].astype(jnp.float32)).astype(hidden_BTD.dtype)


def largest(hidden_BTD: Float[Array, "B T D"], lengths_B: Int[Array, "B"]) -> Float[Array, "B D"]:
    """Compute the largest of each entry over each example's length; zero for an example without any state.

    The entry is read at its index: the derivative of `jnp.max` compares each entry with the largest one, which a
    compiler may have computed anew with other roundings, and then no entry has a gradient.
    """
    inside_BT1 = (jnp.arange(hidden_BTD.shape[1], dtype=jnp.int32)[None] < lengths_B[:, None])[..., None]
    low = jnp.finfo(hidden_BTD.dtype).min
    inside_BTD = jnp.where(inside_BT1, hidden_BTD, low)
    highest_BD = jnp.take_along_axis(inside_BTD, jnp.argmax(inside_BTD, axis=1)[:, None], axis=1)[:, 0]
    return jnp.where(lengths_B[:, None] > 0, highest_BD, 0)


POOLING: dict[str, Callable[[Array, Array], Array]] = {"first": first, "last": last, "mean": mean, "max": largest}
"""Name -> function (hidden_BTD, lengths_B) -> B D."""


TRANSFORMS = ("tanh", "norm")
"""Names of the maps before a head's logits, see `Transform`."""


class Transform(nn.Module):
    """The map of hidden states, ... D -> ... D, before a head's logits.

    Attributes:
        config: model settings.
        kind: one of TRANSFORMS; None: the identity, without parameters.
    """

    config: ModelSettings
    kind: str | None

    @nn.compact
    def __call__(self, hidden: Array) -> Array:
        """Apply the map."""
        if self.kind is None:
            return hidden
        y = Linear(self.config, "dense", name="dense")(hidden)
        if self.kind == "tanh":
            return jnp.tanh(y)
        row = ACTIVATIONS.of(self.config, "activation")
        return Norm(self.config, name="norm")(functools.partial(row.function, **row.own)(y))


Extent = tuple[Array | None, Array | None]
"""First index of each example's tokens in its row, B, and their number, B; None: 0, and the whole row."""


class ClassHead(nn.Module):
    """Logits of classes B C, float32, from the states that `class_head.reads` names; always with a bias."""

    config: ModelSettings

    @nn.compact
    def __call__(self, hidden_BTD: Array, lengths_B: Array | None, first_B: Array | None = None) -> Array:
        B, T = hidden_BTD.shape[:2]
        lengths_B = jnp.full(B, T, jnp.int32) if lengths_B is None else lengths_B
        hidden_BTD = hidden_BTD if first_B is None else from_first(hidden_BTD, first_B)
        read_BD = POOLING[self.config.class_head.reads](hidden_BTD, lengths_B)
        read_BD = Transform(self.config, self.config.class_head.transform, name="transform")(read_BD)
        kernel_DC, bias_C = (declare(self, "class_head", name, self.config) for name in ("kernel", "bias"))
        return logits(read_BD, kernel_DC) + bias_C[None]


class Head(nn.Module):
    """Logits of tokens, B T D -> B T V or B D -> B V, float32: by the embedding table where tied, else a kernel."""

    config: ModelSettings

    @nn.compact
    def __call__(self, hidden_BTD: Array, table_VD: Array) -> Array:
        own = self.config.token_head
        hidden_BTD = Transform(self.config, own.transform, name="transform")(hidden_BTD)
        if own.tied:
            logits_BTV = unembed(hidden_BTD, table_VD)
        else:
            logits_BTV = logits(hidden_BTD, kernel(self, "head", self.config))
        logits_BTV = logits_BTV if own.scale == 1.0 else logits_BTV * own.scale
        if own.bias:
            logits_BTV = logits_BTV + to_rank(declare(self, "head", "bias", self.config), logits_BTV.ndim)
        return logits_BTV if own.soft_cap is None else own.soft_cap * jnp.tanh(logits_BTV / own.soft_cap)


def output_head(config: ModelSettings) -> Any:
    """Choose the module that reads the last hidden states: the head of classes, or of tokens; None: there is none."""
    if config.class_head.classes is not None:
        return ClassHead(config, name="class_head")
    return Head(config) if config.token_head.present else None


def predictions(head: Any, hidden_BTD: Array, table_VD: Array, extent: Extent, recorder: Recorder) -> dict[str, Array]:
    """Compute {"logits": B T V}, or {"class_logits": B C} of a classifier; either is recorded as "logits".

    Without a head, {}.
    """
    if head is None:
        return {}
    if isinstance(head, ClassHead):
        return {"class_logits": recorder.record("logits", head(hidden_BTD, extent[1], extent[0]))}
    return {"logits": recorder.record("logits", head(hidden_BTD, table_VD))}


def next_logits(head: Any, hidden_BD: Array, table_VD: Array, recorder: Recorder) -> Array:
    """Compute the logits of the next token, B V, recorded as "logits" B 1 V."""
    return recorder.record("logits", head(hidden_BD[:, None], table_VD))[:, 0]


def require_token_head(config: ModelSettings) -> None:
    """Raise a UserError for a classifier, or a model without a head, which writes no tokens."""
    if config.class_head.classes is not None:
        got, expected = f"model.class_head.classes {config.class_head.classes}", "a model without classes"
        raise problem("a classifier writes no tokens", got=got, expected=expected, do="Read class_logits of apply.")
    if not config.token_head.present:
        got, do = "model.token_head.present false", "Read hidden of apply."
        raise problem(
            "a model without a head writes no tokens", got=got, expected="model.token_head.present true", do=do
        )


def token_table(config: ModelSettings, name: str) -> Table:
    """Return the module of a token table, as a submodule called `name`."""
    return Table(config, "embedding", name=name)
