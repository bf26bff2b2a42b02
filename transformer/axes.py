"""The legend of axes, the same in every suffix, einsum and annotation.

| letter | axis                     | letter | axis                                |
|--------|--------------------------|--------|-------------------------------------|
| B      | batch                    | D      | model width                         |
| T      | query (target) position  | F      | feed-forward width                  |
| S      | key (source) position    | V      | vocabulary                          |
| N      | query head               | L      | layer                               |
| K      | key/value head           | R      | trial (lane) of a vectorised sweep  |
| G      | query heads per K        | C      | class                               |
| H      | head width               | P      | row of a learned position table     |
| Z      | gate of a recurrent cell | A      | token type                          |
| M      | bucket of distances      | E      | state of one direction of an RNN    |

N = K x G: query head n reads key/value head n // G.
"""

import numpy as np
from jax import Array

from transformer.errors import problem

LEGEND = {
    "B": "batch",
    "T": "query position",
    "S": "key position",
    "N": "query head",
    "K": "key/value head",
    "G": "query heads per key/value head",
    "H": "head width",
    "D": "model width",
    "F": "feed-forward width",
    "V": "vocabulary",
    "L": "layer",
    "R": "trial",
    "C": "class",
    "P": "row of the position table",
    "A": "token type",
    "Z": "gate of a recurrent cell",
    "E": "recurrent state of one direction",
    "M": "bucket of distances",
}


def check_shape(name: str, array: Array | np.ndarray, axes: str, sizes: dict[str, int]) -> None:
    """Check an array against axes such as "B S K H", and add the sizes of new letters to `sizes`.

    Raises:
        UserError: another number of axes, or another size; it names the axis in words.
    """
    letters = axes.split()
    if array.ndim != len(letters):
        raise problem(f"{name} has {array.ndim} axes", got=f"shape {array.shape}", expected=f"axes {axes}")
    for letter, size in zip(letters, array.shape, strict=True):
        if sizes.setdefault(letter, size) != size:
            raise problem(
                f"{name} has another {LEGEND.get(letter, letter)} axis ({letter})",
                got=f"{size} in shape {array.shape}",
                expected=sizes[letter],
            )
