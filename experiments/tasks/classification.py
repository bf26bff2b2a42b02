"""Classification: a text and its label, which every architecture predicts from one vector by one head.

    encoder_only  source  <begin> x1 .. xn            the state of <begin>, which attends to everything
    decoder_only  target  x1 .. xn <separator>        the state of <separator>, the only one that attends to all
    seq2seq,      source  x1 .. xn <end>              the state of the decoder's one token, by cross-attention
    rnn_seq2seq   target  <begin>

So the loss is the same: nats per label, over the labels of the training data. `model.class_head.reads` takes another
state, or the mean.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Int

from experiments.data.batching import Batches, Plan, make_buckets
from experiments.data.examples import LABELS, Pair, Splits
from experiments.data.ragged import Ragged
from experiments.data.request_sizes import padded_length
from experiments.data.stored_json import Fields
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.tokens import SpecialTokens
from experiments.tasks.collating import AttentionView, Example, collate, join
from experiments.tasks.pairs import cut_note, too_long
from experiments.tasks.task import A_LENGTH, SHARE, Batch, Metric, Task, TaskSettings
from transformer.errors import nearest, problem
from transformer.nn.module_rows import family

NAMES = {"loss": "label_loss", "accuracy": "label_accuracy"}


def _encoder_only(text: np.ndarray) -> Example:
    source = join(SpecialTokens.begin, text)
    return {"source": source, "source_lengths": len(source)}


def _decoder_only(text: np.ndarray) -> Example:
    target = join(text, SpecialTokens.separator)
    return {"target": target, "target_lengths": len(target)}


def _seq2seq(text: np.ndarray) -> Example:
    source, target = join(text, SpecialTokens.end), join(SpecialTokens.begin)
    return {"source": source, "source_lengths": len(source), "target": target, "target_lengths": 1}


LAYOUTS = {
    "encoder_only": _encoder_only,
    "decoder_only": _decoder_only,
    "seq2seq": _seq2seq,
    "rnn_seq2seq": _seq2seq,
}
"""Architecture -> function (tokens of a text) -> input of the model; each adds one token to the text."""

ATTENTION = {
    "encoder_only": "encoder.*.self.weights",
    "decoder_only": "decoder.*.self.weights",
    "seq2seq": "decoder.*.cross.weights",
    "rnn_seq2seq": "decoder.*.cross.weights",
}
"""Architecture -> attention whose output the head reads."""


@dataclasses.dataclass(frozen=True)
class Classification(Task):
    """The task of one run; made by `build`, or without data by `reopen`.

    Attributes:
        label_names: labels of the training data, in the order of the logits.
        longest: longest text of all splits, with the token that is added (tokens).
        tokens: training texts; None without data.
        labels: class of each training text; None without data.
    """

    label_names: tuple[str, ...]
    longest: int
    tokens: Ragged | None
    labels: Int[np.ndarray, "I"] | None

    kind = LABELS
    names = NAMES

    @classmethod
    def texts(cls, splits: Splits) -> tuple[list[str], list[str]]:
        """Return the training texts to which the tokenizers are fitted."""
        return [pair.source for pair in splits.train], []

    @classmethod
    def build(cls, settings: TaskSettings, splits: Splits, tokenizers: TokenizerPair) -> Self:
        """Build the task, planned from the lengths of its texts.

        Raises:
            UserError: fewer examples than a batch, one label alone, a held-out label that training lacks, or texts that
                are longer than the model's limit.
        """
        classes = tuple(sorted({pair.target for pair in splits.train}))
        if len(classes) < 2:
            raise problem(
                "the training examples have one label alone",
                got=repr(classes[0]),
                expected="two labels or more",
                do="Look at the file of data.path: the label stands before the tab, or in data.files.label_field.",
            )
        read = [_read(split, settings, tokenizers, what) for split, what in _named(splits)]
        for split, what in _named(splits):
            _indices(split, classes, what)
        lengths = read[0][0].lengths[:, None] + 1
        plan = Plan(
            lengths,
            make_buckets(lengths, settings.num_buckets, settings.length_multiple),
            settings.seed,
            **settings.rows,
        )
        longest = 1 + max(int(tokens.lengths.max(initial=0)) for tokens, _ in read)
        notes = sum((note for _, note in read), ())
        labels = _indices(splits.train, classes, "training")
        return cls(tokenizers, splits, settings, plan, notes, classes, longest, read[0][0], labels)

    metadata_shape = Fields({"classes": [str], "longest": A_LENGTH})

    @classmethod
    def reopen(cls, settings: TaskSettings, tokenizers: TokenizerPair, metadata: Mapping[str, Any]) -> Self:
        """Build the task without its data; it can answer texts."""
        return cls(
            tokenizers,
            Splits([], [], []),
            settings,
            None,
            (),
            tuple(metadata["classes"]),
            metadata["longest"],
            None,
            None,
        )

    @property
    def metrics(self) -> Mapping[str, Metric]:
        accuracy, loss = Metric("max", "of labels", SHARE), Metric("min", "nats per label")
        return self.with_own({"label_accuracy": accuracy, "label_loss": loss})

    @property
    def metadata(self) -> dict[str, Any]:
        return {"classes": list(self.classes), "longest": self.longest}

    @property
    def classes(self) -> tuple[str, ...]:
        return self.label_names

    def max_sequence_length(self, answer_length: int | None = None) -> int:
        return self.longest

    def sequence_length(self, tokens: Int[np.ndarray, "S"], answer_length: int) -> int:
        return len(tokens) + 1

    @property
    def batches(self) -> Batches:
        def make(rows: np.ndarray, bucket: tuple[int, ...]) -> Batch:
            return self._batch([self.tokens[i] for i in rows], self.labels[rows], bucket[0])

        return Batches(self.plan, make)

    def evaluation_batches(self, examples: Sequence[Pair], batch_size: int | None = None) -> Iterator[Batch]:
        tokens, _ = _read(examples, self.settings, self.tokenizers, "given")
        labels = _indices(examples, self.classes, "given")
        for rows, weights in self._rows(len(examples), batch_size):
            batch = self._batch([tokens[i] for i in rows], labels[rows], self.longest)
            batch["loss_weights"] *= weights
            yield {**batch, "example_weights": weights}

    def questions(self, texts: Sequence[str], batch_size: int | None = None) -> Iterator[Batch]:
        """Yield a user's own texts as the model reads them, in batches of one shape, one of few (`request_sizes`)."""
        tokens = self.tokenizers.source.encode_all(list(texts))
        longest = padded_length(1 + int(tokens.lengths.max(initial=0)), self.longest, self.settings.limit)
        for rows, weights in self._rows(len(texts), batch_size):
            batch = self._batch([tokens[i] for i in rows], np.zeros(len(rows), np.int32), longest)
            yield {**batch, "example_weights": weights}

    def attention_view(self, text: str, answer: Int[np.ndarray, "T"]) -> AttentionView:
        """Find the attention from the state that the head reads to the text; for an encoder from every token's."""
        batch = LAYOUTS[family(self.settings.architecture)](self.tokenizers.source.encode(text))
        keys = batch.get("source", batch.get("target"))
        activation = ATTENTION[family(self.settings.architecture)]
        if {"source", "target"} <= batch.keys():
            return AttentionView(batch, activation, slice(1), slice(len(keys)), keys, batch["target"])
        return AttentionView(batch, activation, slice(len(keys)), slice(len(keys)), keys, keys)

    def _batch(self, texts: Sequence[np.ndarray], labels: np.ndarray, length: int) -> Batch:
        framed = [LAYOUTS[family(self.settings.architecture)](text) for text in texts]
        lengths = {"source": length, "target": 1 if "source" in framed[0] else length}
        batch = collate(framed, lengths)
        return {**batch, "labels": labels.astype(np.int32), "loss_weights": np.ones(len(labels), np.float32)}


