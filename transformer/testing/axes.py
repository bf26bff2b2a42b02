"""The properties of each axis of a model, in one table; `experiments` adds those of its own axes.

| property   | claim                                                                          |
|------------|--------------------------------------------------------------------------------|
| future     | the logits have exactly no gradient on a later token (a decoder)               |
| padding    | padding, whatever ids it holds, changes no logits                              |
| cached     | decoding step by step gives the logits of the whole sequence at once           |
| packed     | examples in one row, in segments of their own, are what each is alone          |
| scanned    | layers in a scan and unrolled give the same                                    |
| jit        | the compiled program gives what operations one by one give                     |
| lanes      | many models side by side (`vmap` over parameters) are what each is alone       |
| bfloat16   | bfloat16 is near float32                                                       |
| gradients  | gradients are those of finite differences                                      |
| nothing    | a source without any token gives finite logits and gradients                   |
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from transformer.testing import models
from transformer.testing.examples import Examples


class Axis(NamedTuple):
    """An axis: its example, and its properties.

    Attributes:
        example: has `sizes`, from the smallest to the largest, and `make(row, settings, size)`.
        properties: (name, function of an example -> what is wrong, None where it holds; it raises InapplicableError
            where it has nothing to prove).
        base: class whose subclasses a row is made of; None: there is none.
    """

    example: Any
    properties: tuple[tuple[str, Callable[[Any], str | None]], ...]
    base: type | None = None

    def makes(self, value: Any) -> bool:
        """Return whether a row is made of this object: a subclass of the axis' base."""
        return self.base is not None and isinstance(value, type) and issubclass(value, self.base)


ALL = (
    ("future", models.future),
    ("padding", models.padding),
    ("cached", models.cached),
    ("packed", models.packed),
    ("scanned", models.scanned),
    ("jit", models.jitted),
    ("lanes", models.lanes),
    ("bfloat16", models.bfloat16),
    ("gradients", models.gradients),
    ("nothing", models.nothing),
)
"""Properties of every part of a model."""

AXES: dict[str, Axis] = {
    axis: Axis(Examples(setting), ALL)
    for axis, setting in {
        "score": "score",
        "mask": "attention.mask",
        "score_modifier": "attention.score_modifier",
        "weights": "attention.weights",
        "position": "position",
        "norm": "norm",
        "activation": "activation",
        "mixer": "mixer",
        "feed_forward": "feed_forward",
        "block_layout": "norm_placement",
        "architecture": "architecture",
    }.items()
}
"""Axis -> its example and its properties."""
