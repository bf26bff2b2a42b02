"""A study: claims about attention, the numbers that decide them, and a figure.

    measure(settings)     -> numbers       computed: arrays by name, without any judgement
    judge(numbers)        -> claims        by a stated criterion: other numbers give another verdict
    experiment(settings)  -> Experiment    models to train and the claims that they decide; see `frame.experiment`
    draw(numbers)         -> figure

A study has the computed part, the trained part, or both. A new study is one file beside this folder, which ends with a
`Study`, and one row of `experiments/studies/table.py`. The command, the record, the gallery and the tests read the row.

Each case of a claim has one word (`comparing.decision.WORDS`). An identity is judged by `exact`: it holds exactly if
the largest error is below a tolerance, and a control that must differ does differ.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from experiments.comparing.decision import COUNTEREXAMPLE, HOLDS_EXACTLY, UNDECIDED, WORDS
from experiments.studies.frame.experiment import Experiment
from experiments.studies.frame.text import NOTHING, Text, joined, number
from transformer.errors import problem
from transformer.schema import at_least, each, setting

Numbers = Mapping[str, Any]
"""A number, a text, an array or such a mapping by name; the name ends with the axes of its array, R the seed."""

TOLERANCE = 1e-5
"""Relative error below which two results in float32 count as the same."""
CONTROL = 100.0
"""A control differs if its smallest difference is above this many tolerances."""
LARGEST = Text("largest difference", "最大差异")
SMALLEST = Text("control, smallest difference", "对照，最小差异")
"""Default names of an identity's numbers."""
MOST = 4096
"""Largest length, width or batch of a study."""
MOST_STEPS = 1_000_000
"""Largest number of updates, and of examples."""

some_claims = each(1, 99, "different whole numbers", lambda claims: len(claims) == len(set(claims)))
some_seeds = each(0, 2**32 - 1, "one or more different whole numbers", lambda seeds: 0 < len(seeds) == len(set(seeds)))


@dataclasses.dataclass(frozen=True)
class StudySettings:
    """Settings of every study."""

    workdir: str = setting("runs/studies", "folder of the figures, the numbers and the gallery")
    gallery: str | None = setting(
        None, "file of the gallery in English, beside which the Chinese one lies; none: STUDIES.md in the workdir"
    )
    preview: bool = setting(False, "small version: settings that are not given take the preview's values")


@dataclasses.dataclass(frozen=True)
class DrawnSettings(StudySettings):
    """Settings of a study that computes with random draws."""

    seeds: tuple[int, ...] = setting((0, 1, 2, 3), "seeds of the random draws", check=some_seeds)


def updates_setting(default: int) -> int:
    """Declare the setting `updates` of a study."""
    meaning = "updates per model (1x); the budget gate trains four times as many (4x)"
    return setting(default, meaning, check=at_least(4, MOST_STEPS))


@dataclasses.dataclass(frozen=True)
class TrainedSettings(StudySettings):
    """Settings of a study that trains models."""

    updates: int = updates_setting(1000)
    max_seeds: int = setting(8, "most seeds of an arm at 1x; the word is read at 4, 8 and 16", check=at_least(1, 16))
    long_seeds: int = setting(4, "most seeds of an arm at 4x; 0: the budget gate is not run", check=at_least(0, 16))
    claims: tuple[int, ...] = setting(
        (), "numbers of the claims whose models are trained; none given: all", check=some_claims
    )
    minutes: float = setting(
        0.0, "time after which no further model is trained (minutes); 0: unlimited", check=at_least(0.0, 1e6)
    )


