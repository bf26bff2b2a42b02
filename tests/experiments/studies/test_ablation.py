"""Ablation: each row is a model that changes what its claim names; words follow the lanes, whatever they are."""

import pytest

import transformer
from experiments.studies import ablation
from experiments.studies.ablation import BASE, ROWS
from tests.fixtures.lanes import arms_of, trained, words

EXPERIMENT = ablation.experiment(ablation.AblationSettings())


@pytest.mark.parametrize("name", ROWS)
def test_each_row_is_a_model(name):
    limit = {"max_length": 9} if name == ablation.LEARNED else {}
    config = transformer.build({"vocab_size": 9, **ablation.COMMON, **limit, **ROWS[name]}).config
    assert config.num_heads * config.head_width == config.width or name == ablation.NARROW


def scores(**changed):
    """Losses of all arms, 1 unless a row is given another, which is 0.2 away."""
    names = {"_".join(arm.split()).replace(",", "").replace(".", "_"): arm for arm in EXPERIMENT.arms}
    losses = {arm: changed.get(name, 1.0) for name, arm in names.items()}
    return {arm: {"loss": loss, "accuracy": 0.5, "exact": 0.5} for arm, loss in losses.items()}


def test_words_follow_the_lanes(tmp_path):
    nothing = words(EXPERIMENT, scores(), tmp_path / "a")
    assert nothing == {
        **{n: ["no difference"] * len(nothing[n]) for n in (1, 2, 3, 4, 5, 7)},
        6: ["holds"],
    }
    paper = words(
        EXPERIMENT, scores(**{"1_head": 1.2, "few_pairs_no_dropout": 1.2, "learned_positions": 1.2}), tmp_path / "b"
    )
    assert paper[1] == ["holds", "no difference"]
    assert paper[4] == ["holds", "holds"]
    assert paper[6] == ["fails"]
    assert words(EXPERIMENT, scores(few_pairs_no_dropout=0.8), tmp_path / "c")[4] == ["reversed", "reversed"]


def test_every_arm_is_asked_about_and_the_figure_is_drawn_of_those_that_are_there(tmp_path):
    assert arms_of(EXPERIMENT.questions) == set(EXPERIMENT.arms)
    for i, some in enumerate(({}, {BASE: scores()[BASE]}, scores())):
        assert len(ablation.draw({"trained": trained(EXPERIMENT, some, tmp_path / str(i))}).axes) == 2
