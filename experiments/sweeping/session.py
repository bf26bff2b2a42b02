"""One sweep as the command line runs it: check the space, open the study, work on it, say what it has found."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from experiments import settings
from experiments.cli.recipes import load_recipe_and_sweep
from experiments.runs.pictures import save
from experiments.storage.workdir import refuse_other_config
from experiments.sweeping import pictures, summary
from experiments.sweeping.grammar import make_space
from experiments.sweeping.groups import Experiments
from experiments.sweeping.lanes import mode_of, use_cores
from experiments.sweeping.space import DATA_SEED, SEED, Point, Space, overrides
from experiments.sweeping.storage import LOST, Heartbeat, close, lost, open_storage, shown
from experiments.sweeping.study import Study, open_study
from experiments.sweeping.worker import Options, Worker
from experiments.tasks.task import Task
from experiments.training import signals
from experiments.training.progress import devices_in_words, print_line, print_paths, progress
from transformer.errors import UserError, problem


def sweep(flags: Any, given: Sequence[tuple[str, str]], varied: Mapping[str, Any]) -> int:
    """Works on a study until it is done or it is asked to stop.

    Args:
        flags: SweepFlags.
        given: overrides of the recipe, as flags have them.
        varied: the space, as flags have it; it goes before what the recipe says of the same settings.

    Returns:
        The exit code: 0, 130 after Ctrl-C, 143 after SIGTERM.

    Raises:
        UserError, OSError: mistakes of the user's, a full disk, a storage that was lost.
    """
    recipe, own = load_recipe_and_sweep(flags.config)
    made = make_sweep(recipe, given, {**own, **varied}, data=flags.data, sampler=flags.sampler, trials=flags.trials)
    use_cores(flags.devices)
    experiments = Experiments()
    first = experiments.of(made.first())
    metric = first.config.training.output.best
    mode = first.task.metrics[metric].mode
    workdir = Path(flags.workdir)
    url = flags.storage or f"sqlite:///{(workdir / 'study.db').absolute()}"
    storage = open_storage(url, flags.heartbeat)
    name = flags.study or Path(flags.config).stem
    try:
        study = open_study(
            storage,
            name,
            made.space,
            sampler=made.sampler,
            points=made.points,
            mode=mode,
            facts={"data": flags.data, "halvings": flags.halvings, "metric": metric},
            seed=made.base.seed,
        )
        _refuse_other_recipe(study, made.base, workdir)
        return _work(flags, study, made.resolve, url, metric, experiments, first.task)
    except LOST as error:
        raise lost(error, url, f"What was trained is checkpointed in {workdir}.") from error
    finally:
        close(storage)


def _work(
    flags: Any, study: Study, resolve: Callable[..., Any], url: str, metric: str, experiments: Experiments, task: Task
) -> int:
    console, workdir = Console(), Path(flags.workdir)
    devices = devices_in_words()
    mode = mode_of(flags.mode)
    options = Options(workdir, flags.lanes, mode, flags.data == "shared", flags.halvings, flags.keep, devices)
    left, seeds = study.left(), len(study.space.seeds)
    print_line(
        console, f"study {study.study.study_name} in {shown(url)}: {study.points} trials of {seeds} seeds, {left} left"
    )
    for line in study.space.to_lines():
        print_line(console, f"  {line}")
    print_line(console, f"lanes by {mode} on {devices}; settings are chosen by {study.sampler}")
    with signals.catch_stop_signals() as stop, Heartbeat(study.storage, flags.heartbeat, stop) as heartbeat:
        worker = Worker(
            study,
            experiments,
            resolve,
            options,
            heartbeat,
            stop,
            lambda line: print_line(console, line),
            lambda steps, done: progress(steps, done, console),
        )
        worker.run()
    if heartbeat.lost is not None:
        raise lost(heartbeat.lost, url, f"Its trials are checkpointed in {workdir / 'lanes'}.")
    if stop.received is not None:
        print_line(console, "Stopped; saved. The same command goes on.")
        return signals.exit_code(stop.received)
    print_line(console, f"programs of the update compiled here: {worker.compiled}")
    report(console, study, workdir, metric, task)
    return 0


def report(console: Console, study: Study, workdir: Path, metric: str, task: Task) -> None:
    """Prints the table and the best setting, writes results.jsonl and the pictures.

    Args:
        metric: that points are ranked by.
        task: of any trial, for the names and units of its scores.
    """
    said, loss = task.metrics[metric], task.names["loss"]
    results = summary.ranked(study, said.mode)
    summary.write_results(results, workdir / "results.jsonl")
    console.print(summary.table(results, metric, said.unit))
    failed = study.points - len(results)
    if failed:
        print_line(console, f"{failed} trials could not be trained")
    if not results:
        return
    label = f"{metric} ({said.unit})"
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


def _refuse_other_recipe(study: Study, base: Any, workdir: Path) -> None:
    """Keeps the resolved recipe with the study, or raises a UserError where it was another."""
    config = json.loads(json.dumps(settings.to_json_dict(base)))
    before = study.study.user_attrs.get("config")
    if before is None:
        study.study.set_user_attr("config", config)
    else:
        refuse_other_config(workdir, settings.differences(before, config))


MOST_CHECKED = 64
"""Combinations of a space that are checked before anything compiles; of larger ones, so many spread evenly."""

DATA = ("shared", "own")
"""Whose seed decides the data of a trial: the recipe's, the same for all; or the trial's own."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is to be trained.

    Attributes:
        base: the recipe with its flags, resolved.
        space: what is varied.
        resolve: (settings of a point, seed) -> the resolved config.
        sampler: who chooses the points: "grid", or a row of SAMPLERS.
        points: the values of each; {} where the sampler draws them.
    """

    base: Any
    space: Space
    resolve: Callable[[dict[str, Any], int], Any]
    sampler: str
    points: list[Point]

    def first(self) -> Any:
        """The config of a corner of the space."""
        return self.resolve(self.space.settings_of(next(self.space.corners())), self.space.seeds[0])


def make_sweep(
    recipe: ConfigDict,
    given: Sequence[tuple[str, str]],
    varied: Mapping[str, Any],
    *,
    data: str,
    sampler: str | None,
    trials: int | None,
) -> Sweep:
    """The sweep of a recipe and flags.

    Args:
        given: overrides of the recipe, as flags have them.
        varied: the space, as flags or a recipe's get_sweep() have it.
        data: a row of DATA.
        sampler: None: a grid where the space is finite and tried in full, else tpe.
        trials: how many points; None: all of a finite space.

    Raises:
        UserError: what is wrong with the recipe, the space, or a config in it.
    """
    base, _ = settings.resolve(recipe, given)
    space = make_space(varied, base.seed)
    resolve = _resolver(recipe, given, base.data_seed if data == "shared" else None)
    _check(space, resolve, {name for name, _ in given})
    return Sweep(base, space, resolve, *_points(space, sampler, trials))


def _resolver(
    recipe: ConfigDict, given: Sequence[tuple[str, str]], data_seed: int | None
) -> Callable[[dict[str, Any], int], Any]:
    """(settings of a point, seed) -> the resolved config; with one seed of the data for all, if it is given."""

    def resolve(values: dict[str, Any], seed: int) -> Any:
        more = overrides({**values, SEED: seed})
        if data_seed is not None and DATA_SEED not in values:
            more.append((DATA_SEED, str(data_seed)))
        return settings.resolve(recipe, [*given, *more])[0]

    return resolve


def _points(space: Space, sampler: str | None, trials: int | None) -> tuple[str, list[Point]]:
    """Who chooses the points, and the values of each.

    Raises:
        UserError: a space that is not finite, to be tried in full.
    """
    every = list(space.corners()) if space.finite else None
    sampler = sampler or ("grid" if every is not None and (trials or len(every)) >= len(every) else "tpe")
    if sampler == "grid" and every is None:
        raise problem("a space with ranges has no grid", do="Give lists of values, or another --sampler.")
    if sampler == "grid":
        return sampler, every[:trials]
    if trials is None:
        raise problem("--trials must be given: the space has ranges, of which there is no end", do="Add --trials=20.")
    return sampler, [{}] * trials


def _check(space: Space, resolve: Callable[..., Any], given: set[str]) -> None:
    """Raises a UserError for a setting that the space varies and a flag fixes, or values that do not go together."""
    if not space.dimensions and len(space.seeds) < 2:
        raise problem(
            "nothing is varied", do="Add --sweep.SETTING=VALUES, or get_sweep() to the recipe; --help tells more."
        )
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
