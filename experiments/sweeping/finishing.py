"""A trial of a study that goes on to more steps, as a run of its own.

    WORKDIR/trials/TRIAL      the trial, which stays as it is
    WORKDIR/finished/TRIAL    its copy, a run like any other, which has the trial's settings and more steps

Where the trial's checkpoints are kept, the run goes on from them as `runs.extension` makes a finished run longer: to
the bit, or with a line about its learning rate. Otherwise it is trained from the start.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments import settings
from experiments.cli.recipes import load_recipe_and_sweep
from experiments.comparing import configs
from experiments.runs.init_from import open_origin, wish_of, with_settings
from experiments.runs.report import train_and_report
from experiments.runs.stored_config import earlier_config
from experiments.storage.workdir_checks import (
    EXTENDABLE,
    TRIALS,
    refuse_other_config,
    refuse_other_data,
    refuse_unwritable_name,
)
from experiments.sweeping.deciding import criterion_of, of_look, read_looks
from experiments.sweeping.flags import BEST
from experiments.sweeping.groups import Experiments, trial_name
from experiments.sweeping.open_study import read_study
from experiments.sweeping.ranking import PointResult, Ranking, best, best_lane, ranked
from experiments.sweeping.search import Sweep, make_sweep
from experiments.sweeping.session import opened_storage, properties_of
from experiments.sweeping.storage import locked
from experiments.sweeping.summary import no_best
from transformer.errors import counted, problem
from transformer.schema import show

FINISHED, STEPS = "finished", "training.steps"
"""The folder of the runs, and the setting that says how long they are."""


class Chosen(NamedTuple):
    """A trial that goes on.

    Attributes:
        point: number of its point.
        values: setting -> value of the point.
        lane: the record of its seed, see `LaneRecord.outcome`.
        workdir: its working directory.
    """

    point: int
    values: Mapping[str, Any]
    lane: Mapping[str, Any]
    workdir: Path

    @property
    def name(self) -> str:
        """The name of its working directory."""
        return trial_name(self.point, self.lane["seed"])

    @property
    def step(self) -> int:
        """The number of its updates; 0 in studies of earlier versions, which did not record it."""
        return self.lane.get("step", 0)


def finish_trial(flags: Any, given: Sequence[tuple[str, str]], varied: Mapping[str, Any], words: Sequence[str]) -> int:
    """Train a trial of a study on to more steps, and print its results.

    Args:
        flags: SweepFlags, with `finish`.
        given: overrides of the recipe, as flags have them; those of its length are the run's alone.
        varied: the space, as flags have it.
        words: the command line, for "continue with".

    Returns:
        The exit code, as of `train_and_report`.

    Raises:
        UserError: no study, no such trial or one that has no score, or not more steps than it has.
        OSError: a full or read-only disk.
    """
    refuse_unwritable_name(Path(flags.workdir))
    recipe, own = load_recipe_and_sweep(flags.config)
    recipe, _ = with_settings(recipe, wish_of(flags))
    others = [(name, text) for name, text in given if name not in EXTENDABLE]
    sweep = make_sweep(recipe, others, {**own, **varied}, data=flags.data, sampler=flags.sampler, trials=flags.trials)
    results, ranking = results_of(flags, sweep, lambda stored: settings.resolve(recipe, others, stored)[0])
    chosen = choose(results, flags.finish, ranking, Path(flags.workdir))
    lengths = {name: text for name, text in given if name in EXTENDABLE}
    target = Path(flags.workdir) / FINISHED / chosen.name
    config, notes = config_of(sweep, chosen, lengths, target)
    notes = [*notes, prepare(chosen, target)]
    command = ["experiments.sweep", *words]
    return train_and_report(config, target, notes, command, force=flags.force, init=wish_of(flags))


def results_of(
    flags: Any, sweep: Sweep, base_after: Callable[[Mapping[str, Any]], Any]
) -> tuple[list[PointResult], Ranking]:
    """Read the ranked points of the study that flags name.

    Args:
        base_after: stored config of the study's recipe -> that of the recipe now, whose sizes from the data it keeps.

    Raises:
        UserError: there is none, or it is of another sweep or other data.
    """
    wish = wish_of(flags)
    first = Experiments().of(sweep.first())
    ranking = Ranking.of(first.task, first.config.training.output.best)
    properties = properties_of(flags, ranking, None if wish is None else open_origin(wish))
    if flags.storage is None and not (Path(flags.workdir) / "study.db").is_file():
        do = "Sweep first: the same command without --finish."
        raise problem(f"--workdir {flags.workdir} holds no study", got="no study.db", expected="that of a sweep", do=do)
    with opened_storage(flags) as storage:
        criterion = criterion_of(flags, sweep)
        search = sweep.search
        if criterion is not None and criterion.adding:
            search = of_look(search, criterion, 0, None)
        study = read_study(storage, flags.study or Path(flags.config).stem, search, properties=properties)
        before, fingerprint = study.study.user_attrs.get("config"), first.task.splits.fingerprint
        if before is not None:
            base = json.loads(json.dumps(settings.to_json_dict(base_after(before))))
            changed = configs.differences(before, base)
            refuse_other_config(Path(flags.workdir), [one for one in changed if one[0] not in EXTENDABLE])
            then = study.study.user_attrs.get("fingerprint", fingerprint)
            refuse_other_data(Path(flags.workdir), then, fingerprint)
        if criterion is not None and criterion.adding:
            study = read_looks(storage, study, criterion, properties)
        return ranked(study, ranking), ranking


def choose(results: Sequence[PointResult], trial: str | int, ranking: Ranking, workdir: Path) -> Chosen:
    """Choose the trial of a point: of its seeds the one with the best score.

    Args:
        results: the points that are done, the best first.
        trial: "best", or the number of a point.
        workdir: working directory of the sweep.

    Raises:
        UserError: no trial has ended, none is the best, no such trial, or one without a score.
    """
    numbers = sorted(result.point for result in results)
    if not results:
        do = "Sweep first: the same command without --finish."
        raise problem("no trial has ended", got="none", expected="a trial that has", do=do)
    if trial == BEST:
        found = best(results)
        if found is None:
            do = "Name a trial by its number, or sweep on."
            raise problem(no_best(results), got=BEST, expected=_listed(numbers), do=do)
    else:
        found = next((result for result in results if str(result.point) == str(trial)), None)
        if found is None:
            what, do = "no trial of this number has ended", "The table of the sweep lists them."
            raise problem(what, got=trial, expected=f"best, or {_listed(numbers)}", do=do)
    lane = best_lane(found, ranking)
    if lane is None:
        scored = [result.point for result in results if best_lane(result, ranking) is not None]
        what, expected = f"trial {found.point} has no score, so it cannot go on", _listed(sorted(scored))
        status = ", ".join(dict.fromkeys(lane["status"] for lane in found.lanes))
        raise problem(what, got=status, expected=expected, do="Choose another trial.")
    here, recorded = workdir / TRIALS / trial_name(found.point, lane["seed"]), lane.get("workdir")
    elsewhere = recorded is not None and not here.is_dir()  # of another worker
    return Chosen(found.point, found.values, lane, Path(recorded) if elsewhere else here)


def _listed(numbers: Sequence[int]) -> str:
    """Return the numbers of trials in words."""
    return f"one of {', '.join(map(str, numbers))}" if numbers else "a trial with a score, of which there is none"


def config_of(sweep: Sweep, chosen: Chosen, lengths: Mapping[str, Any], target: Path) -> tuple[Any, list[str]]:
    """Resolve the config of a trial with another length; return it, and lines as `settings.resolve` does.

    Args:
        lengths: settings of EXTENDABLE -> their values, or texts of them.
        target: where it goes on, or went on before.

    Raises:
        UserError: not more steps than the trial has.
    """
    do = f"Give --config.{STEPS}={2 * max(chosen.step, 1)}, for instance."
    if STEPS not in lengths:
        expected = f"more than {counted(chosen.step, 'step')}, those that the trial has"
        raise problem(f"{STEPS} must be given to finish a trial", got="none", expected=expected, do=do)
    earlier = earlier_config(target) or earlier_config(chosen.workdir)
    config, notes = sweep.resolved({**chosen.values, **lengths}, chosen.lane["seed"], earlier)
    if config.training.steps <= chosen.step:
        what, expected = f"trial {chosen.point} has as many steps already", f"more than {chosen.step:,}"
        raise problem(what, got=f"{STEPS} {config.training.steps:,}", expected=expected, do=do)
    return config, notes


def prepare(chosen: Chosen, target: Path) -> str:
    """Copy a trial with its checkpoints to where it goes on; a copy that is there is continued.

    Returns:
        The line about what the run begins from.

    Raises:
        UserError: another run writes to the trial.
        OSError: it cannot be copied; then there is no part of the copy.
    """
    who = f"trial {chosen.point}, seed {chosen.lane['seed']} ({', '.join(_values(chosen.values))})"
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent, wait=True):
        if target.exists():
            return f"{who} goes on in {target}"
        for rest in target.parent.glob(".*"):  # of a copy that was interrupted
            shutil.rmtree(rest)
        if not (chosen.workdir / "checkpoints").is_dir():
            return f"no checkpoint of {who} is kept, so it is trained from the start in {target}"
        with locked(chosen.workdir) as is_locked:
            if not is_locked:
                what, do = f"another run is writing to {chosen.workdir}", "Wait until it ends."
                raise problem(what, got="its lock is held", expected="a trial that has ended", do=do)
            _copy(chosen.workdir, target)
    return f"{who} goes on from its checkpoints in a copy, {target}"


def _copy(source: Path, target: Path) -> None:
    """Copy a working directory as a whole, or not at all."""
    part = target.with_name(f".{target.name}")
    try:
        shutil.copytree(source, part, ignore=shutil.ignore_patterns("lock", "plots", "ended"))
        os.replace(part, target)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"the trial cannot be copied: {reason}", str(target)) from error


def _values(values: Mapping[str, Any]) -> list[str]:
    """Return settings as they are written."""
    return [f"{name}={show(value)}" for name, value in values.items()]
