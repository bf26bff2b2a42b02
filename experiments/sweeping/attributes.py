"""The attributes of a study and of its trials in the database: their shapes, and the reader that checks them.

    of the study   READY; POINTS, the number of its points; and the properties that all workers share: space, sampler,
                   metric, config of the recipe
    of a trial     POINT   number of its point in the study
                   LANES   record of each of its seeds (`LaneRecord.outcome`); earlier versions wrote fewer keys
                   ERROR   reason why it cannot be trained
                   the values of its point: Optuna's parameters, and those that it is queued with

A database is data like any stored file: it may be damaged, of another version, or of another program.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from experiments.data.stored_json import Checked, Fields, Shape, flaw, unreadable, whole
from experiments.sweeping.space import MOST_POINTS, Space
from experiments.sweeping.storage import CONNECTION_ERRORS, without_password
from transformer.errors import UserError, problem, shorten
from transformer.schema import Check

POINT, LANES, ERROR, READY, POINTS = "point", "lanes", "error", "ready", "number of trials"

QUEUED = "fixed_params"
"""System attribute in which Optuna keeps the values that a trial is queued with."""

RUNNING = "running"
FINISHED = "finished"
EARLY = "stopped early"
HALVED = "halved"
DIVERGED = "diverged"
TAKEN = "taken"
"""The status of a lane that another worker took while no worker trained it here."""

ENDED = (FINISHED, EARLY, HALVED, DIVERGED)
"""The status of a lane that a study records."""

STATUS = (RUNNING, TAKEN, *ENDED)

DONE = (TrialState.COMPLETE, TrialState.PRUNED)

NUMBERS = Fields({}, others=float)

PAIR = Checked([float], Check(lambda pair: len(pair) == 2, "a step and a score"))

LANE = Fields(
    {
        "seed": whole(0, 2**32 - 1),
        "status": Checked(str, Check(lambda status: status in ENDED, f"one of {', '.join(ENDED)}")),
        "score": (float, None),
        "curve": [PAIR],
        "validation": NUMBERS,
    },
    {
        "point": int,
        "step": int,
        "metric": str,
        "best_step": (int, None),
        "validation_loss": (float, None),
        "test": NUMBERS,
        "workdir": str,
    },
)
"""Shape of the record of a lane."""

ORIGIN = "init_from"
"""Attribute of a study: the run whose parameters its trials start from; None, also in earlier versions: none."""

VERSIONS = "versions"
"""Attribute of a study: versions of libraries, and XLA_FLAGS, of its first worker; absent in earlier versions."""

CRITERIA = "criteria"
"""Attribute of a study: the margins, looks and references by which its points were decided, the first one first."""

CRITERION = Fields({"margin": float, "looks": [whole(1, 2**31)], "reference": whole(0, MOST_POINTS), "done": int})
"""Shape of one of them; `done` is the number of points whose trials had ended before."""

STUDY = Fields(
    {},
    {
        READY: bool,
        "config": dict,
        "fingerprint": str,
        POINTS: whole(1, MOST_POINTS),
        VERSIONS: Fields({}, others=str),
        CRITERIA: [CRITERION],
    },
)
"""Shape of the attributes of a study that are read beyond being compared."""

QUEUE = Fields({}, {QUEUED: dict})
"""Shape of the attributes that Optuna keeps of a trial."""

DO = "Bring back a copy of the database, or choose another --study (or --workdir) and train anew."

DECODED = {
    "study_user_attributes": ("key", "value_json"),
    "study_system_attributes": ("key", "value_json"),
    "trial_user_attributes": ("key", "value_json"),
    "trial_system_attributes": ("key", "value_json"),
    "trial_params": ("param_name", "distribution_json"),
}
"""Table of Optuna's with JSON -> its columns of names and of texts."""


def name_of(study: optuna.Study, storage: RDBStorage, trial: FrozenTrial | None = None) -> str:
    """Return the name of a study with its database, or of a trial of it, for errors."""
    name = f"the study {study.study_name!r} in {without_password(storage.url)}"
    return name if trial is None else f"trial {trial.number} of {name}"


def lanes_of(trial: FrozenTrial, name: str) -> list[dict[str, Any]]:
    """Read the records of the lanes of a trial that is done. Raises UserError for any other value."""
    return _checked(trial.user_attrs, Fields({LANES: [LANE]}), name)[LANES]


def point_of(trial: FrozenTrial, points: int, name: str) -> int:
    """Read the number of a trial's point, of so many. Raises UserError for any other value."""
    return _checked(trial.user_attrs, Fields({POINT: whole(0, points - 1)}), name)[POINT]


def refuse_other(study: optuna.Study, properties: Mapping[str, Any]) -> None:
    """Raise a UserError for an existing study that differs in one of the properties."""
    before = {**({ORIGIN: None} if study.user_attrs.get(READY) else {}), **study.user_attrs}
    for key, value in properties.items():
        if key in before and before[key] != value:
            raise problem(
                f"the study {study.study_name!r} exists with another {key}",
                got=_in_words(value),
                expected=shorten(_in_words(before[key])),
                do="Choose another --study (or --workdir), or the flags that it was created with.",
            )


def _in_words(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def check_study(study: optuna.Study, storage: RDBStorage, space: Space, points: int) -> None:
    """Check all that is read of a study, before anything is compiled for it.

    Raises:
        UserError: an attribute is damaged, or none of this project's; the error names it.
    """
    own = name_of(study, storage)
    _checked(study.user_attrs, STUDY, own)
    points = max(points, study.user_attrs.get(POINTS, 0))
    if len(study.directions) != 1:
        raise unreadable(own, f"it has {len(study.directions)} directions, a sweep has one", DO)
    for trial in study.get_trials(deepcopy=False):
        name = name_of(study, storage, trial)
        point_of(trial, points, name)
        if trial.state in DONE or LANES in trial.user_attrs:
            lanes_of(trial, name)
        queued = _checked(trial.system_attrs, QUEUE, name).get(QUEUED, {})
        for values in (queued, trial.params):
            try:
                space.settings_of(values)
            except UserError as error:
                raise unreadable(name, str(error), DO) from error


@contextlib.contextmanager
def decoding(name: str, storage: RDBStorage) -> Iterator[None]:
    """Raise a UserError for what Optuna cannot decode within the block.

    Optuna decodes JSON, states, directions and dates without checks, so it raises errors of many types.

    Args:
        name: name of the study.
    """
    try:
        yield
    except (UserError, *CONNECTION_ERRORS):
        raise
    except Exception as error:
        where = f"the study {name!r} in {without_password(storage.url)}"
        why = _undecodable(storage) or f"{type(error).__name__}: {error}"
        raise unreadable(where, why, DO) from error


def _checked(attributes: Mapping[str, Any], shape: Shape, name: str) -> Any:
    """Return the attributes that a shape names, once they are of it. Raises UserError where they are not."""
    read = {key: value for key, value in attributes.items() if key in {**shape.required, **shape.optional}}
    why = flaw(read, shape, surrogates=True, finite=False)
    if why is not None:
        raise unreadable(name, why, DO)
    return read


def _undecodable(storage: RDBStorage) -> str | None:
    """Describe the first text of the database that is no JSON; None: all are, or it cannot be read at all."""
    with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError), storage.engine.connect() as connection:
        for table, (key, text) in DECODED.items():
            for name, value in connection.exec_driver_sql(f"SELECT {key}, {text} FROM {table}"):
                try:
                    json.loads(value)
                except (TypeError, ValueError, RecursionError) as error:
                    return f"{shorten(repr(name), 80)} in {table} is no JSON: {str(error).partition(';')[0]}"
    return None
