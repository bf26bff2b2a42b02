"""The table of every parameter's axes, and the sizes of axes in a model.

A row reads `owner.parameter: inputs -> outputs`. With an arrow it is a matrix that is applied; "V, D" is a table that
is looked up; anything else is a vector (biases and scales), whatever its number of axes. Weight decay, optimizers
that treat matrices, sharding and interop read this table; nothing is inferred from `ndim`. The stacked layers'
leading L is never an axis of a matrix.
"""

import dataclasses
import fnmatch
from collections.abc import Mapping
from typing import TypeVar

from transformer.errors import problem
from transformer.nn.settings import ModelSettings

T = TypeVar("T")

AXES = {
    "query.kernel": "D -> N H",
    "query.bias": "N H",
    "key.kernel": "D -> K H",
    "key.bias": "K H",
    "value.kernel": "D -> K H",
    "value.bias": "K H",
    "output.kernel": "N H -> D",
    "output.bias": "D",
    "up.kernel": "D -> F",
    "up.bias": "F",
    "gate.kernel": "D -> F",
    "gate.bias": "F",
    "down.kernel": "F -> D",
    "down.bias": "D",
    "query_norm.*": "H",
    "key_norm.*": "H",
    "head_norm.*": "H",
    "sink.logit": "N",
    "lambda.query": "H",
    "lambda.key": "H",
    "*norm.*": "D",
    "*embedding.table": "V, D",
    "types.table": "A, D",
    "head.kernel": "D -> V",
    "head.bias": "V",
    "dense.kernel": "D -> D",
    "dense.bias": "D",
    "class_head.kernel": "D -> C",
    "class_head.bias": "C",
    "*ward.input": "D -> Z E",
    "*ward.recurrent": "E -> Z E",
    "*ward.bias": "Z E",
    "*ward.recurrent_bias": "E",
    "cell.input": "D -> Z D",
    "cell.context": "D -> Z D",
    "cell.recurrent": "D -> Z D",
    "cell.bias": "Z D",
    "cell.recurrent_bias": "D",
    "readout.state": "D -> D",
    "readout.context": "D -> D",
    "readout.bias": "D",
}
"""Owner and parameter -> axes. Parameters of scores and positions stand in their rows. A: token types.

Z: gates of a recurrent cell. E: the state of one direction ("forward", "backward") of a recurrent encoder.
"""


@dataclasses.dataclass(frozen=True)
class Axes:
    """The axes of one parameter, without the leading L of stacked layers."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kind: str
    """"matrix", "table" or "vector"."""
    stacked: bool = False
    """True where a leading L stands before them."""

    @property
    def letters(self) -> tuple[str, ...]:
        return ("L",) * self.stacked + self.inputs + self.outputs


def parse_axes(text: str) -> Axes:
    """Read `Axes` from a row's text."""
    for separator, kind in (("->", "matrix"), (",", "table")):
        if separator in text:
            inputs, _, outputs = text.partition(separator)
            return Axes(tuple(inputs.split()), tuple(outputs.split()), kind)
    return Axes((), tuple(text.split()), "vector")


def match(table: Mapping[str, T], owner: str, name: str) -> T | None:
    """Find the first row whose pattern fits, or None."""
    return next((row for pattern, row in table.items() if fnmatch.fnmatchcase(f"{owner}.{name}", pattern)), None)


def sizes(config: ModelSettings) -> dict[str, int]:
    """Return the size of each letter in a model of this config; letters without a size are left out."""
    found = {
        "D": config.width,
        "N": config.num_heads,
        "K": config.num_kv_heads,
        "H": config.head_width,
        "F": config.feed_forward_width,
        "V": config.vocab_size,
        "P": config.max_length,
        "A": config.embedding.types,
        "C": config.class_head.classes,
        "Z": config.recurrent.gates,
        "E": config.width // config.recurrent.directions,
        "M": config.relative.buckets,
    }
    return {letter: size for letter, size in found.items() if size is not None}


def shape_of(axes: Axes, size: Mapping[str, int], name: str) -> tuple[int, ...]:
    """Return the shape of axes. Raises a UserError for a letter without a size; `name` is the parameter's."""
    for letter in axes.letters:
        if letter not in size:
            what = f"parameter {name} has an axis without a size in this model"
            raise problem(what, got=repr(letter), expected="one of " + ", ".join(size))
    return tuple(size[letter] for letter in axes.letters)
