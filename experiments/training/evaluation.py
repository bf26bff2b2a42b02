"""Scores of a model on held-out examples, and the answers that it generates."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from experiments.data.examples import Pair
from experiments.data.request_sizes import padded_count
from experiments.parallel.placement import Placement
from experiments.parallel.processes import ALONE, processes
from experiments.tasks.task import Batch, Task
from experiments.training.corpus_scores import CORPUS_SCORES, corpus_score
from experiments.training.decoding import rules_of
from experiments.training.update import token_sums
from transformer import Model, ModelConfig
from transformer.decoding import Beam, DecodingConfig, Generated, generate, stream

BATCH_SIZE = 256
"""Most examples per batch; it changes speed and memory, but no result."""

LOGITS_BYTES = 1e9
"""Limit on the logits of a batch, which then has fewer examples."""

SUMS = ("nats", "correct", "tokens")


class Evaluation:
    """The compiled programs of evaluation: one for losses, one for generation.

    Args:
        seed: of sampling.
        num_return: number of answers of a beam to each text, the best first; None: the best one.
        placement: of the parameters on a mesh, whose devices then share the examples of a batch; None: one device.
    """

    def __init__(
        self,
        model: Model,
        task: Task,
        decoding: DecodingConfig,
        seed: int = 0,
        num_return: int | None = None,
        placement: Placement | None = None,
    ):
        self.task, self.seed = task, seed
        self._model, self._placement = model.config, placement
        compiled = functools.partial(jax.jit, out_shardings=None if placement is None else placement.whole)
        self._sums = compiled(lambda params, batch: token_sums(model, params, batch)[1])
        self._sums_of_each = compiled(functools.partial(_sums_of_each, model))
        steps = self._steps = decoding.max_new_tokens or task.max_answer_length
        strategy, rules = decoding.chosen(), () if task.classes is not None else rules_of(decoding, task)
        if num_return is not None:
            strategy = dataclasses.replace(strategy, num_return=num_return)
        self._random, self._searches = strategy.random, isinstance(strategy, Beam)
        given = {"steps": steps, "end": task.end, "strategy": strategy, "rules": rules}
        self._generate = compiled(functools.partial(generate, model, **given))
        self._stream = functools.partial(stream, model, **given)
        self._keys_of = jax.jit(
            jax.vmap(lambda seed, number: jax.random.fold_in(jax.random.key(seed), number), (None, 0))
        )
        self._classify = compiled(lambda params, batch: model.apply(params, batch)["class_logits"])

    def score(self, params: Any, examples: Sequence, answers: np.ndarray | None = None) -> dict[str, float]:
        """Compute the task's metrics: losses per label, weighted; exact match, BLEU and chrF of the generated answers.

        Args:
            answers: the result of `answers`, where it was computed before.
        """
        totals = {**dict.fromkeys(SUMS, 0.0), "bytes": 0.0}
        rows = self.rows(self.task.max_sequence_length())
        byte_lengths = np.pad(self.task.tokenizers.byte_lengths, (0, self.task.extra_tokens))
        for batch in self.task.evaluation_batches(examples, rows):
            sums = self._sums(params, self._arrays(batch))
            for name in SUMS:
                totals[name] += float(sums[name])
            if self.task.classes is None:
                totals["bytes"] += float((byte_lengths[batch["labels"]] * batch["loss_weights"]).sum())
        scores = self.task.scores(totals)
        if not self.task.generates:
            return scores | self._own_scores(params, examples, None)
        answers = self.answers(params, examples) if answers is None else answers
        scores["exact_match"] = float(np.mean(self.matches(answers, examples)))
        for name in (name for name in CORPUS_SCORES if name in self.task.metrics):
            outputs, references = [self.task.decode(row) for row in answers], [pair.target for pair in examples]
            scores[name] = corpus_score(name, outputs, references, self.task.settings.config.bleu)[0]
        return scores | self._own_scores(params, examples, answers)

    def _own_scores(self, params: Any, examples: Sequence, answers: np.ndarray | None) -> dict[str, float]:
        """Compute the metrics of a user's own, of the texts of the answers or of the labels of a classifier.

        Of several processes all have the scores of the first: a metric may give others in each, and scores decide when
        a run stops.
        """
        own = self.task.own_metrics
        if not own:
            return {}
        if answers is not None:
            texts = [self.task.decode(row) for row in answers]
        else:
            predicted = self.probabilities(params, [pair.source for pair in examples]).argmax(axis=1)
            texts = [self.task.classes[i] for i in predicted]
        references = [pair.target for pair in examples]
        together = ALONE if self._placement is None else processes()
        return together.of_first({name: row.score(texts, references) for name, row in own.items()})

    def sums_of_examples(self, params: Any, examples: Sequence) -> dict[str, np.ndarray]:
        """Compute the sums of each example by itself (of text: each window): nats, correct, tokens, bytes; each I."""
        parts: list[dict[str, np.ndarray]] = []
        byte_lengths = np.pad(self.task.tokenizers.byte_lengths, (0, self.task.extra_tokens))
        for batch in self.task.evaluation_batches(examples, self.rows(self.task.max_sequence_length())):
            sums = {
                name: np.asarray(x, np.float64) for name, x in self._sums_of_each(params, self._arrays(batch)).items()
            }
            sums["bytes"] = np.zeros(len(batch["labels"]))
            if self.task.classes is None:
                sums["bytes"] = (byte_lengths[batch["labels"]] * batch["loss_weights"]).sum(axis=1)
            parts.append({name: x[batch["example_weights"] > 0] for name, x in sums.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def matches(self, answers: np.ndarray, pairs: Sequence[Pair]) -> np.ndarray:
        """Compare each answer with its example's target; True where they are equal."""
        return self.task.exact_match(answers, [pair.target for pair in pairs])

    def answers(self, params: Any, examples: Sequence) -> np.ndarray:
        """Generate an answer to each example of a split: tokens, I M, padded with 0 after the end token."""
        tokens: np.ndarray = self.generated(params, examples, one_shape=True).tokens
        return tokens

    def generated(
        self,
        params: Any,
        texts: Sequence,
        *,
        numbers: Sequence[int] | None = None,
        one_shape: bool = False,
        done: Callable[[int], None] = lambda count: None,
    ) -> Generated:
        """Generate an answer to each text or example, or several: tokens I M, or I n M, padded with 0 after the end.

        Args:
            numbers: number of each text, of which and of the seed its draws are a function; None: 0, 1, ...
            one_shape: False where texts come in any number and length (`request_sizes`).
            done: called with the number of texts that were answered, after each batch.
        """
        numbers_I = np.arange(len(texts)) if numbers is None else np.asarray(numbers)
        make = functools.partial(self.task.prompts, steps=self._steps)
        parts, order = [], []
        for index, batch in self._in_batches(make, texts, self._steps, one_shape):
            written = self._generate(params, batch, key=self._keys(numbers_I[index], batch))
            arrays = (written.tokens, written.lengths, written.scores)
            parts.append([np.asarray(x)[: len(index)] for x in arrays])
            order.append(index)
            done(len(index))
        place = np.argsort(np.concatenate(order))
        tokens, lengths, scores = (np.concatenate(pieces)[place] for pieces in zip(*parts, strict=True))
        return Generated(tokens, lengths, scores)

    @property
    def streams(self) -> bool:
        """True where an answer can be shown token by token: it is written from its first to its last."""
        return self.task.classes is None and self.task.mask_marker is None and not self._searches

    def stream(self, params: Any, text: str, number: int = 0) -> Iterator[int]:
        """Generate the answer to one text, a token at a time; it is that of `generated`. For `number`, see there."""
        make = functools.partial(self.task.prompts, steps=self._steps)
        ((_, batch),) = self._in_batches(make, [text], self._steps, one_shape=False)
        for token_B in self._stream(params, batch, key=self._keys(np.array([number]), batch)):
            yield int(token_B[0])

    def _keys(self, numbers: np.ndarray, batch: dict[str, np.ndarray]) -> jax.Array | None:
        """Return the keys of the texts of a batch, by their numbers; None where nothing is drawn."""
        if not self._random:
            return None
        numbers_B = np.pad(numbers, (0, len(next(iter(batch.values()))) - len(numbers)), mode="edge").astype(np.int32)
        if self._placement is not None:
            return self._keys_of(self.seed, self._placement.put_whole({"numbers": numbers_B})["numbers"])
        return self._keys_of(self.seed, numbers_B)

    def probabilities(
        self,
        params: Any,
        texts: Sequence[str],
        *,
        one_shape: bool = True,
        done: Callable[[int], None] = lambda count: None,
    ) -> np.ndarray:
        """Compute the probability of each class for each text, I C; for `one_shape` and `done`, see `generated`."""
        known = len(self.task.classes)
        rows = np.zeros((len(texts), known))
        for index, batch in self._in_batches(self.task.questions, texts, None, one_shape):
            logits = np.asarray(self._classify(params, batch), np.float64)[: len(index), :known]
            shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
            rows[index] = shifted / shifted.sum(axis=1, keepdims=True)
            done(len(index))
        return rows

    def _in_batches(
        self, make: Callable[..., Iterator[Batch]], texts: Sequence, steps: int | None, one_shape: bool
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Yield batches of texts of about the same length, each behind the indices of its texts; others fill it up.

        Args:
            make: (texts, batch size) -> batches in one shape.
            steps: number of tokens that are written.
        """
        read = self.task.read([text.source if isinstance(text, Pair) else text for text in texts])
        order = np.argsort([len(tokens) for tokens in read], kind="stable")
        own = (tokens for tokens, text in zip(read, texts, strict=True) if isinstance(text, str))  # examples may be cut
        longest = max((self.task.sequence_length(tokens, steps or 0) for tokens in own), default=0)
        most = self.rows(max(self.task.max_sequence_length(steps), longest))
        size = self._divided(min(most, len(texts)) if one_shape else padded_count(len(texts), most))
        parts = [order[first : first + size] for first in range(0, len(order), size)]
        if one_shape:
            batches = make([texts[i] for i in order], size)
        else:
            batches = (next(make(*_filled([texts[i] for i in part], most))) for part in parts)
        for part, batch in zip(parts, batches, strict=True):
            yield part, self._arrays(batch)

    def rows(self, longest: int) -> int:
        """Choose the examples per batch for sequences of at most `longest` tokens."""
        return self._divided(rows_of_evaluation(self._model, longest, self.task.classes is not None))

    def _divided(self, rows: int) -> int:
        """Round a number of examples up to one of which the devices have equal parts."""
        parts = 1 if self._placement is None else self._placement.examples
        return -(-rows // parts) * parts

    def _arrays(self, batch: dict[str, np.ndarray]) -> Batch:
        """Select the arrays of a batch that the model reads; on a mesh, put them on its devices."""
        read = {name: value for name, value in batch.items() if name != "example_weights"}
        return read if self._placement is None else self._placement.put_whole(read)


def rows_of_evaluation(config: ModelConfig, longest: int, is_classifier: bool) -> int:
    """Choose the examples per batch of a model for sequences of at most `longest` tokens."""
    last = config.width if is_classifier else config.vocab_size
    return int(min(max(LOGITS_BYTES // (4 * longest * last), 1), BATCH_SIZE))


def _filled(texts: list[Any], most: int) -> tuple[list[Any], int]:
    """Repeat the last text until the batch has one of few numbers of texts; return that too."""
    size = padded_count(len(texts), most)
    return texts + texts[-1:] * (size - len(texts)), size


def _sums_of_each(model: Model, params: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Compute `token_sums` of each example of a batch by itself; each B."""

    def one(example: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return token_sums(model, params, jax.tree.map(lambda x: x[None], example))[1]

    return jax.vmap(one)(batch)
