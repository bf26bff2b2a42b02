"""Table of situations in which something is not known, with what must and what must not be printed."""

import io
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from experiments.comparing.comparison import Group
from experiments.comparing.results import Result, read_result
from experiments.comparing.statistics import as_text, estimate, paired_difference
from experiments.comparing.tables import costs_table, means_table
from experiments.costs.summary import Costs, read_costs
from experiments.runs import report
from experiments.runs.open_run import open_run
from experiments.sweeping import pictures, summary
from experiments.sweeping.lanes import mean_loss
from experiments.sweeping.ranking import best, ranked
from experiments.sweeping.summary import print_results
from experiments.tasks.task import SHARE
from experiments.training.progress import Progress
from experiments.training.tables import print_table
from tests.fixtures.sweep_records import RANKING, SPACE, study
from transformer.errors import UserError

NAN = math.nan
DIVERGED = study((2, 1e-4, (0.5, None), "diverged"), (4, 1e-3, (None, None), "diverged"))
SOME_DIVERGED = study((2, 1e-4, (0.9, None), ("finished", "diverged")), (4, 1e-3, (0.1, 0.2), "finished"))
NO_SCORE = study((2, 1e-4, (None, None), "finished"), (4, 1e-3, (0.3, None), "finished"))
HALVED = study((2, 1e-4, (0.3, 0.4), "halved"))
TIED = study((2, 1e-4, (0.0, 0.0), "finished", (4.5, 4.4)), (4, 1e-3, (0.0, 0.0), "finished", (1.5, 1.1)))
TIED_IN_ALL = study((2, 1e-4, (0.0, 0.0), "finished", (1.0, 1.0)), (4, 1e-3, (0.0, 0.0), "finished", (1.0, 1.0)))
TIED_IN_LOSS = study((2, 1e-4, (0.5, 0.5), "finished"), (4, 1e-3, (0.5, 0.5), "finished"))


def printed(show) -> str:
    """Return what is printed on a console that is given to `show`."""
    console = Console(file=io.StringIO(), width=10_000)
    show(console)
    return console.file.getvalue()


def sweep(points, mode="max"):
    """Return a function of a folder: what a sweep prints at its end, with its exit code, without pictures."""

    def show(folder: Path) -> str:
        codes = []
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("experiments.sweeping.summary.draw_results", lambda *_: {})
            text = printed(lambda console: codes.append(print_results(console, points, folder / "new", RANKING[mode])))
        return f"{text}exit code {codes[0]}"

    return show


def stars(points, mode="max") -> str:
    """Return the names of the marks in a sweep's picture, and the kind of its spread."""
    results = ranked(points, RANKING[mode])
    scores = {"score": [result.estimate for result in results]}
    figure = pictures.against_settings(results, SPACE, {}, scores, metric="score")
    curves = pictures.learning_curves(results, RANKING[mode])
    marks = [line.get_label() for axes in figure.axes for line in axes.get_lines()]
    return f"{marks} {figure.get_suptitle()} {curves.axes[0].get_title()}"


def progress(*losses) -> str:
    """Return the summary of a progress after a step with each of these losses."""
    shown = Progress(100, 0, lambda _: None, lambda: 0.0)
    for step, loss in enumerate(losses, 1):
        shown.update(step, loss=loss, examples=1, tokens=1)
    return f"shown: {shown.summary()}"


def lanes(losses, running) -> str:
    return progress(1.2345, mean_loss(np.array(losses), np.array(running)))


def result(seed=0, **values) -> Result:
    scores = {"validation": {"exact_match": 0.25 + seed / 8}}
    return Result(f"runs/{seed}", {"seed": seed, "training": {"steps": 4}}, None, scores, 4, True, **values)


def means(*groups) -> str:
    made = [Group({}, tuple(results)) for results in groups]
    return printed(lambda console: print_table(console, means_table([("validation", "exact_match")], made)))


def costs(*results) -> str:
    return printed(lambda console: print_table(console, costs_table(results)))


def trial_without(name: str):
    """Return a function of a folder: the error for a trial of a sweep that has metrics and no checkpoints."""

    def show(folder: Path) -> str:
        trial = folder / "trials" / "0003-seed1"
        trial.mkdir(parents=True)
        (folder / "lanes").mkdir()
        (trial / "metrics.jsonl").write_text("")
        if name == "checkpoints":
            (trial / "config.json").write_text(json.dumps({"config": {}}))
        with pytest.raises(UserError) as caught:
            open_run(str(trial)) if name != "compare" else read_result(str(trial))
        return str(caught.value)

    return show


def end_of_run(*, tensorboard):
    """Return a function of a folder: the end of a training run's output."""
    output = SimpleNamespace(tensorboard=tensorboard)
    config = SimpleNamespace(training=SimpleNamespace(output=output))

    def show(folder: Path) -> str:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(report, "example_text", lambda _: None)
            experiment = SimpleNamespace(config=config)
            return printed(lambda console: report.print_files(console, experiment, folder, {}))

    return show


def damaged_costs(folder: Path) -> str:
    (folder / "costs.json").write_text('{"parameters": []}')
    with pytest.raises(UserError) as caught:
        read_costs(folder)
    return str(caught.value)


