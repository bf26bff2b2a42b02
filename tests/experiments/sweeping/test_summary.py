"""The results of a study: order, intervals, flags to paste."""

import json
import math
from types import SimpleNamespace

import pytest

from experiments.comparing.statistics import as_text
from experiments.sweeping import pictures, summary
from experiments.sweeping.ranking import best, ranked, search_value, worse_half
from experiments.tasks.task import SHARE, Metric
from tests.fixtures.sweep_records import RANKING, SPACE, lane, study

POINTS = study(
    (2, 1e-4, (0.5, 0.7), "finished"),
    (4, 1e-3, (0.1, None), "diverged"),
    (2, 2e-3, (0.2, 0.4), "finished"),
    (4, 5e-3, (0.05, 0.1), "halved"),
)


@pytest.mark.parametrize(("mode", "order"), [("min", [2, 0, 3, 1]), ("max", [0, 2, 3, 1])])
def test_the_best_comes_first_and_those_that_did_not_finish_last(mode, order):
    assert [result.point for result in ranked(POINTS, RANKING[mode])] == order


def test_a_point_has_its_mean_over_seeds():
    first = ranked(POINTS, RANKING["min"])[0]
    assert as_text(first.estimate) == "0.3000 (2 seeds: 0.2000, 0.4000; no interval)"
    assert first.validation("loss", SHARE).mean == pytest.approx(0.3)
    assert math.isnan(first.validation("bleu", SHARE).mean)


TIED = study(
    (2, 1e-4, (0.0, 0.0), "finished", (4.5, 4.4)),
    (2, 1e-3, (0.0, 0.0), "finished", (1.5, 1.1)),
    (4, 2e-3, (0.0, 0.0), "finished", (2.0, math.nan)),
)


def test_ties_are_broken_by_the_validation_loss_in_the_table_and_for_the_search():
    results = ranked(TIED, RANKING["max"])
    assert [result.point for result in results] == [1, 0, 2]
    values = [search_value(trial.user_attrs["lanes"], RANKING["max"]) for trial in TIED.results().values()]
    assert sorted(range(3), key=lambda point: -values[point]) == [1, 0, 2]
    assert values == pytest.approx([0.0] * 3, abs=1e-8)
    close = [
        search_value([lane(0, score, "finished", loss)], RANKING["max"]) for score, loss in ((0.5, 1.0), (0.501, 9.0))
    ]
    assert close[0] < close[1]
    falling = [search_value([lane(0, 2.0, "finished", loss)], RANKING["min"]) for loss in (1.0, 3.0, math.nan)]
    assert falling == sorted(falling)


def test_halving_breaks_ties_by_the_last_validation_loss():
    task = SimpleNamespace(
        names={"loss": "loss"}, metrics={"exact_match": RANKING["max"].score, "loss": Metric("min", "nats")}
    )

    def running(point, loss):
        trial = SimpleNamespace(point=point, experiment=SimpleNamespace(task=task))
        stopping = SimpleNamespace(metric="exact_match")
        return SimpleNamespace(
            trial=trial,
            status="running",
            curve=[(4, 0.0)],
            evaluations={"last": {"loss": loss}},
            early_stopping=stopping,
        )

    assert worse_half([running(0, 3.0), running(1, 1.0), running(2, math.nan), running(3, 2.0)]) == ({0, 2}, 4)


def test_the_best_setting_can_be_pasted():
    flags = summary.best_flags(ranked(POINTS, RANKING["min"])[0])
    assert flags == "--config.model.num_layers=2 --config.optimizer.learning_rate=0.002"


def test_results_are_a_line_for_each_trial_that_json_can_read(tmp_path):
    summary.write_results(ranked(POINTS, RANKING["min"]), tmp_path / "results.jsonl")
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
    assert search_value(records, RANKING[mode]) == pytest.approx(mean, abs=1e-8)


def test_pictures_show_every_point_and_every_setting():
    results = ranked(POINTS, RANKING["min"])
    assert best(results) is results[0]
    scores = {"loss (nats)": [result.estimate for result in results]}
    figure = pictures.against_settings(
        results, SPACE, {"model.num_layers": 0.7, "optimizer.learning_rate": 0.3}, scores, metric="loss"
    )
    layers, rate, importance = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes[:2]] == ["num_layers", "learning_rate"]
    assert rate.get_xscale() == "log"
    assert [text.get_text() for text in layers.get_xticklabels()] == ["2", "4"]
    drawn = {float(x) for line in rate.get_lines() for x in line.get_xdata()}
    assert drawn == {1e-4, 2e-3, 5e-3}  # the point that diverged has no score
    assert len(importance.patches) == 2
    curves = pictures.learning_curves(results, RANKING["min"])
    assert [text.get_text() for text in curves.legends[0].get_texts()] == [
        "num_layers = 2, learning_rate = 0.002",
        "num_layers = 2, learning_rate = 0.0001",
        "num_layers = 4, learning_rate = 0.005",
    ]
