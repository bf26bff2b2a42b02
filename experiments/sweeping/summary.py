"""The results of a study: the table of the best points, lines about them, the best one as flags, importances, pictures.

WORKDIR/results.jsonl has one JSON object a line for each trial: its varied settings, `seed`, `status`, `metric` (the
one that selects checkpoints), `score` (the best of it), the other scores, and its working directory.
"""

import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console
from rich.table import Table

from experiments.comparing.metric_units import BETTER
from experiments.comparing.statistics import LEVEL, as_text, number
from experiments.runs.pictures import attempt, save
from experiments.storage.metrics import to_json
from experiments.storage.workdir import write_text_atomically
from experiments.sweeping import pictures, verdicts
from experiments.sweeping.deciding import Criterion, judged
from experiments.sweeping.ranking import PointResult, Ranking, best, ranked
from experiments.sweeping.study import SweepStudy
from experiments.training.progress import print_line, print_paths
from experiments.training.tables import add, print_table, short_names, text_table
from transformer import schema
from transformer.errors import counted

MOST_ROWS = 20


def table(results: Sequence[PointResult], ranking: Ranking) -> Table:
    """Build the table of the best points, a row each; a column that would be empty is left out."""
    settings = list(dict.fromkeys(name for result in results for name in result.values))
    heads = dict(zip(settings, short_names(settings), strict=True))
    several = _ties(results) > 1 and ranking.metric != ranking.loss
    rows = []
    for result in results[:MOST_ROWS]:
        row = {"trial": str(result.point)}
        row |= {head: schema.show(_short(result.values[n])) for n, head in heads.items() if n in result.values}
        row[ranking.label] = as_text(result.estimate)
        if several:
            row[f"{ranking.loss} ({ranking.loss_unit})"] = number(result.loss.mean) if result.loss.count else ""
        if any(other.diverged for other in results):
            row["diverged"] = f"{result.diverged} of {len(result.lanes)}" if result.diverged else ""
        row["ended"] = ", ".join(dict.fromkeys(lane["status"] for lane in result.lanes))
        rows.append(row)
    shown = text_table(_title(results, ranking), list(dict.fromkeys(head for row in rows for head in row)))
    for row in rows:
        add(shown, [row.get(column.header.plain, "") for column in shown.columns])
    return shown


def _title(results: Sequence[PointResult], ranking: Ranking) -> str:
    shown = f"the first {MOST_ROWS} of {len(results)} trials" if len(results) > MOST_ROWS else "trials"
    ties = "" if ranking.metric == ranking.loss else f", ties by validation {ranking.loss}"
    intervals = any(result.estimate.interval is not None for result in results)
    kind = f", means over seeds ± {LEVEL:.0%} confidence intervals (Student's t)" if intervals else ""
    return f"{shown} by validation {ranking.metric}, {BETTER[ranking.mode]} is better{ties}{kind}"


def remarks(results: Sequence[PointResult], points: int, ranking: Ranking) -> list[str]:
    """Return the lines below the table: trials without result, ties, and the reason where there is no best trial.

    Args:
        points: number of points of the study.
    """
    failed, tied = points - len(results), _ties(results)
    lines = [f"{counted(failed, 'trial')} could not be trained"] if failed else []
    if best(results) is None:
        return [*lines, no_best(results)]
    if tied > 1:
        score = number(results[0].estimate.mean)
        line = f"{tied} trials tie at {ranking.metric} {score}; the best is the one with the lowest {ranking.loss}"
        equal = sum(result.loss.mean == results[0].loss.mean for result in results[:tied])
        if ranking.metric == ranking.loss:
            line = f"{tied} trials tie at {ranking.metric} {score}; the first of them stands for all"
        elif equal > 1 or not results[0].loss.count:
            line = f"{tied} trials tie at {ranking.metric} {score}, and in {ranking.loss}; the first stands for all"
        lines.append(line)
    return lines


def no_best(results: Sequence[PointResult]) -> str:
    """Return the reason why no trial is the best."""
    if results and all(result.diverged == len(result.lanes) for result in results):
        return (
            "all diverged: no trial is the best, and no checkpoint is kept as the best. Try lower values of"
            " optimizer.learning_rate, or a longer optimizer.warmup_steps, in another --workdir"
        )
    return "no trial is the best, since none was trained to its end with a score for each of its seeds"


