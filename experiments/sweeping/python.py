"""A sweep in Python: a recipe and a space in, the ranked trials and the best run out."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.compiler import guard_from_python
from experiments.cli.python_words import in_python
from experiments.cli.recipes import load_recipe_and_sweep
from experiments.cli.values import Recipe, as_recipe, flat, plain
from experiments.runs.extension import PATIENCE, STEPS
from experiments.runs.init_from import InitFrom, wish_of, with_settings
from experiments.runs.python import folder, open_run_of, reporter_of
from experiments.runs.run import Run, drawing_of
from experiments.runs.session import train
from experiments.settings import Config
from experiments.sweeping import finishing, pictures, summary, verdicts
from experiments.sweeping.deciding import Criterion, judged
from experiments.sweeping.flags import SweepFlags
from experiments.sweeping.lanes import use_cores
from experiments.sweeping.ranking import PointResult, Ranking, best, best_lane, ranked
from experiments.sweeping.search import Sweep as Planned
from experiments.sweeping.search import make_sweep
from experiments.sweeping.session import train_sweep
from experiments.sweeping.space import Range
from experiments.sweeping.space import overrides as texts_of
from experiments.sweeping.study import SweepStudy
from experiments.training import signals
from experiments.training.tables import data_frame, to_html
from transformer import schema
from transformer.errors import problem, unknown, written

OF_THE_COMMAND = ("config", "workdir", "output", "workers", "slurm", "slurm_options", "finish")
"""Settings of SweepFlags that the function does not take, or takes by a parameter of its own."""


@dataclasses.dataclass(frozen=True, repr=False)
class Sweep:
    """The trials of a sweep; a notebook shows their table and their curves.

    Attributes:
        workdir: working directory, with the trials in `trials/`, and results.jsonl.
        results: the points of the space that are done, the best first.
        points: number of points of the study.
        ranking: the scores that points are ranked by.
        plan: the recipe with its overrides, and the space.
        init: the run whose parameters all trials started from; None: none.
        criterion: the margin, looks and reference by which trials are decided; None: they are not.
    """

    workdir: Path
    results: tuple[PointResult, ...]
    points: int
    ranking: Ranking
    plan: Planned
    init: InitFrom | None = None
    criterion: Criterion | None = None

    @in_python
    def decisions(self) -> Any:
        """Return a row for each combination of settings that is decided against the reference.

        Columns: trial, the settings, the word, the advantage over the reference and the ends of its interval, the level
        of the interval, the number of seeds that count, and of those at which one of the two diverged.

        Returns:
            A DataFrame where pandas is installed, otherwise a list of dicts.

        Raises:
            UserError: the sweep has no margin.
        """
        if self.criterion is None:
            expected, do = "a margin", "Sweep with margin=0.02, for instance; decide=True adds seeds."
            raise problem("the sweep decides nothing", got="no margin", expected=expected, do=do)
        return data_frame(verdicts.rows(judged(self.results, self.criterion, self.ranking)))

    def table(self) -> Any:
        """Return a row for each combination of settings, the best first.

        Columns: trial, the settings, the mean score over seeds and the ends of its 95 % interval (None below 3 seeds),
        the mean validation loss, the number of seeds, the way in which they ended.

        Returns:
            A DataFrame where pandas is installed, otherwise a list of dicts.
        """
        return data_frame([self._row(result) for result in self.results])

    def _row(self, result: PointResult) -> dict[str, Any]:
        low, high = result.estimate.interval or (None, None)
        scores = {self.ranking.metric: result.estimate.mean, "low": low, "high": high}
        loss = {} if self.ranking.loss == self.ranking.metric else {self.ranking.loss: result.loss.mean}
        ended = ", ".join(dict.fromkeys(lane["status"] for lane in result.lanes))
        return {"trial": result.point, **result.values, **scores, **loss, "seeds": len(result.lanes), "ended": ended}

    @in_python
    def best(self) -> Run:
        """Open the best trial: of the best combination of settings, the seed with the best score.

        Raises:
            UserError: no trial is the best, as where all diverged, or no checkpoint of it was kept.
        """
        first = best(self.results)
        if first is None:
            raise problem(summary.no_best(self.results))
        kept = [lane for lane in first.lanes if (Path(lane["workdir"]) / "checkpoints").is_dir()]
        chosen = best_lane(dataclasses.replace(first, lanes=kept or first.lanes), self.ranking)
        return open_run_of(
            Path(chosen["workdir"]), "best", average_last=None, read_data=True, trust_code=False, paths={}
        )

    @in_python
    def finish(
        self,
        steps: int,
        trial: str | int = "best",
        *,
        patience: int | None = None,
        progress: bool = True,
        force: bool = False,
    ) -> Run:
        """Train a trial on to more steps, in WORKDIR/finished/TRIAL; the same call continues.

        It goes on from the trial's checkpoints where they are kept, else it is trained from the start; a warning says
        what happens to its learning rate. Of its seeds the one with the best score is trained.

        Args:
            steps: number of updates of the whole training, more than the trial has.
            trial: "best", or the number of a trial in the table.
            patience: training.patience of the run; None: the trial's.
            progress: whether to show progress.
            force: train though the memory is too small.

        Raises:
            UserError: no such trial, one without a score, or not more steps than it has.
            OSError, KeyboardInterrupt: as for `api.train`.

        >>> sweep.finish(steps=5000).evaluate()  # doctest: +SKIP
        """
        if isinstance(trial, bool) or not isinstance(trial, str | int):
            do = 'Write trial="best", or trial=0.'
            raise problem("trial is no number", got=written(trial), expected="best, or the number of a trial", do=do)
        chosen = finishing.choose(self.results, trial, self.ranking, self.workdir)
        lengths = {STEPS: steps, **({} if patience is None else {PATIENCE: patience})}
        leaves = schema.settings(Config)
        lengths = {name: schema.checked(plain(value), leaves[name]) for name, value in lengths.items()}
        target = self.workdir / finishing.FINISHED / chosen.name
        config, _ = finishing.config_of(self.plan, chosen, lengths, target)
        line = finishing.prepare(chosen, target)
        notes = [] if target.exists() else [line]  # a warning that it is trained from the start
        ended = train(config, target, reporter_of(progress), notes=notes, force=force, init=self.init)
        if ended.stopped is not None:
            signals.give_back(ended.stopped)
        return Run(ended.run)

    def __repr__(self) -> str:
        first = best(self.results)
        values = "" if first is None else ", best: " + ", ".join(f"{n}={v}" for n, v in texts_of(first.values))
        return f"Sweep: {len(self.results)} of {self.points} trials in {self.workdir}{values}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show the table and the curves in a notebook."""
        shown = to_html(summary.table(self.results, self.ranking)) if self.results else ""
        if any(result.estimate.count for result in self.results):
            shown += drawing_of(lambda: pictures.learning_curves(self.results, self.ranking)) or ""
        return {"text/plain": repr(self), "text/html": shown}


