"""What a model scores on held-out examples: nats per token, token accuracy, exact match of what it generates."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments.data.examples import Pair
from experiments.tasks.text_to_text import TextToText
from experiments.training.update import token_sums
from transformer import Model
from transformer.decoding import DecodingConfig, generate
from transformer.decoding.generate import STRATEGIES

BATCH_SIZE = 256
"""Examples at once; it changes no result, only speed and memory."""


class Evaluation:
    """The compiled programs of evaluation: one for losses, one for generation."""

    def __init__(self, model: Model, task: TextToText, decoding: DecodingConfig):
        self.task = task
        self._sums = jax.jit(lambda params, batch: token_sums(model, params, batch)[1])
        strategy = STRATEGIES[decoding.strategy]()
        steps = decoding.max_new_tokens or task.slots
        continue_ = functools.partial(generate, model, steps=steps, end=task.tokenizer.end, strategy=strategy)
        self._generate = jax.jit(lambda params, batch: continue_(params, batch))

    def score(self, params: Any, pairs: Sequence[Pair], answers: np.ndarray | None = None) -> dict[str, float]:
        """loss (nats per token), accuracy (of tokens, given the true ones before) and exact_match, the end included.

        Args:
            answers: those of `answers`, where they are there already.
        """
        totals = {"nats": 0.0, "correct": 0.0, "tokens": 0.0}
        for batch in self.task.evaluation_batches(pairs, min(BATCH_SIZE, len(pairs))):
            sums = self._sums(params, _arrays(batch))
            totals = {name: total + float(sums[name]) for name, total in totals.items()}
        tokens = max(totals["tokens"], 1.0)
        answers = self.answers(params, pairs) if answers is None else answers
        return {
            "loss": totals["nats"] / tokens,
            "accuracy": totals["correct"] / tokens,
            "exact_match": float(np.mean(self.matches(answers, pairs))),
        }

    def matches(self, answers: np.ndarray, pairs: Sequence[Pair]) -> np.ndarray:
        """Whether each answer is exactly its example's target."""
        return self.task.exact_match(answers, [pair.target for pair in pairs])

    def answers(self, params: Any, sources: Sequence[Pair | str]) -> np.ndarray:
        """The tokens generated for each source, I M; padded with 0 after the end token."""
        rows = []
        for batch in self.task.prompts(sources, min(BATCH_SIZE, len(sources))):
            generated = np.asarray(self._generate(params, _arrays(batch)))
            rows.append(generated[batch["example_weights"] > 0])
        return np.concatenate(rows)


def _arrays(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the model reads of a batch."""
    return {name: value for name, value in batch.items() if name != "example_weights"}
