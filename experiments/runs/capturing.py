"""Activations of a trained model while it reads texts, with the tokens that label their axes.

    name                              axes of the array
    decoder.*.cross.weights, .scores  L N T S     queries of the target, keys of the source
    decoder.*.self.weights            L N T S     both of the target; of an encoder both of the source
    decoder.*.self.query, .head       L T N H     one for each query
    decoder.*.self.key, .value        L S K H     one for each key
    decoder.*.residual, .output       L T D
    decoder.*.feed_forward.hidden     L T F

T and S are cut to the tokens of each text, so padding is in none of them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from experiments.runs.trained import TrainedExperiment
from experiments.tasks.collating import Example, collate
from experiments.tasks.task import Task
from transformer import build
from transformer.models.sites import of_layers
from transformer.nn.names import Name, parse_name


class Activation(NamedTuple):
    """An activation of one text."""

    array: np.ndarray
    """The values, float32."""
    axes: str
    """The letter of each axis, such as LNTS: layers, heads, queries, keys."""
    tokens: dict[str, tuple[str, ...]]
    """T, S -> a label for each position on this axis, for the axes that the array has."""


def capture(run: TrainedExperiment, texts: Sequence[str], names: Sequence[str]) -> list[dict[str, Activation]]:
    """Compute activations while the model reads each text and, where it writes answers, its own answer.

    Args:
        names: as for `Model.apply`.

    Returns:
        For each text: name -> activation.

    Raises:
        UserError: an unknown activation.
    """
    experiment, task = run.experiment, run.experiment.task
    sites = of_layers(experiment.model.config)
    parsed = {name: parse_name(name, sites) for name in names}
    if not texts:
        return []
    plain = build(dataclasses.replace(experiment.model.config, kernels="plain"))  # fused ones do not compute weights
    answers = run.answers(texts) if task.classes is None else [np.zeros(0, np.int32)] * len(texts)
    examples = [task.attention_view(text, ids).batch for text, ids in zip(texts, answers, strict=True)]
    apply = jax.jit(lambda params, batch: plain.apply(params, batch, capture=tuple(names))["captured"])
    captured = {name: np.asarray(x, np.float32) for name, x in apply(run.params, _batch(examples)).items()}
    found = []
    for i, example in enumerate(examples):
        sides = {name: tokens_of(task, example[name]) for name in ("source", "target") if name in example}
        found.append({name: _activation(captured[name][:, i], parsed[name], sides) for name in names})
    return found


def tokens_of(task: Task, ids: np.ndarray) -> tuple[str, ...]:
    """Return a label for each id that the model reads, of the source's tokenizer or of the target's."""
    pair = task.tokenizers
    both = zip(ids, task.token_labels(ids, pair.source), task.token_labels(ids, pair.target), strict=True)
    return tuple(source if i < pair.source.size else target for i, source, target in both)


def _batch(examples: Sequence[Example]) -> dict[str, np.ndarray]:
    """Collate what the model reads of each text, with the lengths."""
    sides = [name for name in ("source", "target") if name in examples[0]]
    whole = [{**example, **{f"{side}_lengths": len(example[side]) for side in sides}} for example in examples]
    return collate(whole, {side: max(len(example[side]) for example in examples) for side in sides})


def _activation(array: np.ndarray, name: Name, sides: Mapping[str, tuple[str, ...]]) -> Activation:
    """Cut an array of one text to the text's tokens."""
    own = "source" if name.stack == "encoder" else "target"
    keys = "source" if name.site.startswith("cross.") else own
    tokens = {"T": sides[own], "S": sides[keys]}
    axes = "L" + name.axes.replace("B", "").replace(" ", "")
    cut = tuple(slice(len(tokens[axis])) if axis in tokens else slice(None) for axis in axes)
    return Activation(array[cut], axes, {axis: tokens[axis] for axis in axes if axis in tokens})
