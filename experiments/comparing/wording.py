"""A verdict in plain sentences, and as a table of its seeds."""

import math
from collections.abc import Mapping, Sequence

from rich.table import Table

from experiments.comparing import decision as rule
from experiments.comparing.decision import Decision, share_interval
from experiments.comparing.metric_units import BETTER as DIRECTION
from experiments.comparing.statistics import number
from experiments.comparing.verdict import Side, Verdict
from experiments.training.progress import duration
from experiments.training.tables import add, text_table
from transformer import schema
from transformer.errors import counted

CLAIMS: Mapping[str, str] = {
    rule.BETTER: "is A better than B",
    rule.AS_GOOD: "is A as good as B, or worse by less than the margin",
    rule.EQUAL: "do A and B differ by less than the margin",
}
"""Kind of a claim -> the question."""

MEANINGS: Mapping[tuple[str, str], str] = {
    (rule.BETTER, rule.HOLDS): "A is better than B: the whole interval lies above 0",
    (rule.BETTER, rule.REVERSED): "A is worse than B: the whole interval lies below 0",
    (rule.BETTER, rule.NO_DIFFERENCE): "A and B differ by less than the margin: the whole interval lies within it",
    (rule.BETTER, rule.FAILS): "A is not better than B by the margin; whether they are equal, or A is worse, is open",
    (rule.AS_GOOD, rule.HOLDS): "A is at most worse by less than the margin",
    (rule.AS_GOOD, rule.FAILS): "A is worse than B by more than the margin",
    (rule.EQUAL, rule.HOLDS): "A and B differ by less than the margin: the whole interval lies within it",
    (rule.EQUAL, rule.FAILS): "A and B differ by more than the margin",
}
"""(kind, word) -> what is concluded."""

OPEN: Mapping[str, str] = {
    rule.UNDECIDED: "the interval is too wide for a word",
    rule.PREVIEW: "too few seeds for a verdict",
    rule.NOT_TESTED: "no margin was given, so there is an interval and no word. Choose --margin, the least difference"
    " in this metric that would matter to you, before you go on, and leave it as it is",
}
"""Word without a conclusion -> the reason."""


def setting_lines(verdict: Verdict) -> list[str]:
    """Describe the groups, the settings in which they differ, the runs left out, the budget, and the question."""
    return [
        *(f"{side.name}: {_runs(side)}" for side in (verdict.ours, verdict.others)),
        *changes_lines(verdict),
        *verdict.notes,
        *_budget_lines(verdict),
        question_line(verdict),
        *_pairs_lines(verdict),
    ]


def result_lines(verdict: Verdict) -> list[str]:
    """Describe the means and the interval, the word, the seeds still needed and their cost."""
    return [*_interval_lines(verdict), word_line(verdict), *more_seeds_lines(verdict)]


PARTS = (setting_lines, result_lines)
"""Sentences before the table of seeds, and those after it."""


def _runs(side: Side) -> str:
    if not side.runs:
        return "no run that counts"
    return f"{counted(len(side.runs), 'run')}, {seeds_in_words(side.seeds)}: {', '.join(run.name for run in side.runs)}"


