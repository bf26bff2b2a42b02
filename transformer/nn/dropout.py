"""Dropout's rate and key, handed from the model to each site that drops entries."""

import dataclasses

import jax
from jax import Array

from transformer.ops.dropout import dropout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dropout:
    """The rate and the key of dropout; without a rate it drops nothing. Srivastava et al. 2014.

    `dropout(x, site)` drops entries of x. Each part of a model and each layer has a key of its own, folded in by a
    number; each site in a part that drops entries has a number too.

    Attributes:
        rate: from 0 to below 1, may be traced; None: no dropout.
        key: a typed key; None without a rate.
    """

    rate: Array | float | None = None
    key: Array | None = None

    def __call__(self, x: Array, site: int | Array) -> Array:
        """Drop entries of x."""
        return dropout(x, self.rate, self.key_at(site))

    def key_at(self, site: int | Array) -> Array | None:
        """Return the key of a site; None without a rate, or without a key, which `ops.dropout` refuses."""
        return None if self.rate is None or self.key is None else jax.random.fold_in(self.key, site)

    def fold_in(self, part: int | Array) -> "Dropout":
        """Return the dropout of a part of the model, or of a layer: another key, the same rate."""
        return self if self.rate is None else Dropout(self.rate, self.key_at(part))
