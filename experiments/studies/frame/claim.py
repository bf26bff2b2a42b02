"""A study: settings, the numbers measured with them, the claims that the numbers decide, and a figure of the numbers.

    measure(settings) -> numbers      computed or trained: arrays by name, without any judgement
    judge(numbers)    -> claims       each with a verdict by a stated criterion: other numbers give another verdict
    draw(numbers)     -> figure

A new study is one file beside this folder, which ends with a `Study` of these three functions and a subclass of
`StudySettings`, and one row of `experiments/studies/table.py`. The command, the record, the gallery and the tests read
the row. A verdict needs three seeds; with fewer it is "preview".
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from matplotlib.figure import Figure

from experiments.comparing.statistics import ENOUGH, Estimate, as_text, estimate
from transformer.errors import problem
from transformer.schema import each, setting

HOLDS, HOLDS_IF, SHAPE_ONLY, DIFFERS = VERDICTS = ("holds", "holds if", "shape only", "differs")
PREVIEW = "preview"
"""The verdict of a claim measured with fewer than ENOUGH seeds."""

Numbers = Mapping[str, Any]
"""A number, a text, an array or such a mapping by name; the name ends with the axes of its array, R the seed."""

some_seeds = each(0, 2**32 - 1, "one or more different whole numbers", lambda seeds: 0 < len(seeds) == len(set(seeds)))

MOST = 4096
"""Largest length, width or batch of a study."""

MOST_STEPS = 1_000_000
"""Largest number of updates, and of examples."""


@dataclasses.dataclass(frozen=True)
class StudySettings:
    """Settings of every study."""

    workdir: str = setting("runs/studies", "folder of the figures, the numbers and the gallery")
    gallery: str | None = setting(None, "file of the gallery; none: STUDIES.md in the workdir")
    seeds: tuple[int, ...] = setting(
        (0, 1, 2), "random seeds; fewer than three give a preview, no verdict", check=some_seeds
    )
    preview: bool = setting(False, "small version: settings that are not given take the preview's values")


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence that is often said about attention, and its verdict by the numbers.

    Attributes:
        said: the sentence.
        found: the row of VERDICTS that the criterion gives for the numbers.
        criterion: the rule that decides, with its thresholds.
        measured: the numbers that decided, each mean with its interval over seeds.
        instead: the sentence to say instead; a comment, where the claim holds.
        seeds: number of seeds behind the numbers; None: nothing in them is drawn at random.
        condition: the rest of the verdict "holds if".
    """

    said: str
    found: str
    criterion: str
    measured: str
    instead: str
    seeds: int | None
    condition: str = ""

    def __post_init__(self) -> None:
        if self.found not in VERDICTS:
            raise problem("not a verdict", got=repr(self.found), expected=", ".join(VERDICTS))
        if (self.found == HOLDS_IF) != bool(self.condition):
            raise problem(f"a verdict {self.found!r} with condition {self.condition!r}", expected="one for 'holds if'")

    @property
    def verdict(self) -> str:
        """The verdict in words; "preview" from fewer than three seeds."""
        if self.seeds is not None and self.seeds < ENOUGH:
            return PREVIEW
        return f"{self.found} {self.condition}" if self.condition else self.found


@dataclasses.dataclass(frozen=True)
class Study:
    """A row of STUDIES.

    Attributes:
        title: the subject, in a phrase.
        settings: a subclass of StudySettings; `--help` prints its docstring and its meanings.
        measure: settings -> numbers.
        judge: numbers -> claims.
        draw: numbers -> figure.
        cost: the time of the full version, in words.
        preview: the settings of the small version; empty where the full one takes seconds.
        needs: the setting that must be given, "" for none; the command `all` leaves such a study out.
    """

    title: str
    settings: type[StudySettings]
    measure: Callable[[Any], Numbers]
    judge: Callable[[Numbers], Sequence[Claim]]
    draw: Callable[[Numbers], Figure]
    cost: str
    preview: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    needs: str = ""

    def resolve(self, settings: StudySettings) -> StudySettings:
        """Return the settings; in a preview, those at their defaults take the preview's values."""
        if not settings.preview:
            return settings
        defaults = self.settings()
        small = {n: value for n, value in self.preview.items() if getattr(settings, n) == getattr(defaults, n)}
        return dataclasses.replace(settings, **small)


def random_keys(settings: StudySettings) -> Array:
    """Return a random key for each seed, R."""
    return jax.vmap(jax.random.key)(jnp.array(settings.seeds, jnp.uint32))


def judge_cases(cases: Mapping[str, bool], *, word: str = "") -> dict[str, str]:
    """Judge a claim about several cases: it holds, holds if (one of the cases where it does), or differs.

    Args:
        cases: case, in words that can follow "if" -> whether the claim holds there.
        word: text before the cases, such as "H is ".

    Returns:
        `found` and, for "holds if", `condition` of the Claim.
    """
    good = [name for name, holds in cases.items() if holds]
    if len(good) == len(cases) and cases:
        return {"found": HOLDS}
    if not good:
        return {"found": DIFFERS}
    return {"found": HOLDS_IF, "condition": word + " or ".join(good)}


def above_zero(values: Sequence[float]) -> bool:
    """Return whether the mean over seeds is above 0 by more than its interval."""
    found = estimate(values)
    return found.mean > 0.0 and bool(found.excludes_zero)


def spread(values: Sequence[float], *, signed: bool = False) -> str:
    """Format the mean and the interval over seeds, such as "0.323 ± 0.006 (3 seeds)"."""
    found: Estimate = estimate(values)
    return as_text(found, signed=signed)
