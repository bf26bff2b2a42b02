"""Intervals and p-values of paired differences, of two groups and of shares.

    paired      mean(d) ± t(n - 1, level) s / √n                             Student 1908
    unpaired    mean(a) - mean(b) ± t(ν, level) √((s_a² + s_b²) / n)         Welch 1947, ν by his formula
    median      [d_(k), d_(n + 1 - k)],  P(Binomial(n, 1/2) < k) ≤ (1 - level) / 2
    share       the interval of Clopper and Pearson 1934

What they decide is in `decision`.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import stats

ERROR = 0.05
"""Chance of a wrong interval at any look."""


def advantages(ours: Sequence[float], others: Sequence[float], *, mode: str) -> list[float]:
    """Compute how much better each of our scores is than the other's of the same seed.

    A score that is not finite is that of a seed that diverged: it is infinitely worse; NaN where both diverged.

    Args:
        mode: "max" where a higher score is better, "min" where a lower one is.
    """
    sign = {"max": 1.0, "min": -1.0}[mode]
    found = []
    for our, other in zip(ours, others, strict=True):
        arrived = math.isfinite(our), math.isfinite(other)
        found.append(
            sign * (our - other) if all(arrived) else math.inf * (arrived[0] - arrived[1]) if any(arrived) else math.nan
        )
    return found


def common_end(scores: Iterable[float], bounds: tuple[float, float]) -> float | None:
    """Return the end of a metric's range at which all scores lie, where it can show no difference; else None."""
    found = {*scores}
    (only,) = found if len(found) == 1 else (None,)
    return only if only in bounds and only is not None and math.isfinite(only) else None


def interval(values: Sequence[float], level: float) -> tuple[float, float, float]:
    """Compute (middle, low, high): Student's interval of the mean; of the median where a seed diverged.

    The latter is open towards the side of a seed that diverged.
    """
    x, count = np.asarray(values, np.float64), len(values)
    if not np.isfinite(x).all():
        ordered, unknown = np.sort(x), bool(np.isnan(x).any())
        # The k-th least value lies below the median, but for a chance of P(Binomial(n, 1/2) < k).
        k = int(stats.binom.ppf((1.0 - level) / 2, count, 0.5))
        low, high = (ordered[k - 1], ordered[count - k]) if k else (-math.inf, math.inf)
        low = -math.inf if unknown or ordered[0] == -math.inf else float(low)
        high = math.inf if unknown or ordered[-1] == math.inf else float(high)
        return median(values), low, high
    mean, spread = float(x.mean()), float(x.std(ddof=1))
    half = float(stats.t.ppf(0.5 + level / 2, count - 1)) * spread / math.sqrt(count)
    return mean, mean - half, mean + half


def median(values: Sequence[float]) -> float:
    """Return the median of the values that are known, infinities included; NaN without any, or between infinities."""
    known = np.sort([value for value in values if not math.isnan(value)])
    if not len(known):
        return math.nan
    low, high = float(known[(len(known) - 1) // 2]), float(known[len(known) // 2])
    return low if low == high else math.nan if math.isinf(low) and math.isinf(high) else (low + high) / 2


def welch(
    ours: Sequence[float], others: Sequence[float], level: float, *, mode: str
) -> tuple[tuple[float, float, float], float, float]:
    """Compare two groups of as many runs that are no pairs, all with a finite score.

    Args:
        mode: as in `advantages`.

    Returns:
        The advantage of our group with its ends; the two-sided p-value; the standard deviation of a difference.
    """
    sign = {"max": 1.0, "min": -1.0}[mode]
    a, b = (sign * np.asarray(group, np.float64) for group in (ours, others))
    middle, spread = float(a.mean() - b.mean()), math.sqrt(float(a.var(ddof=1) + b.var(ddof=1)))
    if spread == 0.0:
        return (middle, middle, middle), float(middle == 0.0), spread
    test = stats.ttest_ind(a, b, equal_var=False)
    half = float(stats.t.ppf(0.5 + level / 2, test.df)) * spread / math.sqrt(len(a))
    return (middle, middle - half, middle + half), float(test.pvalue), spread


def p_value(values: Sequence[float], against: float) -> float:
    """Compute the two-sided p-value of a mean that is `against`: Student's test, or the sign test with infinities."""
    x = np.asarray(values, np.float64) - against
    if np.isnan(x).any():
        return 1.0
    if not np.isfinite(x).all():
        signs = x[x != 0.0]
        return float(stats.binomtest(int((signs > 0).sum()), len(signs)).pvalue) if len(signs) else 1.0
    if x.std() == 0.0:
        return 0.0 if x[0] else 1.0
    student = x.mean() / x.std(ddof=1) * math.sqrt(len(x))
    return float(2.0 * stats.t.sf(abs(student), len(x) - 1))


def share_interval(successes: int, count: int, level: float = 1.0 - ERROR) -> tuple[float, float]:
    """Compute the interval of Clopper and Pearson 1934 of a share, such as that of the seeds that arrive."""
    found = stats.binomtest(successes, count).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)


def discoveries(p_values: Sequence[float], rate: float = ERROR) -> list[bool]:
    """Return which p-values the procedure of Benjamini and Hochberg 1995 keeps at this rate of false discoveries."""
    return [bool(p <= rate) for p in stats.false_discovery_control(p_values, method="bh")] if len(p_values) else []
