"""Arrays of different lengths, stored as one: row i is tokens[offsets[i] : offsets[i + 1]].

rows     [5 6 7] [] [8 9]
tokens   [5 6 7 8 9]
offsets  [0 3 3 5]
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32, Int64


@dataclasses.dataclass(frozen=True, eq=False)
class Ragged:
    """Token ids of many texts: 4 bytes a token and 8 a text.

    `offsets` starts at 0, never falls, and ends at the number of tokens.
    """

    tokens: Int32[np.ndarray, "tokens"]
    offsets: Int64[np.ndarray, "rows+1"]

    @classmethod
    def of(cls, arrays: Sequence[Int[np.ndarray, "_"] | Sequence[int]]) -> "Ragged":
        """Join the arrays given, copied, as rows."""
        rows = [np.asarray(array, np.int32) for array in arrays]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return cls(np.concatenate([np.zeros(0, np.int32), *rows]), offsets_of(lengths))

    @classmethod
    def slices(
        cls, tokens: Int32[np.ndarray, "tokens"], starts: Int[np.ndarray, "rows"], stops: Int[np.ndarray, "rows"]
    ) -> "Ragged":
        """Copy the rows tokens[start:stop], which may overlap."""
        offsets = offsets_of(stops - starts)
        return cls(tokens[np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], stops - starts)], offsets)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> Int32[np.ndarray, "_"]:
        """Return row i, counted from the end if negative: a view, not a copy.

        Raises:
            IndexError: there is no such row.
        """
        row = range(len(self))[i]
        return self.tokens[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> Int64[np.ndarray, "rows"]:
        """Number of tokens of each row."""
        return np.diff(self.offsets)

    def take(self, indices: Sequence[int] | Int[np.ndarray, "I"]) -> "Ragged":
        """Copy the rows of these indices in this order; a row may come more than once."""
        indices = np.asarray(indices, np.int64)
        return Ragged.slices(self.tokens, self.offsets[:-1][indices], self.offsets[1:][indices])

    def cut(self, lengths: Int[np.ndarray, "rows"]) -> "Ragged":
        """Cut each row to its length in `lengths`, copied; shorter rows stay as they are."""
        starts = self.offsets[:-1]
        return Ragged.slices(self.tokens, starts, starts + np.minimum(self.lengths, lengths))


def offsets_of(lengths: Int[np.ndarray, "rows"]) -> Int64[np.ndarray, "rows+1"]:
    """Compute the start of each row, and the end of the last one."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
