"""Power of a comparison before it runs: what numbers of seeds can show, and what they cost.

deviation    σ of the difference of two runs of one seed; from finished runs, or given; else the unit of the table
effect       least advantage that is shown with a power of 0.8
equality     least margin within which two equal settings are shown to be so, with a power of 0.8
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table
from scipy import optimize

from experiments.comparing.comparison import group_runs
from experiments.comparing.decision import levels
from experiments.comparing.power import POWER, least_effect, power_of_equality
from experiments.comparing.results import Result
from experiments.comparing.statistics import number
from experiments.training.progress import duration
from experiments.training.tables import add, text_table
from transformer.errors import counted, problem, unknown

SPLIT = "validation"


class Deviation(NamedTuple):
    """A standard deviation of the difference of two runs of one seed."""

    value: float
    source: str
    """Its origin in words."""


def deviation_of(results: Sequence[Result], metric: str) -> Deviation:
    """Estimate the deviation from finished runs: paired differences of groups, else √2 times that of one group.

    Raises:
        UserError: no run has the metric, or fewer than two seeds.
    """
    finished = [run for run in results if run.finished]
    names = list(dict.fromkeys(name for run in finished for name in run.scores.get(SPLIT, {})))
    if finished and metric not in names:
        raise unknown(f"metric of the {SPLIT} split", metric, names)
    groups = group_runs(finished) if finished else []
    variances, degrees = [], 0
    for first, second in itertools.combinations(groups, 2):
        ours, others = first.scores(SPLIT, metric), second.scores(SPLIT, metric)
        values = _finite([ours[seed] - others[seed] for seed in sorted(ours.keys() & others.keys())])
        if len(values) > 1:
            variances.append((len(values) - 1, float(np.var(values, ddof=1))))
    if variances:
        degrees = sum(count for count, _ in variances)
        value = math.sqrt(sum(count * variance for count, variance in variances) / degrees)
        return Deviation(value, f"of the differences of {counted(len(groups), 'group')}, seed by seed, in {metric}")
    alone = [_finite([*group.scores(SPLIT, metric).values()]) for group in groups]
    several = [values for values in alone if len(values) > 1]
    if not several:
        do = "Name runs that differ in their seed alone, four or more, or give --deviation."
        raise problem("the deviation over seeds cannot be estimated", got="no two finished seeds of one setting", do=do)
    widest = max(several, key=lambda values: float(np.std(values, ddof=1)))
    source = (
        f"√2 times that of {counted(len(widest), 'seed')} of one setting in {metric}, as if pairs had nothing in common"
    )
    return Deviation(math.sqrt(2.0) * float(np.std(widest, ddof=1)), source)


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def least_margin(deviation: float, count: int, level: float) -> float:
    """Compute the least margin within which equal settings are shown to be so with a power of 0.8."""
    if deviation == 0.0:
        return 0.0
    return deviation * float(optimize.brentq(lambda x: power_of_equality(1.0, x, count, level) - POWER, 1e-3, 1e3))


def table(looks: Sequence[int], deviation: Deviation | None, margin: float | None, seconds: float | None) -> Table:
    """Build a table with a row for each look.

    Args:
        deviation: None: effects are in units of it.
        margin: the least difference that matters; None: no column says whether equality within it is shown.
        seconds: seconds of the runs of one seed; None: no column of costs.
    """
    unit = " (in standard deviations)" if deviation is None else ""
    heads = ["seeds", "interval", f"least effect{unit}", f"least margin of equality{unit}"]
    within = margin if deviation is not None else None
    heads += [] if within is None else [f"no difference within {within:g}"]
    shown = text_table(f"what seeds show with a power of {POWER}", [*heads, *(["cost"] if seconds else [])])
    for row in power_rows(looks, deviation, margin, seconds):
        cells = [str(row["seeds"]), f"{100 * row['level']:.1f} %", number(row["least_effect"])]
        cells.append(number(row["least_margin_of_equality"]))
        if within is not None:
            power = row["power_of_equality"]
            cells.append(f"{'can be shown' if power >= POWER else 'seldom shown'} (power {power:.2f})")
        add(shown, [*cells, *([duration(row["seconds"])] if seconds else [])])
    return shown


def power_rows(
    looks: Sequence[int], deviation: Deviation | None, margin: float | None, seconds: float | None
) -> list[dict[str, Any]]:
    """Return a row for each look, for other programs; arguments as of `table`."""
    sigma = 1.0 if deviation is None else deviation.value
    found = []
    for count, level in zip(looks, levels(looks), strict=True):
        row = {"of": "power", "seeds": count, "level": level, "deviation": None if deviation is None else sigma}
        row |= {"least_effect": least_effect(sigma, count, level)}
        row |= {"least_margin_of_equality": least_margin(sigma, count, level)}
        known = margin is not None and deviation is not None
        row |= {"power_of_equality": power_of_equality(sigma, margin, count, level)} if known else {}
        found.append(row | ({"seconds": count * seconds} if seconds else {}))
    return found


def lines(deviation: Deviation | None, margin: float | None, runs: int) -> list[str]:
    """Describe what the table rests on.

    Args:
        runs: number of runs of one seed.
    """
    if deviation is None:
        start = "The deviation of the difference of two runs of one seed is not known: effects are in units of it."
        first = f"{start} Give --deviation, or --from=RUN,RUN,... of finished runs."
    else:
        first = f"Deviation of the difference of two runs of one seed: {deviation.value:.4g}, {deviation.source}."
    cost = "two settings are compared" if runs == 2 else f"{runs:,} settings are compared"
    last = (
        f"A seed costs {counted(runs, 'run')}, since {cost}; the word is read at these numbers of seeds and no other."
    )
    unread = ["--margin is compared with the deviation, which is not known."] if margin and deviation is None else []
    return [first, *unread, last]
