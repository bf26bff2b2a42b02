"""Batches of a model: their entries, and the masks and positions that follow from them."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from transformer.errors import problem
from transformer.nn.heads import Extent, from_first
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
"""Entries of a batch that models read -> their axes.

Tokens are padding from the length on, and in segment 0: nobody sees them, and they may hold any id. A length beyond its
row is that of the row.
"""

LOSS_ENTRIES = ("labels", "loss_weights")
"""Entries of a batch that the loss reads, and no model."""


def require(batch: Mapping[str, Any], *names: str) -> list[Any]:
    """Return these entries of a batch. Raises a UserError that names the missing ones."""
    missing = [name for name in names if name not in batch]
    if missing:
        do = f"Pass {{..., {missing[0]!r}: ...}}."
        raise problem(f"the batch has no {', '.join(missing)}", got=sorted(batch), expected=", ".join(names), do=do)
    return [batch[name] for name in names]


def known(array: Any) -> bool:
    """Check that an array's numbers can be read now: they are not traced, and all lie in this process."""
    return not isinstance(array, Tracer) and getattr(array, "is_fully_addressable", True)


def real(batch: Mapping[str, Any], side: str) -> Any:
    """Return booleans, B S or B T: True where `source` or `target` is no padding; None where there is no padding."""
    found, length = None, batch[side].shape[1]
    if f"{side}_lengths" in batch:
        index = (np if known(batch[side]) else jnp).arange(length, dtype=np.int32)[None]
        found = index < batch[f"{side}_lengths"][:, None]
    if f"{side}_segments" in batch:
        segments = batch[f"{side}_segments"] != 0
        found = segments if found is None else found & segments
    return found


def extent(batch: Batch, side: str) -> Extent:
    """Return where each example's tokens begin in its row, and their number, from lengths and segments."""
    if f"{side}_segments" not in batch:
        return None, batch.get(f"{side}_lengths")
    real_BT = real(batch, side)
    return jnp.argmax(real_BT, axis=1).astype(jnp.int32), jnp.sum(real_BT, axis=1, dtype=jnp.int32)


def prompt(batch: Batch) -> Batch:
    """Move prompts that stand behind padding to the front of their rows, where a cache goes on from their lengths.

    Of the source stays what belongs to the segment of the prompt. A batch without `target_segments` is returned as
    it is.
    """
    first_B, lengths_B = extent(batch, "target")
    if first_B is None or lengths_B is None:
        return batch
    own_B1 = jnp.take_along_axis(batch["target_segments"], first_B[:, None], axis=1)
    index_1T = jnp.arange(batch["target"].shape[1], dtype=jnp.int32)[None]
    moved: Batch = {
        "target": from_first(batch["target"], first_B),
        "target_lengths": lengths_B,
        "target_segments": jnp.where(index_1T < lengths_B[:, None], own_B1, 0),
    }
    if "source_segments" in batch:
        moved["source_segments"] = jnp.where(batch["source_segments"] == own_B1, own_B1, 0)
    if "prefix_lengths" in batch:
        moved["prefix_lengths"] = jnp.maximum(batch["prefix_lengths"] - first_B, 0)
    return {**batch, **moved}


def without(batch: Batch, name: str) -> Batch:
    """Return the other entries of a batch."""
    return {other: array for other, array in batch.items() if other != name}


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
    """Return the mask of cross-attention: no padding of the source, and of its segments each target's own.

    A target without segments sees all segments of the source.
    """
    mask = masks.everything()
    if "source_lengths" in batch:
        mask = mask & masks.padding(batch["source_lengths"])
    if "source_segments" not in batch:
        return mask
    if "target_segments" in batch:
        return mask & masks.segments(batch["target_segments"], batch["source_segments"])
    return mask & masks.given((batch["source_segments"] != 0)[:, None])


def of_source(batch: Batch) -> Batch:
    """Return the entries of a batch from which the mask and the positions of cross-attention follow while decoding."""
    return {name: batch[name] for name in ("source_lengths", "source_segments") if name in batch}


def source_positions(score: Score, batch: Batch) -> Array | None:
    """Return the positions of cross-attention's keys, B S, if the score reads them and they are not their indices."""
    if "source_segments" not in batch or not score.reads_positions:
        return None
    segments_BS = batch["source_segments"]
    return positions_of(segments_BS.shape[1], segments_BS)
