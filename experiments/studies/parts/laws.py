"""Laws of growth, fitted to each draw or round by itself: the slope of a line, the exponent of a power, a crossing.

    line    y = a x + b          slope a, by least squares
    power   y = c n^a            exponent a: the slope of log y against log n

The word of such a number follows from its interval over independent draws or rounds (`comparing.decision`). A number
that is computed without chance, such as a count of operations, is its own interval.
"""

from typing import Any

import numpy as np

from experiments.comparing.decision import ENOUGH, KINDS, NOT_TESTED, PREVIEW, interval
from experiments.studies.frame.claim import Case
from experiments.studies.frame.text import NOTHING, Text, number, same
from transformer.schema import Check, each

LEVEL = 0.95
"""Share of the intervals that cover the true mean."""
INTERVAL = Text("95 % interval {low} to {high}", "95% 区间 {low} 至 {high}")
FEW = Text("fewer than two lengths in this range", "此范围内的长度少于两个")

LONGEST = 2**16
"""Largest length of a law."""


def rising(low: int) -> Check:
    """Return the check of a setting of lengths: rising whole numbers from `low` to LONGEST."""
    return each(low, LONGEST, "rising whole numbers", lambda n: list(n) == sorted(set(n)))


def slopes(x_n: Any, y_nR: Any) -> np.ndarray:
    """Compute the slope of y against x, by least squares, for each R; one NaN with fewer than two x."""
    x_n = np.asarray(x_n, float)
    if len(x_n) < 2:
        return np.array([np.nan])
    y_nR = np.asarray(y_nR, float).reshape(len(x_n), -1)
    centred_n = x_n - x_n.mean()
    return centred_n @ y_nR / (centred_n @ centred_n)


def exponents(n: Any, y_nR: Any) -> np.ndarray:
    """Compute the exponent of the power of n that y is, for each R; one NaN with fewer than two n."""
    return slopes(np.log(np.asarray(n, float)), np.log(np.asarray(y_nR, float)))


def crossings(n: Any, upper_nR: Any, lower_nR: Any) -> np.ndarray:
    """Compute the n from which `upper` is the larger, for each R, between two n on a straight line of the logarithms.

    0 where it is the larger from the first n on; infinite where it is not at the last.
    """
    log_n = np.log(np.asarray(n, float))
    ratio_nR = np.log(np.asarray(upper_nR, float) / np.asarray(lower_nR, float)).reshape(len(log_n), -1)
    return np.array([_crossing(log_n, ratio_n) for ratio_n in ratio_nR.T])


def _crossing(log_n: np.ndarray, ratio_n: np.ndarray) -> float:
    below = np.flatnonzero(ratio_n < 0.0)
    if not len(below):
        return 0.0
    last = int(below[-1])
    if last + 1 == len(ratio_n):
        return float("inf")
    share = -ratio_n[last] / (ratio_n[last + 1] - ratio_n[last])
    return float(np.exp(log_n[last] + share * (log_n[last + 1] - log_n[last])))


def judged(
    name: Text,
    values: Any,
    *,
    kind: str,
    margin: float,
    target: float = 0.0,
    what: Text = NOTHING,
    most: float = np.inf,
) -> Case:
    """Read the word of a number by its interval over draws or rounds.

    Args:
        values: one for each draw or round, all of them planned; one alone is exact. NaN: it could not be computed.
        kind: a row of KINDS.
        margin: of the number less `target`.
        what: name of the number, such as "exponent".
        most: largest possible value; that of a share is 1, its least 0. The interval that is shown is cut there.

    Returns:
        The case; "preview" for 2 or 3 values, "not tested" where one is NaN.
    """
    values = np.atleast_1d(np.asarray(values, float))
    middle, low, high = bounds(values)
    numbers = {"middle": middle, "low": low, "high": high, "kind": kind, "margin": margin, "target": target}
    if np.isnan(values).any():
        return Case(name, NOT_TESTED, NOTHING, reason=FEW, numbers=numbers)
    measured = _stated(what, values, most)
    word = PREVIEW if 1 < len(values) < ENOUGH else KINDS[kind].rule(low - target, high - target, margin)
    return Case(name, word, measured, numbers=numbers)


def bounds(values: Any) -> tuple[float, float, float]:
    """Compute (mean, low, high) of the interval over draws or rounds; one value alone is its own."""
    values = np.atleast_1d(np.asarray(values, float))
    if len(values) == 1 or np.isnan(values).any():
        return (float(values.mean()),) * 3
    return interval(list(values), LEVEL)


def shown(values: Any, digits: int = 3, most: float = np.inf) -> Text:
    """Format a mean with its interval over draws or rounds, cut to 0 .. most where `most` is finite."""
    values = np.atleast_1d(np.asarray(values, float))
    middle, low, high = bounds(values)
    low, high = (max(low, 0.0), min(high, most)) if np.isfinite(most) else (low, high)
    if len(values) < ENOUGH:
        return same(number(middle, digits))
    ends = INTERVAL.format(low=number(low, digits), high=number(high, digits))
    return Text(f"{number(middle, digits)} ({ends.en})", f"{number(middle, digits)}（{ends.zh}）")


def _stated(what: Text, values: np.ndarray, most: float) -> Text:
    return Text(*(f"{label} {value}".strip() for label, value in zip(what, shown(values, most=most), strict=True)))


def within(n: Any, low: float, high: float) -> list[int]:
    """List the indices of the n from `low` to `high`."""
    return [i for i, value in enumerate(n) if low <= value <= high]


def in_chinese(rule: str) -> str:
    """Translate the words of a rule of KINDS."""
    for english, chinese in (
        ("; else ", "；否则 "),
        ("; ", "；"),
        ("no difference: ", "无差异："),
        ("holds: ", "成立："),
        ("reversed: ", "相反："),
        ("fails: ", "不成立："),
        (" and ", " 且 "),
        (" or ", " 或 "),
    ):
        rule = rule.replace(english, chinese)
    return rule


def detailed(what: Text, *details: Text) -> Text:
    """Return the name of a case with its details in brackets, so that a list of names can be read."""
    return Text(f"{what.en} ({', '.join(x.en for x in details)})", f"{what.zh}（{'，'.join(x.zh for x in details)}）")
