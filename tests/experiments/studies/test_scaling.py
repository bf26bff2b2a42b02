"""Scaling: the figure has a panel for each number of updates at which models were trained."""

import pytest

from experiments.studies import scaling
from experiments.studies.parts import scaling_exact
from tests.fixtures.lanes import trained

EXPERIMENT = scaling.experiment(scaling.ScalingSettings())
SMALL = scaling_exact.ScalingExactSettings(seeds=(0, 1), width=(4, 8), keys=3, queries=5, pairs=7)


@pytest.mark.parametrize(("arms", "titles"), [(0, []), (3, ["trained, 1,000 updates", "trained, 4,000 updates"])])
def test_only_what_was_trained_has_panels(tmp_path, arms, titles):
    scores = {name: {"loss": 1.7, "accuracy": 0.5} for name in list(EXPERIMENT.arms)[:arms]}
    numbers = {**scaling_exact.measure(SMALL), "trained": trained(EXPERIMENT, scores, tmp_path)}
    figure = scaling.draw(numbers)
    assert [axes.get_title(loc="left") for axes in figure.axes[scaling_exact.PANELS :]] == titles
    assert all(axes.has_data() for axes in figure.axes)
    once = {"runs": {"1000": numbers["trained"][scaling.PLAIN]["runs"]["1000"]}} if arms else {"runs": {}}
    figure = scaling.draw({**numbers, "trained": {scaling.PLAIN: once}})
    assert len(figure.axes) == scaling_exact.PANELS + len(titles[:1])
