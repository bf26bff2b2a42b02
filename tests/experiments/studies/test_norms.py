"""The study of norms: batch norm as a function, and verdicts that follow the numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import norms as study
from experiments.studies.parts import batch_norm
from experiments.studies.parts.batch_norm import EPSILON, BatchNorm, averages_of
from experiments.studies.table import STUDIES
from experiments.training.update import token_sums

TINY = study.NormsSettings(length=6, shortest=(1.0, 0.5), longer=(1.5,), vocabulary=3, width=4, batch=3, steps=2)
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


@pytest.mark.more
@pytest.mark.parametrize("name", [name for name, row in batch_norm.NORMS.items() if row is not None])
def test_averages_are_of_all_counted_rows_however_batches_share_them(name):
    """The first norm, whose input no statistics change: few examples reach the last positions, in some batches none."""
    row, model = batch_norm.NORMS[name], study.model_of(TINY, name)
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
    model = study.model_of(TINY, batch_norm.POSITION)
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
        model = study.model_of(TINY, name)
        params = model.init(jax.random.key(1))
        whole = model.apply(params, batch)["logits"][:2]
        part = model.apply(params, jax.tree.map(lambda x: x[:2], batch))["logits"]
        assert np.allclose(whole, part, atol=1e-4) == alike
        assert np.isfinite(token_sums(model, params, batch)[0])


@pytest.mark.more
def test_statistics_over_positions_let_the_future_in_and_averages_do_not():
    found = {name: study.leak(TINY, name) for name in (batch_norm.LAYER, batch_norm.FEATURE, batch_norm.POSITION)}
    feature, position, layer = found[batch_norm.FEATURE], found[batch_norm.POSITION], found[batch_norm.LAYER]
    assert np.all(feature["learning_future_R"] > 1e-3)
    for row in found.values():
        assert np.all(row["using_future_R"] == 0.0)
        assert np.all(row["using_others_R"] == 0.0)
    assert np.all(position["learning_future_R"] == 0.0)
    assert np.all(position["learning_others_R"] > 1e-3)
    assert np.all(layer["learning_others_R"] == 0.0)
    assert np.all(np.diagonal(layer["learning_RTT"], axis1=1, axis2=2) > 0.0)


@pytest.mark.more
def test_a_tiny_training_gives_a_loss_for_each_seed_and_length():
    found = study.trained(TINY, batch_norm.POSITION_PADDED, 0.5)
    assert found["loss"].shape == (3,)
    assert found["longer"].shape == (1, 3)
    assert np.all(np.isfinite(found["loss"]))
    assert np.all(found["longer"] > 0.0)


def numbers(batch=0.5, counted=0.6, beyond=3.0, leak=0.5, at_full=0.1):
    seeds = np.array([-0.001, 0.0, 0.001])
    last = {batch_norm.LAYER: 0.1, batch_norm.FEATURE: batch, batch_norm.POSITION: batch}
    rows, leaks = {}, {}
    for i, name in enumerate(batch_norm.NORMS):
        final = last.get(name, counted + 0.01 * i) + seeds * (1 + i)
        rise = beyond if name != batch_norm.LAYER else 1.0
        rows[name] = {
            "loss_SR": np.stack([at_full + seeds * (1 + i), final]),
            "longer_SER": np.stack([final] * 2)[:, None],
        }
        rows[name]["longer_SER"] = rows[name]["longer_SER"] + rise
        future = np.full(3, leak if name == batch_norm.FEATURE else 0.0)
        leaks[name] = {"learning_future_R": future, "using_future_R": np.zeros(3), "learning_others_R": np.ones(3)}
        leaks[name]["learning_RTT"] = np.ones((3, 4, 4))
    return {"length": 8, "shortest": [8, 2], "longer": [16], "trained": rows, "leaks": leaks}


def test_verdicts_follow_the_numbers():
    def found(**changed):
        return [c.verdict for c in study.judge(numbers(**changed))]

    assert found()[:3] == ["holds if lengths are 2 to 8", "holds", "holds"]
    assert found()[3:] == ["holds", "holds if it is per feature and learning"]
    assert found(batch=0.05)[0] == "differs"
    padded = f"{batch_norm.FEATURE_PADDED} or {batch_norm.POSITION_PADDED}".replace("batch, ", "")
    assert found(batch=0.05)[1] == f"holds if it is {padded}"
    assert found(batch=0.5, at_full=0.1, counted=0.4)[2] == "differs"
    assert found(beyond=0.5)[3] == "differs"
    assert found(leak=0.0)[4] == "differs"
    assert study.draw(numbers()).axes


def test_the_study_is_in_the_table():
    assert STUDIES["norms"] is study.NORMS_STUDY
