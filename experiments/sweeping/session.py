"""One sweep as the command line runs it: check the space, open the study, work on it, print its results.

Before anything compiles, the space, the points to be tried and the config of each are checked.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from experiments import settings
from experiments.cli.recipes import load_recipe_and_sweep
from experiments.cli.terminal import terminal
from experiments.runs.pictures import save
from experiments.storage.workdir import refuse_other_config
from experiments.sweeping import pictures, summary
from experiments.sweeping.grammar import make_space
from experiments.sweeping.groups import Experiments
from experiments.sweeping.lanes import mode_of, use_cores
from experiments.sweeping.space import DATA_SEED, SEED, Point, Space, overrides
from experiments.sweeping.storage import (
    CONNECTION_ERRORS,
    Heartbeat,
    close,
    connection_lost,
    open_storage,
    without_password,
)
from experiments.sweeping.study import Search, SweepStudy, open_study
from experiments.sweeping.worker import Options, Worker
from experiments.tasks.task import Task
from experiments.training import signals
from experiments.training.experiment import Experiment
from experiments.training.progress import devices_in_words, print_line, print_paths
from transformer.errors import UserError, problem

MOST_CHECKED = 64
"""Combinations of a space that are checked before anything compiles; of a larger space, this many spread evenly."""

DATA = ("shared", "own")
"""The seed that decides the data of a trial: the recipe's, the same for all; or the trial's own."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A recipe and a search over a space of its settings.

    Attributes:
        base: the recipe with its flags, resolved.
        search: the space, its points and their sampler.
        resolve: (settings of a point, seed) -> the resolved config.
    """

    base: Any
    search: Search
    resolve: Callable[[dict[str, Any], int], Any]

    def first(self) -> Any:
        """Return the config of a corner of the space."""
        space = self.search.space
        return self.resolve(space.settings_of(next(space.corners())), space.seeds[0])


def make_sweep(
    recipe: ConfigDict,
    given: Sequence[tuple[str, str]],
    varied: Mapping[str, Any],
    *,
    data: str,
    sampler: str | None,
    trials: int | None,
) -> Sweep:
    """Build the sweep of a recipe and flags, and check it.

    Args:
        given: overrides of the recipe, as flags have them.
        varied: the space, as flags or a recipe's get_sweep() have it.
        data: a row of DATA.
        sampler: a row of SAMPLERS or "grid"; None: a grid where the space is finite and tried in full, else tpe.
        trials: number of points; None: all of a finite space.

    Raises:
        UserError: a mistake in the recipe, in the space, or in a config of it.
    """
    base, _ = settings.resolve(recipe, given)
    space = make_space(varied, base.seed)
    resolve = _resolver(recipe, given, base.data_seed if data == "shared" else None)
    _check(space, resolve, {name for name, _ in given})
    sampler, points = _points(space, sampler, trials)
    return Sweep(base, Search(space, sampler, points, base.seed), resolve)


def _resolver(
    recipe: ConfigDict, given: Sequence[tuple[str, str]], data_seed: int | None
) -> Callable[[dict[str, Any], int], Any]:
    """Build the function (settings of a point, seed) -> resolved config; a given seed of the data is that of all."""

    def resolve(values: dict[str, Any], seed: int) -> Any:
        more = overrides({**values, SEED: seed})
        if data_seed is not None and DATA_SEED not in values:
            more.append((DATA_SEED, str(data_seed)))
        return settings.resolve(recipe, [*given, *more])[0]

    return resolve


def _points(space: Space, sampler: str | None, trials: int | None) -> tuple[str, list[Point]]:
    """Choose the sampler, and the values of each point.

    Raises:
        UserError: a space with ranges that is to be tried in full.
    """
    every = list(space.corners()) if space.finite else None
    sampler = sampler or ("grid" if every is not None and (trials or len(every)) >= len(every) else "tpe")
    if sampler == "grid" and every is None:
        raise problem("a space with ranges has no grid", do="Give lists of values, or another --sampler.")
    if sampler == "grid":
        return sampler, every[:trials]
    if trials is None:
        raise problem("--trials must be given: the space has ranges, so its points have no end", do="Add --trials=20.")
    return sampler, [{}] * trials


def _check(space: Space, resolve: Callable[..., Any], given: set[str]) -> None:
    """Raise a UserError for a setting that the space varies and a flag fixes, or for values that exclude each other."""
    if not space.dimensions and len(space.seeds) < 2:
        raise problem("nothing is varied", do="Add --sweep.SETTING=VALUES, or get_sweep() to the recipe; see --help.")
    for dimension in space.dimensions:
        for name in dimension.names:
            if name in given:
                raise problem(
                    f"{name} is varied by the sweep and fixed by --config.{name}", do="Leave one of them out."
                )
    corners = list(space.corners())
    for point in corners[:: max(1, len(corners) // MOST_CHECKED)]:
        values = space.settings_of(point)
        try:
            resolve(values, space.seeds[0])
        except UserError as error:
            where = ", ".join(f"{name}={value}" for name, value in overrides(values))
            raise UserError(f"in the sweep, at {where}: {error}") from error


def run_sweep(flags: Any, given: Sequence[tuple[str, str]], varied: Mapping[str, Any]) -> int:
    """Work on a study until it is done or a stop is requested.

    Args:
        flags: SweepFlags.
        given: overrides of the recipe, as flags have them.
        varied: the space, as flags have it; it overrides the recipe's own for the same settings.

    Returns:
        The exit code: 0, 130 after Ctrl-C, 143 after SIGTERM.

    Raises:
        UserError, OSError: mistakes of the user, a full disk, a storage that was lost.
    """
    recipe, own = load_recipe_and_sweep(flags.config)
    sweep = make_sweep(recipe, given, {**own, **varied}, data=flags.data, sampler=flags.sampler, trials=flags.trials)
    use_cores(flags.devices)
    experiments = Experiments()
    first = experiments.of(sweep.first())
    metric = first.config.training.output.best
    workdir = Path(flags.workdir)
    url = flags.storage or f"sqlite:///{(workdir / 'study.db').absolute()}"
    storage = open_storage(url, flags.heartbeat)
    try:
        study = open_study(
            storage,
            flags.study or Path(flags.config).stem,
            sweep.search,
            mode=first.task.metrics[metric].mode,
            properties={"data": flags.data, "halvings": flags.halvings, "metric": metric},
        )
        _refuse_other_recipe(study, sweep.base, workdir, first.task.splits.fingerprint)
        return _work(flags, study, sweep, url, experiments, first)
    except CONNECTION_ERRORS as error:
        raise connection_lost(error, url, f"What was trained is checkpointed in {workdir}.") from error
    finally:
        close(storage)


def _work(flags: Any, study: SweepStudy, sweep: Sweep, url: str, experiments: Experiments, first: Experiment) -> int:
    """Work on a study and print its results; return the exit code.

    Args:
        first: the experiment of any trial.
    """
    console, workdir = terminal(), Path(flags.workdir)
    devices = devices_in_words()
    mode = mode_of(flags.mode)
    options = Options(workdir, flags.lanes, mode, flags.data == "shared", flags.halvings, flags.keep, devices)
    name, left, seeds = study.study.study_name, study.left(), len(study.space.seeds)
    print_line(console, f"study {name} in {without_password(url)}: {study.points} trials of {seeds} seeds, {left} left")
    for line in study.space.to_lines():
        print_line(console, f"  {line}")
    print_line(console, f"lanes by {mode} on {devices}; search algorithm: {study.search.sampler}")
    with signals.catch_stop_signals() as stop, Heartbeat(study.storage, flags.heartbeat, stop) as heartbeat:
        worker = Worker(study, experiments, sweep.resolve, options, heartbeat, stop, console)
        worker.run()
    if heartbeat.lost is not None:
        raise connection_lost(heartbeat.lost, url, f"Its trials are checkpointed in {workdir / 'lanes'}.")
    if stop.received is not None:
        print_line(console, "Stopped; saved. The same command goes on.")
        return signals.exit_code(stop.received)
    print_line(console, f"programs of the update compiled here: {worker.compiled}")
    print_results(console, study, workdir, first.config.training.output.best, first.task)
    return 0


def print_results(console: Console, study: SweepStudy, workdir: Path, metric: str, task: Task) -> None:
    """Print the table and the best point, write results.jsonl and draw the pictures.

    Args:
        metric: the metric that ranks the points.
        task: the task of any trial, for the names and units of its scores.
    """
    ranking, loss = task.metrics[metric], task.names["loss"]
    results = summary.ranked(study, ranking.mode)
    summary.write_results(results, workdir / "results.jsonl")
    console.print(summary.table(results, metric, ranking.unit))
    failed = study.points - len(results)
    if failed:
        print_line(console, f"{failed} trials could not be trained")
    if not results:
        return
    label = f"{metric} ({ranking.unit})"
    paths = {"settings": workdir / "plots" / "settings.png", "curves": workdir / "plots" / "curves.png"}
    importances = summary.importances(study)
    scores = {label: [result.estimate for result in results]}
    if loss != metric:
        scores[f"{loss} ({task.metrics[loss].unit})"] = [result.validation(loss) for result in results]
    if study.space.dimensions:
        save(pictures.against_settings(results, study.space, importances, scores), paths["settings"])
    save(pictures.learning_curves(results, label=label), paths["curves"])
    print_paths(console, {**paths, "results": workdir / "results.jsonl"})
    if results[0].values:
        print_line(console, f"best: {summary.best_flags(results[0])}")


def _refuse_other_recipe(study: SweepStudy, base: Any, workdir: Path, data: str) -> None:
    """Store the resolved recipe with a new study; raise a UserError for a study of another recipe.

    Args:
        data: fingerprint of the data, "" where the config determines it; files of the same content may lie elsewhere.
    """
    config = json.loads(json.dumps(settings.to_json_dict(base)))
    before = study.study.user_attrs
    if "config" not in before:
        study.study.set_user_attr("config", config)
        study.study.set_user_attr("fingerprint", data)
    else:
        same_data = data != "" and before.get("fingerprint") == data
        refuse_other_config(workdir, settings.differences(before["config"], config), same_data=same_data)
