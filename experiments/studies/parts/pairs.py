"""Pairs of texts for studies, framed for each architecture: dates, or the aligned sentences of a folder.

All examples are in memory, padded to one length, and a batch is drawn within the program.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.data.config import DataConfig, DatesConfig, FilesConfig
from experiments.data.examples import Pair
from experiments.data.sources.table import load
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.table import TokenizerConfig
from experiments.data.tokenizers.tokens import SpecialTokens
from experiments.studies.frame.experiment import ACCURACY, EXACT, LOSS, Baseline, Trainee
from experiments.studies.frame.text import Text
from experiments.studies.frame.training import Sample
from experiments.tasks.collating import Example, collate
from experiments.tasks.framing import Frame, frame_for
from experiments.training.update import Batch
from transformer import Model
from transformer.decoding import generate
from transformer.errors import problem
from transformer.ops.losses import cross_entropy

LANGUAGES = ("de", "en")
"""Languages of source and target, which are the endings of a folder's files."""
LOCALES = ("en_US", "de", "fr", "es")
"""Default locales of dates."""
SUBWORDS = 1000
"""Vocabulary size of a folder's tokenizer."""
FLAG = "folder with train.de and train.en, aligned by line, plain or .gz, such as Multi30k; none: dates"
"""Meaning of the setting `data`."""
HELD_OUT = "largest number of held-out pairs, half of which choose the learning rate; dates: of other days"
"""Meaning of the setting `held_out`."""
FOLDER = "a folder with train.de and train.en (or train.de.gz and train.en.gz)"
"""Description of such a folder in errors."""
Tokens = tuple[np.ndarray, np.ndarray]
"""Token ids of a source and of its target."""


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs to train on and held-out pairs, as token ids, with their tokenizers."""

    train: list[Tokens]
    check: list[Tokens]
    tokenizers: TokenizerPair

    @property
    def vocabulary(self) -> int:
        """The vocabulary size V."""
        return self.tokenizers.size

    @property
    def max_answer_length(self) -> int:
        """The most tokens of an answer, the end token included."""
        return max(len(target) for _, target in self.train) + 1


def read_pairs(folder: str | None, *, locales: tuple[str, ...], examples: int, held_out: int, longest: int) -> Pairs:
    """Read dates in characters, or the pairs of a folder in subwords; those longer than `longest` tokens are left out.

    Args:
        folder: a folder of sentences; None: dates.
        locales: locales of the dates.
        examples: most pairs to train on.
        held_out: most held-out pairs; dates are of days that no training pair has.

    Raises:
        UserError: the folder is missing, or does not hold two aligned files; an unknown locale; nothing is left.
    """
    if folder is None:
        dates = DatesConfig(locales=locales)
        config = DataConfig(examples=examples, evaluation_examples=held_out, dates=dates)
        tokenizer = TokenizerConfig("characters")
    else:
        source, target = (_file(Path(folder), language) for language in LANGUAGES)
        files = FilesConfig(format="aligned", test_share=0.0)
        config = DataConfig(source="files", source_path=source, target_path=target, files=files)
        tokenizer = TokenizerConfig("bpe", vocab_size=SUBWORDS)
    splits = load(config, seed=0)
    tokenizers = TokenizerPair.fit(tokenizer, (p.source for p in splits.train), (p.target for p in splits.train))
    train = _short(_encoded(splits.train, tokenizers), longest)[:examples]
    if not train:
        raise problem("no pair is short enough", expected=f"pairs of at most --longest={longest} tokens a side")
    most = max(len(target) for _, target in train)
    validation = _short(_encoded(splits.validation, tokenizers), longest)
    check = [pair for pair in validation if len(pair[1]) <= most][:held_out]
    if not check:
        raise problem(
            "no held-out pair is short enough", expected=f"pairs of at most --longest={longest} tokens a side"
        )
    return Pairs(train, check, tokenizers)


def _file(folder: Path, language: str) -> str:
    """Return the path of a language's training file."""
    do = "Point --data=DIR to one; without --data, ablation takes dates."
    if not folder.is_dir():
        raise problem(f"--data {folder} is not a folder", expected=FOLDER, do=do)
    for name in (f"train.{language}", f"train.{language}.gz"):
        if (folder / name).exists():
            return str(folder / name)
    raise problem(f"--data {folder} holds no train.{language}", expected=FOLDER, do=do)


def _encoded(pairs: list[Pair], tokenizers: TokenizerPair) -> list[Tokens]:
    """Encode both texts of each pair."""
    sources, targets = (
        tokenizers.source.encode_all([p.source for p in pairs]),
        tokenizers.target.encode_all([p.target for p in pairs]),
    )
    return [(sources[i], targets[i]) for i in range(len(pairs))]


def _short(pairs: list[Tokens], longest: int) -> list[Tokens]:
    """Return the pairs of which both sides have at most `longest` tokens."""
    return [pair for pair in pairs if max(map(len, pair)) <= longest]


def as_batch(pairs: Pairs, part: list[Tokens], architecture: str) -> Mapping[str, np.ndarray]:
    """Frame the pairs for an architecture, as one batch."""
    frame = frame_for(architecture, pairs.max_answer_length)
    return _collated(frame, [frame.example(source, target) for source, target in part])


def as_prompts(pairs: Pairs, part: list[Tokens], architecture: str) -> Mapping[str, np.ndarray]:
    """Frame the sources as prompts for an architecture, as one batch."""
    frame = frame_for(architecture, pairs.max_answer_length)
    return _collated(frame, [frame.prompt(source) for source, _ in part])