SITUATIONS = {
    "all trials diverge": (sweep(DIVERGED), ["all diverged", "exit code 1"], ["best:", "0.5"]),
    "some trials diverge": (
        sweep(SOME_DIVERGED),
        ["best: --config.model.num_layers=4", "exit code 0", "1 of 2"],
        ["all diverged", "best: --config.model.num_layers=2"],
    ),
    "every trial lacks a score": (sweep(NO_SCORE), ["no trial is the best", "exit code 1"], ["best:", "all diverged"]),
    "all trials were halved": (sweep(HALVED), ["no trial is the best", "exit code 1"], ["best:"]),
    "no trial could be trained": (
        sweep(study(total=2)),
        ["2 trials could not be trained", "no trial is the best", "exit code 1"],
        ["best:", "diverged"],
    ),
    "one trial could not be trained": (
        sweep(study((2, 1e-4, (0.3, 0.4), "finished"), total=2)),
        ["1 trial could not be trained", "best: ", "exit code 0"],
        ["1 trials"],
    ),
    "trials tie": (
        sweep(TIED),
        ["2 trials tie at exact_match 0.0000; the best is the one with the lowest loss", "num_layers=4", "1.3000"],
        ["best: --config.model.num_layers=2"],
    ),
    "trials tie in the loss too": (sweep(TIED_IN_ALL), ["2 trials tie", "the first stands for all"], ["the lowest"]),
    "trials tie by the loss": (sweep(TIED_IN_LOSS, "min"), ["2 trials tie", "the first of them stands"], ["lowest"]),
    "no trials tie": (sweep(SOME_DIVERGED), ["by validation exact_match, higher is better"], ["tie at"]),
    "the importance of settings for scores that tie": (
        lambda _: str(summary.importances(TIED, ranked(TIED, RANKING["max"]))),
        ["{}"],
        [],
    ),
    "a picture without a best": (lambda _: stars(NO_SCORE), ["each seed"], ["best", "confidence"]),
    "a picture of two seeds": (lambda _: stars(TIED), ["best", "small: each seed", "thin: each seed"], ["confidence"]),
    "an interval from two seeds": (
        lambda _: as_text(estimate([0.4375, 0.55], bounds=SHARE)),
        ["0.4375", "0.5500", "no interval"],
        ["±", "from"],
    ),
    "an interval of a share near 0": (
        lambda _: as_text(estimate([0.0, 0.0, 0.06], bounds=SHARE)),
        ["from 0.0000 to"],
        ["±", "-"],
    ),
    "an interval of a share near 1": (
        lambda _: as_text(estimate([1.0, 1.0, 0.9], bounds=SHARE)),
        ["to 1.0000"],
        ["±", "1.0333 to", "1.1"],
    ),
    "a difference of two seeds": (
        lambda _: as_text(paired_difference({0: 0.1, 1: 0.2}, {0: 0.2, 1: 0.9}, bounds=SHARE), signed=True),
        ["+0.1000", "+0.7000", "no interval"],
        ["±", "from"],
    ),
    "means of two seeds beside each other": (
        lambda _: means([result(0), result(1)], [result(0), result(1)]),
        ["0.2500, 0.3750; no interval"],
        ["0.3125 ±", "includes 0", "excludes 0"],
    ),
    "the mean of seeds of which one has NaN": (
        lambda _: as_text(estimate([NAN, 0.5, 0.6])),
        ["no interval", "1 not finite"],
        ["±", "nan"],
    ),
    "costs that were not written": (lambda _: costs(result()), ["│ parameters", "│ - "], ["│ 0 ", "│ None"]),
    "costs that cannot be read": (damaged_costs, ["costs.json cannot be read", "Delete it"], []),
    "the seconds of a lane": (
        lambda _: costs(result(costs=Costs(1_000, 2e6, lanes=6), seconds=12.0)),
        ["1,000", "2.0", "12.0, beside 5 other trials"],
        [],
    ),
    "the seconds of a run alone": (lambda _: costs(result(costs=Costs(1, 2e6), seconds=12.0)), ["12.0 "], ["beside"]),
    "a step whose loss is not known": (lambda _: progress(4.5, None), ["shown:"], ["4.5", "loss"]),
    "lanes that have all ended": (lambda _: lanes([0.0, math.inf], [False, False]), ["shown:"], ["loss", "1.2345"]),
    "lanes of which one diverged": (lambda _: lanes([2.0, math.inf, 4.0], [True, False, True]), ["3.0000"], ["inf"]),
    "the time left before the first step": (lambda _: progress(), ["shown:"], ["left", "loss"]),
    "evaluate of a trial without checkpoints": (
        trial_without("checkpoints"),
        ["a trial of a sweep", "--keep=all"],
        ["no run was started", "Train first"],
    ),
    "evaluate of a trial without config": (trial_without("config"), ["--keep=all"], ["no run was started"]),
    "compare of a trial without config": (trial_without("compare"), ["--keep=all"], ["no run was started"]),
    "TensorBoard is off": (end_of_run(tensorboard=False), ["metrics.jsonl"], ["TensorBoard"]),
    "TensorBoard is on": (end_of_run(tensorboard=True), ["TensorBoard"], []),
}
"""Situation -> (a function of an empty folder: what is printed, the texts that must be there, those that must not)."""


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_is_not_known_is_not_shown_as_known(name, tmp_path):
    show, needed, forbidden = SITUATIONS[name]
    text = show(tmp_path)
    assert [part for part in needed if part not in text] == [], text
    assert [part for part in forbidden if part in text] == [], text


@pytest.mark.parametrize("points", [DIVERGED, NO_SCORE, HALVED, study(total=1)])
def test_nothing_is_the_best_where_no_trial_has_a_score_for_each_seed(points):
    assert best(ranked(points, RANKING["max"])) is None
