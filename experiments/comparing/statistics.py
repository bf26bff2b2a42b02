"""The mean of a score over seeds and its confidence interval, of one sample or of a paired difference.

    mean ± t s / √n,    s² = Σ (x - mean)² / (n - 1)

n is the number of seeds and t the quantile of Student's distribution with n - 1 degrees of freedom that leaves
(1 - level) / 2 above it (Student 1908, "The probable error of a mean"). The interval is right for scores that are
normal over seeds, and near it for others. A paired difference is the same for the differences seed by seed: what a seed
decides for both groups, such as the order of the data, drops out of it.

Fewer than ENOUGH values have no interval: the s of two values says next to nothing (t is 12.7). Where a score has a
range, such as a share in [0, 1], the interval is cut to it. The true mean lies in the range, so the part that is cut
off never covered it, and the rest covers it as often as before (Mandelkern 2002, "Setting confidence intervals for
bounded parameters", section 3). An interval by the logit would need no cut, but has no value for a seed with 0 or 1,
which exact match has often.

The share of one model's right answers has Wilson's interval (1927, "Probable inference, the law of succession, and
statistical inference"), which stays within [0, 1]. A mean over tokens, which are not independent within a text, is the
ratio of two sums over texts: its interval is that of the residuals x - ratio y over texts (Cochran 1977, "Sampling
techniques", section 6.4), with Student's quantile.

A run that diverged has no score to average: values that are not finite are counted, and no part of the mean or of the
interval, which are then of the runs that did not diverge.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from transformer.errors import counted

LEVEL = 0.95
"""The share of intervals that cover the truth."""

ENOUGH = 3
"""The number of seeds that an interval needs."""

Bounds = tuple[float, float]
"""The least and the greatest value that a score can have."""

UNBOUNDED: Bounds = (-math.inf, math.inf)

DECIMALS, MOST_DECIMALS, PLAIN_BELOW = 4, 10, 1e6
"""Digits behind the point, at least and at most; from this size on, numbers have an exponent."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds, in the score's own unit."""

    mean: float
    """The mean of the finite values; NaN without any."""
    half_width: float | None
    """The interval is mean ± this, cut to the bounds; None for fewer than ENOUGH finite values."""
    values: tuple[float, ...]
    """The finite values."""
    diverged: int = 0
    """The number of values that are not finite."""
    bounds: Bounds = UNBOUNDED
    """The range of the score."""

    @property
    def count(self) -> int:
        """The number of finite values."""
        return len(self.values)

    @property
    def interval(self) -> Bounds | None:
        """The ends of the interval, inside the bounds; None without one."""
        if self.half_width is None:
            return None
        low, high = self.bounds
        return max(self.mean - self.half_width, low), min(self.mean + self.half_width, high)

    @property
    def excludes_zero(self) -> bool | None:
        """True if 0 lies outside the interval; None without an interval."""
        return None if self.half_width is None else abs(self.mean) > self.half_width


class Value(NamedTuple):
    """A score of one model on one split, with the interval that its examples leave."""

    value: float
    """The score, in its own unit."""
    low: float | None
    """The lower end of the 95 % interval; None where the score has none."""
    high: float | None
    """The upper end."""
    count: int
    """The number of examples: answers, labels, or windows of text."""

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        spread = "no interval" if self.low is None else f"{number(self.low)} to {number(self.high)}"
        return f"{number(self.value)} ({spread}, {counted(self.count, 'example')})"


def share_of(successes: int, count: int, level: float = LEVEL) -> Value:
    """Estimate a share from independent successes and failures, with Wilson's interval; count is 1 or more."""
    share, quantile = successes / count, float(stats.norm.ppf(0.5 + level / 2))
    widened = 1 + quantile**2 / count
    middle = (share + quantile**2 / (2 * count)) / widened
    half = quantile * math.sqrt(share * (1 - share) / count + quantile**2 / (4 * count**2)) / widened
    return Value(share, min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share), count)


