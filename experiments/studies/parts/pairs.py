"""Pairs of texts for studies: dates on days that are held out, or a folder of aligned sentences; for each architecture.

All examples lie in memory, padded to one length, and a batch is drawn within the program.
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
from experiments.data.tokenizers.pair import Sides
from experiments.data.tokenizers.table import SpecialTokens, TokenizerConfig
from experiments.tasks.framing import Example, Frame, collate, frame_for
from experiments.training.update import Batch
from transformer import Model
from transformer.decoding import generate
from transformer.errors import problem
from transformer.ops.losses import cross_entropy

LANGUAGES = ("de", "en")
"""Source and target of a folder: the endings of its files."""
LOCALES = ("en_US", "de", "fr", "es")
"""Of dates, unless a setting says otherwise."""
SUBWORDS = 1000
"""Tokens of the vocabulary of a folder."""
FLAG = "a folder with train.de and train.en, line by line, plain or .gz, such as Multi30k; none: dates"
FOLDER_HOLDS = "a folder with train.de and train.en (or train.de.gz and train.en.gz)"


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Token ids: (source, target) of each pair to learn from, and of each that is held out."""

    train: list[tuple[np.ndarray, np.ndarray]]
    check: list[tuple[np.ndarray, np.ndarray]]
    sides: Sides

    @property
    def vocabulary(self) -> int:
        """V."""
        return self.sides.size

    @property
    def slots(self) -> int:
        """Most tokens of an answer, its end token included."""
        return max(len(target) for _, target in self.train) + 1


def read_pairs(folder: str | None, *, locales: tuple[str, ...], examples: int, held_out: int, longest: int) -> Pairs:
    """Dates in characters, or the pairs of a folder in subwords; those longer than `longest` tokens are left out.

    Args:
        locales: of the dates.
        examples: at most, to learn from.
        held_out: at most; dates are on days that no example names.

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
    sides = Sides.fit(tokenizer, (p.source for p in splits.train), (p.target for p in splits.train))
    train = _short(_encoded(splits.train, sides), longest)[:examples]
    if not train:
        raise problem("no pair is short enough", expected=f"pairs of at most --longest={longest} tokens a side")
    slots = max(len(target) for _, target in train)
    check = [pair for pair in _short(_encoded(splits.validation, sides), longest) if len(pair[1]) <= slots][:held_out]
    if not check:
        raise problem(
            "no held-out pair is short enough", expected=f"pairs of at most --longest={longest} tokens a side"
        )
    return Pairs(train, check, sides)


def _file(folder: Path, language: str) -> str:
    """The training file of a language."""
    do = "Point --data=DIR to one; without --data, ablation takes dates."
    if not folder.is_dir():
        raise problem(f"--data {folder} is not a folder", expected=FOLDER_HOLDS, do=do)
    for name in (f"train.{language}", f"train.{language}.gz"):
        if (folder / name).exists():
            return str(folder / name)
    raise problem(f"--data {folder} holds no train.{language}", expected=FOLDER_HOLDS, do=do)


def _encoded(pairs: list[Pair], sides: Sides) -> list[tuple[np.ndarray, np.ndarray]]:
    sources, targets = (
        sides.source.encode_all([p.source for p in pairs]),
        sides.target.encode_all([p.target for p in pairs]),
    )
    return [(sources[i], targets[i]) for i in range(len(pairs))]


def _short(pairs: list[tuple[np.ndarray, np.ndarray]], longest: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [pair for pair in pairs if max(map(len, pair)) <= longest]


def posed(pairs: Pairs, part: list[tuple[np.ndarray, np.ndarray]], architecture: str) -> Mapping[str, np.ndarray]:
    """The pairs as one batch of an architecture, with a leading axis of all of them."""
    frame = frame_for(architecture)
    return _collated(frame, [frame.example(source, target, pairs.slots) for source, target in part])


def asked(pairs: Pairs, part: list[tuple[np.ndarray, np.ndarray]], architecture: str) -> Mapping[str, np.ndarray]:
    """What an architecture writes the targets from, with a leading axis of all of them."""
    frame = frame_for(architecture)
    return _collated(frame, [frame.prompt(source, pairs.slots) for source, _ in part])


def _collated(frame: Frame, examples: Sequence[Example]) -> Mapping[str, np.ndarray]:
    sizes = {key: max(np.size(e[key]) for e in examples) for key in examples[0]}
    for keys in frame.axes.values():
        there = [key for key in keys if key in sizes]
        sizes |= dict.fromkeys(there, max(sizes[key] for key in there))
    return collate(examples, sizes)


def drawn(batch: int):
    """A `Sample` of pairs; its data are what `posed` gives."""

    def sample(key: Array, data: Mapping[str, Array]) -> Batch:
        rows_B = jax.random.randint(key, (batch,), 0, data["labels"].shape[0])
        return {name: x[rows_B] for name, x in data.items()}

    return sample


def readings(model: Model, params: Any, data: Mapping[str, Array], at_once: int = 64) -> Mapping[str, Array]:
    """Of each pair, given the right answer up to each token: right_N and said_N tokens, and nats_N.

    Where all are right, so is the greedy answer, and the other way round: its tokens up to each are the right ones.
    """

    def one(batch: Mapping[str, Array]) -> Mapping[str, Array]:
        logits, labels, weights = model.apply(params, batch)["logits"], batch["labels"], batch["loss_weights"]
        nats = cross_entropy(logits, labels)
        right = (jnp.argmax(logits, axis=-1) == labels) * weights
        return {"right_N": right.sum(1), "said_N": weights.sum(1), "nats_N": (nats * weights).sum(1)}

    return _in_chunks(one, data, at_once)


def written(model: Model, params: Any, prompts: Mapping[str, Array], slots: int, at_once: int = 64) -> Array:
    """The tokens that a model writes, each the likeliest one, N M; `prompts` are what `asked` gives."""
    say = lambda batch: generate(model, params, batch, steps=slots, end=SpecialTokens.end)  # noqa: E731
    return _in_chunks(say, prompts, at_once)


def _in_chunks(function: Callable[[Batch], Any], data: Mapping[str, Array], at_once: int) -> Any:
    """The function of all rows, some at once."""
    count = len(next(iter(data.values())))
    filled = -count % at_once
    chunks = jax.tree.map(
        lambda x: jnp.concatenate([x, x[:1].repeat(filled, 0)]).reshape(-1, at_once, *x.shape[1:]), dict(data)
    )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], jax.lax.map(function, chunks))


def texts_of(pairs: Pairs, ids: Sequence[np.ndarray]) -> list[str]:
    """The targets that ids say, up to their end."""
    ends = [np.flatnonzero(row == SpecialTokens.end) for row in ids]
    return [pairs.sides.target.decode(row[: end[0]] if len(end) else row) for row, end in zip(ids, ends, strict=True)]
