"""A family of Hugging Face checkpoints: a table of names, and the entries of its config.

Names are ours -> theirs, without the last part, which LEAVES translates: `encoder.blocks.self.query` has a `kernel`
and a `bias`, `encoder.layer.*.attention.self.query` a `weight` and a `bias`; `*` is the layer. A `Tensor` in place of
a name is one whose axes stand otherwise. Names of a model's body begin with `prefix`, which a file of the body alone
leaves out.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from transformer.interop.entries import Entry
from transformer.interop.tensors import Tensors

LEAVES = {"kernel": "weight", "scale": "weight", "table": "weight", "bias": "bias"}
"""Last part of our names -> that of theirs."""

HEADS = ("tokens", "classes", None)
"""Heads of a model: logits of tokens, logits of classes, or nothing beside the hidden states."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor whose axes are not those of torch's layers.

    Attributes:
        name: as in the table of names; a whole name where it stands for one parameter.
        as_ours: True where its axes stand as ours do: a matrix is inputs x outputs (torch's Linear has outputs x
            inputs). A vector of two axes is turned where it is False.
        part: (index, count): it is one of several parts that stand side by side along the outputs.
        first_layer: layers before this one have none.
        leading: number of axes of length 1 that stand before the others.
    """

    name: str
    as_ours: bool = False
    part: tuple[int, int] = (0, 1)
    first_layer: int = 0
    leading: int = 0


Names = Mapping[str, str | Tensor]
"""Our names -> theirs."""


@dataclasses.dataclass(frozen=True, eq=False)
class Family:
    """A row of FAMILIES.

    Attributes:
        architectures: class of a checkpoint (config.json: `architectures`) -> one of HEADS; the first of each head is
            written.
        constants: dotted settings that every model of the family has.
        entries: the entries of config.json that differ between its models.
        names: our names -> theirs, as above; or a function of a model's settings that returns them.
        prefix: beginning of the names of the body.
        copies: tensor -> the one that it repeats, where a file has both (or one in place of the other).
        buffers: patterns of tensors that are no parameters, such as tables of positions that are computed.
        of_other_heads: patterns of parameters that belong to heads which are not loaded.
        classes: dotted settings of a head of classes.
        of_file: setting -> the function that reads it from the tensors, where config.json does not have it.
    """

    architectures: Mapping[str, str | None]
    constants: Mapping[str, object]
    entries: tuple[Entry, ...]
    names: Names | Callable[[Mapping[str, Any]], Names]
    prefix: str = ""
    copies: Mapping[str, str] = dataclasses.field(default_factory=dict)
    buffers: tuple[str, ...] = ()
    of_other_heads: tuple[str, ...] = ()
    classes: Mapping[str, object] = dataclasses.field(default_factory=dict)
    of_file: Mapping[str, Callable[[Tensors], Any]] = dataclasses.field(default_factory=dict)


def attention(ours: str, theirs: str, query: str, key: str, value: str, output: str) -> dict[str, str | Tensor]:
    """Return the names of the four maps of attention.

    >>> attention("self", "attn", "q", "k", "v", "o")["self.query"]
    'attn.q'
    """
    maps = {"query": query, "key": key, "value": value, "output": output}
    return {f"{ours}.{name}": f"{theirs}.{own}" for name, own in maps.items()}
