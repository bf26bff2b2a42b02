"""Every task on every architecture: set up from files, 20 updates, an evaluation, and answers without the data."""

import dataclasses
import json
import math
from typing import Any

import jax
import numpy as np
import pytest

from experiments.costs.summary import costs_of
from experiments.settings import defaults, resolve
from experiments.training.evaluation import Evaluation
from experiments.training.experiment import Experiment, RunData, set_up
from tests.fixtures.speeds import more

ARCHITECTURES = ("encoder_only", "decoder_only", "seq2seq", "rnn_seq2seq")
TASKS = {
    "text_to_text": ("text_to_text", {}),
    "language_modelling": ("language_modelling", {"context": 16, "mask_rate": 0.3}),
    "continuation": ("language_modelling", {"context": 16, "objective": "continuation"}),
    "classification": ("classification", {}),
}
CELLS = [(task, architecture, False) for task in TASKS for architecture in ARCHITECTURES]
CELLS += [("text_to_text", "decoder_only", True), ("language_modelling", "decoder_only", True)]
CORE = [
    ("text_to_text", "decoder_only", True),
    ("language_modelling", "encoder_only", False),
    ("continuation", "seq2seq", False),
    ("classification", "rnn_seq2seq", False),
]
"""Cells of `make test`: each task and each architecture once, and one prefix that attends both ways."""

STEPS = 20
FALL = 0.8
"""The mean loss of the last three steps is at most this share of the first one's."""

WORDS = ("aab", "bcc", "dda", "cb")


def text(i):
    return " ".join(WORDS[(i * k + k) % 4] for k in range(1, 2 + i % 4))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Task -> a file of its kind of data."""
    folder = tmp_path_factory.mktemp("cells")
    pairs = "".join(f"{text(i)}\t{text(i)[:3]}\n" for i in range(90))
    labels = "".join(f"{('few', 'many')[i % 4 > 1]}\t{text(i)}\n" for i in range(90))
    texts = "".join(json.dumps({"text": text(i) + " " + text(i + 1)}) + "\n" for i in range(90))
    found = {}
    for name, ending, content in (("pairs", "tsv", pairs), ("labels", "tsv", labels), ("texts", "jsonl", texts)):
        found[name] = folder / f"{name}.{ending}"
        found[name].write_text(content)
    return {
        "text_to_text": found["pairs"],
        "classification": found["labels"],
        "language_modelling": found["texts"],
        "continuation": found["texts"],
    }


@dataclasses.dataclass(frozen=True)
class Trained:
    """One cell after its updates."""

    experiment: Experiment
    params: Any
    losses: list[float]
    evaluation: Evaluation


@pytest.fixture(
    scope="module",
    params=[cell if cell in CORE else more(cell) for cell in CELLS],
    ids=lambda cell: "-".join(cell[:2]) + "-prefix" * cell[2],
)
def trained(request, files):
    task, architecture, prefix = request.param
    name, settings = TASKS[task]
    recipe = defaults(task=name, data="files")
    recipe.model.update(architecture=architecture, num_layers=1, width=12, num_heads=3)
    recipe.task.update(**settings, bidirectional_prefix=prefix)
    recipe.data.update(path=str(files[task]), num_buckets=1)
    recipe.optimizer.update(learning_rate=0.03, warmup_steps=2)
    recipe.training.update(steps=STEPS, batch_size=16)
    config, _ = resolve(recipe)
    experiment = set_up(config)
    h, update = experiment.hyperparameters, experiment.update()
    state, losses, batches = experiment.initial_state(h), [], experiment.task.training_batches()
    for _ in range(STEPS):
        state, metrics = update(state, next(batches), h)
        losses.append(float(metrics["loss"]))
    assert config.task.bidirectional_prefix == prefix
    evaluation = Evaluation(experiment.model, experiment.task, experiment.config.decoding)
    return Trained(experiment, state.params, losses, evaluation)


def test_the_loss_falls_within_twenty_steps(trained):
    assert np.mean(trained.losses[-3:]) < FALL * trained.losses[0]
    assert trained.losses[0] < 2 * math.log(trained.experiment.model.config.vocab_size)


def test_operations_of_an_example_are_more_than_a_pass_of_its_parameters(trained):
    experiment = trained.experiment
    batch = next(experiment.task.training_batches())
    D, V = experiment.model.config.width, experiment.model.config.vocab_size
    rows = max(x.shape[1] for x in batch.values() if x.ndim == 2)
    layer = 4 * D * D + 8 * D * D
    said = rows * layer if experiment.task.classes else rows * layer + batch["labels"].shape[1] * D * V
    count = costs_of(experiment).operations
    assert 3 * said < count < 30 * said  # a step is about three passes, each two operations a weight


def test_scores_have_the_names_of_the_tasks_metrics_and_are_finite(trained):
    task = trained.experiment.task
    scores = trained.evaluation.score(trained.params, task.splits.validation)
    assert set(scores) == set(task.metrics)
    assert all(math.isfinite(value) for value in scores.values())
    assert scores[task.names["loss"]] < trained.losses[0]
    assert set(task.named({"loss": 1.0})) <= set(task.metrics)
    assert next(iter(task.metrics)) == trained.experiment.config.training.output.best


def test_reopened_without_data_it_says_the_same(trained):
    experiment, evaluation = trained.experiment, trained.evaluation
    facts = json.loads(json.dumps(experiment.task.metadata))
    again = set_up(experiment.config, RunData(experiment.task.tokenizers, facts), read_data=False)
    assert again.model == experiment.model
    assert again.config == experiment.config
    kept = ("max_answer_length", "end", "fixed_answer_length", "classes", "vocab_size", "metrics")
    assert [getattr(again.task, name) for name in kept] == [getattr(experiment.task, name) for name in kept]
    assert again.task.max_sequence_length() == experiment.task.max_sequence_length()
    gap = experiment.task.names["loss"] in ("masked_loss", "span_loss")
    texts = [("a<mask>b" if gap else text(i)) for i in range(len(experiment.task.splits.validation))]
    say = evaluation.answers if experiment.task.classes is None else evaluation.probabilities
    first = say(trained.params, texts)
    evaluation.task = again.task
    try:
        np.testing.assert_array_equal(say(trained.params, texts), first)
    finally:
        evaluation.task = experiment.task
    if experiment.task.classes is None:
        words = {again.task.answer(asked, again.task.up_to_end(row)) for asked, row in zip(texts, first, strict=True)}
        assert all(isinstance(word, str) for word in words)
        assert "<" not in "".join(words)
    else:
        np.testing.assert_allclose(first.sum(axis=1), 1.0, rtol=1e-6)
        assert first.shape == (len(texts), len(again.task.classes))


def test_parameters_are_finite(trained):
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained.params))
