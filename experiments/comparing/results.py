"""The result of a run, read from its working directory alone: config, fingerprint of the data, last scores."""

import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import settings
from experiments.comparing.metric_units import metric_of
from experiments.costs.summary import Costs, read_costs
from experiments.storage import metrics
from experiments.storage.units import read_units
from experiments.storage.workdir import read_record
from experiments.storage.workdir_checks import TRIALS, is_sweep, of_no_run
from experiments.tasks.task import Metric
from experiments.training.early_stopping import EarlyStopping
from transformer import schema
from transformer.errors import UserError, nearest, problem

SPLITS = ("validation", "test")
"""The splits whose scores are compared; scores of `train` are of changing parameters, without the averages."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The present result of one run."""

    name: str
    """The working directory as the user gave it."""
    config: Mapping[str, Any]
    """The stored config, nested."""
    data: str | None
    """The fingerprint of the data, "" where the config decides it; None for a run of a version without fingerprints."""
    scores: Mapping[str, Mapping[str, float]]
    """The scores of the last evaluation: split -> metric -> value; a split that was not evaluated is absent."""
    step: int
    """The number of updates before the last evaluation."""
    finished: bool
    """True if training reached its last step, or stopped early."""
    seconds: float = 0.0
    """The running time up to the last line of metrics, earlier starts included."""
    costs: Costs | None = None
    """The parameters and operations; None for a run of a version that did not write them."""
    origin: Mapping[str, Any] | None = None
    """The record of the run or checkpoint from whose parameters it started (--init_from); None: it started fresh."""
    units: Mapping[str, Metric] = dataclasses.field(default_factory=dict)
    """The metrics of a run whose task has scores from outside."""
    diverged: int | None = None
    """The step whose loss or gradient is not finite, at which the training ended; None: there is none."""
    lines: Sequence[Mapping[str, Any]] = ()
    """The lines of its metrics, oldest first."""
    commit: str | None = None
    """The commit of the code that trained it; None where it is not known."""

    @property
    def ended(self) -> bool:
        """True if its last score is known: it is finished, or diverged, which is the worst of all scores."""
        return self.finished or self.diverged is not None

    def setting(self, name: str) -> Any:
        """Return the value of a setting by its full name; its default where an earlier version did not have it."""
        value: Any = self.config
        for part in name.split("."):
            if part not in value:
                return settings.find(name).default
            value = value[part]
        return value

    @property
    def seed(self) -> int:
        return self.setting("seed")

    @property
    def steps(self) -> int:
        """The number of updates of the whole training."""
        return self.setting("training.steps")

    @property
    def metrics(self) -> list[str]:
        """The names of the scores, in order of first appearance."""
        return list(dict.fromkeys(name for values in self.scores.values() for name in values))


def units_of(results: Iterable[Result]) -> dict[str, Metric]:
    """Collect the metrics that runs name; of two of one name, that of the first run."""
    return dict(item for result in reversed([*results]) for item in result.units.items())


def print_note(line: str) -> None:
    """Print a remark beside the tables."""
    print(f"note: {line}", file=sys.stderr)


def read_results(names: Sequence[str], note: Callable[[str], None] = print_note) -> list[Result]:
    """Read the results of several runs that are to be compared.

    Args:
        names: working directories of runs and of sweeps.
        note: called with a line about trials that are left out.

    Raises:
        UserError: fewer than two runs, one of them twice, or an error of `read_result`.
    """
    return read_sides([names], note)[0]


def read_sides(sides: Sequence[Sequence[str]], note: Callable[[str], None] = print_note) -> list[list[Result]]:
    """Read the results of the runs of several sides of a comparison; arguments and errors as of `read_results`."""
    expanded = [[run for name in names for run in _runs_of(Path(name), note)] for names in sides]
    _check_names([name for names in expanded for name in names])
    return [[read_result(name) for name in names] for names in expanded]


def _check_names(names: Sequence[str]) -> None:
    """Raise a UserError for fewer than two runs, or one of them twice."""
    if len(names) < 2:
        what, do = "one run alone has nothing to be compared with", "Name another run beside it."
        raise problem(what, got=names[0], expected="two runs or more", do=do)
    known: dict[Path, str] = {}
    for name in names:
        where = Path(name).resolve()
        if where in known:
            same = "" if known[where] == name else f", once as {known[where]}"
            raise problem(f"{name} is given twice{same}", do="Give each run once.")
        known[where] = name


