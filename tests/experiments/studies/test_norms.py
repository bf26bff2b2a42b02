"""The study of norms: batch norm as a function, and words that follow the lanes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.comparing.decision import HOLDS, NO_DIFFERENCE
from experiments.studies import norms as study
from experiments.studies.frame.claim import Case
from experiments.studies.frame.text import same
from experiments.studies.parts import batch_norm
from experiments.studies.parts.batch_norm import EPSILON, BatchNorm, averages_of
from experiments.training.update import token_sums
from tests.fixtures.lanes import words
from transformer.models.config import model_config

TINY = study.NormsSettings(length=6, vocabulary=3, width=4)
EXPERIMENT = study.experiment(study.NormsSettings())
LENGTHS = jnp.array([5, 2, 3])
ROWS = [row for row in batch_norm.NORMS.values() if row is not None]


def normalised(row, x, learn, averages=None, lengths=LENGTHS):
    _, T, D = x.shape
    scale, bias = jnp.linspace(1.0, 2.0, D), jnp.linspace(-1.0, 1.0, D)
    return row(x, scale, bias, lengths, averages or row.start(T, D), learn), scale, bias


def inputs(seed=0, mean=3.0):
    return mean + 2.0 * jax.random.normal(jax.random.key(seed), (3, 7, 4))


def test_counted_rows_have_mean_zero_and_variance_one_of_each_feature():
    (y, averages), scale, bias = normalised(BatchNorm((0, 1), padding=False), inputs(), 1.0)
    counted = ((y - bias) / scale)[jnp.arange(7) < LENGTHS[:, None]]
    assert counted.shape == (10, 4)
    np.testing.assert_allclose(counted.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(counted.var(0), 1.0, atol=1e-4)
    assert averages["mean"].shape == (4,)


def test_statistics_per_position_are_over_the_examples_that_reach_it():
    x = inputs()
    (y, averages), scale, bias = normalised(BatchNorm((0,), padding=False), x, 1.0)
    second = x[jnp.array([0, 2]), 2]  # examples longer than 2
    np.testing.assert_allclose(averages["mean"][2], second.mean(0), rtol=1e-5)
    np.testing.assert_allclose(averages["variance"][2], second.var(0), rtol=1e-4)
    np.testing.assert_allclose(averages["mean"][6], 0.0)
    assert np.array_equal(averages["variance"][6], np.ones(4))
    np.testing.assert_allclose((y[:, 6] - bias) / scale, x[:, 6] / np.sqrt(1.0 + EPSILON), rtol=1e-5)


@pytest.mark.parametrize("over", [(0, 1), (0,)])
def test_padding_moves_the_statistics_where_it_is_counted_and_only_there(over):
    x = inputs()
    other = jnp.where((jnp.arange(7) < LENGTHS[:, None])[..., None], x, 100.0)
    for padding in (False, True):
        row = BatchNorm(over, padding)
        means = [normalised(row, value, 1.0)[0][1]["mean"] for value in (x, other)]
        assert np.array_equal(*means) != padding


@pytest.mark.parametrize("row", ROWS)
def test_averages_are_an_argument_and_a_result(row):
    x = inputs()
    start = row.start(7, 4)
    (_, batch), *_ = normalised(row, x, 1.0)
    (_, after), *_ = normalised(row, x, 0.25)
    for name in start:
        np.testing.assert_allclose(after[name], 0.75 * start[name] + 0.25 * batch[name], rtol=1e-5)
    (y, same), *_ = normalised(row, x, None, after)
    assert all(np.array_equal(same[name], after[name]) for name in after)
    (alone, _), *_ = normalised(row, x[:1], None, after, LENGTHS[:1])
    np.testing.assert_allclose(alone, y[:1], rtol=1e-6)  # others no longer matter


@pytest.mark.parametrize("position", ["relative", "alibi", "rotary"])
def test_attention_reads_where_tokens_stand(position):
    config = model_config(
        {"architecture": "encoder_only", "vocab_size": 5, "width": 8, "num_heads": 2, "position": position}
    )
    model = batch_norm.normed_model(config, None)
    # A table of relative positions begins with zeros.
    params = jax.tree.map(
        lambda x: x + 0.3 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), model.init(jax.random.key(0))
    )
    tokens = jnp.array([[1, 2, 3, 4, 1, 2]])
    hidden = [model.apply(params, {"source": x})["hidden"] for x in (tokens, tokens[:, jnp.array([0, 2, 1, 4, 3, 5])])]
    assert np.abs(hidden[0][:, 0] - hidden[1][:, 0]).max() > 1e-4  # without positions the first row would be the same


def test_attention_of_the_study_reaches_no_further_than_its_window():
    model = study.trainee(TINY, batch_norm.LAYER, 4, 3).model
    params = model.init(jax.random.key(0))
    layers, reach = model.config.num_layers, study.NEAR - 1
    tokens = jnp.zeros((1, layers * reach + 2), jnp.int32)
    hidden = [model.apply(params, {"source": tokens.at[0, -1].set(token)})["hidden"] for token in (0, 1)]
    changed = np.flatnonzero(np.any(hidden[0][0] != hidden[1][0], axis=-1))
    assert changed[0] == 1  # of layers in a row, each carries it on


def test_what_to_say_instead_names_the_cases_in_which_batch_norm_is_worse():
    cases = [Case(same(name), word, same("")) for name, word in (("B = 8", HOLDS), ("B = 64", NO_DIFFERENCE))]
    assert study.where_worse(cases).en.endswith("it is worse in these cases alone: B = 8.")
    assert study.where_worse(cases[1:]).en.endswith("it is worse in none of these cases.")
    assert all("B = 8" in text for text in study.where_worse(cases))


def test_the_trivial_prediction_of_norms_counts_the_labels_of_each_sequence():
    weights = jnp.array([[0.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]])
    batch = {"labels": jnp.array([[0, 1, 1, 2], [0, 2, 2, 1]]), "loss_weights": weights}
    expected = -(2 * np.log(2 / 3) + np.log(1 / 3)) / 5  # the second sequence has one label only
    np.testing.assert_allclose(study.without_order([batch], 3), expected, rtol=1e-6)


@pytest.mark.more
@pytest.mark.parametrize("name", [name for name, row in batch_norm.NORMS.items() if row is not None])
def test_averages_are_of_all_counted_rows_however_batches_share_them(name):
    """The first norm, whose input no statistics change: few examples reach the last positions, in some batches none."""
    row, model = batch_norm.NORMS[name], study.trainee(TINY, name, 4, 3).model
    params = model.init(jax.random.key(0))
    batches = jax.vmap(study.recall(3, 6, 3), (0, None))(jax.random.split(jax.random.key(1), 5), 3)
    batches["source_lengths"] = jnp.array([[3, 4, 6], [3, 3, 3], [4, 4, 4], [6, 6, 3], [3, 4, 4]])
    whole = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batches)
    found = averages_of(model, params, batches, 9)
    (expected, *_) = model.module.apply({"params": params}, whole, learn=1.0)["averages"]
    assert len(found) == 5  # two of each layer, and the last
    for key, start in (("mean", 0.0), ("variance", 1.0)):
        one = found[0][key] if 1 in row.over else found[0][key][:6]
        np.testing.assert_allclose(one, expected[key], rtol=1e-4, atol=1e-6)
        assert 1 in row.over or np.all(found[0][key][6:] == start)


@pytest.mark.more
def test_positions_that_nobody_reaches_keep_their_start():
    model = study.trainee(TINY, batch_norm.POSITION, 4, 3).model
    batches = jax.vmap(study.recall(3, 6, 3), (0, None))(jax.random.split(jax.random.key(1), 2), 3)
    batches["source_lengths"] = jnp.full((2, 3), 4)
    found = averages_of(model, model.init(jax.random.key(0)), batches, 6)
    assert np.array_equal(found[0]["mean"][4:], np.zeros((2, 4)))
    assert np.array_equal(found[0]["variance"][4:], np.ones((2, 4)))


def test_labels_stand_some_positions_back_and_padding_has_none():
    batch = study.recall(4, 9, 5)(jax.random.key(0), 3)
    assert int(batch["source_lengths"].min()) >= 3
    for tokens, labels, weights, length in zip(
        batch["source"], batch["labels"], batch["loss_weights"], batch["source_lengths"], strict=True
    ):
        assert np.array_equal(np.flatnonzero(weights), np.arange(2, int(length)))
        assert np.array_equal(labels[2 : int(length)], tokens[: int(length) - 2])


@pytest.mark.more
def test_a_model_of_layer_norm_needs_no_other_example_and_one_of_batch_norm_does():
    batch = study.recall(4, 6, 3)(jax.random.key(0), 6)
    for name, alike in ((batch_norm.LAYER, True), (batch_norm.FEATURE, False), (batch_norm.POSITION, False)):
        model = study.trainee(TINY, name, 4, 3).model
        params = model.init(jax.random.key(1))
        whole = model.apply(params, batch)["logits"][:2]
        part = model.apply(params, jax.tree.map(lambda x: x[:2], batch))["logits"]
        assert np.allclose(whole, part, atol=1e-4) == alike
        assert np.isfinite(token_sums(model, params, batch)[0])


def test_words_follow_the_lanes(tmp_path):
    def scores(layer, feature, padded, longer):
        losses = {batch_norm.LAYER: layer, batch_norm.FEATURE: feature, batch_norm.FEATURE_PADDED: padded}
        rows = {}
        for name in EXPERIMENT.arms:
            norm = name.split(", B")[0]
            loss = losses.get(norm, feature)
            rise = longer if norm != batch_norm.LAYER else 0.0
            rows[name] = {"loss": loss, "extra": {"longer": loss + rise}}
        return rows

    worse = words(EXPERIMENT, scores(0.1, 0.5, 0.9, 1.0), tmp_path / "a")
    assert worse == {1: ["holds"] * 4, 2: ["no difference"] * 2, 3: ["holds", "no difference"], 4: ["holds"] * 2}
    better = words(EXPERIMENT, scores(0.5, 0.1, 0.1, -1.0), tmp_path / "b")
    assert better == {1: ["reversed"] * 4, 2: ["no difference"] * 2, 3: ["no difference"] * 2, 4: ["reversed"] * 2}
