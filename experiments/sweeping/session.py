"""One sweep as the command line runs it: check the space, open the study, work on it, print its results.

Before anything compiles, the space, the points to be tried and the config of each are checked.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments import settings
from experiments.cli.recipes import load_recipe_and_sweep
from experiments.cli.terminal import terminal
from experiments.storage.workdir_checks import refuse_other_config, refuse_unwritable_name
from experiments.sweeping import summary
from experiments.sweeping.grammar import make_space
from experiments.sweeping.groups import Experiments, refuse_large_points
from experiments.sweeping.lanes import lanes_mesh, mode_of, padded, use_cores
from experiments.sweeping.ranking import Ranking
from experiments.sweeping.space import DATA_SEED, MOST_POINTS, SEED, Point, Space, overrides
from experiments.sweeping.storage import (
    CONNECTION_ERRORS,
    Heartbeat,
    close,
    connection_lost,
    open_storage,
    sqlite_url,
    without_password,
)
from experiments.sweeping.study import Search, SweepStudy, open_study
from experiments.sweeping.worker import MOST_LANES, Options, Worker
from experiments.training import signals
from experiments.training.progress import devices_in_words, print_line
from transformer.errors import UserError, counted, problem

MOST_CHECKED = 64
"""Combinations of a space that are checked before anything compiles; of a larger space, this many spread evenly."""

DATA = ("shared", "own")
"""The seed that decides the data of a trial: the recipe's, the same for all; or the trial's own."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A recipe and a search over a space of its settings.

    Attributes:
        base: the recipe with its flags, resolved.
        notes: a line for each setting of the recipe that the sweep leaves out, and for --trials beyond the space.
        search: the space, its points and their sampler.
        resolve: (settings of a point, seed) -> the resolved config.
    """

    base: Any
    search: Search
    resolve: Callable[[dict[str, Any], int], Any]
    notes: tuple[str, ...]

    def first(self) -> Any:
        """Return the config of a corner of the space."""
        space = self.search.space
        return self.resolve(space.settings_of(next(space.corners())), space.seeds[0])

    def some(self) -> dict[str, Any]:
        """Return the configs of at most MOST_CHECKED corners of the space, by their settings in words."""
        space = self.search.space
        return {_in_words(values): self.resolve(values, space.seeds[0]) for values in _some_settings(space)}


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
    if data == "own" and base.data.seed is not None and not any(DATA_SEED in d.names for d in space.dimensions):
        raise problem(
            "--data=own is not read where data.seed is set",
            got=f"data.seed {base.data.seed}",
            do="Give --config.data.seed=none, or leave --data out.",
        )
    resolve = _resolver(recipe, given, base.data_seed if data == "shared" else None)
    notes = _check(space, resolve, {name for name, _ in given})
    named = sampler is not None
    sampler, points = _points(space, sampler, trials)
    if trials is not None and trials > len(points):
        notes.append(f"--trials={trials} is more than the space has: its {len(points)} combinations are all trained.")
    search = Search(space, sampler, points, base.seed, named)
    return Sweep(base, search, lambda values, seed: resolve(values, seed)[0], tuple(notes))


Resolve = Callable[[dict[str, Any], int], tuple[Any, list[str]]]
"""The function (settings of a point, seed) -> resolved config, and a line for each setting of the recipe left out."""


def _resolver(recipe: ConfigDict, given: Sequence[tuple[str, str]], data_seed: int | None) -> Resolve:
    """Build the function that resolves a point; a given seed of the data is that of all."""

    def resolve(values: dict[str, Any], seed: int) -> tuple[Any, list[str]]:
        more = overrides({**values, SEED: seed})
        if data_seed is not None and DATA_SEED not in values:
            more.append((DATA_SEED, str(data_seed)))
        return settings.resolve(recipe, [*given, *more])

    return resolve


def _points(space: Space, sampler: str | None, trials: int | None) -> tuple[str, list[Point]]:
    """Choose the sampler, and the values of each point.

    Raises:
        UserError: a space with ranges, or with very many combinations, that is to be tried in full.
    """
    every = list(space.corners()) if space.finite and space.most_corners <= MOST_POINTS else None
    sampler = sampler or ("grid" if every is not None and (trials or len(every)) >= len(every) else "tpe")
    endless = "ranges" if not space.finite else f"up to {space.most_corners:,} combinations"
    if sampler == "grid" and every is None:
        raise problem(f"a space with {endless} has no grid", do="Give lists of fewer values, or another --sampler.")
    if sampler == "grid":
        return sampler, every[:trials]
    if trials is None:
        why = f"the space has {endless}" if every is None else f"--sampler={sampler} draws as many points as it names"
        raise problem(f"--trials must be given: {why}", do="Add --trials=20.")
    return sampler, [{}] * trials


def _check(space: Space, resolve: Resolve, given: set[str]) -> list[str]:
    """Check the configs of some corners of the space; return a line for each setting of the recipe left out.

    Raises:
        UserError: a setting that the space varies and a flag fixes, values that exclude each other, or nothing varied.
    """
    if not space.dimensions and len(space.seeds) < 2:
        raise problem("nothing is varied", do="Add --sweep.SETTING=VALUES, or get_sweep() to the recipe; see --help.")
    for dimension in space.dimensions:
        for name in dimension.names:
            if name in given:
                raise problem(
                    f"{name} is varied by the sweep and fixed by --config.{name}", do="Leave one of them out."
                )
    notes: dict[str, None] = {}
    for values in _some_settings(space):
        try:
            notes |= dict.fromkeys(resolve(values, space.seeds[0])[1])
        except UserError as error:
            raise UserError(f"in the sweep, at {_in_words(values)}: {error}") from error
    return list(notes)


def _some_settings(space: Space) -> list[dict[str, Any]]:
    """Return the settings of at most MOST_CHECKED corners, spread evenly."""
    return [space.settings_of(point) for point in space.some_corners(MOST_CHECKED)]


def _in_words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in overrides(values))


def run_sweep(flags: Any, given: Sequence[tuple[str, str]], varied: Mapping[str, Any]) -> int:
    """Work on a study until it is done or a stop is requested.

    Args:
        flags: SweepFlags.
        given: overrides of the recipe, as flags have them.
        varied: the space, as flags have it; it overrides the recipe's own for the same settings.

    Returns:
        The exit code: 0, 1 where no trial is the best, 130 after Ctrl-C, 143 after SIGTERM.

    Raises:
        UserError, OSError: mistakes of the user, a full disk, a storage that was lost.
    """
    refuse_unwritable_name(Path(flags.workdir))
    recipe, own = load_recipe_and_sweep(flags.config)
    sweep = make_sweep(recipe, given, {**own, **varied}, data=flags.data, sampler=flags.sampler, trials=flags.trials)
    if flags.halvings:
        _check_halvings(flags, sweep.search)
    use_cores(flags.devices)
    experiments = Experiments()
    first = experiments.of(sweep.first())
    if not flags.force:
        trials = len(sweep.search.points) * len(sweep.search.space.seeds)
        refuse_large_points(first, sweep.some(), padded(min(flags.lanes or 1, trials), lanes_mesh().size))
    ranking = Ranking.of(first.task, first.config.training.output.best)
    workdir = Path(flags.workdir)
    url = flags.storage or sqlite_url(workdir / "study.db")
    storage = open_storage(url, flags.heartbeat)
    try:
        study = open_study(
            storage,
            flags.study or Path(flags.config).stem,
            sweep.search,
            mode=ranking.mode,
            properties={"data": flags.data, "halvings": flags.halvings, "metric": ranking.metric},
        )
        _refuse_other_recipe(study, sweep.base, workdir, first.task.splits.fingerprint)
        return _work(flags, study, sweep, url, experiments, ranking)
    except CONNECTION_ERRORS as error:
        raise connection_lost(error, url, f"What was trained is checkpointed in {workdir}.") from error
    finally:
        close(storage)


def _check_halvings(flags: Any, search: Search) -> None:
    """Raise a UserError where no program trains two points, of which one could stop."""
    seeds = len(search.space.seeds)
    together = min(len(search.points), (flags.lanes or MOST_LANES) // seeds)
    if together < 2:
        raise problem(
            "--halvings is not read where a program trains one combination of settings",
            got=f"{len(search.points)} combinations of {seeds} seeds, {flags.lanes or MOST_LANES} lanes",
            expected="lanes for two combinations",
            do="Leave it out, or raise --lanes.",
        )


def _work(flags: Any, study: SweepStudy, sweep: Sweep, url: str, experiments: Experiments, ranking: Ranking) -> int:
    """Work on a study and print its results; return the exit code."""
    console, workdir = terminal(), Path(flags.workdir)
    devices = devices_in_words()
    mode = mode_of(flags.mode)
    options = Options(
        workdir,
        flags.lanes,
        mode,
        flags.data == "shared",
        flags.halvings,
        flags.keep,
        devices,
        ranking,
        force=flags.force,
    )
    name, left, seeds = study.study.study_name, study.left(), len(study.space.seeds)
    sizes = f"{counted(study.points, 'trial')} of {counted(seeds, 'seed')}, {left} left"
    print_line(console, f"study {name} in {without_password(url)}: {sizes}")
    for line in study.space.to_lines():
        print_line(console, f"  {line}")
    for note in sweep.notes:
        print_line(console, note)
    print_line(console, f"lanes by {mode} on {devices}; search algorithm: {study.search.sampler}")
    if not left:
        print_line(console, "nothing left to do: every trial of the study is done")
    with signals.catch_stop_signals() as stop, Heartbeat(study.storage, flags.heartbeat, stop) as heartbeat:
        worker = Worker(study, experiments, sweep.resolve, options, heartbeat, stop, console)
        worker.run()
    if heartbeat.lost is not None:
        raise connection_lost(heartbeat.lost, url, f"Its trials are checkpointed in {workdir / 'lanes'}.")
    if stop.received is not None:
        print_line(console, "Stopped; saved. The same command goes on.")
        return signals.exit_code(stop.received)
    print_line(console, f"programs of the update compiled here: {worker.compiled}")
    return summary.print_results(console, study, workdir, ranking)


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
