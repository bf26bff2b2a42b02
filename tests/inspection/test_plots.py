"""Claims about figures: they show the numbers that they are given, with units and tokens that can be read."""

import itertools
import subprocess
import sys

import jax
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from transformer.errors import UserError
from transformer.inspection.layout import LARGEST, LONGEST_LABEL
from transformer.inspection.plots import attention_maps, confusion, curves, token_label


def weights_of(heads: int, T: int, S: int) -> np.ndarray:
    return np.random.default_rng(heads).dirichlet(np.ones(S), size=(heads, T)).astype(np.float32)


def panels_of(figure: Figure) -> list:
    return [axes for axes in figure.axes if axes.images]


def labels_of(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_importing_the_library_does_not_import_matplotlib():
    script = "import sys, transformer, transformer.inspection; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_drawing_does_not_touch_pyplot():
    script = "import sys; from transformer.inspection import plots; plots.curves({'a': ([1], [2.0])});"
    script += "sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_each_panel_shows_its_head_and_the_last_their_mean():
    weights = weights_of(3, 4, 5)
    panels = panels_of(attention_maps(jax.numpy.asarray(weights), list("2026"), list("a b c"), "title"))
    assert [axes.get_title(loc="left") for axes in panels] == ["head 0", "head 1", "head 2", "mean of the heads"]
    for axes, expected in zip(panels, [*weights, weights.mean(0)], strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), expected)
        assert axes.images[0].get_clim() == (0.0, weights.max())
        assert labels_of(axes.yaxis) == ["2", "0", "2", "6"]
        assert labels_of(axes.xaxis) == ["a", "␣", "b", "␣", "c"]


def test_one_head_is_one_panel_and_the_colours_are_explained():
    figure = attention_maps(weights_of(1, 2, 3), ["2", "<end>"], list("abc"))
    assert len(panels_of(figure)) == 1
    assert [axes.get_ylabel() for axes in figure.axes] == ["query (target)", "weight"]
    assert figure.axes[0].get_xlabel() == "key (source)"


def test_weights_of_queries_that_see_nothing_can_be_drawn():
    figure = attention_maps(np.zeros((2, 3, 4), np.float32), list("abc"), list("defg"))
    FigureCanvasAgg(figure).draw()


LINES = "step 6\nrows need not add up to 1: other keys, such as the answer's own tokens, are left out"


def check_parts(figure: Figure) -> None:
    """Check that every panel, colour bar and title is whole and beside the others."""
    FigureCanvasAgg(figure).draw()
    boxes = [part.get_tightbbox() for part in (*figure.axes, *figure.texts)]
    for number, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])


@pytest.mark.parametrize("title", ["title", LINES])
@pytest.mark.parametrize(
    ("heads", "T", "S", "key"),
    [
        (4, 11, 45, "W"),
        (8, 11, 20, "W"),
        (1, 3, 5, "W"),
        (2, 3, 20, "U+B144"),
        (1, 1, 1, "W"),
        (12, 2, 2, "W"),
        (2, 4, 4, "<separator>"),
        (2, 11, 2, "W" * 99),
        (4, 40, 40, "<separator>"),
    ],
)
def test_tokens_panels_and_title_do_not_overlap(heads, T, S, key, title):
    figure = attention_maps(weights_of(heads, T, S), ["W"] * (T - 1) + ["<end>"], [key] * S, title)
    check_parts(figure)
    for axes in panels_of(figure):
        across = [label.get_window_extent() for label in axes.get_xticklabels()]
        down = [label.get_window_extent() for label in axes.get_yticklabels()]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(across))
        assert all(upper.y0 > lower.y1 for upper, lower in itertools.pairwise(down))
        width, height = axes.get_position().size * figure.get_size_inches()
        assert width / S == pytest.approx(height / T)  # the cells fill their panel


@pytest.mark.parametrize("labels", [["a"], ["neg", "pos"], ["W" * 99] * 3, ["label"] * 12, ["label"] * 30])
def test_a_confusion_of_few_labels_is_whole(labels):
    counts = np.eye(len(labels), dtype=int)
    check_parts(confusion(counts, labels, title=f"validation split, step 3\n{LINES}"))


def test_tokens_that_do_not_fit_the_weights_are_refused():
    with pytest.raises(UserError, match="key_tokens do not fit the weights; got 4 tokens; expected 5"):
        attention_maps(weights_of(2, 3, 5), list("abc"), list("abcd"))
    with pytest.raises(UserError, match="query_tokens do not fit the weights; got 4 tokens; expected 3"):
        attention_maps(weights_of(2, 3, 5), list("abcd"), list("abcde"))
    with pytest.raises(UserError, match=r"weights_NTS has 5 axes; got .*expected axes N T S"):
        attention_maps.__wrapped__(np.zeros((2, 1, 2, 3, 5), np.float32), list("abc"), list("abcde"))  # not checked
    with pytest.raises(UserError, match="no weights to draw"):
        attention_maps(np.zeros((2, 0, 5), np.float32), [], list("abcde"))


