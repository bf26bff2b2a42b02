"""One example as a model reads it, and examples collated to a batch.

example  {"source": [5 6 7], "source_lengths": 3}    {"source": [8 9], "source_lengths": 2}
batch    {"source": [[5 6 7 0], [8 9 0 0]], "source_lengths": [3, 2]}          (padded to 4)
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32, Int, Int32

from transformer.errors import problem

Example = dict[str, Int32[np.ndarray, "_"] | Float32[np.ndarray, "_"] | int]
"""Key of the batch -> the array or the length of one example."""


@dataclasses.dataclass(frozen=True)
class AttentionView:
    """The part of an attention map that belongs to one answer and its source.

    Attributes:
        batch: input of the model, without the batch axis.
        activation: name of the weights, T S of each layer and head.
        rows: queries that predict the answer, one for each of its tokens.
        columns: keys of the source.
        keys: tokens of the columns.
        queries: tokens of the rows: the one that each predicts, or the one at its own position.
    """

    batch: Example
    activation: str
    rows: slice
    columns: slice
    keys: Int32[np.ndarray, "S"]
    queries: Int[np.ndarray, "T"]


def join(*parts: Int32[np.ndarray, "_"] | int) -> Int32[np.ndarray, "_"]:
    """Concatenate arrays of ids and single ids to one sequence."""
    return np.concatenate([np.atleast_1d(np.asarray(part, np.int32)) for part in parts])


def collate(examples: Sequence[Example], length: int | Mapping[str, int]) -> dict[str, np.ndarray]:
    """Stack examples to a batch; arrays are first padded with 0 to `length` (or to `length[key]`).

    Raises:
        UserError: an array is longer than its length.
    """
    return {key: _stack(key, [example[key] for example in examples], length) for key in examples[0]}


def _stack(key: str, values: Sequence, length: int | Mapping[str, int]) -> np.ndarray:
    if isinstance(values[0], int):
        return np.array(values, np.int32)
    size = length if isinstance(length, int) else length[key]
    longest = max(len(value) for value in values)
    if longest > size:
        raise problem(
            f"an example's {key} is longer than its bucket", got=f"{longest} tokens", expected=f"at most {size}"
        )
    stacked = np.zeros((len(values), size), values[0].dtype)
    for row, value in zip(stacked, values, strict=True):
        row[: len(value)] = value
    return stacked