def _runs_of(path: Path, note: Callable[[str], None]) -> list[str]:
    """Return the path of a run; of a sweep, those of its trials that were evaluated, with a note of the others."""
    if not is_sweep(path):
        return [str(path)]
    trials = sorted(trial for trial in (path / TRIALS).iterdir() if trial.is_dir())
    lines = {trial: metrics.read(trial) for trial in trials if (trial / "config.json").exists()}
    evaluated = [
        str(trial)
        for trial, own in lines.items()
        if any(line["split"] in SPLITS for line in own) or _diverged(own) is not None
    ]
    left_out = [trial.name for trial in trials if str(trial) not in evaluated]
    if left_out:
        why = "without an evaluation, or of a version that wrote no config.json"
        note(f"left out, {why}: {', '.join(left_out)}")
    if not evaluated:
        raise problem(f"the sweep in {path} has no trial that was evaluated", do="Wait for its first trials to end.")
    return evaluated


def read_result(name: str) -> Result:
    """Read the result of the run in a working directory.

    Raises:
        UserError: no such directory, no run in it, or no evaluation of a run that has not diverged.
    """
    path = Path(name)
    if not path.is_dir():
        raise _no_directory(path)
    if not (path / "config.json").exists():
        other = of_no_run(path)
        if other is not None:
            raise other
        runs = any(path.glob("*/config.json"))
        do = f"There are runs in it: did you mean {path}/*?" if runs else "Name the --workdir of a training."
        raise problem(f"{path} holds no config.json, so no run was started in it", do=do)
    record = read_record(path)
    _check_config(record["config"], set(record.get("code", {})), path)
    lines = metrics.read(path)
    last = {line["split"]: line for line in lines if line["split"] in SPLITS}
    diverged = _diverged(lines)
    if not last and diverged is None:
        got = f"metrics up to step {lines[-1]['step']} of training" if lines else "no metrics"
        raise problem(f"{path} was not evaluated yet", got=got, do="Wait for its first evaluation, or leave it out.")
    found = Result(
        name,
        record["config"],
        record.get("data"),
        {split: _scores(last[split]) for split in SPLITS if split in last},
        max((line["step"] for line in last.values()), default=0),
        finished=False,
        seconds=lines[-1]["seconds"],
        costs=read_costs(path),
        origin=record.get("origin"),
        units=read_units(path),
        diverged=diverged,
        lines=lines,
        commit=(record.get("git") or {}).get("commit"),
    )
    return dataclasses.replace(found, finished=found.step >= found.steps or _stopped_early(found, lines))


def _check_config(config: Mapping[str, Any], from_outside: set[str], path: Path) -> None:
    """Raise a UserError for a setting of a stored config that has no such value; those of other versions may be any.

    Args:
        from_outside: settings that name rows from outside, which may not be there now.
    """
    try:
        for name, leaf in schema.settings(settings.Config).items():
            *sections, last = name.split(".")
            part: Any = config
            for section in sections:
                part = part.get(section, {})
                if not isinstance(part, Mapping):
                    raise problem(f"{section} is a section", got=repr(part), expected="an object of its settings")
            if last in part and name not in from_outside:
                schema.checked(part[last], leaf)
    except UserError as error:
        raise UserError(f"in {path / 'config.json'}: {error}") from error


def _diverged(lines: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the step of the last line of training where its loss or gradient is not finite; None where both are."""
    trained = [line for line in lines if line["split"] == "train"]
    names = [name for name in trained[-1] if name == "gradient_norm" or f"_{name}".endswith("_loss")] if trained else []
    finite = all(trained[-1][name] is None or math.isfinite(trained[-1][name]) for name in names)
    return None if finite else trained[-1]["step"]


def _scores(line: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in line.items() if name not in metrics.NO_METRICS}


def _stopped_early(result: Result, lines: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether early stopping ended the training, by the evaluations that it read."""
    names = ("patience", "output.best", "output.evaluate_every")
    patience, best, every = (result.setting(f"training.{name}") for name in names)
    metric = None if best is None else metric_of(best, result.units)
    if metric is None:
        return False
    early_stopping = EarlyStopping(best)
    for line in lines:
        if line["split"] == "validation" and best in line:
            early_stopping = early_stopping.after(line["step"], line[best], metric.mode, patience, every)
    return early_stopping.stopped


def _no_directory(path: Path) -> UserError:
    siblings = [other.name for other in path.parent.iterdir() if other.is_dir()] if path.parent.is_dir() else []
    guess = nearest(path.name, siblings)
    if any(character in path.name for character in "*?["):
        do = "The shell has not expanded it: write a space before it, not =, and no quotes."
        return problem(f"{path} does not exist", expected="the working directory of a run or a sweep", do=do)
    return problem(
        f"{path} {'is not a directory' if path.exists() else 'does not exist'}",
        expected="the working directory of a run or a sweep",
        do=f"Did you mean {path.with_name(guess)}?" if guess else "Name the --workdir of a training.",
    )
