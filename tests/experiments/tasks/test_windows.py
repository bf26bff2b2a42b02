"""Windows of a text in evaluation: every token counts once, and how many there are."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.examples import Document
from experiments.settings import defaults, resolve
from experiments.training.early_stopping import EarlyStopping
from experiments.training.experiment import RunData, set_up
from tests.fixtures.windows import (
    ALPHABET,
    CONTEXT,
    END,
    OF,
    TRAIN,
    documents,
    every_objective,
    hides,
    task_of,
)
from transformer.errors import UserError


@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=6), batch_size=st.integers(1, 5))
def test_causal_evaluation_predicts_every_token_and_every_end_once(lengths, batch_size):
    task, examples = task_of("causal"), documents(lengths)
    batches = list(task.evaluation_batches(examples, batch_size))
    predicted = np.concatenate([b["labels"][b["loss_weights"] > 0] for b in batches])
    expected = [t for d in examples for t in [*task.tokenizers.source.encode(d.text), END]]
    assert predicted.tolist() == expected
    assert sum(b["loss_weights"].sum() for b in batches) == sum(lengths) + len(lengths)
    assert len({b["labels"].shape for b in batches}) == 1
    for batch in batches:
        inside = np.arange(CONTEXT) < batch["target_lengths"][:, None]
        assert (batch["loss_weights"] == inside * batch["example_weights"][:, None]).all()


@every_objective
def test_evaluation_is_the_same_at_every_call_and_in_every_run(objective):
    task, other = task_of(objective, validation=TRAIN), task_of(objective, seed=5, train=TRAIN[3:])
    first, second, third = (list(t.evaluation_batches(TRAIN, 4)) for t in (task, task, other))
    for here, there, elsewhere in zip(first, second, third, strict=True):
        for name in here:
            np.testing.assert_array_equal(here[name], there[name])
            np.testing.assert_array_equal(here[name], elsewhere[name])


@every_objective
def test_how_windows_are_batched_changes_no_evaluation(objective):
    task, text = task_of(objective), documents([7 * CONTEXT + 4])
    found = []
    for size in (1, 3, 8):
        batches = list(task.evaluation_batches(text, size))
        whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        kept = whole["example_weights"] > 0
        found.append({name: value[kept] for name, value in whole.items()})
        assert len(batches[0]["labels"]) == size
    assert len(found[0]["labels"]) == 8
    for other in found[1:]:
        for name in found[0]:
            np.testing.assert_array_equal(other[name], found[0][name])


@pytest.mark.parametrize("objective", ["masked", "span"])
def test_what_evaluation_hides_is_not_what_training_hides(objective):
    text = documents([CONTEXT * 16 - 1])
    task = task_of(objective, train=text, batch_size=4, seed=0)
    evaluated = {hides(task, batch) for batch in task.evaluation_batches(text, 4)}
    assert len(evaluated) == 4
    assert not evaluated & {hides(task, batch) for batch in itertools.islice(task.training_batches(), 20)}


@pytest.mark.parametrize("objective", ["prefix", "masked", "span"])
def test_evaluation_weighs_nothing_behind_the_text(objective):
    task = task_of(objective, mask_rate=0.9) if objective != "prefix" else task_of(objective)
    short = documents([2 * CONTEXT + 4])
    batches = list(task.evaluation_batches(short, 4))
    weights = np.concatenate([b["loss_weights"] for b in batches])
    assert weights[3:].sum() == 0
    assert (weights[:3].sum(axis=1) > 0).all() or objective == "prefix"
    if objective != "span":
        assert weights[2, 5:].sum() == 0


def test_evaluation_of_span_reads_a_whole_last_window():
    task = task_of("span")
    text = documents([2 * CONTEXT + 4])
    (batch,) = task.evaluation_batches(text, 4)
    labels = task.stream.of(task.tokenizers.source.encode_all([text[0].text])).labels
    for row in range(3):
        start = min(row * CONTEXT, len(labels) - CONTEXT)
        window = labels[start : start + CONTEXT].tolist()
        spoken = [t for t in batch["labels"][row].tolist()[:-1] if t < task.tokenizers.size]
        left = [t for t in batch["source"][row].tolist()[:-1] if t < task.tokenizers.size]
        assert sorted(spoken + left) == sorted(window)


def test_evaluation_of_span_counts_no_token_of_its_last_window_twice():
    task, text = task_of("span", mask_rate=0.7), [Document(ALPHABET)]  # each letter once: it determines its position
    (batch,) = task.evaluation_batches(text, 4)
    ids = task.tokenizers.source.encode(ALPHABET).tolist()
    counted = 0
    for label, weight in zip(batch["labels"][1].tolist(), batch["loss_weights"][1].tolist(), strict=True):
        if label in ids:
            assert weight == (ids.index(label) >= CONTEXT)
            counted += weight
    assert 0 < counted <= len(ALPHABET) - CONTEXT
    assert batch["loss_weights"][0].all()
    assert set(batch) <= {*next(task.training_batches()), "example_weights"}


def test_held_out_text_shorter_than_a_window_is_refused_for_spans_alone():
    short = documents([4, CONTEXT - 7])
    for objective in ("causal", "prefix", "masked"):
        assert len(list(task_of(objective, validation=short).evaluation_batches(short))) == 1
    with pytest.raises(UserError, match=r"validation documents together.*got 11 tokens.*at least task.context = 12"):
        task_of("span", validation=short)
    assert task_of("span", validation=documents([4, CONTEXT - 6]))
    with pytest.raises(UserError, match=r"given documents together.*got 11 tokens"):
        list(task_of("span").evaluation_batches(short))


def test_no_text_gives_no_batches():
    for objective in OF:
        assert list(task_of(objective).evaluation_batches([])) == []


def test_names_of_metrics_differ_between_objectives():
    tasks = [task_of(objective) for objective in OF]
    tasks += [task_of("continuation", architecture="seq2seq")]
    names = [name for task in tasks for name in task.metrics]
    assert len(set(names)) == len(names)
    assert "causal_bits_per_byte" in names
    assert "masked_bits_per_byte" not in names  # the hidden tokens are not all of the text
    totals = {"nats": 60.0, "correct": 5.0, "tokens": 20.0, "bytes": 40.0}
    for task in tasks:
        scores = task.scores(totals)
        assert set(scores) == set(task.metrics) == set(task.names.values())
        assert scores[task.names["loss"]] == 3.0
        assert scores[task.names["perplexity"]] == pytest.approx(np.exp(3.0))
    assert tasks[0].scores(totals)["causal_bits_per_byte"] == pytest.approx(60 / 40 / np.log(2))


def test_scores_without_a_label_are_no_numbers_and_never_the_best():
    for objective in OF:
        task = task_of(objective)
        scores = task.scores(dict.fromkeys(("nats", "correct", "tokens", "bytes"), 0.0))
        assert set(scores) == set(task.metrics)
        for name, metric in task.metrics.items():
            assert np.isnan(scores[name])
            assert EarlyStopping(name).after(1, scores[name], metric.mode, None).best is None


@pytest.mark.parametrize(("objective", "architecture"), [*((name, None) for name in OF), ("continuation", "seq2seq")])
def test_lines_count_windows_where_windows_are_learned_from(objective, architecture):
    task, held_out = task_of(objective, architecture=architecture), documents([29, 3, 14])
    batches = list(task.evaluation_batches(held_out))
    assert task.unit == "windows"
    assert task.size(held_out) == sum((batch["example_weights"] > 0).sum() for batch in batches)
    assert task.training_size == (task.plan.windows_per_epoch if objective in OF else len(task.ids)) > 3
    assert task.size([]) == 0


def test_windows_are_counted_by_tokens_where_the_batch_is():
    (shape,) = task_of("causal", batch_tokens=CONTEXT * 2 + 5).plan.shapes
    assert shape == (2, CONTEXT)


def test_a_window_longer_than_the_models_limit_is_a_user_error():
    task_of("causal", limit=CONTEXT)
    with pytest.raises(UserError, match=r"task.context.*got 12; expected at most model.max_length = 11"):
        task_of("causal", limit=CONTEXT - 1)
    longest = task_of("span").max_sequence_length()
    assert longest < CONTEXT
    task_of("span", limit=longest)
    with pytest.raises(UserError, match=rf"got {longest}; expected at most model.max_length = {longest - 1}"):
        task_of("span", limit=longest - 1)


@pytest.mark.parametrize("architecture", ["encoder_only", "decoder_only", "seq2seq"])
@pytest.mark.parametrize("objective", [None, "continuation"])
def test_a_run_with_learned_positions_is_set_up_again_from_its_stored_config(objective, architecture, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{document.text}\n" for document in documents([29] * 40)))
    recipe = defaults(task="language_modelling", data="files")
    recipe.model.update(architecture=architecture, num_layers=1, width=12, num_heads=3, position="learned")
    recipe.task.update(context=24, objective=objective)
    recipe.data.update(path=str(path))
    recipe.training.update(batch_size=3)
    config, _ = resolve(recipe)
    first = set_up(config)
    again = set_up(first.config, RunData(first.task.tokenizers, first.task.metadata))
    assert (again.config, again.task.metadata) == (first.config, first.task.metadata)
    if architecture == "seq2seq":
        assert first.config.model.max_length < 24


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@every_objective
def test_longest_covers_every_sequence_of_the_batches(objective, rate):
    task = task_of(objective, **({"mask_rate": rate} if objective in ("masked", "span") else {}))
    batch = next(task.training_batches())
    longest = max(value.shape[1] for value in batch.values() if value.ndim == 2)
    assert longest == task.max_sequence_length()