def seeds_in_words(seeds: Sequence[int]) -> str:
    """Name seeds: "seed 3", "seeds 0 to 7", "seeds 0, 2, 5"."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"


def changes_lines(verdict: Verdict) -> list[str]:
    """List the settings in which A and B differ."""
    listed = [f"{name}: {schema.show(a)} in A, {schema.show(b)} in B" for name, a, b in verdict.changes]
    if not listed:
        return ["A and B have the same settings: they differ in their seeds at most."]
    if len(listed) == 1:
        return [f"A and B differ in one setting, {listed[0]}."]
    several = f"A and B differ in {len(listed)} settings, so a difference cannot be put down to one of them:"
    return [several, *(f"  {line}" for line in listed)]


def _budget_lines(verdict: Verdict) -> list[str]:
    budget = verdict.budget
    if budget is None:
        return []
    read = []
    for side in (verdict.ours, verdict.others):
        steps = sorted({budget.spent[run.name].step for run in side.runs if run.name in budget.spent})
        if steps:
            span = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
            read.append(f"of {side.name} after {span} updates")
    found = [
        f"Compared at an equal budget of {budget.text}, where the shortest run ends ({budget.least}). Each score is"
        f" that of the last evaluation by then: {', '.join(read)}."
    ]
    for side in (verdict.ours, verdict.others):
        early = [run for run in side.runs if run.name in budget.cut_short]
        if early:
            schedule = f"{early[0].setting('optimizer.schedule')} of {counted(early[0].steps, 'step')}"
            found.append(
                f"The learning rate of {side.name} (schedule {schedule}) had not come to its end"
                " there: a run that is planned for this budget would probably score better."
            )
    if verdict.question.at == "seconds":
        found.append("Seconds are those of the machines as they were: they compare runs that trained alone.")
    return found


def question_line(verdict: Verdict) -> str:
    """Return the question: the claim, the metric with its unit and direction, the margin."""
    question, metric = verdict.question, verdict.metric
    what = f"{question.split} {question.metric} ({metric.unit}, {DIRECTION[metric.mode]} is better)"
    margin = (
        "" if question.margin is None else f" The margin, the least difference that matters, is {question.margin:g}."
    )
    return f"Question: {CLAIMS[question.kind]} in {what}?{margin}"


def _pairs_lines(verdict: Verdict) -> list[str]:
    """Name the seeds that count, those that wait for the next look, and the runs that are no pairs."""
    found, count, following = [], verdict.counted, verdict.decision.next_look
    if verdict.unpaired is not None:
        found.append(
            f"The runs are no pairs, since {verdict.unpaired}: the groups are compared as a whole (Welch's interval),"
            " which takes more seeds than pairs do."
        )
    for side in (verdict.ours, verdict.others):
        waiting = side.seeds[count:]
        if waiting and (verdict.unpaired is not None or side is verdict.ours):
            name = f" of {side.name}" if verdict.unpaired is not None else ""
            when = "do not count: this was the last look" if following is None else f"count at the look of {following}"
            found.append(f"Of {seeds_in_words(side.seeds)}{name} the first {count} count; {len(waiting)} more {when}.")
        lost = [s for s, score in zip(side.seeds[:count], side.scores, strict=False) if not math.isfinite(score)]
        if lost:
            arrived = count - len(lost)
            low, high = share_interval(arrived, count)
            found.append(
                f"{side.name} diverged at {seeds_in_words(lost)}, which counts as infinitely worse: {arrived} of"
                f" {counted(count, 'seed')} arrived (a share of {low:.2f} to {high:.2f}, 95 % interval by Clopper and"
                " Pearson), and the interval below is that of the median."
            )
    return found


def _interval_lines(verdict: Verdict) -> list[str]:
    """Return the means and the advantage of A with its interval."""
    count, found = verdict.counted, verdict.decision
    if not count:
        return []
    each = []
    for side in (verdict.ours, verdict.others):
        finite = [score for score in side.scores[:count] if math.isfinite(score)]
        each.append(f"{side.name} {number(sum(finite) / len(finite)) if finite else 'no finite score'}")
    kind = "median" if found.diverged else "mean"
    way = "" if verdict.unpaired is not None else ", seed by seed"
    line = f"Means over {counted(count, 'seed')}: {', '.join(each)}. Advantage of A{way}: {kind} {signed(found.middle)}"
    return [f"{line}{interval_in_words(found)}."]


def interval_in_words(found: Decision) -> str:
    """Return the interval of a decision with its level; nothing where it has none."""
    if found.low is None or found.high is None or found.level is None:
        return ""
    return f", {100 * found.level:.1f} % interval {signed(found.low)} to {signed(found.high)}"


def signed(value: float) -> str:
    """Format an advantage with its sign."""
    return number(value, signed=True) if math.isfinite(value) else "unknown" if math.isnan(value) else f"{value:+}"


def word_line(verdict: Verdict) -> str:
    """Return the word, and what it concludes."""
    found = verdict.decision
    meaning = MEANINGS.get((found.kind, found.word)) or OPEN[found.word]
    if found.word == rule.PREVIEW:
        meaning += f": {counted(found.count, 'pair')}, and the first look is at {found.next_look}"
    elif found.word == rule.NOT_TESTED and verdict.end is not None:
        meaning = (
            f"all scores are {verdict.end:g}, an end of the range of {verdict.question.metric}, so it can show no"
            " difference. Train longer, or choose another metric"
        )
    return f"{found.word}: {meaning}."


def more_seeds_lines(verdict: Verdict) -> list[str]:
    """Return what the seeds could show, the seeds still needed, and what they cost here."""
    found = verdict.decision
    effect = found.least_effect
    lines = []
    if found.level is not None and math.isfinite(effect):
        lines.append(f"{counted(found.count, 'seed')} show an effect of {number(effect)} or more with a power of 0.8.")
    if found.decided:
        return lines
    available = min(len(verdict.ours.runs), len(verdict.others.runs))
    target = found.next_look
    if found.word != rule.PREVIEW:
        lines.append(needed_line(found))
    if target is not None and available < target and verdict.ours.runs and verdict.others.runs:
        more = target - available
        seconds = verdict.ours.seconds() + verdict.others.seconds()
        lines.append(
            f"The next look is at {target} seeds: {more} more of each group, about {duration(more * seconds)} here"
            f" ({duration(verdict.ours.seconds())} for a run of A, {duration(verdict.others.seconds())} for one of B)."
        )
    return lines


def needed_line(found: Decision) -> str:
    """Return how many seeds would decide, if the effect is as it was measured."""
    needed = found.seeds_needed
    if needed is None:
        why = "while a seed that counts diverged" if found.diverged else "if the effect is as it was measured"
        return f"No affordable number of seeds decides {why}."
    look = "" if found.next_look is None or needed <= found.next_look else ", more than the next look has"
    last = "; this was the last look, so plan a longer row of looks for a new study" if found.next_look is None else ""
    return f"About {max(needed, found.count + 1)} seeds decide if the effect is as it was measured{look}{last}."


def seeds_table(verdict: Verdict) -> Table:
    """Build a table with a row for each pair of runs; of runs that are no pairs, with a row for each place."""
    paired, count = verdict.unpaired is None, verdict.counted
    heads = ["seed", "A", "B", "advantage of A"] if paired else ["seed of A", "A", "seed of B", "B"]
    a, b = verdict.ours, verdict.others
    waiting = verdict.decision.level is not None and count < max(len(a.runs), len(b.runs))
    title = f"{verdict.question.split} {verdict.question.metric}"
    shown = text_table(title, [*heads, *(["counts"] if waiting else [])])
    values = rule.advantages(a.scores, b.scores, mode=verdict.metric.mode) if paired else []
    for i in range(max(len(a.runs), len(b.runs))):
        ours, others = (_cells(side, i) for side in (a, b))
        cells = [ours[0], ours[1], others[1], signed(values[i])] if paired else [*ours, *others]
        add(shown, [*cells, *(["yes" if i < count else "not yet"] if waiting else [])])
    return shown


def _cells(side: Side, i: int) -> list[str]:
    """Return the seed and the score of a run; empty texts where the side has fewer."""
    if i >= len(side.runs):
        return ["", ""]
    score = side.scores[i]
    return [str(side.runs[i].seed), number(score) if math.isfinite(score) else "diverged"]
