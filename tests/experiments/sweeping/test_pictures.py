"""Claims about the pictures of a sweep: labels are whole, ticks stand apart, one kind of spread that is named."""

import itertools
import math
from types import SimpleNamespace

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from experiments.sweeping import pictures
from experiments.sweeping.grammar import make_space
from experiments.sweeping.ranking import ranked
from tests.fixtures.sweep_records import RANKING, lane

SPACE = make_space(
    {
        "optimizer.learning_rate": "log:1e-4:3e-2",
        "optimizer.name": "adamw,adafactor,sgd,muon",
        "optimizer.beta1@optimizer.name:adamw": "0.9,0.95",
        "model.recurrent.attention": "additive,scaled_dot,position_only",
    }
)


def results(seeds):
    """Return ranked points of a space with long names, each with this many seeds."""
    names = ("adamw", "sgd", "muon", "adafactor", "adamw")
    outcomes = {
        number: (
            SPACE.settings_of(
                {
                    "optimizer.learning_rate": 10.0 ** -(2 + number / 3),
                    "optimizer.name": name,
                    "model.recurrent.attention": "position_only",
                }
            ),
            [lane(seed, 0.02 * number * seed, "finished", 1.0) for seed in range(seeds)],
        )
        for number, name in enumerate(names)
    }
    return ranked(SimpleNamespace(outcomes=lambda: outcomes), RANKING["max"])


def boxes(texts):
    return [text.get_window_extent() for text in texts if text.get_text() and text.get_visible()]


def ticks_in_view(axes):
    """Return the labels of the vertical axis that are drawn: matplotlib has some for ticks beyond its ends, too."""
    low, high = axes.get_ylim()
    labels = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    return [label for place, label in labels if low <= place <= high]


@pytest.fixture(scope="module")
def figure():
    points = results(3)
    scores = {
        "best validation continuation_bits_per_byte (bits per byte of UTF-8)": [r.estimate for r in points],
        "last validation loss (nats per token)": [r.validation("loss", (0.0, math.inf)) for r in points],
    }
    importances = {"optimizer.learning_rate": 0.7, "optimizer.beta1@optimizer.name:adamw": 0.3}
    drawn = pictures.against_settings(points, SPACE, importances, scores, metric="continuation_bits_per_byte")
    FigureCanvasAgg(drawn).draw()
    return drawn


def test_no_label_is_cut(figure):
    width, height = figure.canvas.get_width_height()
    axes = [one for one in figure.axes if one.get_visible()]
    labels = [text for one in axes for text in (one.xaxis.label, one.yaxis.label, *ticks_in_view(one))]
    for box in boxes([*labels, *(text for one in axes for text in one.get_xticklabels())]):
        assert min(box.x0, box.y0) >= -1
        assert box.x1 <= width + 1
        assert box.y1 <= height + 1


def test_labels_of_axes_and_ticks_do_not_overlap(figure):
    axes = [one for one in figure.axes if one.get_visible()]
    for first, second in itertools.combinations(boxes([one.xaxis.label for one in axes]), 2):
        assert not first.overlaps(second)
    ticks = boxes(axes[0].get_xticklabels(which="both"))
    assert len(ticks) >= 3
    assert all(before.x1 < after.x0 for before, after in itertools.pairwise(ticks))


