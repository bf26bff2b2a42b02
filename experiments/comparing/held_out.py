"""The interval of a difference of two scores over held-out items, by the paired bootstrap.

A score is a ratio of sums over items, such as nats per token. All models are scored on the same items, so items are
drawn again for all of them together, and the ratios are computed anew (Efron and Tibshirani 1993, chapters 8 and 13;
Koehn 2004, "Statistical significance tests for machine translation evaluation"). The interval covers what another draw
of held-out items would change; that over seeds covers what another start and another order of the data would.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000


class Items(NamedTuple):
    """A score's parts on K items, each the mean over the seeds."""

    sums: Float[np.ndarray, "K"]
    counts: Float[np.ndarray, "K"]


def over_items(plus: Sequence[Items], minus: Sequence[Items], level: float) -> tuple[float, float]:
    """Compute the percentile interval of the sum of scores `plus` less the sum of scores `minus`.

    Args:
        plus: scores on the same K items.
        minus: likewise, of the models that they are compared with.
        level: share of intervals that cover the truth.

    Returns:
        The two ends; equal where there is one item.
    """
    count = len(plus[0].sums)
    rows_XK = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
    drawn = np.zeros(RESAMPLES)
    for sign, scores in ((1.0, plus), (-1.0, minus)):
        for sums, counts in scores:
            drawn += sign * sums[rows_XK].sum(-1) / counts[rows_XK].sum(-1)
    low, high = np.quantile(drawn, (0.5 - level / 2, 0.5 + level / 2))
    return float(low), float(high)
