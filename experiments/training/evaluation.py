"""Scores of a model on held-out examples, and the answers that it generates."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments.data.examples import Pair
from experiments.tasks.task import Task
from experiments.training.bleu import bleu
from experiments.training.decoding import rules_of
from experiments.training.update import token_sums
from transformer import Model, ModelConfig
from transformer.decoding import DecodingConfig, generate

BATCH_SIZE = 256
"""Examples per batch; it changes speed, memory and what sampling draws, but no other result."""

LOGITS_BYTES = 1e9
"""Limit on the logits of a batch, which then has fewer examples."""

SUMS = ("nats", "correct", "tokens")


class Evaluation:
    """The compiled programs of evaluation: one for losses, one for generation.

    Args:
        seed: of sampling.
    """

    def __init__(self, model: Model, task: Task, decoding: DecodingConfig, seed: int = 0):
        self.task, self.seed = task, seed
        self._model = model.config
        self._sums = jax.jit(lambda params, batch: token_sums(model, params, batch)[1])
        self._sums_of_each = jax.jit(functools.partial(_sums_of_each, model))
        steps = self._steps = decoding.max_new_tokens or task.max_answer_length
        strategy, rules = decoding.chosen(), () if task.classes is not None else rules_of(decoding, task)
        continue_ = functools.partial(generate, model, steps=steps, end=task.end, strategy=strategy, rules=rules)
        if strategy.random:
            self._generate = jax.jit(lambda params, batch, key: continue_(params, batch, key=key).tokens)
        else:
            self._generate = jax.jit(lambda params, batch, key: continue_(params, batch).tokens)
        self._classify = jax.jit(lambda params, batch: model.apply(params, batch)["class_logits"])

    def score(self, params: Any, examples: Sequence, answers: np.ndarray | None = None) -> dict[str, float]:
        """Compute the task's metrics: losses per label, weighted; exact match and BLEU of the generated answers.

        Args:
            answers: the result of `answers`, where it was computed before.
        """
        totals = {**dict.fromkeys(SUMS, 0.0), "bytes": 0.0}
        rows = self.rows(self.task.max_sequence_length())
        byte_lengths = np.pad(self.task.tokenizers.byte_lengths, (0, self.task.extra_tokens))
        for batch in self.task.evaluation_batches(examples, rows):
            sums = self._sums(params, _arrays(batch))
            for name in SUMS:
                totals[name] += float(sums[name])
            if self.task.classes is None:
                totals["bytes"] += float((byte_lengths[batch["labels"]] * batch["loss_weights"]).sum())
        scores = self.task.scores(totals)
        if not self.task.generates:
            return scores | self._own_scores(params, examples, None)
        answers = self.answers(params, examples) if answers is None else answers
        scores["exact_match"] = float(np.mean(self.matches(answers, examples)))
        if "bleu" in self.task.metrics:
            outputs = [self.task.decode(row) for row in answers]
            scores["bleu"] = bleu(outputs, [pair.target for pair in examples], self.task.settings.config.bleu)[0]
        return scores | self._own_scores(params, examples, answers)

    def _own_scores(self, params: Any, examples: Sequence, answers: np.ndarray | None) -> dict[str, float]:
        """Compute the metrics of a user's own, of the texts of the answers or of the labels of a classifier."""
        own = self.task.own_metrics
        if not own:
            return {}
        if answers is not None:
            texts = [self.task.decode(row) for row in answers]
        else:
            predicted = self.probabilities(params, [pair.source for pair in examples]).argmax(axis=1)
            texts = [self.task.classes[i] for i in predicted]
        references = [pair.target for pair in examples]
        return {name: row.score(texts, references) for name, row in own.items()}

    def sums_of_examples(self, params: Any, examples: Sequence) -> dict[str, np.ndarray]:
        """Compute the sums of each example by itself (of text: each window): nats, correct, tokens, bytes; each I."""
        parts: list[dict[str, np.ndarray]] = []
        byte_lengths = np.pad(self.task.tokenizers.byte_lengths, (0, self.task.extra_tokens))
        for batch in self.task.evaluation_batches(examples, self.rows(self.task.max_sequence_length())):
            sums = {name: np.asarray(x, np.float64) for name, x in self._sums_of_each(params, _arrays(batch)).items()}
            sums["bytes"] = np.zeros(len(batch["labels"]))
            if self.task.classes is None:
                sums["bytes"] = (byte_lengths[batch["labels"]] * batch["loss_weights"]).sum(axis=1)
            parts.append({name: x[batch["example_weights"] > 0] for name, x in sums.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def matches(self, answers: np.ndarray, pairs: Sequence[Pair]) -> np.ndarray:
        """Compare each answer with its example's target; True where they are equal."""
        return self.task.exact_match(answers, [pair.target for pair in pairs])

    def answers(self, params: Any, texts: Sequence) -> np.ndarray:
        """Generate an answer to each text or example: tokens, I M, padded with 0 after the end token."""
        rows, longest = [], self._longest_read(texts, self.task.max_sequence_length(self._steps))
        for i, batch in enumerate(self.task.prompts(texts, min(self.rows(longest), len(texts)), self._steps)):
            key = jax.random.fold_in(jax.random.key(self.seed), i)
            generated = np.asarray(self._generate(params, _arrays(batch), key))
            rows.append(generated[batch["example_weights"] > 0])
        return np.concatenate(rows)

    def probabilities(self, params: Any, texts: Sequence[str]) -> np.ndarray:
        """Compute the probability of each class for each text, I C."""
        rows, longest, known = [], self._longest_read(texts, self.task.max_sequence_length()), len(self.task.classes)
        for batch in self.task.questions(texts, min(self.rows(longest), len(texts))):
            logits = np.asarray(self._classify(params, _arrays(batch)), np.float64)[:, :known]
            shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
            rows.append((shifted / shifted.sum(axis=1, keepdims=True))[batch["example_weights"] > 0])
        return np.concatenate(rows)

    def rows(self, longest: int) -> int:
        """Choose the examples per batch for sequences of at most `longest` tokens."""
        return rows_of_evaluation(self._model, longest, self.task.classes is not None)

    def _longest_read(self, texts: Sequence, least: int) -> int:
        """Measure the longest sequence of a user's own texts, which may be longer than the data's."""
        own = self.task.read([text for text in texts if isinstance(text, str)])
        return max([least, *(self.task.sequence_length(tokens, self._steps) for tokens in own)])


def rows_of_evaluation(config: ModelConfig, longest: int, is_classifier: bool) -> int:
    """Choose the examples per batch of a model for sequences of at most `longest` tokens."""
    last = config.width if is_classifier else config.vocab_size
    return int(min(max(LOGITS_BYTES // (4 * longest * last), 1), BATCH_SIZE))


def _sums_of_each(model: Model, params: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Compute `token_sums` of each example of a batch by itself; each B."""

    def one(example: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return token_sums(model, params, jax.tree.map(lambda x: x[None], example))[1]

    return jax.vmap(one)(batch)


def _arrays(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Select the arrays of a batch that the model reads."""
    return {name: value for name, value in batch.items() if name != "example_weights"}
