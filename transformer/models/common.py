"""What the architectures share: masks from a batch, the output head, caches."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from transformer.axes import check_shape
from transformer.errors import problem
from transformer.nn.heads import Head as Head
from transformer.nn.heads import output_head as output_head
from transformer.nn.heads import predictions as predictions
from transformer.nn.parameters import Table
from transformer.nn.positions import positions_of
from transformer.ops import cache, masks
from transformer.ops.scores import find

Batch = dict[str, Array]
Tree = dict[str, Any]


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
"""What models read of a batch, and its axes."""


def entries(batch: Mapping[str, ArrayLike]) -> Batch:
    """What models read of a batch, as arrays that fit each other.

    Raises:
        UserError: an entry of another shape than ENTRIES says.
    """
    read = {name: jnp.asarray(batch[name]) for name in ENTRIES if name in batch}
    sizes: dict[str, int] = {}
    for name, array in read.items():
        check_shape(f"batch[{name!r}]", array, ENTRIES[name], sizes)
    return read


def require(batch: Batch, *names: str) -> list[Array]:
    """The entries of a batch, or a UserError that says which are missing."""
    missing = [name for name in names if name not in batch]
    if missing:
        raise problem(f"the batch has no {', '.join(missing)}", got=sorted(batch), expected=", ".join(names))
    return [batch[name] for name in names]


def visible(batch: Batch, side: str, window: int | tuple[int | None, ...] | None = None) -> masks.Mask:
    """What self-attention may see in `source` or `target` without regard to order: lengths, segments, window.

    Windows that differ by layer are the stack's own to add.
    """
    mask = masks.everything()
    if f"{side}_lengths" in batch:
        mask = mask & masks.padding(batch[f"{side}_lengths"])
    if f"{side}_segments" in batch:
        mask = mask & masks.segments(batch[f"{side}_segments"])
    return mask & masks.window(window) if isinstance(window, int) else mask


def causal_mask(batch: Batch, window: int | tuple[int | None, ...] | None) -> masks.Mask:
    """What a decoder's self-attention may see: causal, or with a prefix that sees both ways where the batch has one."""
    order = masks.prefix(batch["prefix_lengths"]) if "prefix_lengths" in batch else masks.causal()
    return order & visible(batch, "target", window)


def cross_mask(batch: Batch) -> masks.Mask:
    """What cross-attention may see of the source."""
    mask = masks.everything()
    if "source_lengths" in batch:
        mask = mask & masks.padding(batch["source_lengths"])
    if "source_segments" in batch and "target_segments" in batch:
        mask = mask & masks.segments(batch["target_segments"], batch["source_segments"])
    return mask


def source_positions(config: Any, batch: Batch) -> Array | None:
    """Where the keys of cross-attention stand, if a score reads that and it is not their indices."""
    if "source_segments" not in batch or not find(config.score).reads_positions:
        return None
    return positions_of(batch["source"].shape[1], batch["source_segments"])


def require_token_head(config: Any) -> None:
    """Raises a UserError for a classifier, which cannot write."""
    if config.class_head.classes is not None:
        raise problem("a classifier writes no tokens", got=f"model.class_head.classes {config.class_head.classes}")


def token_table(config: Any, name: str) -> Table:
    """The shell of a token table, of a module that has `name`."""
    return Table(config, "embedding", name=name)


def empty_cache(config: Any, layers: int, batch: int, length: int) -> Tree:
    """Self-attention's cache for `length` positions, with a leading L."""
    slots = cache.empty(batch, length, config.num_kv_heads, config.head_width, config.compute_dtype)
    return {"self": {name: jnp.broadcast_to(x, (layers, *x.shape)) for name, x in slots.items()}}
