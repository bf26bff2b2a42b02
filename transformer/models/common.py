"""What the architectures share: masks from a batch, the output head, caches."""

from typing import Any

import flax.linen as nn
from jax import Array

from transformer.errors import problem
from transformer.nn.heads import ClassHead
from transformer.nn.parameters import Table, find_axes, sizes, start
from transformer.ops.linear import logits, unembed

Batch = dict[str, Array]
Tree = dict[str, Any]


class Head(nn.Module):
    """Logits, float32: from the embedding table where tied, else from a kernel of its own."""

    config: Any

    @nn.compact
    def __call__(self, hidden_BTD: Array, table_VD: Array) -> Array:
        if self.config.tie_embeddings:
            return unembed(hidden_BTD, table_VD)
        axes = find_axes("head", "kernel")
        size = sizes(self.config)
        kernel_DV = self.param("kernel", start(axes), tuple(size[a] for a in axes.letters))
        return logits(hidden_BTD, kernel_DV)


def output_head(config: Any) -> nn.Module:
    """The shell of what reads the last hidden states: the classes' head if there are classes, else the tokens'."""
    return Head(config) if config.class_head.classes is None else ClassHead(config, name="class_head")


def predictions(head: nn.Module, hidden_BTD: Array, table_VD: Array, lengths_B: Array | None) -> Tree:
    """{"logits": B T V}, or {"class_logits": B C} of a classifier."""
    if isinstance(head, ClassHead):
        return {"class_logits": head(hidden_BTD, lengths_B)}
    return {"logits": head(hidden_BTD, table_VD)}


def require_token_head(config: Any) -> None:
    """Raises a UserError for a classifier, which cannot write."""
    if config.class_head.classes is not None:
        raise problem("a classifier writes no tokens", got=f"model.class_head.classes {config.class_head.classes}")


def token_table(config: Any, name: str) -> Table:
    """The shell of a token table, of a module that has `name`."""
    return Table(config, "embedding", name=name)
