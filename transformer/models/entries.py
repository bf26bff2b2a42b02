"""The arrays that a model reads, from what a caller gives as a batch: names, types and shapes are checked."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from transformer.axes import check_shape
from transformer.errors import nearest, plain_spelling, problem, shorten
from transformer.models.batch import ENTRIES, LOSS_ENTRIES, known
from transformer.ops.integers import LOWEST, as_int32

Numbers = dict[str, Array | np.ndarray]
"""Entries of a batch, int32; those whose numbers are known are NumPy's arrays."""

OTHER_NAMES = {
    "input_ids": "{side}",
    "inputs": "{side}",
    "tokens": "{side}",
    "attention_mask": "{side}_lengths",
    "padding_mask": "{side}_lengths",
    "mask": "{side}_lengths",
    "source_mask": "source_lengths",
    "target_mask": "target_lengths",
    "lengths": "{side}_lengths",
    "segments": "{side}_segments",
    "segment_ids": "{side}_segments",
    "token_type_ids": "source_types",
    "decoder_input_ids": "target",
    "decoder_attention_mask": "target_lengths",
}
"""Names that other libraries have for an entry -> ours; `side` is what the model's first stack reads."""


def entries_of(sides: Sequence[str], recurrent: bool) -> tuple[str, ...]:
    """List the entries that a model of these sides may read, its first tokens before all."""
    ends = ("", "_lengths", "_segments", "_types")
    names = [name for side in sides for end in ends if (name := f"{side}{end}") in ENTRIES]
    return (*names, *(() if recurrent else ("prefix_lengths",)))


def read(batch: Any, names: Sequence[str]) -> Numbers:
    """Return the entries of a batch that are among `names`.

    Raises:
        UserError: no dict, an entry that no model reads, no whole numbers, another shape than ENTRIES has, an axis
            of length 0.
    """
    if not isinstance(batch, Mapping):
        raise problem(
            "a batch is a dict of arrays",
            got=f"{type(batch).__name__} of shape {batch.shape}" if hasattr(batch, "shape") else repr(batch),
            expected=f"entries among {', '.join(names)}",
            do=f"Pass {{{names[0]!r}: ...}}.",
        )
    if batch and not any(name in ENTRIES for name in batch) and all(isinstance(v, Mapping) for v in batch.values()):
        raise problem(
            "a batch is a dict of arrays",
            got="a dict of dicts, like parameters",
            expected=f"entries among {', '.join(names)}",
            do="The parameters come first: apply(params, batch).",
        )
    check_names(batch, names)
    found = {name: whole_numbers(f"batch[{name!r}]", batch[name]) for name in names if name in batch}
    sizes: dict[str, int] = {}
    for name, array in found.items():
        check_shape(f"batch[{name!r}]", array, ENTRIES[name], sizes)
    for name, array in found.items():
        if 0 in array.shape:
            got = f"batch[{name!r}] of shape {array.shape}"
            raise problem("a batch without a token", got=got, expected="1 example or more, of 1 token or more")
    return {name: _within_row(name, array, sizes) for name, array in found.items()}


def _within_row(name: str, numbers: Array | np.ndarray, sizes: Mapping[str, int]) -> Array | np.ndarray:
    """Return the length of the row in place of a longer one, which has no padding either."""
    side, _, kind = name.partition("_")
    axis = {"source": "S", "target": "T", "prefix": "T"}[side]
    return numbers.clip(None, sizes[axis]) if kind == "lengths" and axis in sizes else numbers


def check_names(batch: Mapping[Any, Any], names: Sequence[str]) -> None:
    """Raise a UserError for entries that no model reads, with the nearest names."""
    allowed, others = (*ENTRIES, *LOSS_ENTRIES), [name for name in batch if name in ENTRIES]
    unknown = [name for name in batch if name not in allowed]
    if not unknown:
        return
    guesses = [f"{guess!r} for {name!r}" for name in unknown if (guess := _nearest(str(name), names[0]))]
    raise problem(
        f"unknown entries of a batch: {shorten(', '.join(map(repr, unknown)))}",
        got=", ".join(map(str, batch)) if others else None,
        expected=", ".join((*names, *LOSS_ENTRIES)),
        do=f"Did you mean {', '.join(guesses)}?" if guesses else None,
    )


def _nearest(name: str, side: str) -> str | None:
    """Find the entry that was most likely meant, of a model whose first tokens are `side`."""
    row = OTHER_NAMES.get(plain_spelling(name))
    return nearest(name, (*ENTRIES, *LOSS_ENTRIES)) if row is None else row.format(side=side)


def _what_to_pass(name: str, array: Any) -> str | None:
    """Return what to pass in place of an array that does not hold whole numbers."""
    if array.dtype == bool and name.endswith("_lengths']"):
        return "Lengths are the sum of a mask over its last axis."
    if jnp.issubdtype(array.dtype, jnp.floating):
        return "Pass ids, such as array.astype(int); embedded tokens are no input."
    return None


def whole_numbers(name: str, given: Any) -> Array | np.ndarray:
    """Return whole numbers of any type as int32; those beyond it become the nearest one, and True becomes 1.

    Raises:
        UserError: anything but whole numbers; ids of segments beyond 32 bits, of which two could become one.
    """
    try:
        array = np.asarray(given) if known(given) else jnp.asarray(given)
    except ValueError as error:  # rows of different lengths
        raise problem(f"{name} is no array: {error}", got=given) from error
    segments = name.endswith("_segments']")
    if not jnp.issubdtype(array.dtype, jnp.integer) and not (segments and array.dtype == bool):
        raise problem(
            f"{name} does not hold whole numbers",
            got=f"{array.dtype} of shape {array.shape}" if array.shape else repr(given),
            expected="an array of integers",
            do=_what_to_pass(name, array),
        )
    if not segments:
        return as_int32(array) if array.shape or not isinstance(array, np.ndarray) else np.asarray(as_int32(array))
    if isinstance(array, np.ndarray) and array.size and not LOWEST <= array.min() <= array.max() < 2**32:
        raise problem(f"{name} holds ids beyond 32 bits", got=array.max(), expected="ids of 32 bits")
    return array.astype(np.int32)
