"""What tasks that are posed as pairs share: text to text, whose pairs are read, and continuation, which cuts them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Int

from experiments.data.batching import Batches
from experiments.data.examples import Splits
from experiments.data.tokenizers.pair import Sides
from experiments.tasks.framing import Look, frame_for
from experiments.tasks.pairs import Ids, Shapes
from experiments.tasks.task import Posing, Task


@dataclasses.dataclass(frozen=True)
class PairTask(Task):
    """A task posed as pairs, whatever they are made of."""

    shapes: Shapes
    ids: Ids | None
    """Of the training examples."""

    ends: ClassVar[bool] = True
    """Whether targets end with a token of their own."""

    @classmethod
    def reopen(cls, posing: Posing, sides: Sides, facts: Mapping[str, Any]) -> Self:
        """The task without its data, which can answer texts."""
        frame = frame_for(posing.architecture, bidirectional_prefix=posing.config.bidirectional_prefix, ends=cls.ends)
        shapes = Shapes(frame, facts["slots"], facts["longest_source"], tuple(facts["whole"]))
        return cls(sides, Splits([], [], []), posing, None, (), shapes, None)

    @property
    def facts(self) -> dict[str, Any]:
        return self.shapes.facts

    @property
    def slots(self) -> int:
        return self.shapes.slots

    @property
    def fixed_slots(self) -> bool:
        return self.shapes.frame.fixed_slots

    @property
    def longest(self) -> int:
        return self.shapes.longest_with()

    def longest_with(self, answer: int | None) -> int:
        return self.shapes.longest_with(answer)

    def length_read(self, tokens: Int[np.ndarray, "S"], answer: int) -> int:
        return self.shapes.frame.capacity(len(tokens), self.slots if self.fixed_slots else answer)

    @property
    def batches(self) -> Batches:
        return Batches(self.plan, lambda rows, bucket: self.shapes.batch(self.ids, rows, bucket))

    def look(self, text: str, answer: Int[np.ndarray, "M"]) -> Look:
        return self.shapes.frame.look(self.sides.source.encode(text), answer, self.slots)
