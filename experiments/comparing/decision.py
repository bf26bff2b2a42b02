"""The decision rule for comparisons of trained models: one word by paired differences, a margin and fixed looks.

    advantage of A over B, seed by seed    d_r = how much better A's score is than B's, both trained with seed r
    interval at a look of n seeds          [L, U] = mean(d) ± t(n - 1, level) s / √n,    level = 1 - error of this look
    margin δ                               the least difference that matters, fixed before the runs

A look is a number of seeds at which the word is read, 4, 8 and 16 unless others are planned; between two looks more
seeds are added. The error of 5 % is divided among the looks in proportion to √n, so the chance that any look reads
"holds" where there is no effect is at most 2.5 %, whatever the looks have in common (the union bound; Armitage et al.
1969, "Repeated significance tests on accumulating data"). Equality is shown by two one-sided tests (Schuirmann 1987).

A seed that diverged is infinitely worse, not left out. The interval is then that of the median by order statistics
(Conover 1999, "Practical nonparametric statistics", section 3.2), which infinities do not harm.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from transformer.errors import problem

HOLDS, REVERSED, NO_DIFFERENCE, FAILS, UNDECIDED = (
    "holds",
    "reversed",
    "no difference",
    "fails",
    "undecided",
)
NOT_TESTED, PREVIEW = "not tested", "preview"
HOLDS_EXACTLY, COUNTEREXAMPLE = "holds exactly", "fails, with a counterexample"
WORDS = (HOLDS, REVERSED, NO_DIFFERENCE, FAILS, UNDECIDED, NOT_TESTED, PREVIEW, HOLDS_EXACTLY, COUNTEREXAMPLE)
"""All words of a verdict."""
LOOKS = (4, 8, 16)
"""Numbers of seeds at which the word is read."""
ENOUGH = 4
"""Least number of seeds of a look; fewer are a preview."""
ERROR = 0.05
"""Chance of a wrong interval at any look."""
POWER = 0.8
"""Chance with which an effect is to be shown, where the least effect or the seeds needed are computed."""
MOST_SEEDS = 100_000


class Kind(NamedTuple):
    """A kind of claim."""

    rule: Callable[[float, float, float], str]
    """(low, high, margin) -> word."""
    words: str
    """The rule in words, with {margin}."""


def _better(low: float, high: float, margin: float) -> str:
    if -margin < low and high < margin:
        return NO_DIFFERENCE
    if low > 0.0:
        return HOLDS
    if high < 0.0:
        return REVERSED
    return FAILS if high < margin else UNDECIDED


def _as_good(low: float, high: float, margin: float) -> str:
    return HOLDS if low > -margin else FAILS if high < -margin else UNDECIDED


def _equal(low: float, high: float, margin: float) -> str:
    if -margin < low and high < margin:
        return HOLDS
    return FAILS if low > margin or high < -margin else UNDECIDED


def _at_least(low: float, high: float, margin: float) -> str:
    return HOLDS if low >= margin else FAILS if high < margin else UNDECIDED


BETTER, AS_GOOD, EQUAL, AT_LEAST = "better", "as good", "equal", "at least"
KINDS: Mapping[str, Kind] = {
    BETTER: Kind(
        _better,
        "no difference: -{margin} < L and U < {margin}; else holds: L > 0; reversed: U < 0; fails: U < {margin}",
    ),
    AS_GOOD: Kind(_as_good, "holds: L > -{margin}; fails: U < -{margin}"),
    EQUAL: Kind(_equal, "holds: -{margin} < L and U < {margin}; fails: L > {margin} or U < -{margin}"),
    AT_LEAST: Kind(_at_least, "holds: L >= {margin}; fails: U < {margin}"),
}
"""Kinds of claims. "At least" is about a score itself, and its margin is the value that the score is to reach."""


@dataclasses.dataclass(frozen=True)
class Decision:
    """The word of one comparison, with the numbers that decided."""

    word: str
    """A row of WORDS."""
    kind: str
    """A row of KINDS."""
    margin: float
    values: tuple[float, ...]
    """The values of the seeds that counted, in the order of the seeds; infinite where a seed diverged."""
    middle: float
    """The mean; the median where a seed diverged."""
    low: float | None
    """The lower end of the interval; None for fewer seeds than the first look."""
    high: float | None
    """The upper end."""
    level: float | None
    """The share of intervals of this look that cover the truth."""
    next_look: int | None
    """The next number of seeds at which the word is read; None: this was the last."""
    p: float
    """Chance of so large an advantage without any, two-sided, corrected for the looks; 1 where it is not known."""

    @property
    def count(self) -> int:
        """The number of seeds that counted."""
        return len(self.values)

    @property
    def diverged(self) -> int:
        """The number of seeds at which one of the two diverged."""
        return sum(not math.isfinite(value) for value in self.values)

    @property
    def deviation(self) -> float:
        """The standard deviation over seeds; NaN with fewer than two finite values."""
        finite = [value for value in self.values if math.isfinite(value)]
        return float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan

    @property
    def decided(self) -> bool:
        """True if more seeds are not asked for."""
        return self.word not in (UNDECIDED, FAILS, PREVIEW)

    @property
    def least_effect(self) -> float:
        """The least effect that so many seeds show with a power of 0.8."""
        return least_effect(self.deviation, self.count, self.level or 1.0 - ERROR)

    @property
    def seeds_needed(self) -> int | None:
        """Seeds that show the effect as it was measured, or that it is below the margin, with a power of 0.8.

        None where neither can be computed, or more than 100,000 are needed.
        """
        level = self.level or 1.0 - ERROR
        effect = abs(self.middle - self.margin) if self.kind == AT_LEAST else abs(self.middle)
        found = [seeds_for_effect(self.deviation, effect, level)]
        if self.kind != AT_LEAST:
            found.append(seeds_for_equality(self.deviation, self.margin, level, truth=effect))
        return min((count for count in found if count is not None), default=None)


def decide(values: Sequence[float], *, margin: float, kind: str = BETTER, looks: Sequence[int] = LOOKS) -> Decision:
    """Decide a claim by the values of its seeds.

    The greatest look that the seeds reach counts, and its first n values; the looks before it are paid for.

    Args:
        values: the advantage at each seed, or the score itself for "at least"; in an order fixed beforehand.
        margin: least difference that matters, above 0; for "at least" the value to reach.
        kind: a row of KINDS.
        looks: rising numbers of seeds, each at least 4.

    Raises:
        UserError: looks that do not rise or begin below 4, or a margin that is not above 0.
    """
    check(margin, kind, looks)
    reached = [n for n in looks if n <= len(values)]
    if not reached:
        known = tuple(map(float, values))
        middle = float(np.median(known)) if known else math.nan
        return Decision(PREVIEW, kind, margin, known, middle, None, None, None, looks[0], 1.0)
    count = reached[-1]
    used = tuple(map(float, values[:count]))
    following = looks[len(reached)] if len(reached) < len(looks) else None
    level = dict(zip(looks, levels(looks), strict=True))[count]
    middle, low, high = interval(used, level)
    word = KINDS[kind].rule(low, high, margin)
    p = min(1.0, p_value(used, margin if kind == AT_LEAST else 0.0) * ERROR / (1.0 - level))
    return Decision(word, kind, margin, used, middle, low, high, level, following, p)


def check(margin: float, kind: str, looks: Sequence[int]) -> None:
    """Check a margin and looks.

    Raises:
        UserError: one that does not fit.
    """
    if not looks or looks[0] < ENOUGH or list(looks) != sorted(set(looks)):
        expected = f"rising numbers of seeds, each {ENOUGH} or more"
        raise problem("the looks do not fit", got=", ".join(map(str, looks)) or "none", expected=expected)
    if not (math.isfinite(margin) and (margin > 0.0 or kind == AT_LEAST)):
        expected = "the least difference that matters, a number above 0"
        do = "Choose it before the runs, in the unit of the metric."
        raise problem("the margin does not fit", got=f"{margin:g}", expected=expected, do=do)


def levels(looks: Sequence[int] = LOOKS) -> tuple[float, ...]:
    """Return the share of intervals that cover the truth at each look: 1 - 0.05 √n / the sum of all √n."""
    roots = np.sqrt(looks)
    return tuple(float(x) for x in 1.0 - ERROR * roots / roots.sum())


def advantages(ours: Sequence[float], others: Sequence[float], *, mode: str) -> list[float]:
    """Compute how much better each of our scores is than the other's of the same seed.

    A score that is not finite is that of a seed that diverged: it is infinitely worse; 0 where both diverged.

    Args:
        mode: "max" where a higher score is better, "min" where a lower one is.
    """
    sign = {"max": 1.0, "min": -1.0}[mode]
    found = []
    for our, other in zip(ours, others, strict=True):
        arrived = math.isfinite(our), math.isfinite(other)
        found.append(
            sign * (our - other) if all(arrived) else math.inf * (arrived[0] - arrived[1]) if any(arrived) else 0.0
        )
    return found


def interval(values: Sequence[float], level: float) -> tuple[float, float, float]:
    """Compute (middle, low, high): Student's interval of the mean; of the median where a value is infinite."""
    x, count = np.asarray(values, np.float64), len(values)
    if not np.isfinite(x).all():
        ordered = np.sort(x)
        # The k-th least value lies below the median, but for a chance of P(Binomial(n, 1/2) < k).
        k = int(stats.binom.ppf((1.0 - level) / 2, count, 0.5))
        k -= int(stats.binom.cdf(k - 1, count, 0.5) > (1.0 - level) / 2) if k else 0
        middle = float(ordered[(count - 1) // 2 : count // 2 + 1].mean()) if count else math.nan
        return (middle, float(ordered[k - 1]), float(ordered[count - k])) if k else (middle, -math.inf, math.inf)
    mean, spread = float(x.mean()), float(x.std(ddof=1))
    half = float(stats.t.ppf(0.5 + level / 2, count - 1)) * spread / math.sqrt(count)
    return mean, mean - half, mean + half


def p_value(values: Sequence[float], against: float) -> float:
    """Compute the two-sided p-value of a mean that is `against`: Student's test, or the sign test with infinities."""
    x = np.asarray(values, np.float64) - against
    if not np.isfinite(x).all():
        signs = x[x != 0.0]
        return float(stats.binomtest(int((signs > 0).sum()), len(signs)).pvalue) if len(signs) else 1.0
    if x.std() == 0.0:
        return 0.0 if x[0] else 1.0
    return float(stats.ttest_1samp(x, 0.0).pvalue)


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


def share_interval(successes: int, count: int, level: float = 1.0 - ERROR) -> tuple[float, float]:
    """Compute the interval of Clopper and Pearson 1934 of a share, such as that of the seeds that arrive."""
    found = stats.binomtest(successes, count).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)


def discoveries(p_values: Sequence[float], rate: float = ERROR) -> list[bool]:
    """Return which p-values the procedure of Benjamini and Hochberg 1995 keeps at this rate of false discoveries."""
    return [bool(p <= rate) for p in stats.false_discovery_control(p_values, method="bh")] if len(p_values) else []
