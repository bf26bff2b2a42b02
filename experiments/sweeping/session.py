"""One session of a sweep: open the study, work on it, hand over its results; and the command around it."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from optuna.storages import RDBStorage

from experiments import settings
from experiments.cli.recipes import load_recipe_and_sweep
from experiments.cli.terminal import terminal
from experiments.comparing import configs
from experiments.runs.init_from import Origin, check_fit, open_origin, wish_of, with_settings
from experiments.runs.tracking import check_trackers
from experiments.storage.workdir import changed_flags, flags_notes, versions
from experiments.storage.workdir_checks import refuse_other_config, refuse_run, refuse_unwritable_name
from experiments.sweeping import summary
from experiments.sweeping.attributes import ORIGIN, VERSIONS
from experiments.sweeping.deciding import Criterion, criterion_of, keep_criterion, of_look, study_name, undecided
from experiments.sweeping.groups import Experiments, refuse_large_points
from experiments.sweeping.lanes import MOST_LANES, lanes_mesh, mode_of, padded, use_cores
from experiments.sweeping.open_study import open_study
from experiments.sweeping.ranking import Ranking, ranked
from experiments.sweeping.search import Sweep, make_sweep
from experiments.sweeping.storage import (
    CONNECTION_ERRORS,
    Heartbeat,
    close,
    connection_lost,
    open_storage,
    sqlite_url,
    without_password,
)
from experiments.sweeping.study import Search, SweepStudy
from experiments.sweeping.table_rows import sweep_rows
from experiments.sweeping.verdicts import look_line
from experiments.sweeping.worker import Options, Worker
from experiments.training import signals
from experiments.training.progress import devices_in_words
from experiments.training.reporter import Reporter, Terminal
from transformer.errors import counted, problem


class SweepEnd(NamedTuple):
    """The end of a session of a sweep.

    Attributes:
        stopped: number of the signal that stopped it; None: every trial is done.
        found: the result of `finish`; None where it was stopped.
    """

    stopped: int | None
    found: Any


Finish = Callable[[SweepStudy, Ranking, Criterion | None], Any]
"""A function of the study, the ranking of its points and what decides them, called once every trial is done."""


def run_sweep(
    flags: Any,
    given: Sequence[tuple[str, str]],
    varied: Mapping[str, Any],
    write: Callable[[Sequence[Mapping[str, Any]]], None] | None = None,
) -> int:
    """Work on a study until it is done or a stop is requested, and print its results.

    Args:
        flags: SweepFlags.
        given: overrides of the recipe, as flags have them.
        varied: the space, as flags have it; it overrides the recipe's own for the same settings.
        write: called with the rows of the table for other programs, once every trial is done; None: there is no table.

    Returns:
        The exit code: 0, 1 where no trial is the best, 130 after Ctrl-C, 143 after SIGTERM.

    Raises:
        UserError, OSError: mistakes of the user, a full disk, a storage that was lost.
    """
    refuse_unwritable_name(Path(flags.workdir))
    recipe, own = load_recipe_and_sweep(flags.config)
    recipe, _ = with_settings(recipe, wish_of(flags))
    console, workdir = terminal(), Path(flags.workdir)

    def finish(study: SweepStudy, ranking: Ranking, criterion: Criterion | None) -> int:
        code = summary.print_results(console, study, workdir, ranking, criterion)
        if write is not None:
            write(sweep_rows(ranked(study, ranking), ranking, criterion))
        return code

    sweep = make_sweep(recipe, given, {**own, **varied}, data=flags.data, sampler=flags.sampler, trials=flags.trials)
    use_cores(flags.devices)
    ended = train_sweep(flags, sweep, Path(flags.config).stem, Terminal(console), finish)
    return signals.exit_code(ended.stopped) if ended.stopped is not None else ended.found


def train_sweep(flags: Any, sweep: Sweep, name: str, reporter: Reporter, finish: Finish) -> SweepEnd:
    """Work on a study until it is done or a stop is requested.

    Args:
        flags: SweepFlags.
        sweep: the recipe and the search.
        name: name of the study, unless a flag gives another.

    Raises:
        UserError, OSError: mistakes of the user, a full disk, a storage that was lost.
    """
    refuse_unwritable_name(Path(flags.workdir))
    refuse_run(Path(flags.workdir))
    criterion = criterion_of(flags, sweep)
    if criterion is not None and criterion.adding:
        sweep = dataclasses.replace(sweep, search=of_look(sweep.search, criterion, 0, None))
    if flags.halvings:
        _check_halvings(flags, sweep.search)
    wish = wish_of(flags)
    experiments = Experiments(None if wish is None else open_origin(wish))
    first = experiments.of(sweep.first())
    check_trackers(first.config)
    if not flags.force:
        trials = len(sweep.search.points) * len(sweep.search.space.seeds)
        refuse_large_points(first, sweep.some(), padded(min(flags.lanes or 1, trials), lanes_mesh().size))
    if experiments.origin is not None:
        reporter.line(check_fit(first, experiments.origin))
    ranking, workdir = Ranking.of(first.task, first.config.training.output.best), Path(flags.workdir)
    with opened_storage(flags) as storage:
        properties = properties_of(flags, ranking, experiments.origin)
        name = flags.study or name
        study = open_study(storage, name, sweep.search, mode=ranking.mode, properties=properties)
        _refuse_other_recipe(study, sweep.base, workdir, first.task.splits.fingerprint)
        criterion = None if criterion is None else keep_criterion(study, criterion)
        work = Work(study, sweep, experiments, ranking)
        stopped = _work(flags, work, reporter)
        if criterion is not None and criterion.adding and stopped is None:
            work, stopped = _add_seeds(flags, work, criterion, properties, reporter)
        return SweepEnd(stopped, None if stopped is not None else finish(work.study, ranking, criterion))


def url_of(flags: Any) -> str:
    """Return the URL of the storage that flags name."""
    return flags.storage or sqlite_url(Path(flags.workdir) / "study.db")


@contextlib.contextmanager
def opened_storage(flags: Any) -> Iterator[RDBStorage]:
    """Open the storage that flags name, and close it.

    Raises:
        UserError: it cannot be reached, or was lost.
    """
    storage = open_storage(url_of(flags), flags.heartbeat)
    try:
        yield storage
    except CONNECTION_ERRORS as error:
        raise connection_lost(error, url_of(flags), f"What was trained is checkpointed in {flags.workdir}.") from error
    finally:
        close(storage)


def properties_of(flags: Any, ranking: Ranking, origin: Origin | None) -> dict[str, Any]:
    """Return the properties that all workers on a study share."""
    record = None if origin is None else origin.record
    words = record and f"{record['workdir']}@{record['checkpoint']}, step {record['step']}, {record['checksum']:08x}"
    return {"data": flags.data, "halvings": flags.halvings, "metric": ranking.metric, ORIGIN: words}


class Work(NamedTuple):
    """Parts of a sweep that its worker needs."""

    study: SweepStudy
    sweep: Sweep
    experiments: Experiments
    ranking: Ranking
    prefix: str = ""


def _add_seeds(
    flags: Any, work: Work, criterion: Criterion, properties: dict[str, Any], reporter: Reporter
) -> tuple[Work, int | None]:
    """Add the seeds of one look after the other to the points that are not decided, and to the reference.

    Returns:
        The work with the study of the last look, which has all seeds; the number of the signal that stopped it.
    """
    study, ranking = work.study, work.ranking
    name, storage, base = study.study.study_name, study.storage, study.search
    for look in range(1, len(criterion.looks)):
        only = undecided(ranked(work.study, ranking), criterion, ranking, look - 1)
        if not only:
            break
        search = of_look(base, criterion, look, only)
        reporter.line(look_line(criterion, search, look))
        more = open_study(storage, study_name(name, search, look), search, mode=ranking.mode, properties=properties)
        more = dataclasses.replace(more, earlier=work.study.outcomes())
        seeds = search.space.seeds
        work = work._replace(study=more, prefix=f"seeds{seeds[0]}to{seeds[-1]}-")
        stopped = _work(flags, work, reporter)
        if stopped is not None:
            return work, stopped
    return work, None


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


def _work(flags: Any, work: Work, reporter: Reporter) -> int | None:
    """Work on a study; return the number of the signal that stopped it, None where it is done."""
    study, sweep, url, workdir = work.study, work.sweep, url_of(flags), Path(flags.workdir)
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
        work.ranking,
        force=flags.force,
        prefix=work.prefix,
    )
    name, left, seeds = study.study.study_name, study.left(), len(study.space.seeds)
    sizes = f"{counted(len(study.by_point()), 'trial')} of {counted(seeds, 'seed')}, {left} left"
    reporter.line(f"study {name} in {without_password(url)}: {sizes}")
    for line in study.space.to_lines():
        reporter.line(f"  {line}")
    for note in () if work.prefix else (*sweep.notes, *_notes_on_versions(study)):
        reporter.remark(note)
    reporter.line(f"lanes by {mode} on {devices}; search algorithm: {study.search.sampler}")
    if not left:
        reporter.line("nothing left to do: every trial of the study is done")
    with signals.catch_stop_signals() as stop, Heartbeat(study.storage, flags.heartbeat, stop) as heartbeat:
        worker = Worker(study, work.experiments, sweep.resolve, options, heartbeat, stop, reporter)
        worker.run()
    if heartbeat.lost is not None:
        raise connection_lost(heartbeat.lost, url, f"Its trials are checkpointed in {workdir / 'lanes'}.")
    if stop.received is not None:
        reporter.line("Stopped; saved. The same command goes on.")
        return stop.received
    reporter.line(f"programs of the update compiled here: {worker.compiled}")
    return None


def _notes_on_versions(study: SweepStudy) -> list[str]:
    """Store the versions and flags of a study's first worker; list a line where the flags of XLA are others here."""
    before = study.study.user_attrs.get(VERSIONS)
    if before is None:
        study.study.set_user_attr(VERSIONS, versions())
        return []
    return flags_notes(changed_flags({VERSIONS: before}), "the study's first start")


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
        refuse_other_config(workdir, configs.differences(before["config"], config), same_data=same_data)
