"""What tasks that are posed as pairs share: text to text, whose pairs are read, and continuation, which cuts them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Int

from experiments.data.batching import Batches
from experiments.data.examples import Splits
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.tasks.framing import AttentionView, frame_for
from experiments.tasks.pairs import Ids, Shapes
from experiments.tasks.task import Task, TaskSettings


@dataclasses.dataclass(frozen=True)
class PairTask(Task):
    """A task posed as pairs, whatever they are made of."""

    shapes: Shapes
    ids: Ids | None
    """Of the training examples."""

    ends: ClassVar[bool] = True
    """Whether targets end with a token of their own."""

    @classmethod
    def reopen(cls, settings: TaskSettings, tokenizers: TokenizerPair, metadata: Mapping[str, Any]) -> Self:
        """The task without its data, which can answer texts."""
        frame = frame_for(
            settings.architecture, bidirectional_prefix=settings.config.bidirectional_prefix, ends=cls.ends
        )
        shapes = Shapes(frame, metadata["slots"], metadata["longest_source"], tuple(metadata["whole"]))
        return cls(tokenizers, Splits([], [], []), settings, None, (), shapes, None)

    @property
    def metadata(self) -> dict[str, Any]:
        return self.shapes.metadata

    @property
    def max_answer_length(self) -> int:
        return self.shapes.max_answer_length

    @property
    def fixed_answer_length(self) -> bool:
        return self.shapes.frame.fixed_answer_length

    def max_sequence_length(self, answer_length: int | None = None) -> int:
        return self.shapes.max_sequence_length(answer_length)

    def sequence_length(self, tokens: Int[np.ndarray, "S"], answer_length: int) -> int:
        return self.shapes.frame.sequence_length(
            len(tokens), self.max_answer_length if self.fixed_answer_length else answer_length
        )

    @property
    def batches(self) -> Batches:
        return Batches(self.plan, lambda rows, bucket: self.shapes.batch(self.ids, rows, bucket))

    def attention_view(self, text: str, answer: Int[np.ndarray, "M"]) -> AttentionView:
        return self.shapes.frame.attention_view(self.tokenizers.source.encode(text), answer, self.max_answer_length)
