"""Text for studies, as bytes: the user's own file or folder, or the source code of Python's standard library."""

import functools
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import UInt8

from experiments.data.sources.source_code import split_library
from experiments.studies.frame.experiment import CHOICE, LOSS, TEST, Baseline, Trainee, held_out_batches
from experiments.studies.frame.text import Text
from experiments.studies.frame.training import Sample
from experiments.training.update import Batch
from transformer import Model
from transformer.errors import problem

VOCABULARY, WINDOW = 256, 64
"""Values of a byte, and bytes of a training window."""
FLAG = "text file, or folder whose .txt files are read; none: Python's standard library"
"""Meaning of the setting `text`."""
HELD_OUT_BATCH, BATCHES = 32, 16
"""Windows of a held-out batch, and number of batches."""
HELD_OUT = 0.05
"""Share of a user's text that is held out: its end."""


@functools.cache
def corpus(path: str | None) -> tuple[UInt8[np.ndarray, "n"], UInt8[np.ndarray, "m"]]:
    """Read the text: (train, held out), bytes.

    Raises:
        UserError: there is no text at the path.
    """
    if path is None:
        splits = split_library(Path(sysconfig.get_path("stdlib")), seed=0)
        return tuple(_bytes("\n".join(d.text for d in part)) for part in (splits.train, splits.validation))
    here, do = Path(path), "Point --text=PATH to a text file or a folder of .txt files, or leave it out."
    if not here.exists():
        raise problem(f"--text {path} does not exist", expected="a text file, or a folder with .txt files", do=do)
    files = sorted(here.rglob("*.txt")) if here.is_dir() else [here]
    text = b"\n".join(file.read_bytes() for file in files)
    if len(text) < 10_000:
        found = f"{len(text)} bytes in {len(files)} files"
        raise problem(f"--text {path} holds too little text", got=found, expected="10,000 bytes or more", do=do)
    cut = round(len(text) * (1.0 - HELD_OUT))
    return tuple(np.frombuffer(part, np.uint8) for part in (text[:cut], text[cut:]))


def windows(batch: int, length: int, side: str = "target") -> Sample:
    """Return a sampler of windows at random offsets: each byte is the label of those before it in the window."""

    def sample(key: Array, text: Array) -> Batch:
        starts_B1 = jax.random.randint(key, (batch, 1), 0, text.shape[0] - length, jnp.int32)
        tokens = text[starts_B1 + jnp.arange(length + 1)].astype(jnp.int32)
        return {
            side: tokens[:, :-1],
            "labels": tokens[:, 1:],
            "loss_weights": jnp.ones((batch, length), jnp.float32),
        }

    return sample


@functools.cache
def counts_of(path: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the bytes, pairs and triples of the text to learn from."""
    text = corpus(path)[0].astype(np.int64)
    pairs = VOCABULARY * text[:-1] + text[1:]
    triples = VOCABULARY * pairs[:-1] + text[2:]
    return tuple(np.bincount(x, minlength=VOCABULARY**n) for n, x in enumerate((text, pairs, triples), start=1))


def trigram_loss(path: str | None, batches: Sequence[Mapping[str, Any]], side: str) -> float:
    """Compute the nats per byte of counted trigrams, with as much context as a window has.

    The share of a context is mixed with that of the next shorter one: p(c | ab) = (n(abc) + p(c | b)) / (n(ab) + 1).
    """
    singles, pairs, triples = counts_of(path)
    share = (singles + 1.0) / (singles.sum() + VOCABULARY)
    nats, count = 0.0, 0
    for batch in batches:
        bytes_BT, labels_BT = (np.asarray(batch[name]).astype(np.int64) for name in (side, "labels"))
        before = VOCABULARY * bytes_BT + labels_BT
        two = (pairs[before] + share[labels_BT]) / (singles[bytes_BT] + 1.0)
        context = VOCABULARY * bytes_BT[:, :-1] + bytes_BT[:, 1:]
        three = (triples[VOCABULARY * context + labels_BT[:, 1:]] + two[:, 1:]) / (pairs[context] + 1.0)
        nats -= float(np.log(two[:, 0]).sum() + np.log(three).sum())
        count += labels_BT.size
    return nats / count


def trainee(
    model: Model, settings: Any, *, side: str = "target", length: int = WINDOW, task: Mapping[str, Any] | None = None
) -> Trainee:
    """Make what a language model is trained on: windows of `settings.text`, held-out ones, and counted trigrams.

    Args:
        settings: settings of a study with `text` and `batch`.
        side: input of the model, "target" or "source".
        length: bytes of a window.
        task: further settings that may change the result.
    """
    learn, check = (jnp.asarray(part) for part in corpus(settings.text))
    windows_of = windows(HELD_OUT_BATCH, length, side)
    choice, test = (held_out_batches(windows_of, check, count=BATCHES, stream=stream) for stream in (CHOICE, TEST))
    best = trigram_loss(settings.text, test, side)
    return Trainee(
        model,
        windows(settings.batch, length, side),
        learn,
        choice,
        test,
        settings={"batch": settings.batch, "length": length, "task": dict(task or {})},
        baselines={LOSS: Baseline(best, Text("counted trigrams", "三元组计数"))},
    )


def _bytes(text: str) -> np.ndarray:
    """Encode a text as bytes."""
    return np.frombuffer(text.encode(), np.uint8)
