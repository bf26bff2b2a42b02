"""Power of a number of seeds: the least effect, equality within a margin, and the seeds that either needs.

    power of an effect θ      P(|T| > t(n - 1, level)),   T noncentral t with n - 1 degrees of freedom, θ √n / σ
    power of equality         P(-δ < L and U < δ), averaged over the distribution of the sampled deviation

σ is the standard deviation of the paired difference over seeds, δ the margin (Cohen 1988, "Statistical power analysis
for the behavioral sciences"; Schuirmann 1987). The far tail of the two-sided test, below 1 % of the power where the
effect is found at all, is left out.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize, stats

ENOUGH = 4
"""Least number of seeds of a look; fewer are a preview."""
POWER = 0.8
"""Chance with which an effect is to be shown, where the least effect or the seeds needed are computed."""
MOST_SEEDS = 100_000


def least_effect(deviation: float, count: int, level: float, power: float = POWER) -> float:
    """Compute the least true mean whose interval excludes 0 with this power; NaN where it is not known."""
    if count < 2 or not math.isfinite(deviation):
        return math.nan
    quantile = float(stats.t.ppf(0.5 + level / 2, count - 1))

    def short(effect: float) -> float:
        return float(stats.nct.sf(quantile, count - 1, effect * math.sqrt(count))) - power

    return deviation * float(optimize.brentq(short, 0.0, 10.0 * quantile))


def seeds_for_effect(deviation: float, effect: float, level: float) -> int | None:
    """Compute the least number of seeds, 4 or more, that show an effect; None above 100,000 or without a deviation."""
    return _fewest(lambda count: least_effect(deviation, count, level) <= effect)


def seeds_for_equality(deviation: float, margin: float, level: float, truth: float = 0.0) -> int | None:
    """Compute the least number of seeds, 4 or more, that show a difference below the margin; None above 100,000."""
    if not math.isfinite(deviation) or abs(truth) >= margin:
        return None
    return _fewest(lambda count: power_of_equality(deviation, margin, count, level, truth) >= POWER)


def power_of_equality(deviation: float, margin: float, count: int, level: float, truth: float = 0.0) -> float:
    """Compute the chance that the interval of `count` seeds lies inside of ± margin."""
    if deviation == 0.0:
        return float(abs(truth) < margin)
    quantile = float(stats.t.ppf(0.5 + level / 2, count - 1))
    # The mean and the deviation are independent: the chance is averaged over quantiles of the latter.
    middles = (np.arange(200) + 0.5) / 200
    sampled = deviation * np.sqrt(stats.chi2.ppf(middles, count - 1) / (count - 1))
    room, error = margin - quantile * sampled / math.sqrt(count), deviation / math.sqrt(count)
    inside = stats.norm.cdf((room - truth) / error) - stats.norm.cdf((-room - truth) / error)
    return float(np.where(room > 0.0, inside, 0.0).mean())


def _fewest(enough: Callable[[int], bool]) -> int | None:
    """Find the least number of seeds, from ENOUGH on, with which a condition holds that more seeds do not break."""
    high = ENOUGH
    while not enough(high):
        high *= 2
        if high > MOST_SEEDS:
            return None
    low = high // 2
    while high - low > 1 and high > ENOUGH:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
