"""Batches of a model: their entries, and the masks and positions that follow from them."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from transformer.axes import check_shape
from transformer.errors import problem
from transformer.nn.positions import positions_of
from transformer.ops import masks
from transformer.ops.masks import Mask
from transformer.ops.scores import Score

Batch = dict[str, Array]
Tree = dict[str, Any]
"""Nested dict of arrays: outputs of a model, or its state of decoding."""

ENTRIES = {
    "source": "B S",
    "source_lengths": "B",
    "source_segments": "B S",
    "source_types": "B S",
    "target": "B T",
    "target_lengths": "B",
    "target_segments": "B T",
    "prefix_lengths": "B",
}
"""Entries of a batch that models read -> their axes."""


def entries(batch: Mapping[str, ArrayLike]) -> Batch:
    """Return the entries that models read, as arrays that fit each other.

    Raises:
        UserError: an entry of another shape than ENTRIES has.
    """
    read = {name: jnp.asarray(batch[name]) for name in ENTRIES if name in batch}
    sizes: dict[str, int] = {}
    for name, array in read.items():
        check_shape(f"batch[{name!r}]", array, ENTRIES[name], sizes)
    return read


def require(batch: Batch, *names: str) -> list[Array]:
    """Return these entries of a batch. Raises a UserError that names the missing ones."""
    missing = [name for name in names if name not in batch]
    if missing:
        raise problem(f"the batch has no {', '.join(missing)}", got=sorted(batch), expected=", ".join(names))
    return [batch[name] for name in names]


def visible(batch: Batch, side: str) -> Mask:
    """Return the mask of self-attention in `source` or `target` without regard to order: lengths and segments."""
    mask = masks.everything()
    if f"{side}_lengths" in batch:
        mask = mask & masks.padding(batch[f"{side}_lengths"])
    if f"{side}_segments" in batch:
        mask = mask & masks.segments(batch[f"{side}_segments"])
    return mask


def causal_mask(batch: Batch) -> Mask:
    """Return the mask of a decoder's self-attention: causal, with a prefix that sees both ways if the batch has one."""
    order = masks.prefix(batch["prefix_lengths"]) if "prefix_lengths" in batch else masks.causal()
    return order & visible(batch, "target")


def cross_mask(batch: Batch) -> Mask:
    """Return the mask of cross-attention: the lengths of the source, and its own segment's source for each target."""
    mask = masks.everything()
    if "source_lengths" in batch:
        mask = mask & masks.padding(batch["source_lengths"])
    if "source_segments" in batch and "target_segments" in batch:
        mask = mask & masks.segments(batch["target_segments"], batch["source_segments"])
    return mask


def source_positions(score: Score, batch: Batch) -> Array | None:
    """Return the positions of cross-attention's keys, B S, if the score reads them and they are not their indices."""
    if "source_segments" not in batch or not score.reads_positions:
        return None
    return positions_of(batch["source"].shape[1], batch["source_segments"])
