"""Text for studies, as bytes: the user's own file or folder, or the source code of Python's standard library."""

import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8

from experiments.data.sources.source_code import split_library
from experiments.studies.frame.training import Sample, held_out, scores, train_lanes
from experiments.training.update import Batch
from transformer import Model
from transformer.errors import problem

VOCABULARY, WINDOW = 256, 64
"""Values of a byte, and bytes of a training window."""
FLAG = "text file, or folder whose .txt files are read; none: Python's standard library"
"""Meaning of the setting `text`."""
HELD_OUT = 0.05
"""Share of a user's text that is held out: its end."""


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


def held_out_loss(
    model: Model, parts: Sequence[np.ndarray], *, batch: int, side: str = "target", **options: Any
) -> Float[np.ndarray, "A R"]:
    """Train a model on windows of 64 bytes: nats per byte on held-out text, at each rate and seed.

    Args:
        parts: the two texts of `corpus`.
        batch: windows per update.
        side: input of the model, "target" or "source".
        options: options of `train_lanes`.
    """
    learn, check = map(jnp.asarray, parts)
    trained = train_lanes(model, windows(batch, WINDOW, side), learn, **options)
    return scores(model, trained, held_out(windows(64, WINDOW, side), check, 4))["loss"]


def _bytes(text: str) -> np.ndarray:
    """Encode a text as bytes."""
    return np.frombuffer(text.encode(), np.uint8)