def test_a_dollar_sign_is_a_character_and_not_mathematics():
    figure = attention_maps(weights_of(2, 2, 3), ["$a$", "$"], ["$", "_", "$x^$"], "$ $x_$")
    FigureCanvasAgg(figure).draw()
    assert labels_of(panels_of(figure)[0].yaxis) == ["$a$", "$"]


@pytest.mark.parametrize(
    ("token", "shown"),
    [(" ", "␣"), ("a b", "a␣b"), ("\u00a0", "⍽"), ("\n", "↵"), ("\u0301", "◌\u0301"), ("é", "é"), ("", "")],
)
def test_what_leaves_no_mark_is_shown_by_a_sign(token, shown):
    assert token_label(token) == shown


def test_curves_show_their_numbers_with_units():
    loss = {"training": ([10, 20, 30], [3.0, 0.5, np.nan]), "validation": ([20], [0.6])}
    figure = curves(loss, {"validation": ([20], [0.93])}, title="title")
    upper, lower = figure.axes
    for line, (name, (steps, values)) in zip(upper.get_lines(), loss.items(), strict=True):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_xdata(), steps)
        np.testing.assert_array_equal(line.get_ydata(), values)
    assert [upper.get_ylabel(), lower.get_ylabel()] == ["loss (nats per token)", "exact match (% of examples)"]
    assert lower.get_xlabel() == "step (updates)"
    assert upper.get_yscale() == "log"
    assert [text.get_text() for text in upper.get_legend().get_texts()] == ["training", "validation"]
    assert upper.get_lines()[1].get_color() == lower.get_lines()[0].get_color() != upper.get_lines()[0].get_color()
    FigureCanvasAgg(figure).draw()


def test_a_score_of_zero_is_above_the_frame_and_a_score_of_one_below_the_top():
    figure = curves({"validation": ([1, 2], [2.0, 1.0])}, {"validation": ([1, 2, 3], [0.0, 0.0, 1.0])})
    FigureCanvasAgg(figure).draw()
    (line,) = figure.axes[1].get_lines()
    points, frame = line.get_transform().transform(line.get_xydata()), figure.axes[1].get_window_extent()
    assert frame.y0 + line.get_linewidth() < points[:, 1].min() < points[:, 1].max() < frame.y1 - line.get_linewidth()
    low, high = figure.axes[1].get_ylim()
    shown = [label.get_text() for label in figure.axes[1].get_yticklabels() if low <= label.get_position()[1] <= high]
    assert shown == ["0%", "20%", "40%", "60%", "80%", "100%"]


@pytest.mark.parametrize("loss", [{}, {"training": ([], [])}, {"training": ([1, 2], [0.0, 1.0])}])
def test_curves_without_points_or_with_a_loss_of_zero_are_drawn_on_a_plain_axis(loss):
    figure = curves(loss)
    assert len(figure.axes) == 1
    assert figure.axes[0].get_yscale() == "linear"
    FigureCanvasAgg(figure).draw()


@pytest.mark.parametrize(("heads", "T", "S", "token"), [(4, 60, 60, "a"), (4, 1000, 1000, "a"), (1, 3, 5000, "x" * 99)])
def test_a_figure_of_many_tokens_has_a_bound_and_its_title_states_what_is_left_out(heads, T, S, token):
    weights = np.broadcast_to(np.float32(1 / S), (heads, T, S))
    figure = attention_maps(weights, [token] * T, [token] * S, "$title$")
    assert max(figure.get_size_inches()) < LARGEST + 1.5
    (panel, *_) = panels_of(figure)
    rows, columns = panel.images[0].get_array().shape
    expected = ["$title$"]
    left_out = [
        f"the first {n:,} of {N:,} {what}" for n, N, what in ((rows, T, "queries"), (columns, S, "keys")) if n < N
    ]
    assert figure.get_suptitle() == "\n".join([*expected, *([", ".join(left_out)] if left_out else [])])
    assert bool(left_out) == (max(T, S) >= 1000)
    assert len(panel.get_xticks()) <= columns
    assert max(map(len, labels_of(panel.xaxis))) <= LONGEST_LABEL


def test_a_confusion_of_many_labels_has_a_bound():
    counts = np.ones((3000, 3000), int)
    figure = confusion(counts, [f"$x_{i}$ {'y' * 99}" for i in range(3000)], title="$title$")
    assert max(figure.get_size_inches()) < LARGEST + 1.5
    shown = len(figure.axes[0].images[0].get_array())
    assert figure.get_suptitle() == f"$title$\nthe first {shown:,} of 3,000 labels"
    small = confusion(counts[:6, :6], list("$a^_$$"), title="$title$")
    assert labels_of(small.axes[0].xaxis) == list("$a^_$$")
    FigureCanvasAgg(small).draw()
