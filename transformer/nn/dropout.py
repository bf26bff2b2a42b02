"""Dropout's rate and key, handed from the model to each place that drops."""

import dataclasses

import jax
from jax import Array

from transformer.ops.dropout import dropout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Noise:
    """`noise(x, place)` drops entries of x. Each layer has its own key, and each place in it a number."""

    rate: Array | float | None = None
    key: Array | None = None

    def __call__(self, x: Array, place: int | Array) -> Array:
        return dropout(x, self.rate, self.at(place))

    def at(self, place: int | Array) -> Array | None:
        """The key of a place."""
        return None if self.rate is None else jax.random.fold_in(self.key, place)

    def within(self, place: int | Array) -> "Noise":
        """The noise of a part of the model, or of a layer: another key, the same rate."""
        return self if self.rate is None else Noise(self.rate, self.at(place))