@dataclasses.dataclass(frozen=True)
class Case:
    """One case of a claim, and its word.

    Attributes:
        name: the case, such as "4 heads against 1"; empty for a claim of one case.
        word: a row of WORDS.
        measured: the numbers that decided.
        at: the condition of the word, such as the number of updates; may be empty.
        reason: the gate that failed, of "not tested", or what else a reader must know; may be empty.
        p: p-value of a trained comparison, corrected for the looks; None without one.
        numbers: the numbers of `measured` for figures and tests.
    """

    name: Text
    word: str
    measured: Text
    at: Text = NOTHING
    reason: Text = NOTHING
    p: float | None = None
    numbers: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.word not in WORDS:
            raise problem("not a word of a verdict", got=repr(self.word), expected=", ".join(WORDS))


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence that is often said about attention, and the word of each case.

    Attributes:
        number: its place among the claims of the study, from 1.
        said: the sentence.
        criterion: the rule that decides, with its thresholds.
        cases: one or more cases, each with its word.
        instead: the sentence to say instead, or a comment where the claim holds. A text that could contradict the
            numbers is computed from them.
    """

    number: int
    said: Text
    criterion: Text
    cases: tuple[Case, ...]
    instead: Text

    def words(self) -> list[str]:
        """List the words of the cases."""
        return [case.word for case in self.cases]


@dataclasses.dataclass(frozen=True)
class Study:
    """A row of STUDIES.

    Attributes:
        title: the subject, in a phrase.
        settings: a subclass of StudySettings; `--help` prints its docstring and its meanings.
        measure: settings -> numbers, of the computed part.
        judge: numbers -> claims of the computed part. Of a study with an experiment, numbers["trained"] are its lanes.
        draw: numbers -> figure.
        cost: the time of the full version, in words.
        experiment: settings -> the trained part; None: nothing is trained.
        preview: the settings of the small version; empty where the full one takes seconds.
        needs: the setting that must be given, "" for none; the command `all` leaves such a study out.
    """

    title: Text
    settings: type[StudySettings]
    draw: Callable[[Numbers], Figure]
    cost: str
    measure: Callable[[Any], Numbers] = lambda settings: {}
    judge: Callable[[Numbers], Sequence[Claim]] = lambda numbers: ()
    experiment: Callable[[Any], Experiment] | None = None
    preview: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    needs: str = ""

    def resolve(self, settings: StudySettings) -> Any:
        """Return the settings; in a preview, those at their defaults take the preview's values."""
        if not settings.preview:
            return settings
        defaults = self.settings()
        small = {n: value for n, value in self.preview.items() if getattr(settings, n) == getattr(defaults, n)}
        return dataclasses.replace(settings, **small)


def random_keys(settings: DrawnSettings) -> Array:
    """Return a random key for each seed, R."""
    return jax.vmap(jax.random.key)(jnp.array(settings.seeds, jnp.uint32))


def exact(
    name: Text,
    errors: Any,
    controls: Any = None,
    *,
    what: Text = LARGEST,
    control: Text = SMALLEST,
    tolerance: float = TOLERANCE,
) -> Case:
    """Judge an identity: its errors must be below the tolerance, those of a control above 100 tolerances.

    Args:
        errors: relative errors, of any shape; NaN counts as a difference.
        controls: errors of what must differ, of any shape; None: the identity needs no control, since it fails.

    Returns:
        A case "holds exactly"; "fails, with a counterexample" if every error is above 100 tolerances; else undecided.
    """
    found = np.nan_to_num(np.asarray(errors, float).ravel(), nan=np.inf)
    numbers = {"largest": float(found.max()), "smallest": float(found.min()), "tolerance": tolerance}
    measured = Text(*(f"{label} {number(numbers['largest'])}" for label in what))
    word = UNDECIDED
    if controls is not None:
        apart = np.nan_to_num(np.asarray(controls, float).ravel(), nan=np.inf)
        numbers["control"] = float(apart.min())
        measured = joined((measured, Text(*(f"{label} {number(numbers['control'])}" for label in control))))
        if numbers["largest"] < tolerance and numbers["control"] > CONTROL * tolerance:
            word = HOLDS_EXACTLY
    if numbers["smallest"] > CONTROL * tolerance:
        word = COUNTEREXAMPLE
        label = Text("smallest difference of the draws", "各次抽样中的最小差异")
        measured = Text(*(f"{own} {number(numbers['smallest'])}" for own in label))
    return Case(name, word, measured, numbers=numbers)
