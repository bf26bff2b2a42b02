import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.tokenizers.tokens import FIRST
from experiments.settings import Config
from experiments.tasks.config import TaskConfig, objective_of
from experiments.tasks.rows import ARCHITECTURES, OBJECTIVES
from tests.fixtures.tiny import V, tiny
from tests.fixtures.windows import (
    ALPHABET,
    BEGIN,
    CONTEXT,
    END,
    TRAIN,
    WINDOWS,
    documents,
    every_objective,
    hides,
    task_of,
)
from transformer import ModelConfig
from transformer.errors import UserError
from transformer.ops.losses import cross_entropy
from transformer.read_by import unread


def prepared(task, stream, seed=0):
    """Windows of a stream that are no neighbours, as a batch with a fixed draw; and the positions they are of."""
    rows = stream.rows(np.arange(WINDOWS) * (CONTEXT + 3), CONTEXT)
    return task.make_batch(stream, rows, np.random.default_rng(seed)), rows


def nats(task, batch):
    """Compute the loss of each label (nats), B T."""
    return np.asarray(cross_entropy(jnp.asarray(logits(task, batch)), jnp.asarray(batch["labels"])))


def logits(task, batch):
    model = tiny(task.settings.architecture, position="sinusoidal")
    assert task.vocab_size <= V
    return model({name: value for name, value in batch.items() if name not in ("labels", "loss_weights")})


def with_other_tokens(stream, places, seed=1):
    """The stream with another letter at these places, which the inputs show one place later."""
    places = places & (stream.labels >= FIRST)
    step = np.random.default_rng(seed).integers(1, len(ALPHABET), len(stream))
    other = (stream.labels - FIRST + step) % len(ALPHABET) + FIRST
    labels = np.where(places, other, stream.labels).astype(np.int32)
    inputs = stream.inputs.copy()
    follows = np.flatnonzero(places)
    inputs[follows + 1] = labels[follows]
    return dataclasses.replace(stream, inputs=inputs, labels=labels)


def documents_of_labels(task, batch, stream, rows):
    """The document of each label, B by its places."""
    if task.objective != "span":
        return stream.documents[rows]
    return batch["target_segments"] + stream.documents[rows][:, :1] - 1


def test_causal_labels_are_the_inputs_shifted_within_a_document():
    task = task_of("causal")
    batch, _ = prepared(task, task.stream)
    same = batch["target_segments"][:, 1:] == batch["target_segments"][:, :-1]
    assert (batch["labels"][:, :-1] == batch["target"][:, 1:])[same].all()
    assert (batch["labels"][:, :-1] == END)[~same].all()
    assert (batch["target"][:, 1:] == BEGIN)[~same].all()
    assert batch["loss_weights"].all()
    assert 0 < (~same).sum() < same.sum()


@every_objective
def test_a_documents_loss_does_not_depend_on_other_documents_in_its_window(objective):
    task = task_of(objective)
    before, rows = prepared(task, task.stream)
    whole, numbers = nats(task, before), documents_of_labels(task, before, task.stream, rows)
    moved = 0
    for document in np.unique(numbers):
        stream = with_other_tokens(task.stream, task.stream.documents != document)
        after, _ = prepared(task, stream)
        own = numbers == document
        assert (after["labels"] == before["labels"])[own].all()
        loss = nats(task, after)
        np.testing.assert_allclose(loss[own], whole[own], rtol=1e-5, atol=1e-5)
        moved += (abs(loss - whole)[~own] > 1e-3).sum()
    assert len(np.unique(numbers)) > 3
    assert moved


@every_objective
def test_without_segments_documents_in_a_window_are_seen(objective):
    task = task_of(objective, segments=False)
    before, _ = prepared(task, task.stream)
    assert not any("segments" in name for name in before)
    first = task.stream.documents == 1
    after, _ = prepared(task, with_other_tokens(task.stream, first))
    elsewhere = before["labels"] == after["labels"]
    assert (abs(nats(task, after) - nats(task, before))[elsewhere] > 1e-3).any()


@every_objective
@pytest.mark.parametrize("packed", [True, False])
def test_no_place_that_is_learned_sees_its_label(objective, packed):
    task = task_of(objective, segments=packed)
    before, rows = prepared(task, task.stream)
    whole, checked = logits(task, before), 0
    for place in range(CONTEXT):
        at = np.zeros(len(task.stream), bool)
        at[rows[:, place]] = True
        after, _ = prepared(task, with_other_tokens(task.stream, at))
        now = logits(task, after)
        changed = (after["labels"] != before["labels"]) & (before["loss_weights"] > 0)
        if objective == "masked":  # those that stay as they are, one in ten, are to be seen
            changed &= before["source"] != before["labels"]
            for b, _ in np.argwhere(changed):
                np.testing.assert_array_equal(now[b], whole[b])
        for b, j in np.argwhere(changed):
            np.testing.assert_allclose(now[b, : j + 1], whole[b, : j + 1], rtol=1e-5, atol=1e-5)
        checked += changed.sum()
    assert checked > 5