def _named(splits: Splits) -> list[tuple[list[Pair], str]]:
    return [(splits.train, "training"), (splits.validation, "validation"), (splits.test, "test")]


def _read(
    pairs: Sequence[Pair], settings: TaskSettings, tokenizers: TokenizerPair, what: str
) -> tuple[Ragged, tuple[str, ...]]:
    """Encode the texts, cut where they are too long; return a note of that too.

    Raises:
        UserError: some are too long, and `settings.too_long` is "refuse".
    """
    tokens = tokenizers.source.encode_all([pair.source for pair in pairs])
    if settings.limit is None:
        return tokens, ()
    over = int((tokens.lengths > settings.limit - 1).sum())
    if not over:
        return tokens, ()
    if settings.too_long == "refuse":
        raise too_long(f"{what} examples", over, len(pairs), int(tokens.lengths.max()) + 1, settings)
    return tokens.cut(np.full(len(tokens), settings.limit - 1)), cut_note(over, len(pairs), what)


def _indices(pairs: Sequence[Pair], classes: Sequence[str], what: str) -> Int[np.ndarray, "I"]:
    """Return the number of each example's class.

    Raises:
        UserError: a label that is not among the classes.
    """
    number = {label: i for i, label in enumerate(classes)}
    for pair in pairs:
        if pair.target not in number:
            guess = nearest(pair.target, classes)
            shown = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
            raise problem(
                f"a label of the {what} examples is never seen in training",
                got=f"{pair.target!r} of the text {pair.source[:60]!r}",
                expected=f"one of {shown}",
                do=f"Did you mean {guess!r}?" if guess else "Leave the example out, or add some to the training data.",
            )
    return np.array([number[pair.target] for pair in pairs], np.int32)
