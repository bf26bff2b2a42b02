"""The mean of a score over seeds and its confidence interval, of one sample or of a paired difference.

    mean ± t s / √n,    s² = Σ (x - mean)² / (n - 1)

n is the number of seeds and t the quantile of Student's distribution with n - 1 degrees of freedom that leaves
(1 - level) / 2 above it (Student 1908, "The probable error of a mean"). The interval is right for scores that are
normal over seeds, and near it for others. A paired difference is the same for the differences seed by seed: what a seed
decides for both groups, such as the order of the data, drops out of it.

A run that diverged has no score to average: values that are not finite are counted, and no part of the mean or of the
interval, which are then of the runs that did not diverge.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

LEVEL = 0.95
"""The share of intervals that cover the truth."""

DECIMALS, MOST_DECIMALS, PLAIN_BELOW = 4, 10, 1e6
"""Digits behind the point, at least and at most; from this size on, numbers have an exponent."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds, in the score's own unit."""

    mean: float
    """The mean of the finite values; NaN without any."""
    half_width: float | None
    """The interval is mean ± this; None for fewer than two finite values, which have no spread."""
    count: int
    """The number of finite values."""
    diverged: int
    """The number of values that are not finite."""

    @property
    def excludes_zero(self) -> bool | None:
        """True if 0 lies outside the interval; None without an interval."""
        return None if self.half_width is None else abs(self.mean) > self.half_width


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Estimate the mean of one value per seed, with its interval.

    Args:
        values: any number of them; those that are not finite are counted as diverged.
        level: share of intervals that cover the truth, between 0 and 1.
    """
    values = np.asarray(values, np.float64)
    finite = values[np.isfinite(values)]
    diverged = len(values) - len(finite)
    if len(finite) < 2:
        return Estimate(float(finite[0]) if len(finite) else math.nan, None, len(finite), diverged)
    mean, half_width = interval(finite, level)
    return Estimate(float(mean), float(half_width), len(finite), diverged)


def paired_difference(first: Mapping[int, float], second: Mapping[int, float], level: float = LEVEL) -> Estimate:
    """Estimate the mean of `second` - `first` over the seeds that both have, with its interval.

    Args:
        first: seed -> score; a seed is diverged where either score is not finite.
        second: likewise.
        level: as in `estimate`.
    """
    return estimate([float(second[seed]) - float(first[seed]) for seed in first if seed in second], level)


def interval(
    values: Float[np.ndarray, "*study n"], level: float = LEVEL
) -> tuple[Float[np.ndarray, "*study"], Float[np.ndarray, "*study"]]:
    """Compute the mean of each study over its last axis, n >= 2 finite values, and its interval's half width."""
    count = values.shape[-1]
    # In units of the largest value, since the square of a perplexity of 1e304 is not finite.
    scale = np.max(np.abs(values), axis=-1, keepdims=True)
    scale = np.where(scale > 0.0, scale, 1.0)
    scaled = values / scale
    quantile = stats.t.ppf(0.5 + level / 2, count - 1)
    half_width = quantile * scaled.std(axis=-1, ddof=1) / math.sqrt(count)
    return scaled.mean(axis=-1) * scale[..., 0], half_width * scale[..., 0]


def as_text(estimate: Estimate, *, signed: bool = False) -> str:
    """Format an estimate: "0.9312 ± 0.0041 (5 seeds)", "0.9312 (1 seed, no interval)".

    The number of digits shows at least two digits of the interval.

    Args:
        signed: write + before a mean that is not negative, as for a difference.
    """
    notes = [f"{estimate.count} seed{'' if estimate.count == 1 else 's'}"]
    notes += ["no interval"] if estimate.half_width is None else []
    notes += [f"{estimate.diverged} diverged"] if estimate.diverged else []
    if not estimate.count:
        return f"no finite value ({', '.join(notes[2:]) or notes[0]})"
    half, decimals = estimate.half_width, DECIMALS
    if half:
        decimals = min(max(DECIMALS, 1 - math.floor(math.log10(half))), MOST_DECIMALS)
    spread = "" if half is None else f" ± {number(half, decimals)}"
    return f"{number(estimate.mean, decimals, signed=signed)}{spread} ({', '.join(notes)})"


def number(value: float, decimals: int = DECIMALS, *, signed: bool = False) -> str:
    """Format a score."""
    kind = "f" if abs(value) < PLAIN_BELOW or not math.isfinite(value) else "e"
    return f"{value:{'+' if signed else ''}.{decimals}{kind}}"