def test_prefix_places_see_both_ways_and_carry_no_loss():
    task = task_of("prefix", segments=False)
    batch, rows = prepared(task, task.stream)
    for b, length in enumerate(batch["prefix_lengths"]):
        assert 1 <= length < CONTEXT
        assert batch["loss_weights"][b].tolist() == [0.0] * (length - 1) + [1.0] * (CONTEXT - length + 1)
    last = rows[np.arange(WINDOWS), batch["prefix_lengths"] - 2]
    after, _ = prepared(task, with_other_tokens(task.stream, np.isin(np.arange(len(task.stream)), last)))
    long = batch["prefix_lengths"] > 2
    assert long.any()
    assert (abs(logits(task, after) - logits(task, batch))[long, 0].max(axis=-1) > 1e-3).all()


def test_prefix_of_an_evaluation_is_half_the_window_and_of_training_is_drawn():
    task = task_of("prefix", batch_size=2)
    drawn = {int(n) for b in itertools.islice(task.training_batches(), 60) for n in b["prefix_lengths"]}
    assert drawn == set(range(1, CONTEXT))
    (lengths,) = {tuple(b["prefix_lengths"]) for b in task.evaluation_batches(TRAIN, 2)}
    assert lengths == (CONTEXT // 2,) * 2


@given(seed=st.integers(0, 50))
def test_span_targets_start_anew_with_each_document_and_else_follow_their_labels(seed):
    task = task_of("span")
    batch, _ = prepared(task, task.stream, seed)
    fresh = np.diff(batch["target_segments"], axis=1, prepend=0) != 0
    assert (batch["target"] == BEGIN)[fresh].all()
    assert (batch["target"][:, 1:] == batch["labels"][:, :-1])[~fresh[:, 1:]].all()
    assert batch["loss_weights"].all()
    assert batch["source"].shape == (WINDOWS, task.spans.source_length)
    assert batch["labels"].shape == (WINDOWS, task.spans.target_length)
    assert batch["source"].max() < task.vocab_size


@every_objective
def test_batches_from_a_step_are_those_of_the_whole_run(objective):
    task, again = task_of(objective), task_of(objective)
    whole = list(itertools.islice(task.training_batches(), 9))
    for here, there in zip(itertools.islice(again.training_batches(4), 5), whole[4:], strict=True):
        assert set(here) == set(there)
        assert all(np.array_equal(here[name], there[name]) for name in here)
    other = next(task_of(objective, seed=1).training_batches())
    assert any(not np.array_equal(other[name], whole[0][name]) for name in other)


@pytest.mark.parametrize("objective", ["masked", "span"])
def test_training_draws_anew_what_is_hidden_when_a_window_comes_again(objective):
    task = task_of(objective, train=documents([CONTEXT + WINDOWS * CONTEXT]))
    assert len({hides(task, batch) for batch in itertools.islice(task.training_batches(), 8)}) == 8


# Settings.


def test_an_architecture_has_its_own_objective_unless_another_is_named():
    config = TaskConfig("language_modelling")
    assert [objective_of(config, a) for a in ("decoder_only", "encoder_only", "seq2seq", "rnn_seq2seq")] == [
        "causal",
        "masked",
        "span",
        "span",
    ]
    config = dataclasses.replace(config, objective="continuation")
    assert {objective_of(config, a) for a in ARCHITECTURES} == {"continuation"}


@pytest.mark.parametrize("objective", ["causal", "masked", "span"])
def test_an_objective_that_the_architecture_cannot_have_is_a_user_error_that_names_those_it_can(objective):
    able = OBJECTIVES[objective].architectures
    for architecture in set(ARCHITECTURES) - set(able):
        own = objective_of(TaskConfig("language_modelling"), architecture)
        with pytest.raises(
            UserError, match=rf"expected {own} or continuation\..*needs model.architecture {' or '.join(able)}"
        ):
            objective_of(TaskConfig("language_modelling", objective=objective), architecture)


READ = {
    ("text_to_text", None, "decoder_only"): {"bidirectional_prefix", "bleu", "metrics"},
    ("text_to_text", None, "seq2seq"): {"bleu", "metrics"},
    ("classification", None, "decoder_only"): {"metrics"},
    ("language_modelling", None, "decoder_only"): {"objective", "context", "segments", "bidirectional_prefix"},
    ("language_modelling", None, "encoder_only"): {"objective", "context", "segments", "mask_rate"},
    ("language_modelling", None, "seq2seq"): {"objective", "context", "segments", "mask_rate", "mean_span"},
    ("language_modelling", None, "rnn_seq2seq"): {"objective", "context", "segments", "mask_rate", "mean_span"},
    ("language_modelling", "continuation", "decoder_only"): {"objective", "context", "bidirectional_prefix"},
    ("language_modelling", "continuation", "encoder_only"): {"objective", "context"},
}


@pytest.mark.parametrize(("name", "objective", "architecture"), READ)
def test_settings_that_a_task_does_not_read_have_an_error_that_names_its_readers(name, objective, architecture):
    every = {f"task.{field.name}" for field in dataclasses.fields(TaskConfig)} - {"task.name"}
    config = Config(task=TaskConfig(name, objective=objective), model=ModelConfig(architecture=architecture))
    errors = {setting: found.error("x") for setting, found in unread(config).items() if setting in every}
    assert set(errors) == every - {f"task.{setting}" for setting in READ[name, objective, architecture]}
    for setting, error in errors.items():
        assert isinstance(error, UserError)
        assert f"{setting} is not read by task {name!r}" in str(error)
        assert f"architecture {architecture!r}; got 'x'; expected it only with " in str(error)
    if "task.mean_span" in errors:
        assert "only with objective span" in str(errors["task.mean_span"])
