"""What a study is: settings -> numbers -> claims and a figure, each a function of the one before.

    measure(settings) -> numbers      what is computed or trained; arrays by name, nothing judged
    judge(numbers)    -> claims       each by a stated criterion, so that other numbers give another verdict
    draw(numbers)     -> figure

A verdict needs three seeds, with their spread; a claim of fewer says "preview".
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from matplotlib.figure import Figure

from experiments.comparing.statistics import Estimate, as_text, estimate
from transformer.errors import problem
from transformer.schema import Check, setting

HOLDS, HOLDS_IF, SHAPE_ONLY, DIFFERS = VERDICTS = ("holds", "holds if", "shape only", "differs")
PREVIEW = "preview"
"""The verdict of what was measured with fewer than ENOUGH seeds."""
ENOUGH = 3

Numbers = Mapping[str, Any]
"""Name -> a number, a text, an array or such a mapping; axes of arrays are in the name, R is the seed."""

some_seeds = Check(
    lambda seeds: len(seeds) > 0 and len(set(seeds)) == len(seeds) and all(0 <= s < 2**32 for s in seeds),
    "one or more different whole numbers from 0 to 2^32 - 1",
)


@dataclasses.dataclass(frozen=True)
class StudySettings:
    """What every study can be told."""

    workdir: str = setting("runs/studies", "folder of the figure, the numbers and the gallery")
    gallery: str | None = setting(None, "file of the gallery; none: STUDIES.md of the workdir")
    seeds: tuple[int, ...] = setting((0, 1, 2), "fewer than three give a preview, no verdict", check=some_seeds)
    preview: bool = setting(False, "the small version: settings that are not given take the preview's values")


@dataclasses.dataclass(frozen=True)
class Claim:
    """Something that is often said, and what was found.

    Attributes:
        said: the sentence.
        found: the row of VERDICTS that the criterion gives for the numbers.
        criterion: what decides, with its thresholds.
        measured: the numbers that decided, with their spread.
        instead: what to say instead; what can be said, where the claim holds.
        seeds: how many the numbers come from; None: nothing in them is drawn at random.
        condition: of "holds if".
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
        """What was found, in words; "preview" from fewer than three seeds."""
        if self.seeds is not None and self.seeds < ENOUGH:
            return PREVIEW
        return f"{self.found} {self.condition}" if self.condition else self.found


@dataclasses.dataclass(frozen=True)
class Study:
    """A row of STUDIES.

    Attributes:
        title: what it looks at.
        settings: a dataclass below StudySettings; its docstring is what `--help` prints.
        measure: settings -> numbers.
        judge: numbers -> claims.
        draw: numbers -> figure.
        cost: of the full version, in words.
        preview: the settings of the small version; empty where the full one takes seconds.
        needs: a setting that has to be given, "" if none has; `all` leaves the study out.
    """

    title: str
    settings: type[StudySettings]
    measure: Callable[[Any], Numbers]
    judge: Callable[[Numbers], Sequence[Claim]]
    draw: Callable[[Numbers], Figure]
    cost: str
    preview: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    needs: str = ""

    def chosen(self, settings: StudySettings) -> StudySettings:
        """The settings, with the preview's values for those that have their defaults, if it is a preview."""
        if not settings.preview:
            return settings
        defaults = self.settings()
        same = {n: value for n, value in self.preview.items() if getattr(settings, n) == getattr(defaults, n)}
        return dataclasses.replace(settings, **same)


def keys_of(settings: StudySettings) -> Array:
    """A random key for each seed, R."""
    return jax.vmap(jax.random.key)(jnp.array(settings.seeds, jnp.uint32))


def split(rows: Mapping[str, bool], *, word: str = "") -> dict[str, str]:
    """The verdict on a claim about several cases: holds, holds if (in the cases where it does), or differs.

    Args:
        rows: case, in words that can follow "if" -> whether the claim holds there.
        word: put before the cases.

    Returns:
        `found` and `condition` of the Claim.
    """
    good = [name for name, holds in rows.items() if holds]
    if len(good) == len(rows) and rows:
        return {"found": HOLDS}
    if not good:
        return {"found": DIFFERS}
    return {"found": HOLDS_IF, "condition": word + " or ".join(good)}


def above_zero(values: Sequence[float]) -> bool:
    """Whether the mean over seeds is above 0 by more than its interval."""
    found = estimate(values)
    return found.mean > 0.0 and bool(found.excludes_zero)


def spread(values: Sequence[float], *, signed: bool = False) -> str:
    """Mean and interval over seeds, in words."""
    found: Estimate = estimate(values)
    return as_text(found, signed=signed)
