"""The results of a study: order, intervals, flags to paste."""

import json
import math
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from experiments.comparing.statistics import as_text
from experiments.sweeping import pictures, summary
from experiments.sweeping.grammar import make_space
from experiments.sweeping.worker import mean_score

SPACE = make_space({"model.num_layers": "2,4", "optimizer.learning_rate": "log:1e-4:1e-2", "seed": "0:2"})


def lane(seed, score, status="finished"):
    curve = [[5, score], [10, score]] if score is not None else []
    validation = {} if score is None else {"loss": score}
    return {"seed": seed, "score": score, "status": status, "curve": curve, "validation": validation, "test": {}}


def study(*points):
    """Build a study with points of (layers, rate, scores, status)."""
    trials = {
        number: SimpleNamespace(
            params={"model.num_layers": layers, "optimizer.learning_rate": rate},
            user_attrs={"lanes": [lane(seed, score, status) for seed, score in enumerate(scores)]},
            state=TrialState.COMPLETE,
        )
        for number, (layers, rate, scores, status) in enumerate(points)
    }
    return SimpleNamespace(results=lambda: trials, space=SPACE)


POINTS = study(
    (2, 1e-4, (0.5, 0.7), "finished"),
    (4, 1e-3, (0.1, None), "diverged"),
    (2, 2e-3, (0.2, 0.4), "finished"),
    (4, 5e-3, (0.05, 0.1), "halved"),
)


@pytest.mark.parametrize(("mode", "order"), [("min", [2, 0, 3, 1]), ("max", [0, 2, 3, 1])])
def test_the_best_comes_first_and_those_that_did_not_finish_last(mode, order):
    assert [result.point for result in summary.ranked(POINTS, mode)] == order


def test_a_point_has_its_mean_and_interval_over_seeds():
    best = summary.ranked(POINTS, "min")[0]
    assert as_text(best.estimate) == "0.3000 ± 1.2706 (2 seeds)"  # t of 1 degree of freedom: 12.706 x 0.1
    assert best.validation("loss").mean == pytest.approx(0.3)
    assert math.isnan(best.validation("bleu").mean)


def test_the_best_setting_can_be_pasted():
    flags = summary.best_flags(summary.ranked(POINTS, "min")[0])
    assert flags == "--config.model.num_layers=2 --config.optimizer.learning_rate=0.002"


def test_results_are_a_line_for_each_trial_that_json_can_read(tmp_path):
    summary.write_results(summary.ranked(POINTS, "min"), tmp_path / "results.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(line["optimizer.learning_rate"], line["seed"]) for line in lines[:2]] == [(2e-3, 0), (2e-3, 1)]
    assert len(lines) == 8
    assert {line["status"] for line in lines} == {"finished", "halved", "diverged"}


@pytest.mark.parametrize(
    ("scores", "mode", "mean"),
    [((0.25, 0.75), "max", 0.5), ((0.25, None), "max", -math.inf), ((0.25, None), "min", math.inf)],
)
def test_a_sampler_learns_the_mean_and_that_divergence_is_worst(scores, mode, mean):
    records = [lane(i, score, "finished" if score else "diverged") for i, score in enumerate(scores)]
    assert mean_score(records, mode) == mean


def test_pictures_show_every_point_and_every_setting():
    results = summary.ranked(POINTS, "min")
    scores = {"loss (nats)": [result.estimate for result in results]}
    figure = pictures.against_settings(
        results, SPACE, {"model.num_layers": 0.7, "optimizer.learning_rate": 0.3}, scores
    )
    layers, rate, importance = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes[:2]] == ["model.num_layers", "optimizer.learning_rate"]
    assert rate.get_xscale() == "log"
    assert [text.get_text() for text in layers.get_xticklabels()] == ["2", "4"]
    drawn = sorted(x for line in rate.get_lines()[:-1] for x in line.get_xdata())
    assert drawn == [1e-4, 2e-3, 5e-3]  # the point that diverged has no score
    assert len(importance.patches) == 2
    curves = pictures.learning_curves(results, label="loss (nats)")
    assert [text.get_text() for text in curves.axes[0].get_legend().get_texts()] == ["trial 2", "trial 0", "trial 3"]
