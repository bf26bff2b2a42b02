"""How a batch of windows is posed for each objective of language modelling; see `language_modelling`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.data.streams import Stream
from experiments.data.tokens import SpecialTokens
from experiments.tasks.corruption import mask_tokens
from experiments.tasks.task import Batch


def _segments(task: Any, stream: Stream, rows: np.ndarray, side: str) -> Batch:
    packed = task.posing.config.segments and stream.documents[-1] > 1
    return {f"{side}_segments": stream.segments(rows)} if packed else {}


def causal(task: Any, stream: Stream, rows: np.ndarray, rng: np.random.Generator, *, evaluating: bool = False) -> Batch:
    """Each token from those before it in its document."""
    return {
        "target": stream.inputs[rows],
        "labels": stream.labels[rows],
        "loss_weights": np.ones(rows.shape, np.float32),
        **_segments(task, stream, rows, "target"),
    }


def prefix(task: Any, stream: Stream, rows: np.ndarray, rng: np.random.Generator, *, evaluating: bool = False) -> Batch:
    """Causal, behind a prefix whose tokens see each other and are not learned; half of the window in evaluations."""
    B, T = rows.shape
    lengths = np.full(B, T // 2) if evaluating else rng.integers(1, T, B)
    batch = causal(task, stream, rows, rng)
    # The last place of the prefix says the first token behind it.
    batch["loss_weights"] *= np.arange(T) >= lengths[:, None] - 1
    return {**batch, "prefix_lengths": lengths.astype(np.int32)}


def masked(task: Any, stream: Stream, rows: np.ndarray, rng: np.random.Generator, *, evaluating: bool = False) -> Batch:
    """Hidden tokens from those around them."""
    labels = stream.labels[rows]
    source, weights = mask_tokens(labels, task.posing.config.mask_rate, task.sides.size, rng)
    return {"source": source, "labels": labels, "loss_weights": weights, **_segments(task, stream, rows, "source")}


def span(task: Any, stream: Stream, rows: np.ndarray, rng: np.random.Generator, *, evaluating: bool = False) -> Batch:
    """Hidden spans from what is left. A segment's first input is <begin>, so that it sees nothing of the one before.

    In evaluations `label_places` says where in the window each label is from.
    """
    spans = task.spans
    hidden = spans.draw(len(rows), rng)
    source, labels, source_at, label_at = spans.corrupt(stream.labels[rows], hidden, task.sides.size)
    target = np.pad(labels, ((0, 0), (1, 0)), constant_values=SpecialTokens.begin)[:, :-1]
    batch = {"source": source, "labels": labels, "loss_weights": np.ones(labels.shape, np.float32)}
    batch |= {"label_places": label_at} if evaluating else {}
    segments = _segments(task, stream, rows, "source")
    if not segments:
        return {**batch, "target": target}
    of_window = segments["source_segments"]
    source_segments = np.take_along_axis(of_window, source_at, axis=1)
    target_segments = np.take_along_axis(of_window, label_at, axis=1)
    fresh = np.diff(target_segments, axis=1, prepend=0) != 0
    return {
        **batch,
        "target": np.where(fresh, SpecialTokens.begin, target).astype(np.int32),
        "source_segments": source_segments,
        "target_segments": target_segments,
    }


POSED: dict[str, Callable[..., Batch]] = {"causal": causal, "prefix": prefix, "masked": masked, "span": span}
"""Objective -> function (task, stream, places B T, rng) -> batch; pure but for the generator."""