def ratio_of(
    sums: Float[np.ndarray, "n"], sizes: Float[np.ndarray, "n"], level: float = LEVEL, *, bounds: Bounds = UNBOUNDED
) -> Value:
    """Estimate the ratio of two means over texts, such as nats per token, with its interval.

    Args:
        sums: of each text, such as its nats.
        sizes: of each text, such as its tokens.
        level: share of intervals that cover the truth.
        bounds: range of the ratio.
    """
    total, count = float(sizes.sum()), len(sums)
    ratio = float(sums.sum()) / total if total else math.nan
    if count < ENOUGH or not math.isfinite(ratio):
        return Value(ratio, None, None, count)
    spread = math.sqrt(count / (count - 1) * float(((sums - ratio * sizes) ** 2).sum())) / total
    half = float(stats.t.ppf(0.5 + level / 2, count - 1)) * spread
    return Value(ratio, max(ratio - half, bounds[0]), min(ratio + half, bounds[1]), count)


def estimate(values: Sequence[float], level: float = LEVEL, *, bounds: Bounds = UNBOUNDED) -> Estimate:
    """Estimate the mean of one value per seed, with its interval.

    Args:
        values: any number of them; those that are not finite are counted as diverged.
        level: share of intervals that cover the truth, between 0 and 1.
        bounds: range of the score.
    """
    values = np.asarray(values, np.float64)
    finite = values[np.isfinite(values)]
    diverged, known = len(values) - len(finite), tuple(map(float, finite))
    if len(finite) < 2:
        return Estimate(known[0] if known else math.nan, None, known, diverged, bounds)
    mean, half_width = interval(finite, level)
    return Estimate(float(mean), float(half_width) if len(known) >= ENOUGH else None, known, diverged, bounds)


def paired_difference(
    first: Mapping[int, float], second: Mapping[int, float], level: float = LEVEL, *, bounds: Bounds = UNBOUNDED
) -> Estimate:
    """Estimate the mean of `second` - `first` over the seeds that both have, with its interval.

    Args:
        first: seed -> score; a seed is diverged where either score is not finite.
        second: likewise.
        level: as in `estimate`.
        bounds: range of each score; that of a difference follows.
    """
    width = bounds[1] - bounds[0]
    differences = [float(second[seed]) - float(first[seed]) for seed in first if seed in second]
    return estimate(differences, level, bounds=(-width, width))


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

    The values stand in place of an interval where they are too few for one: "0.9312 (2 seeds: 0.9302, 0.9322; no
    interval)". An interval that is cut has its ends: "0.0200, from 0.0000 to 0.0623 (5 seeds)". The number of digits
    shows at least two digits of the interval.

    Args:
        signed: write + before a mean that is not negative, as for a difference.
    """
    notes = [counted(estimate.count, "seed")]
    if estimate.interval is None and estimate.count > 1:
        notes[0] += ": " + ", ".join(number(value, signed=signed) for value in estimate.values) + "; no interval"
    elif estimate.interval is None:
        notes += ["no interval"]
    notes += [f"{estimate.diverged} not finite"] if estimate.diverged else []
    if not estimate.count:
        return f"no finite value ({counted(estimate.diverged, 'seed')})"
    half, decimals = estimate.half_width, DECIMALS
    if half:
        decimals = min(max(DECIMALS, 1 - math.floor(math.log10(half))), MOST_DECIMALS)
    spread = "" if half is None else f" ± {number(half, decimals)}"
    if half is not None and half > min(estimate.mean - estimate.bounds[0], estimate.bounds[1] - estimate.mean):
        low, high = (number(end, decimals, signed=signed) for end in estimate.interval)
        spread = f", from {low} to {high}"
    return f"{number(estimate.mean, decimals, signed=signed)}{spread} ({', '.join(notes)})"


def number(value: float, decimals: int = DECIMALS, *, signed: bool = False) -> str:
    """Format a score."""
    kind = "f" if abs(value) < PLAIN_BELOW or not math.isfinite(value) else "e"
    return f"{value:{'+' if signed else ''}.{decimals}{kind}}"
