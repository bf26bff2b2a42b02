"""Warm-up: every arm has its model; a fixed rate is not chosen; words follow the lanes."""

import itertools

import pytest

from experiments.studies import warmup
from experiments.studies.warmup import COLD, PLACEMENTS, POST, PRE, WARM, WARMUPS
from tests.fixtures.lanes import arms_of, lab_of, trained, words

SETTINGS = warmup.WarmupSettings(depths=(2, 3))
EXPERIMENT = warmup.experiment(SETTINGS)


def scores(best=None, high=None):
    """Accuracies by (placement, warm-up), 0.98 where none is given; both depths alike."""
    found = {}
    for placement, warm, depth, at_high in itertools.product(PLACEMENTS, WARMUPS, SETTINGS.depths, (False, True)):
        value = ((high if at_high else best) or {}).get((placement, warm), 0.98)
        found[warmup.arm(placement, warm, depth, high=at_high)] = {"loss": 1.0 - value, "accuracy": value}
    return found


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_an_arm_has_its_placement_warm_up_and_depth(placement):
    settings = warmup.WarmupSettings(width=8, vocabulary=4, length=7, batch=2)
    own = warmup.trainee(settings, placement, COLD, 3)
    assert (own.model.config.norm_placement, own.model.config.num_layers, own.warmup) == (placement, 3, 0)


def test_a_rate_that_the_study_fixes_is_not_chosen(tmp_path):
    lab = lab_of(EXPERIMENT, scores(), tmp_path)
    high, best = (lab.rate(warmup.arm(POST, WARM, 2, high=at_high)) for at_high in (True, False))
    assert (high.value, high.inside, list(high.losses)) == (SETTINGS.high, True, [SETTINGS.high])
    assert best.value == EXPERIMENT.rates[1]
    assert len(best.losses) == len(EXPERIMENT.rates)


def test_words_follow_the_lanes(tmp_path):
    found = words(EXPERIMENT, scores(high={(POST, COLD): 0.1}), tmp_path / "a")
    assert found == {
        1: ["no difference"] * 2 + ["holds"] * 2,
        2: ["holds"] * 4,
        3: ["no difference"] * 2 + ["holds"] * 2,
    }
    found = words(EXPERIMENT, scores(best={(PRE, COLD): 0.5}), tmp_path / "b")
    assert found[2] == ["fails"] * 2 + ["holds"] * 2
    assert found[3] == ["reversed"] * 2 + ["no difference"] * 2


def test_every_arm_is_asked_about_and_the_figure_is_drawn_of_those_that_are_there(tmp_path):
    assert arms_of(EXPERIMENT.questions) == set(EXPERIMENT.arms)
    every = scores()
    some = {name: every[name] for name in (warmup.arm(POST, WARM, 3, high=False), warmup.arm(PRE, WARM, 2, high=True))}
    for i, (known, lines) in enumerate((({}, 0), (some, 0), (every, 4))):
        figure = warmup.draw({"trained": trained(EXPERIMENT, known, tmp_path / str(i))})
        assert len(figure.axes[0].lines) == lines