def _ties(results: Sequence[PointResult]) -> int:
    """Count the complete points whose score is that of the best; 0 without a best."""
    first = best(results)
    return sum(first is not None and r.complete and r.estimate.mean == first.estimate.mean for r in results)


def best_flags(result: PointResult) -> str:
    """Return the settings of a point as flags that can be pasted."""
    return " ".join(f"--config.{name}={schema.show(value)}" for name, value in result.values.items())


def write_results(results: Sequence[PointResult], path: Path) -> None:
    """Write results.jsonl, the best point first.

    Raises:
        OSError: it cannot be written; the error names the path.
    """
    lines = [
        json.dumps(to_json({**result.values, **{k: v for k, v in lane.items() if k != "curve"}}), ensure_ascii=False)
        for result in results
        for lane in result.lanes
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, "".join(f"{line}\n" for line in lines))


def importances(study: SweepStudy, results: Sequence[PointResult]) -> dict[str, float]:
    """Compute the share of the score's spread that each dimension explains, the largest first.

    PED-ANOVA, Watanabe et al. 2023 (https://arxiv.org/abs/2304.10255), as in Optuna.

    Returns:
        Name of a dimension -> its share; {} where the results are too few or all equal.
    """
    trials = study.results()
    complete = [r for r in results if r.complete and math.isfinite(r.estimate.mean) and r.point in trials]
    scores = {r.point: r.estimate.mean for r in complete}
    if len(scores) < 4 or len(set(scores.values())) < 2:
        return {}
    copy = optuna.create_study(direction=study.study.direction)
    copy.add_trials(
        [
            optuna.trial.create_trial(params=t.params, distributions=t.distributions, value=scores[point])
            for point, t in trials.items()
            if point in scores
        ]
    )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return dict(optuna.importance.get_param_importances(copy, evaluator=evaluator))


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def print_results(
    console: Console, study: SweepStudy, workdir: Path, ranking: Ranking, criterion: Criterion | None = None
) -> int:
    """Print the table, the decisions and the best point, write results.jsonl and draw the pictures.

    Args:
        criterion: what points are decided by; None: they are not.

    Returns:
        The exit code: 1 where no trial is the best.
    """
    results = ranked(study, ranking)
    write_results(results, workdir / "results.jsonl")
    if results:
        print_table(console, table(results, ranking))
    for line in remarks(results, study.points, ranking):
        print_line(console, line)
    print_decisions(console, results, ranking, criterion)
    drawn = draw_results(study, workdir, ranking, results) if any(r.estimate.count for r in results) else {}
    print_paths(console, {**drawn, "results": workdir / "results.jsonl"})
    first = best(results)
    if first is not None and first.values:
        print_line(console, f"best: {best_flags(first)}")
    return int(first is None)


def print_decisions(
    console: Console, results: Sequence[PointResult], ranking: Ranking, criterion: Criterion | None
) -> None:
    """Print the decision of each point against the reference; without a criterion, how to get it."""
    if criterion is None:
        for line in verdicts.hint(results, ranking):
            print_line(console, line)
        return
    found = judged(results, criterion, ranking)
    if found:
        print_table(console, verdicts.table(found, criterion, ranking))
    for line in verdicts.lines(found, criterion, results):
        print_line(console, line)


def draw_results(study: SweepStudy, workdir: Path, ranking: Ranking, results: Sequence[PointResult]) -> dict[str, Path]:
    """Draw the pictures of a sweep; return, by what they show, the paths of those that could be drawn."""
    paths = {"settings": workdir / "plots" / "settings.png", "curves": workdir / "plots" / "curves.png"}
    shares = importances(study, results)
    scores = {f"best validation {ranking.label}": [result.estimate for result in results]}
    if ranking.loss != ranking.metric:
        losses = [result.validation(ranking.loss, (0.0, math.inf)) for result in results]
        scores[f"last validation {ranking.loss} ({ranking.loss_unit})"] = losses
    figures = {"curves": lambda: pictures.learning_curves(results, ranking)}
    if study.space.dimensions:
        settings_figure = functools.partial(pictures.against_settings, results, study.space, shares, scores)
        figures = {"settings": lambda: settings_figure(metric=ranking.metric), **figures}
    return {
        name: paths[name]
        for name, figure in figures.items()
        if attempt(lambda f=figure, p=paths[name]: save(f(), p), paths[name])
    }
