"""The decision rule for comparisons of trained models: one word by paired differences, a margin and fixed looks.

    advantage of A over B, seed by seed    d_r = how much better A's score is than B's, both trained with seed r
    interval at a look of n seeds          [L, U] = mean(d) ± t(n - 1, level) s / √n,    level = 1 - error of this look
    margin δ                               the least difference that matters, fixed before the runs

A look is a number of seeds at which the word is read, 4, 8 and 16 unless others are planned; between two looks more
seeds are added. The error of 5 % is divided among the looks in proportion to √n, so the chance that any look reads
"holds" where there is no effect is at most 2.5 %, whatever the looks have in common (the union bound; Armitage et al.
1969, "Repeated significance tests on accumulating data"). Equality is shown by two one-sided tests (Schuirmann 1987).

A seed that diverged is infinitely worse, not left out. The interval is then that of the median by order statistics
(Conover 1999, "Practical nonparametric statistics", section 3.2), open towards the side that diverged: by the median
alone, a model would win that diverges at 3 seeds of 16. So who diverges at a seed that counts cannot be better, nor
equal; whether it is worse is decided as ever.

Runs that are no pairs have the interval of Welch 1947, with ν by his formula, of two groups of n runs:

    mean(a) - mean(b) ± t(ν, level) √((s_a² + s_b²) / n)
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.comparing.intervals import ERROR, advantages, interval, median, p_value, welch
from experiments.comparing.intervals import discoveries as discoveries
from experiments.comparing.intervals import share_interval as share_interval
from experiments.comparing.power import ENOUGH, least_effect, seeds_for_effect, seeds_for_equality
from experiments.comparing.power import POWER as POWER
from experiments.comparing.power import power_of_equality as power_of_equality
from transformer.errors import problem
from transformer.schema import each

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
RISING = each(
    ENOUGH, 100_000, "rising numbers of seeds", lambda looks: all(a < b for a, b in itertools.pairwise(looks))
)
"""Check of a setting that is a row of looks."""


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
    """The values of the seeds that counted, in the order of the seeds.

    Infinite where one of the two diverged, NaN where both did.
    """
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
    spread: float | None = None
    """The standard deviation of a difference of runs that are no pairs; None: that of the values."""

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
        if self.spread is not None:
            return self.spread
        finite = [value for value in self.values if math.isfinite(value)]
        return float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan

    @property
    def decided(self) -> bool:
        """True if more seeds are not asked for: "better" that fails may still be equal or reversed."""
        return self.word not in (UNDECIDED, PREVIEW) and not (self.word == FAILS and self.kind == BETTER)

    @property
    def least_effect(self) -> float:
        """The least effect that so many seeds show with a power of 0.8."""
        return least_effect(self.deviation, self.count, self.level or 1.0 - ERROR)

    @property
    def seeds_needed(self) -> int | None:
        """Seeds that decide with a power of 0.8, if the effect is as it was measured.

        None where they cannot be computed, as where a seed diverged, or more than 100,000 are needed.
        """
        if self.diverged or not math.isfinite(self.middle):
            return None
        level, size = self.level or 1.0 - ERROR, abs(self.middle)
        distance = {
            BETTER: size,
            AS_GOOD: abs(self.middle + self.margin),
            EQUAL: size - self.margin,
            AT_LEAST: abs(self.middle - self.margin),
        }[self.kind]
        found = [seeds_for_effect(self.deviation, distance, level)]
        if self.kind in (BETTER, EQUAL):
            found.append(seeds_for_equality(self.deviation, self.margin, level, truth=size))
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
    look = _look(margin, kind, looks, len(values))
    used = tuple(map(float, values[: look.seeds]))
    if look.level is None:
        return _preview(look, used)
    against = margin if kind == AT_LEAST else 0.0
    return _judged(look, used, interval(used, look.level), p_value(used, against))


def decide_unpaired(
    ours: Sequence[float],
    others: Sequence[float],
    *,
    mode: str,
    margin: float,
    kind: str = BETTER,
    looks: Sequence[int] = LOOKS,
) -> Decision:
    """Decide a claim about two groups of runs that are no pairs, of which as many count of each.

    Where a run diverged, the runs are paired in their order, which costs power and nothing else.

    Args:
        ours: the scores of our group, in an order fixed beforehand.
        others: those of the other group.
        mode: "max" where a higher score is better, "min" where a lower one is.
        margin: as in `decide`; so are `kind`, but for "at least", and `looks`.

    Raises:
        UserError: as `decide`.
    """
    count = min(len(ours), len(others))
    values = advantages(ours[:count], others[:count], mode=mode)
    look = _look(margin, kind, looks, count)
    used = tuple(values[: look.seeds])
    if look.level is None or not np.isfinite(used).all():
        return decide(values, margin=margin, kind=kind, looks=looks)
    ends, p, spread = welch(ours[: look.seeds], others[: look.seeds], look.level, mode=mode)
    return dataclasses.replace(_judged(look, used, ends, p), spread=spread)


class _Look(NamedTuple):
    """The look that counts: the greatest that the seeds reach."""

    kind: str
    margin: float
    seeds: int
    """The number of seeds that count; all where they reach no look."""
    level: float | None
    """The share of intervals that cover the truth; None where the seeds reach no look."""
    following: int | None
    """The next look; None: this is the last."""


def _look(margin: float, kind: str, looks: Sequence[int], available: int) -> _Look:
    """Find the look that so many seeds reach. Raises UserError for looks or a margin that do not fit."""
    check(margin, kind, looks)
    reached = [n for n in looks if n <= available]
    if not reached:
        return _Look(kind, margin, available, None, looks[0])
    following = looks[len(reached)] if len(reached) < len(looks) else None
    return _Look(kind, margin, reached[-1], levels(looks)[len(reached) - 1], following)


def _preview(look: _Look, values: tuple[float, ...]) -> Decision:
    """Return the decision of fewer seeds than the first look: no verdict."""
    return Decision(PREVIEW, look.kind, look.margin, values, median(values), None, None, None, look.following, 1.0)


def _judged(look: _Look, values: tuple[float, ...], ends: tuple[float, float, float], p: float) -> Decision:
    """Return the decision by an interval, (middle, low, high), and a p-value before the correction for looks."""
    middle, low, high = ends
    word, level = KINDS[look.kind].rule(low, high, look.margin), look.level or 1.0 - ERROR
    corrected = min(1.0, p * ERROR / (1.0 - level))
    return Decision(word, look.kind, look.margin, values, middle, low, high, level, look.following, corrected)


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
