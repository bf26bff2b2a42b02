"""Induction: copies are found by content; words follow the lanes; a head's matching is its weight."""

import jax
import jax.numpy as jnp
import numpy as np

import transformer
from experiments.studies import induction
from experiments.studies.induction import ONE, TWO
from tests.fixtures.lanes import trained, words

EXPERIMENT = induction.experiment(induction.InductionSettings())


def test_labels_from_the_second_copy_on_follow_the_last_occurrence_of_the_token():
    batch = jax.tree.map(np.asarray, induction.repeated(5, 20, 8)(jax.random.key(0), None))
    periods = set()
    for tokens, labels, weights in zip(batch["target"], batch["labels"], batch["loss_weights"], strict=True):
        period = int(20 - weights.sum())
        periods.add(period)
        assert len(set(tokens[:period])) == period
        for t in range(period, 20):
            last = max(s for s in range(t) if tokens[s] == tokens[t])
            assert labels[t] == tokens[last + 1]
    assert len(periods) > 1


def test_the_matching_of_a_head_is_its_weight_on_what_followed():
    shape = dict(vocab_size=8, width=8, num_layers=2, num_heads=2, feed_forward_width=0, position="relative")
    model = transformer.build(dict(architecture="decoder_only", **shape))
    params = model.init(jax.random.key(0))
    batch = induction.repeated(3, 12, 4)(jax.random.key(1), None)
    found = induction.heads_of(model, params, batch)
    weights = np.asarray(model.apply(params, batch, capture=(induction.WEIGHTS,))["captured"][induction.WEIGHTS])
    total, before, count = np.zeros((2, 2)), np.zeros((2, 2)), 0
    for b, tokens in enumerate(np.asarray(batch["target"])):
        for t in np.flatnonzero(batch["loss_weights"][b]):
            count += 1
            before += weights[:, b, :, t, t - 1]
            total += sum(weights[:, b, :, t, s] for s in range(1, t + 1) if tokens[s - 1] == tokens[t])
    np.testing.assert_allclose(found["matching_LN"], total / count, rtol=1e-5)
    np.testing.assert_allclose(found["previous_LN"], before / count, rtol=1e-5)


def arm(loss, matching):
    matched = {"matching_LN": [[0.1, matching]], "previous_LN": [[0.5, 0.1]]}
    return {"loss": loss, "accuracy": 0.5, "extra": matched}


def test_words_follow_the_lanes(tmp_path):
    usual = {ONE: arm(2.0, 0.2), TWO: arm(0.01, 0.9)}
    assert words(EXPERIMENT, usual, tmp_path / "a") == {1: ["fails", "holds"], 2: ["holds"], 3: ["fails", "holds"]}
    contrary = {ONE: arm(0.01, 0.9), TWO: arm(2.0, 0.2)}
    expected = {1: ["holds", "fails"], 2: ["reversed"], 3: ["holds", "fails"]}
    assert words(EXPERIMENT, contrary, tmp_path / "b") == expected


def test_the_figure_is_drawn_of_the_arms_that_are_there(tmp_path):
    for scores in ({}, {ONE: arm(2.0, 0.2)}, {ONE: arm(2.0, 0.2), TWO: arm(0.01, 0.9)}):
        drawn = trained(EXPERIMENT, scores, tmp_path / str(len(scores)))
        figure = induction.draw({"trained": drawn})
        assert len(figure.axes[0].lines) == 1 + len(scores)
    assert jnp.isfinite(figure.axes[1].lines[0].get_ydata()).all()