def _collated(frame: Frame, examples: Sequence[Example]) -> Mapping[str, np.ndarray]:
    """Pad the examples to one length and stack them."""
    sizes = {key: max(np.size(e[key]) for e in examples) for key in examples[0]}
    for keys in frame.axes.values():
        present = [key for key in keys if key in sizes]
        sizes |= dict.fromkeys(present, max(sizes[key] for key in present))
    return collate(examples, sizes)


def sampler(batch: int) -> Sample:
    """Return a sampler of pairs, whose data are a batch of `as_batch`."""

    def sample(key: Array, data: Mapping[str, Array]) -> Batch:
        rows_B = jax.random.randint(key, (batch,), 0, data["labels"].shape[0], jnp.int32)
        return {name: x[rows_B] for name, x in data.items()}

    return sample


def pair_scores(model: Model, params: Any, batch: Batch) -> dict[str, tuple[Array, Array]]:
    """Compute the nats and right tokens of a batch, and its right answers, given the reference before each token.

    All tokens of a pair are right exactly where its greedy answer is the reference.
    """
    logits, labels, weights = model.apply(params, batch)["logits"], batch["labels"], batch["loss_weights"]
    nats = (cross_entropy(logits, labels) * weights).sum()
    right_BT = (jnp.argmax(logits, axis=-1) == labels) * weights
    exact = jnp.sum(right_BT.sum(1) >= weights.sum(1))
    count = jnp.float32(labels.shape[0])
    return {LOSS: (nats, weights.sum()), ACCURACY: (right_BT.sum(), weights.sum()), EXACT: (exact, count)}


def trainee(model: Model, held: Pairs, batch: int, *, task: Mapping[str, Any], **options: Any) -> Trainee:
    """Make what is trained on pairs: half of the held-out ones choose the learning rate, the others decide.

    Args:
        batch: pairs per update.
        task: further settings that may change the result.
        options: further fields of a Trainee.
    """
    architecture = model.config.architecture
    learn, check = (as_batch(held, part, architecture) for part in (held.train, held.check))
    half = len(held.check) // 2
    choice, test = (in_batches({k: x[rows] for k, x in check.items()}) for rows in (slice(half), slice(half, 2 * half)))
    return Trainee(
        model,
        sampler(batch),
        jax.tree.map(jnp.asarray, learn),
        choice,
        test,
        settings={"batch": batch, "examples": len(held.train), "task": dict(task)},
        baselines={LOSS: Baseline(counted_by_place(held, test), Text("tokens counted by place", "按位置统计的词元"))},
        score=pair_scores,
        **options,
    )


def in_batches(data: Mapping[str, np.ndarray], count: int = 16) -> list[Batch]:
    """Divide pairs into batches of one shape; those that are left over are left out."""
    size = max(len(data["labels"]) // count, 1)
    count = min(count, len(data["labels"]))
    return [{k: jnp.asarray(x[i * size : (i + 1) * size]) for k, x in data.items()} for i in range(count)]


def counted_by_place(held: Pairs, batches: Sequence[Batch]) -> float:
    """Compute the nats per token of shares that are counted at each place of the training answers.

    The end of an answer is one of its tokens. A place counts every token once more than it was seen.
    """
    places = held.max_answer_length
    counts_PV = np.ones((places, held.vocabulary))
    for _, target in held.train:
        row = [*target, SpecialTokens.end]
        np.add.at(counts_PV, (np.arange(len(row)), row), 1)
    nats_PV = -np.log(counts_PV / counts_PV.sum(1, keepdims=True))
    total, tokens = 0.0, 0.0
    for batch in batches:
        labels_BT, weights_BT = np.asarray(batch["labels"]), np.asarray(batch["loss_weights"])
        place_BT = np.maximum(np.cumsum(weights_BT > 0, axis=1) - 1, 0).clip(max=places - 1)
        total += float((nats_PV[place_BT, labels_BT] * weights_BT).sum())
        tokens += float(weights_BT.sum())
    return total / tokens


def decode_greedily(
    model: Model, params: Any, prompts: Mapping[str, Array], max_answer_length: int, at_once: int = 64
) -> Array:
    """Generate the greedy answers to `prompts` of `as_prompts`, N M."""

    def answers(batch: Batch) -> Array:
        return generate(model, params, batch, steps=max_answer_length, end=SpecialTokens.end).tokens

    return _in_chunks(answers, prompts, at_once)


def _in_chunks(function: Callable[[Batch], Any], data: Mapping[str, Array], at_once: int) -> Any:
    """Apply the function to all rows, `at_once` of them at a time."""
    count = len(next(iter(data.values())))
    filled = -count % at_once
    chunks = jax.tree.map(
        lambda x: jnp.concatenate([x, x[:1].repeat(filled, 0)]).reshape(-1, at_once, *x.shape[1:]), dict(data)
    )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], jax.lax.map(function, chunks))


def decode_targets(pairs: Pairs, ids: Sequence[np.ndarray]) -> list[str]:
    """Decode the ids of targets, each up to its end token."""
    ends = [np.flatnonzero(row == SpecialTokens.end) for row in ids]
    decode = pairs.tokenizers.target.decode
    return [decode(row[: end[0]] if len(end) else row) for row, end in zip(ids, ends, strict=True)]
