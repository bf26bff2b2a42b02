"""Projections: a shared one gives both the same; models are of one size and causal; words follow the lanes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import qkv
from experiments.studies.frame.training import number_of_parameters
from experiments.studies.parts.shared_projections import KEY_VALUE, QUERY_KEY, THREE, WAYS, model_of
from tests.fixtures.lanes import arms_of, trained, words

EXPERIMENT = qkv.experiment(qkv.QkvSettings())
SHAPE = dict(heads=2, vocab_size=9, num_layers=1, width=8, feed_forward_width=40)
TOKENS = jnp.array([[3, 7, 1, 4, 8]])


def test_ways_have_as_many_parameters():
    sizes = [number_of_parameters(model_of(way, **SHAPE)) for way in WAYS]
    assert sizes == pytest.approx([sizes[0]] * 3, rel=0.01)


@pytest.mark.parametrize(("way", "copied"), [(QUERY_KEY, ("query", "key")), (KEY_VALUE, ("key", "value"))])
def test_a_shared_projection_is_three_of_which_two_are_equal(way, copied):
    model = model_of(way, **SHAPE)
    params = model.init(jax.random.key(0))
    owner, other = copied
    three = model_of(THREE, **{**SHAPE, "feed_forward_width": model.config.feed_forward_width})
    own = params["self_0"]
    expected = {**params, "self_0": {**own, other: own[owner]}}
    assert set(expected["self_0"]) == {"query", "key", "value", "output"}
    logits = model.apply(params, {"source": TOKENS})["logits"]
    np.testing.assert_allclose(logits, three.apply(expected, {"source": TOKENS})["logits"], atol=1e-6)
    after = model.apply(params, {"source": TOKENS.at[0, 3].set(0)})["logits"]
    np.testing.assert_allclose(logits[0, :3], after[0, :3], atol=1e-6)
    assert np.abs(logits[0, 4] - after[0, 4]).max() > 1e-4


def scores(three, shared, valued):
    losses = dict(zip(WAYS, (three, shared, valued), strict=True))
    return {way: {"loss": loss, "accuracy": 0.5} for way, loss in losses.items()}


def test_words_follow_the_lanes(tmp_path):
    found = words(EXPERIMENT, scores(1.8, 1.9, 1.805), tmp_path / "a")
    assert found == {1: ["holds", "no difference"], 2: ["fails", "holds"]}
    assert words(EXPERIMENT, scores(1.8, 1.7, 2.0), tmp_path / "b") == {1: ["reversed", "holds"], 2: ["holds", "fails"]}


def test_every_arm_is_asked_about_and_the_figure_is_drawn_of_those_that_are_there(tmp_path):
    assert arms_of(EXPERIMENT.questions) == set(EXPERIMENT.arms)
    every = scores(1.8, 1.9, 1.8)
    for i, some in enumerate(({}, {KEY_VALUE: every[KEY_VALUE]}, every)):
        figure = qkv.draw({"trained": trained(EXPERIMENT, some, tmp_path / str(i))})
        assert len(figure.axes[1].lines) == len(some)
