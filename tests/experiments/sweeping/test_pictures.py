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
    labels = [text for one in axes for text in (one.xaxis.label, one.yaxis.label, *one.get_yticklabels())]
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
