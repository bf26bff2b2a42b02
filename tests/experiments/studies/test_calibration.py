"""Calibration: the temperature and the error of known predictions; words follow the lanes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from experiments.studies import calibration
from experiments.studies.calibration import SMOOTHINGS
from tests.fixtures.lanes import arms_of, trained, words
from transformer.ops.losses import cross_entropy

EXPERIMENT = calibration.experiment(calibration.CalibrationSettings())


@pytest.fixture(scope="module")
def predictions():
    """Logits of 400 tokens, and labels that are drawn by them."""
    for_logits, for_labels = jax.random.split(jax.random.key(0))
    logits_nV = 2.0 * jax.random.normal(for_logits, (400, 7))
    return logits_nV, jax.random.categorical(for_labels, logits_nV)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_fitted_temperature_is_that_of_the_least_loss(predictions, factor):
    logits_nV, labels_n = predictions
    found = float(calibration.fitted_temperature(factor * logits_nV, labels_n))

    def loss(temperature):
        return float(jnp.mean(cross_entropy(factor * logits_nV / temperature, labels_n)))

    best = optimize.minimize_scalar(loss, bounds=(0.05, 20.0), method="bounded", options={"xatol": 1e-4}).x
    assert found == pytest.approx(best, rel=0.01)
    assert found == pytest.approx(factor, rel=0.15)


def test_the_error_is_that_of_the_definition_and_small_where_labels_are_drawn_by_the_shares(predictions):
    logits_nV, labels_n = predictions
    share_nV = np.asarray(jax.nn.softmax(logits_nV), float)
    confidence, right = share_nV.max(1), share_nV.argmax(1) == np.asarray(labels_n)
    total = 0.0
    for low in range(calibration.BINS):
        within = (confidence > low / calibration.BINS) & (confidence <= (low + 1) / calibration.BINS)
        total += abs(right[within].mean() - confidence[within].mean()) * within.mean() if within.any() else 0.0
    found = float(calibration.calibration_error(logits_nV, labels_n))
    assert found == pytest.approx(total, abs=1e-5)
    assert found < 0.1 < float(calibration.calibration_error(5.0 * logits_nV, labels_n))


def scores(loss, fitted, ece):
    def row(i):
        extra = {"temperature": 1.0, "fitted_loss": fitted[i], "ece": ece[i], "fitted_ece": 0.01}
        return {"loss": loss[i], "accuracy": 0.5, "extra": extra}

    return {name: row(i) for i, name in enumerate(SMOOTHINGS)}


USUAL = scores((1.8, 1.81, 1.85, 1.95), (1.8, 1.8, 1.81, 1.9), (0.05, 0.02, 0.05, 0.2))


def test_words_follow_the_lanes(tmp_path):
    assert words(EXPERIMENT, USUAL, tmp_path) == {
        1: ["no difference", "holds", "holds"],
        2: ["holds", "holds", "fails"],
        3: ["holds", "no difference", "reversed"],
    }


def test_every_arm_is_asked_about_and_the_figure_is_drawn_of_those_that_are_there(tmp_path):
    assert arms_of(EXPERIMENT.questions) == set(EXPERIMENT.arms)
    for i, some in enumerate(({}, {"ε = 0.1": USUAL["ε = 0.1"]}, USUAL)):
        figure = calibration.draw({"trained": trained(EXPERIMENT, some, tmp_path / str(i))})
        assert len(figure.axes[2].get_yticklabels()) == len(some) or not some
