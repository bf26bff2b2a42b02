"""Recall: labels are the values of the keys; models are of one size and look back; words follow the lanes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import recall
from experiments.studies.frame.training import number_of_parameters
from experiments.studies.recall import GRU, LINEAR, MIXERS, SOFTMAX, VALUES
from tests.fixtures.lanes import arms_of, trained, words

EXPERIMENT = recall.experiment(recall.RecallSettings(pairs=(4, 16)))


def test_each_key_asks_for_the_value_that_it_came_with():
    batch = jax.tree.map(np.asarray, recall.recall(3, 5)(jax.random.key(0), None))
    for tokens, labels, weights in zip(batch["target"], batch["labels"], batch["loss_weights"], strict=True):
        pairs = dict(divmod(token - VALUES - 5, VALUES) for token in tokens[:5])
        assert sorted(pairs) == list(range(5))
        assert [pairs[token - VALUES] for token in tokens[5:]] == labels[5:].tolist()
        assert np.array_equal(weights, [0.0] * 5 + [1.0] * recall.QUERIES)


@pytest.mark.parametrize("name", MIXERS)
def test_models_have_as_many_parameters_and_look_back_alone(name):
    model = recall.model_of(name, 5, 12)
    size = number_of_parameters(recall.model_of(SOFTMAX, 5, 12))
    assert number_of_parameters(model) == pytest.approx(size, rel=0.01)
    params, tokens = model.init(jax.random.key(0)), jnp.arange(6)[None]

    def logits(tokens):
        return np.asarray(model.apply(params, {"target": tokens})["logits"][0])

    before, after = logits(tokens), logits(tokens.at[0, 3].set(9))
    np.testing.assert_allclose(before[:3], after[:3], atol=1e-6)
    assert np.abs(before[5] - after[5]).max() > 1e-4


def scores(softmax, linear, gru):
    named = {SOFTMAX: softmax, LINEAR: linear, GRU: gru}
    found = {recall.arm(n, k): x for n, row in named.items() for k, x in zip((4, 16), row, strict=True)}
    return {name: {"loss": 0.5, "accuracy": x} for name, x in found.items()}


USUAL = scores((0.98, 0.98), (0.98, 0.6), (0.98, 0.2))


def test_words_follow_the_lanes(tmp_path):
    found = words(EXPERIMENT, USUAL, tmp_path / "a")
    assert found[1] == ["holds", "holds"]
    assert found[2] == ["holds", "fails"] * 2
    assert found[3] == ["no difference", "holds"] * 2
    found = words(EXPERIMENT, scores((0.98, 0.2), (0.98, 0.98), (0.3, 0.98)), tmp_path / "b")
    assert found[1] == ["holds", "fails"]
    assert found[2] == ["holds", "holds", "fails", "holds"]
    assert found[3] == ["no difference", "reversed", "holds", "reversed"]


def test_every_arm_is_asked_about_and_the_figure_is_drawn_of_those_that_are_there(tmp_path):
    assert arms_of(EXPERIMENT.questions) == set(EXPERIMENT.arms)
    few = {recall.arm(LINEAR, 16): USUAL[recall.arm(LINEAR, 16)]}
    for i, (some, lines) in enumerate((({}, 0), (few, 1), (USUAL, 3))):
        figure = recall.draw({"trained": trained(EXPERIMENT, some, tmp_path / str(i))})
        assert len(figure.axes[0].lines) == lines + 1
