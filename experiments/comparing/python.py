"""A comparison in Python: runs side by side, and the means of those that differ in their seed alone."""

import dataclasses
import html
import os
from collections.abc import Sequence
from typing import Any

from experiments.cli.python_words import in_python, python_words
from experiments.comparing import wording
from experiments.comparing.comparison import DATA, Group, differing, group_runs, refuse_other_objectives, rows
from experiments.comparing.decision import LOOKS, Decision
from experiments.comparing.results import Result, read_sides
from experiments.comparing.statistics import Estimate
from experiments.comparing.tables import OTHER_DATA, group_lines, means_table, scores_table, settings_table
from experiments.comparing.verdict import KINDS_OF_CLAIMS, Question, Verdict, judge
from experiments.training.reporter import Reporter
from experiments.training.tables import data_frame, to_html
from transformer.axes import has_numbers
from transformer.errors import find_row, problem, unknown, written


@dataclasses.dataclass(frozen=True, repr=False)
class Judgement:
    """The decision of A against B; a notebook shows what the command prints.

    Attributes:
        verdict: the runs that take part, what differs, the decision.
    """

    verdict: Verdict

    @property
    def word(self) -> str:
        """The word of the rule, such as "holds" or "undecided"."""
        return self.verdict.word

    @property
    def decision(self) -> Decision:
        """The interval, its level, the values of the seeds, the seeds needed."""
        return self.verdict.decision

    def __repr__(self) -> str:
        return python_words("\n".join(line for part in wording.PARTS for line in part(self.verdict)))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show the sentences and the table of seeds in a notebook."""
        texts = [
            "".join(f"<p>{html.escape(python_words(line))}</p>" for line in part(self.verdict))
            for part in wording.PARTS
        ]
        return {"text/plain": repr(self), "text/html": to_html(wording.seeds_table(self.verdict)).join(texts)}


@dataclasses.dataclass(frozen=True, repr=False)
class Comparison:
    """Runs side by side; a notebook shows the settings that differ, the scores, and the means over seeds.

    Attributes:
        results: the last scores of each run.
        metric: the metric that `table` has; None: all.
        against: how many of the results, the last, are those of B, which `decide` decides the others against.
    """

    results: tuple[Result, ...]
    metric: str | None
    against: int = 0

    @in_python
    def decide(
        self,
        margin: float | None = None,
        *,
        kind: str = "better",
        split: str = "validation",
        looks: Sequence[int] = LOOKS,
        at: str | None = None,
    ) -> Judgement:
        """Decide the runs (A) against those of `against` (B), seed by seed.

        Args:
            margin: least difference of the metric that matters, chosen before the runs; None: an interval and no word.
            kind: "better", "as_good" or "equal".
            split: "validation" or "test".
            looks: rising numbers of seeds at which the word is read.
            at: "updates", "operations" or "seconds": an equal budget, at which the curves are read; None: the ends.

        Raises:
            UserError: no `against`, a group whose runs differ in more than their seed, or an argument that does not
                fit.

        >>> api.compare([a0, a1, a2, a3], against=[b0, b1, b2, b3]).decide(margin=0.02).word  # doctest: +SKIP
        """
        if not self.against:
            do = "Write api.compare([a0, a1, a2, a3], against=[b0, b1, b2, b3]).decide(margin=0.02)."
            raise problem("there is nothing to decide against", got="no runs of B", expected="against=[...]", do=do)
        if margin is not None and not has_numbers(margin):
            got, expected = f"{written(margin)} ({type(margin).__name__})", "a difference of the metric, or None"
            do = "Write, for instance, margin=0.02."
            raise problem("margin is no number", got=got, expected=expected, do=do)
        claim = find_row("kind of claim", KINDS_OF_CLAIMS, kind)
        question = Question(self.metric, margin, claim, split, tuple(looks), at)
        first = len(self.results) - self.against
        return Judgement(judge(self.results[:first], self.results[first:], question))

    @property
    def groups(self) -> list[Group]:
        """The groups of finished runs that differ in their seed alone."""
        finished = [result for result in self.results if result.finished]
        return group_runs(finished) if finished else []

    @property
    def scores(self) -> list[tuple[str, str]]:
        """The split and the name of each score of the table."""
        return [(split, name) for split, name in rows(self.results) if self.metric in (None, name)]

    @property
    def settings(self) -> dict[str, tuple[Any, ...]]:
        """Setting that not all runs share -> its value in each run."""
        return {row.name: row.values for row in differing(self.results)}

    def table(self) -> Any:
        """Return a row for each group of finished runs and each score, as a pandas DataFrame or a list of dicts.

        Columns: the settings in which the groups differ; runs, split, metric; the mean over seeds and the ends of its
        95 % interval, and the same of the difference to the first group, paired by seed. An interval needs 3 seeds.

        Returns:
            A DataFrame where pandas is installed, otherwise a list of dicts.
        """
        found, groups = [], self.groups
        for group in groups:
            for split, name in self.scores:
                row = {**group.settings, "runs": len(group.results), "split": split, "metric": name}
                row |= _columns("", group.mean(split, name))
                found.append(row | _columns("difference", group.difference(groups[0], split, name)))
        return data_frame(found)

    def __repr__(self) -> str:
        return "\n".join([f"Comparison of {len(self.results)} runs", *group_lines(self.groups)])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show the tables in a notebook."""
        tables = [settings_table(changes, self.results)] if (changes := differing(self.results)) else []
        tables.append(scores_table(self.scores, self.results))
        tables += [means_table(self.scores, groups)] if (groups := self.groups) else []
        return {"text/plain": repr(self), "text/html": "".join(map(to_html, tables))}