@in_python
def run_sweep(
    recipe: Recipe,
    space: Mapping[str, Any] | None,
    overrides: Mapping[str, Any] | None,
    workdir: str | os.PathLike,
    *,
    progress: bool,
    options: Mapping[str, Any],
) -> Sweep:
    """Train every trial of a space; see `experiments.api.sweep`."""
    guard_from_python()
    flags = _flags(folder(workdir), options)
    config, own, name = _recipe(recipe)
    given = texts_of(flat({} if overrides is None else overrides, "overrides"))
    varied = {**own, **space_of({} if space is None else space)}
    config, _ = with_settings(config, wish_of(flags))
    plan = make_sweep(config, given, varied, data=flags.data, sampler=flags.sampler, trials=flags.trials)
    _divide(flags.devices)
    use_compilation_cache()

    def finish(study: SweepStudy, ranking: Ranking, criterion: Criterion | None) -> Sweep:
        results = ranked(study, ranking)
        summary.write_results(results, Path(flags.workdir) / "results.jsonl")
        return Sweep(Path(flags.workdir), tuple(results), study.points, ranking, plan, wish_of(flags), criterion)

    ended = train_sweep(flags, plan, name, reporter_of(progress), finish)
    if ended.stopped is not None:
        signals.give_back(ended.stopped)
    return ended.found


def space_of(space: Any) -> dict[str, Any]:
    """Return a space with dotted names, and its values as the grammar takes them.

    Raises:
        UserError: no dict, or a setting whose values are neither a list nor a range.
    """
    if not isinstance(space, Mapping):
        expected = 'such as {"optimizer.learning_rate": api.log(1e-4, 1e-2)}'
        raise problem("the space is no dict", got=f"{written(space)} ({type(space).__name__})", expected=expected)
    found = {}
    for name, values in schema.flatten(space).items():
        if not isinstance(values, Range | range | str):
            if not isinstance(values, Iterable):
                expected = "a list of values, a range, api.log(low, high) or api.linear(low, high)"
                raise problem(f"the values of {name} are no list", got=written(values), expected=expected)
            values = [plain(value) for value in values]
        found[name] = values
    return found


def _flags(workdir: Path, options: Mapping[str, Any]) -> SweepFlags:
    """Check the options of a sweep; raise a UserError for an unknown one, or one out of range."""
    leaves = {name: leaf for name, leaf in schema.settings(SweepFlags).items() if name not in OF_THE_COMMAND}
    for name in options:
        if name not in leaves:
            raise unknown("option of a sweep", name, leaves)
    values = {name: schema.checked(plain(value), leaves[name]) for name, value in options.items()}
    return SweepFlags(config="", workdir=str(workdir), **values)


def _recipe(recipe: Recipe) -> tuple[ConfigDict, dict[str, Any], str]:
    """Return the recipe, its own space, and the name of its study."""
    if isinstance(recipe, str | os.PathLike):
        config, own = load_recipe_and_sweep(Path(recipe))
        return config, own, Path(recipe).stem
    return as_recipe(recipe), {}, "sweep"


def _divide(devices: int | None) -> None:
    """Divide the CPU, where it is asked for."""
    if devices is None:
        return
    try:
        use_cores(devices)
    except RuntimeError as error:
        do = "Leave it out, or call sweep before anything else uses JAX."
        raise problem("devices is not read once JAX is in use", got=written(devices), do=do) from error