@pytest.mark.parametrize(
    ("ends", "ticks"),
    [
        ((3e-4, 3e-2), [3e-4, 1e-3, 3e-3, 1e-2, 3e-2]),
        ((1e-4, 1e-3), [1e-4, 2e-4, 5e-4, 1e-3]),
        ((2.1e-3, 2.4e-3), [2.1e-3, 2.4e-3]),
        ((1e-9, 1e3), [1e-9, 1e-6, 1e-3, 1.0, 1e3]),
        ((1, 7), [1, 2, 5]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_few_and_round(ends, ticks):
    assert pictures.log_ticks(*ends) == pytest.approx(ticks)


@pytest.mark.parametrize(("seeds", "kind"), [(1, "one seed for each trial"), (2, "each seed"), (3, "95% confidence")])
def test_a_picture_has_one_kind_of_spread_which_its_title_names(seeds, kind):
    points = results(seeds)
    scores = {"score": [result.estimate for result in points]}
    picture = pictures.against_settings(points, SPACE, {}, scores, metric="score")
    curves = pictures.learning_curves(points, RANKING["max"])
    for title in (picture.get_suptitle(), curves.axes[0].get_title()):
        assert kind in title
    bars = [line for axes in picture.axes for line in axes.collections]
    bands = curves.axes[0].collections
    assert bool(bars) == bool(bands) == (seeds >= 3)
    assert all(vertex[1] >= 0.0 for bar in bars for path in bar.get_paths() for vertex in path.vertices)


def of_settings(*settings, score=0.0):
    """Return ranked points with these settings, each with the same score."""
    outcomes = {number: (own, [lane(0, score, "finished", 1.0)]) for number, own in enumerate(settings)}
    return ranked(SimpleNamespace(outcomes=lambda: outcomes), RANKING["max"])


def legend_of(results):
    (legend,) = pictures.learning_curves(results, RANKING["max"]).legends
    return [text.get_text() for text in legend.get_texts()]


def test_curves_are_named_by_the_settings_that_tell_the_trials_apart():
    norms = [{"model.norm": norm, "model.width": 64} for norm in ("layer", "rms")]
    assert legend_of(of_settings(*norms)) == ["norm = layer", "norm = rms"]
    rates = [{**norms[1], "optimizer.learning_rate": rate} for rate in (1e-3, 10**-2.5)]
    assert legend_of(of_settings(norms[0], *rates)) == [
        "norm = layer",
        "norm = rms, learning_rate = 0.001",
        "norm = rms, learning_rate = 0.00316",
    ]


def test_many_trials_and_those_without_distinct_short_names_have_their_number():
    assert legend_of(of_settings({"norm": "rms"})) == ["trial 0"]
    twice = of_settings({"norm": "rms"}, {"norm": "rms"}, {"norm": "layer"})
    assert legend_of(twice) == ["trial 0: norm = rms", "trial 1: norm = rms", "trial 2: norm = layer"]
    assert legend_of(of_settings(*({"layers": n} for n in range(11))))[0] == "trial 0: layers = 0"
    long = legend_of(of_settings(*({"x" * 99: n} for n in range(2))))
    assert [len(name) for name in long] == [pictures.LONGEST_NAME] * 2
    assert long[1].startswith("trial 1: xxx")


@pytest.mark.parametrize("length", [3, 20, 99])
def test_the_legend_is_whole_and_beside_the_curves(length):
    figure = pictures.learning_curves(of_settings(*({"w" * length: f"$a{n}$"} for n in range(9))), RANKING["max"])
    FigureCanvasAgg(figure).draw()
    (legend,), (axes,) = figure.legends, figure.axes
    box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0 < box.y1 <= axes.get_tightbbox().y0


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_share_has_an_axis_in_percent_that_shows_no_share_below_0(score):
    points = of_settings({"optimizer.name": "adamw"}, {"optimizer.name": "sgd"}, score=score)
    scores = {"score": [result.estimate for result in points]}
    for figure in (
        pictures.against_settings(points, SPACE, {}, scores, metric="score"),
        pictures.learning_curves(points, RANKING["max"]),
    ):
        FigureCanvasAgg(figure).draw()
        axes = figure.axes[1 if len(figure.axes) > 1 else 0]
        ticks = [label.get_text() for label in ticks_in_view(axes)]
        assert ticks == ["0%", "20%", "40%", "60%", "80%", "100%"]
        assert axes.get_ylim()[0] < score < axes.get_ylim()[1]


def test_shares_that_are_near_each_other_fill_the_picture_of_the_settings():
    outcomes = {n: ({"optimizer.name": "sgd"}, [lane(0, 0.97 + 0.01 * n, "finished", 1.0)]) for n in range(3)}
    points = ranked(SimpleNamespace(outcomes=lambda: outcomes), RANKING["max"])
    figure = pictures.against_settings(points, SPACE, {}, {"s": [r.estimate for r in points]}, metric="s")
    FigureCanvasAgg(figure).draw()
    assert {"97%", "98%", "99%"} <= {label.get_text() for label in ticks_in_view(figure.axes[1])}
    low, high = figure.axes[1].get_ylim()
    assert 0.9 < low < 0.97
    assert 0.99 < high <= 1.04