@in_python
def compare(runs: Sequence[Any], metric: str | None, against: Sequence[Any] = ()) -> Comparison:
    """Compare runs; see `experiments.api.compare`."""
    sides = [_folders(runs, "runs")]
    if not isinstance(against, Sequence) or len(against):
        sides.append(_folders(against, "against"))
    remark = Reporter().remark
    read = read_sides(sides, remark)
    results = [result for side in read for result in side]
    refuse_other_objectives(results)
    names = dict.fromkeys(name for _, name in rows(results))
    if metric is not None and metric not in names:
        raise unknown("metric", str(metric), names)
    if DATA in {row.name for row in differing(results)}:
        remark(OTHER_DATA)
    return Comparison(tuple(results), metric, len(results) - len(read[0]))


def _folders(runs: Any, what: str) -> list[str]:
    """Return the working directories of runs. Raises UserError for anything else than a list of runs."""
    if isinstance(runs, str | os.PathLike) or not isinstance(runs, Sequence):
        expected, do = "a list of runs, or of their working directories", "Write [run_a, run_b]."
        raise problem(f"{what} is no list", got=written(runs), expected=expected, do=do)
    if not runs:
        do = 'Write api.compare([run_a, run_b]), or ["runs/a", "runs/b"].'
        raise problem("there are no runs to compare", got="none", expected="two or more", do=do)
    for number, run in enumerate(runs, start=1):
        if not isinstance(getattr(run, "workdir", run), str | os.PathLike):
            got, expected = f"{written(run)} ({type(run).__name__})", "a Run, a Sweep, or the path of its folder"
            do = 'Write, for instance, "runs/a".'
            raise problem(f"run {number} is neither a run nor a path", got=got, expected=expected, do=do)
    return [os.fspath(getattr(run, "workdir", run)) for run in runs]


def _columns(prefix: str, estimate: Estimate | None) -> dict[str, float | None]:
    """Return the mean and the ends of its interval as columns."""
    low, high = (None, None) if estimate is None or estimate.interval is None else estimate.interval
    values = {"mean": estimate.mean if estimate is not None and estimate.count else None, "low": low, "high": high}
    return {f"{prefix} {name}".strip(): value for name, value in values.items()}
