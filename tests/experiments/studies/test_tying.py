"""Weight tying: two tables are V D parameters more, or as many in all; words follow the lanes."""

import jax
import pytest

from experiments.studies import tying
from experiments.studies.frame.training import number_of_parameters
from experiments.studies.tying import EQUAL, TIED, UNTIED
from tests.fixtures.lanes import arms_of, trained, words

EXPERIMENT = tying.experiment(tying.TyingSettings())


def test_two_tables_are_more_parameters_or_as_many_in_all():
    sizes = {name: number_of_parameters(tying.model_of(name, 64)) for name in tying.ARMS}
    assert sizes[UNTIED] - sizes[TIED] == 256 * 64
    assert sizes[EQUAL] == pytest.approx(sizes[TIED], rel=0.002)
    for name in tying.ARMS:
        shapes = jax.tree.leaves(tying.model_of(name, 8).parameter_shapes)
        assert sum(256 in x.shape for x in shapes) == (1 if name == TIED else 2)


def scores(tied, untied, equal):
    losses = dict(zip(tying.ARMS, (tied, untied, equal), strict=True))
    return {name: {"loss": loss, "accuracy": 0.5} for name, loss in losses.items()}


def test_words_follow_the_lanes(tmp_path):
    assert words(EXPERIMENT, scores(1.8, 1.9, 1.81), tmp_path / "a") == {1: ["holds", "no difference"], 2: ["holds"]}
    assert words(EXPERIMENT, scores(1.9, 1.8, 1.8), tmp_path / "b") == {1: ["reversed", "reversed"], 2: ["fails"]}


def test_every_arm_is_asked_about_and_the_figure_is_drawn_of_those_that_are_there(tmp_path):
    assert arms_of(EXPERIMENT.questions) == set(EXPERIMENT.arms)
    every = scores(1.8, 1.9, 1.8)
    for i, some in enumerate(({}, {EQUAL: every[EQUAL]}, every)):
        figure = tying.draw({"trained": trained(EXPERIMENT, some, tmp_path / str(i))})
        assert len(figure.axes[1].lines) == len(some)
